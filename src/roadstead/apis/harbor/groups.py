"""Groups of people: our own, and those of login sources."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.members import UserEntity
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.wire import Answer, Body, Id, Nouns
from roadstead.errors import InvalidInput
from roadstead.registry.rows import GroupRow

router = Nouns(tags=["groups"])

LOCAL: Final = 2
TYPES: Final = {"ldap": 1, "oidc": 3}
"""Harbor's numbers for where a group is from; 2 is its proxy, and our own groups here."""


class NewGroup(Body):
    """A group to be made. One of a directory has its DN, one of a provider is by its name there; `source` says which, of several."""

    group_name: str
    group_type: int | None = None
    ldap_group_dn: str | None = None
    source: str | None = None


class GroupChange(Body):
    """A group's new name."""

    group_name: str


class UserGroup(Answer):
    """A group; `source` is ours: the login source's name, or `local`."""

    id: int
    group_name: str
    group_type: int
    ldap_group_dn: str
    source: str


class UserGroupSearchItem(Answer):
    """What who shares a project may know of a group."""

    id: int
    group_name: str
    group_type: int


class GroupMember(Answer):
    """An account in a group."""

    user_id: int
    username: str


@router.get("/usergroups")
async def list_groups(
    call: Calling,
    paging: Paged,
    group_name: Annotated[str | None, Query(description="A part of the name.")] = None,
    ldap_group_dn: Annotated[str | None, Query(description="The whole DN.")] = None,
) -> list[UserGroup]:
    """Every group, for administrators."""
    kinds = await _kinds(call)
    rows = [row for row in await call.access.groups.list(call.actor) if (group_name or "").lower() in row.name.lower()]
    if ldap_group_dn:
        rows = [row for row in rows if (row.external_id or "").lower() == ldap_group_dn.lower()]
    return [_group(row, kinds) for row in paging.cut(call, rows)]


@router.post("/usergroups", status_code=201)
async def add_group(call: Calling, new: NewGroup) -> None:
    """Make a group."""
    source = await _source(call, new)
    if source is None:
        made = await call.access.groups.add(call.actor, new.group_name)
    else:
        made = await call.access.groups.add(call.actor, new.group_name, source=source, external_id=new.ldap_group_dn or new.group_name)
    call.created(f"/usergroups/{made.id}")


@router.get("/usergroups/search")
async def search_groups(call: Calling, paging: Paged, groupname: str) -> list[UserGroupSearchItem]:
    """Groups by a part of the name, for who may make them members."""
    rows = await call.access.groups.search(call.actor, groupname)
    return [UserGroupSearchItem(id=row.id, group_name=row.name, group_type=_type(row, {})) for row in paging.cut(call, rows)]


@router.get("/usergroups/{group_id}")
async def get_group(call: Calling, group_id: Id) -> UserGroup:
    """One group."""
    return _group(await call.access.groups.get(call.actor, group_id), await _kinds(call))


@router.put("/usergroups/{group_id}")
async def rename_group(call: Calling, group_id: Id, wanted: GroupChange) -> None:
    """Give a group another name."""
    await call.access.groups.rename(call.actor, group_id, wanted.group_name)


@router.delete("/usergroups/{group_id}")
async def remove_group(call: Calling, group_id: Id) -> None:
    """Remove a group with the roles that it has."""
    await call.access.groups.remove(call.actor, group_id)


@router.get("/usergroups/{group_id}/members")
async def list_group_members(call: Calling, group_id: Id, paging: Paged) -> list[GroupMember]:
    """Who is in a group; of a source's, those who have logged in here."""
    rows = await call.access.groups.members(call.actor, group_id)
    return [GroupMember(user_id=number, username=name) for number, name in paging.cut(call, rows)]


@router.post("/usergroups/{group_id}/members", status_code=201)
async def add_group_member(call: Calling, group_id: Id, member: UserEntity) -> None:
    """Put an account into a group of our own."""
    if member.user_id is None or not 0 < member.user_id < 2**63:
        raise InvalidInput("Say by user_id whom to put into the group.")
    await call.access.groups.add_member(call.actor, group_id, member.user_id)
    call.created(f"/usergroups/{group_id}/members/{member.user_id}")


@router.delete("/usergroups/{group_id}/members/{user_id}")
async def remove_group_member(call: Calling, group_id: Id, user_id: Id) -> None:
    """Take an account out of a group of our own."""
    await call.access.groups.remove_member(call.actor, group_id, user_id)


async def _kinds(call: Call) -> dict[str, str]:
    """The kind of each source by its name."""
    return {one.name: one.kind for one in await call.access.sources.list(call.actor)}


async def _source(call: Call, new: NewGroup) -> str | None:
    """The source that a new group is of; None for our own. Raises InvalidInput where that is not clear."""
    if new.source is not None:
        return None if new.source == "local" else new.source
    if new.group_type in (None, 0, LOCAL):
        return None
    found = [name for name, kind in (await _kinds(call)).items() if TYPES[kind] == new.group_type]
    if len(found) != 1:
        raise InvalidInput(f"There are {len(found)} login sources of group_type {new.group_type}: say by 'source' which is meant.")
    return found[0]


def _group(row: GroupRow, kinds: dict[str, str]) -> UserGroup:
    dn = row.external_id or "" if kinds.get(row.source) == "ldap" else ""
    return UserGroup(id=row.id, group_name=row.name, group_type=_type(row, kinds), ldap_group_dn=dn, source=row.source)


def _type(row: GroupRow, kinds: dict[str, str]) -> int:
    return TYPES.get(kinds.get(row.source, ""), LOCAL)
