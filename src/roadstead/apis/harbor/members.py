"""Members of a project, and (which Harbor has not) grants on single repositories or folders in it."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from roadstead.access.actor import Role
from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.roles import IDS, role_of
from roadstead.apis.harbor.wire import Answer, Body, Id, Nouns, ProjectRef
from roadstead.errors import InvalidInput, NotFound
from roadstead.registry.listing import Filter, Match
from roadstead.registry.rows import MemberRow

router = Nouns(tags=["members"])

EVERYWHERE: Final = "*"


class UserEntity(Body):
    """An account, by id or by name."""

    user_id: int | None = None
    username: str | None = None


class UserGroup(Body):
    """A group, by id or by name."""

    id: int | None = None
    group_name: str | None = None


class ProjectMember(Body):
    """Who is to have which role."""

    role_id: int
    member_user: UserEntity | None = None
    member_group: UserGroup | None = None


class RoleRequest(Body):
    """Which role somebody is to have."""

    role_id: int


class NewGrant(ProjectMember):
    """Who is to have which role where: in the repository at `path` (without the project's name), or below a folder, as in `team/*`."""

    path: str


class ProjectMemberEntity(Answer):
    """Who has which role: an account (`u`) or a group (`g`)."""

    id: int
    project_id: int
    entity_name: str
    entity_id: int
    entity_type: str
    role_id: int
    role_name: str


class Grant(ProjectMemberEntity):
    """Who has which role where."""

    path: str


PartOfName = Annotated[str | None, Query(description="A part of the name of an account or group.")]


@router.get("/projects/{project}/members")
async def list_members(call: Calling, project: ProjectRef, paging: Paged, entityname: PartOfName = None) -> list[ProjectMemberEntity]:
    """Who has a role in the whole project."""
    rows = await _page(call, project, paging, entityname, whole=True)
    return [_member(row) for row in rows]


@router.post("/projects/{project}/members", status_code=201)
async def add_member(call: Calling, project: ProjectRef, member: ProjectMember) -> None:
    """Give an account or a group a role in the whole project."""
    made = await _add(call, project, member, EVERYWHERE)
    call.created(f"/projects/{made.project_id}/members/{made.id}")


@router.get("/projects/{project}/members/{mid}")
async def get_member(call: Calling, project: ProjectRef, mid: Id) -> ProjectMemberEntity:
    """One membership."""
    return _member(await _found(call, project, mid, whole=True))


@router.put("/projects/{project}/members/{mid}")
async def change_member(call: Calling, project: ProjectRef, mid: Id, role: RoleRequest) -> None:
    """Change somebody's role."""
    await _found(call, project, mid, whole=True)
    await call.registry.projects.set_role(call.actor, call.project(project), mid, role_of(role.role_id))


@router.delete("/projects/{project}/members/{mid}")
async def remove_member(call: Calling, project: ProjectRef, mid: Id) -> None:
    """End a membership."""
    await _found(call, project, mid, whole=True)
    await call.registry.projects.remove_member(call.actor, call.project(project), mid)


@router.get("/projects/{project}/grants")
async def list_grants(call: Calling, project: ProjectRef, paging: Paged, entityname: PartOfName = None) -> list[Grant]:
    """Who has a role in some repositories of the project only."""
    rows = await _page(call, project, paging, entityname, whole=False)
    return [_grant(row) for row in rows]


@router.post("/projects/{project}/grants", status_code=201)
async def add_grant(call: Calling, project: ProjectRef, grant: NewGrant) -> None:
    """Give an account or a group a role in one repository, or below a folder."""
    if grant.path == EVERYWHERE:
        raise InvalidInput("A role in the whole project is that of a member, not a grant.")
    made = await _add(call, project, grant, grant.path)
    call.created(f"/projects/{made.project_id}/grants/{made.id}")


@router.get("/projects/{project}/grants/{gid}")
async def get_grant(call: Calling, project: ProjectRef, gid: Id) -> Grant:
    """One grant."""
    return _grant(await _found(call, project, gid, whole=False))


@router.put("/projects/{project}/grants/{gid}")
async def change_grant(call: Calling, project: ProjectRef, gid: Id, role: RoleRequest) -> None:
    """Change a grant's role."""
    await _found(call, project, gid, whole=False)
    await call.registry.projects.set_role(call.actor, call.project(project), gid, role_of(role.role_id))


@router.delete("/projects/{project}/grants/{gid}")
async def remove_grant(call: Calling, project: ProjectRef, gid: Id) -> None:
    """End a grant."""
    await _found(call, project, gid, whole=False)
    await call.registry.projects.remove_member(call.actor, call.project(project), gid)


async def _page(call: Call, project: str, paging: Paged, part: str | None, *, whole: bool) -> list[MemberRow]:
    more = [Filter("holder", Match.CONTAINS, (part,))] if part else []
    listing = paging.listing({"entity_name": "holder", "id": "id"}, *more)
    rows, total = await call.registry.projects.members_page(call.actor, call.project(project), listing, whole=whole)
    paging.tell(call, total)
    return rows


async def _add(call: Call, project: str, wanted: ProjectMember, path: str) -> MemberRow:
    which, role = call.project(project), role_of(wanted.role_id)
    if (wanted.member_user is None) == (wanted.member_group is None):
        raise InvalidInput("Give either member_user or member_group.")
    if wanted.member_user is not None:
        account = _name_or_id(wanted.member_user.username, wanted.member_user.user_id)
        return await call.registry.projects.add_member(call.actor, which, account, role, path)
    assert wanted.member_group is not None
    group = _name_or_id(wanted.member_group.group_name, wanted.member_group.id)
    return await call.registry.projects.add_group(call.actor, which, group, role, path)


def _name_or_id(name: str | None, number: int | None) -> str | int:
    """Clients send 0 or an empty name for what they do not say. Raises InvalidInput if nothing is said."""
    if number and not 0 < number < 2**63:
        raise InvalidInput("An id is a number from 1.")
    if not (number or name):
        raise InvalidInput("Say who it is, by id or by name.")
    return number or name or ""


async def _found(call: Call, project: str, member_id: int, *, whole: bool) -> MemberRow:
    row = await call.registry.projects.member(call.actor, call.project(project), member_id)
    if _is_whole(row) != whole:
        raise NotFound("There is no such member." if whole else "There is no such grant.")
    return row


def _is_whole(row: MemberRow) -> bool:
    return row.path == "" and row.path_prefix


def _member(row: MemberRow) -> ProjectMemberEntity:
    return ProjectMemberEntity(
        id=row.id,
        project_id=row.project_id,
        entity_name=row.holder,
        entity_id=row.account_id or row.group_id or 0,
        entity_type="u" if row.account_id is not None else "g",
        role_id=IDS[Role(row.role)],
        role_name=row.role,
    )


def _grant(row: MemberRow) -> Grant:
    return Grant(**_member(row).model_dump(), path=f"{row.path}*" if row.path_prefix else row.path)
