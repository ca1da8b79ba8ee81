"""Members of projects: accounts and groups, in a whole project or below a path."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, func, literal, literal_column, not_, or_, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.listing import Fields, Listing, Sort, listed
from roadstead.metadata.schema import account_groups, accounts, groups, members
from roadstead.metadata.statements import insert_new


class MemberRow(msgspec.Struct, frozen=True):
    """One membership. `holder` is the account's or the group's name; the empty path with `path_prefix` is the whole project."""

    id: int
    project_id: int
    account_id: int | None
    group_id: int | None
    holder: str
    role: str
    path: str
    path_prefix: bool


def covers(path: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a membership holds for the repository at `path`."""
    begins = func.substr(path, literal_column("1"), func.length(members.c.path)) == members.c.path
    return or_(and_(members.c.path_prefix.is_(True), begins), members.c.path == path)


def held_by(account_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether the account holds a membership, itself or by one of its groups."""
    by_group = exists().where(account_groups.c.group_id == members.c.group_id, account_groups.c.account_id == account_id)
    return or_(members.c.account_id == account_id, by_group)


def manages(connection: Connection, account_id: int) -> bool:
    """Whether the account is projectAdmin anywhere, itself or by one of its groups."""
    mine = (members.c.role == "projectAdmin", held_by(literal(account_id)))
    return connection.execute(select(members.c.id).where(*mine).limit(1)).first() is not None


class MemberSelects:
    """The hot select of a permission that is not open to everybody."""

    def __init__(self, database: Database) -> None:
        account_id, path = bindparam("account_id", type_=members.c.account_id.type), bindparam("path", type_=members.c.path.type)
        mine = (members.c.project_id == bindparam("project_id"), held_by(account_id))
        self._roles = database.hot(select(members.c.role, covers(path)).where(*mine))

    async def roles(self, account_id: int, project_id: int, path: str) -> list[tuple[str, bool]]:
        """The account's memberships in the project: the role, and whether it holds for the repository at `path`."""
        rows = await self._roles.all(account_id=account_id, project_id=project_id, path=path)
        return [(row[0], bool(row[1])) for row in rows]


_HOLDER = func.coalesce(accounts.c.name, groups.c.name)
_ROWS = (
    select(
        members.c.id,
        members.c.project_id,
        members.c.account_id,
        members.c.group_id,
        _HOLDER,
        members.c.role,
        members.c.path,
        members.c.path_prefix,
    )
    .select_from(members.outerjoin(accounts, accounts.c.id == members.c.account_id).outerjoin(groups, groups.c.id == members.c.group_id))
    .where(accounts.c.deleted_at.is_(None))
)
_FIELDS = Fields({"id": members.c.id, "holder": _HOLDER, "role": members.c.role, "path": members.c.path}, members.c.id, (Sort("id"),))
_WHOLE = and_(members.c.path == "", members.c.path_prefix.is_(True))


def of_project(connection: Connection, project_id: int) -> list[MemberRow]:
    """Every membership of a project, in the order of their ids."""
    return [MemberRow(*row) for row in connection.execute(_ROWS.where(members.c.project_id == project_id).order_by(members.c.id))]


def page(connection: Connection, project_id: int, listing: Listing, *, whole: bool) -> tuple[list[MemberRow], int]:
    """Memberships of a project that the listing asks for: of the `whole` project, or below a path; and how many on all pages."""
    statement = _ROWS.where(members.c.project_id == project_id, _WHOLE if whole else not_(_WHOLE))
    rows, total = listed(connection, statement, _FIELDS, listing)
    return [MemberRow(*tuple(row)) for row in rows], total


def counts(connection: Connection, project_id: int) -> dict[str, int]:
    """How many members of the whole project have each role; a role that nobody has is left out."""
    statement = (
        select(members.c.role, func.count())
        .outerjoin(accounts, accounts.c.id == members.c.account_id)
        .where(members.c.project_id == project_id, _WHOLE, accounts.c.deleted_at.is_(None))
    )
    return {row[0]: row[1] for row in connection.execute(statement.group_by(members.c.role))}


def roles_in(connection: Connection, account_id: int, project_ids: Iterable[int]) -> list[tuple[int, str]]:
    """Which roles an account has in the whole of some of these projects, itself or by its groups: (project's id, role)."""
    mine = held_by(literal(account_id, members.c.account_id.type))
    statement = select(members.c.project_id, members.c.role).where(members.c.project_id.in_(list(project_ids)), _WHOLE, mine)
    return [(row[0], row[1]) for row in connection.execute(statement)]


def group_id(connection: Connection, which: str | int) -> int | None:
    """The id of the group of that name, or of that id, if there is one."""
    statement = select(groups.c.id).where(groups.c.id == which if isinstance(which, int) else groups.c.name == which)
    return connection.execute(statement).scalar()


def find(connection: Connection, project_id: int, member_id: int) -> MemberRow | None:
    """One membership."""
    row = connection.execute(_ROWS.where(members.c.project_id == project_id, members.c.id == member_id)).first()
    return row and MemberRow(*row)


def add(
    connection: Connection,
    project_id: int,
    *,
    account_id: int | None,
    group_id: int | None,
    role: str,
    now: datetime,
    path: str = "",
    path_prefix: bool = True,
) -> int | None:
    """Add a membership; returns its id, or None if that account or group has one there already."""
    here = {"project_id": project_id, "account_id": account_id, "group_id": group_id, "path": path, "path_prefix": path_prefix}
    if not insert_new(connection, members, {**here, "role": role, "created_at": now}):
        return None
    same = [members.c[name].is_(None) if value is None else members.c[name] == value for name, value in here.items()]
    found: int = connection.execute(select(members.c.id).where(*same)).scalar_one()
    return found


def set_role(connection: Connection, project_id: int, member_id: int, role: str) -> bool:
    """Change the role of a membership; False if it is gone."""
    mine = (members.c.project_id == project_id, members.c.id == member_id)
    return connection.execute(update(members).where(*mine).values(role=role)).rowcount == 1


def remove(connection: Connection, project_id: int, member_id: int) -> bool:
    """End a membership; False if it is gone."""
    return connection.execute(delete(members).where(members.c.project_id == project_id, members.c.id == member_id)).rowcount == 1
