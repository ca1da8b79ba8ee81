"""Numbers of the whole, and what a search finds."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Connection, cast, false, func, literal, or_, select

from roadstead.metadata import repositories as repository_rows
from roadstead.metadata.listing import Filter, Listing, Match, Page, matches
from roadstead.metadata.members import held_by
from roadstead.metadata.projects import ProjectRow, ProjectScope
from roadstead.metadata.repositories import LIVE, RepositoryRow, holds_something
from roadstead.metadata.schema import contents, members, projects, repositories


class Counts(msgspec.Struct, frozen=True):
    """Projects, and repositories that hold something, of one kind."""

    projects: int
    repositories: int


def counts(connection: Connection, scope: ProjectScope) -> Mapping[bool, Counts]:
    """What the scope shows: of public projects (True) and of others (False)."""
    public = projects.c.public
    own = select(public, func.count()).where(projects.c.deleted_at.is_(None), scope.of_projects()).group_by(public)
    held = (
        select(public, func.count())
        .join_from(projects, repositories, repositories.c.project_id == projects.c.id)
        .where(LIVE, scope.condition(), holds_something())
        .group_by(public)
    )
    by_project = {bool(row[0]): row[1] for row in connection.execute(own)}
    by_repository = {bool(row[0]): row[1] for row in connection.execute(held)}
    return {kind: Counts(by_project.get(kind, 0), by_repository.get(kind, 0)) for kind in (True, False)}


def stored(connection: Connection) -> int:
    """Bytes in the content store that rows name, each content once, whatever number of projects it counts in."""
    return connection.execute(select(cast(func.coalesce(func.sum(contents.c.size), 0), BigInteger))).scalar_one()


def repositories_in(connection: Connection, scope: ProjectScope, project_ids: list[int]) -> dict[int, int]:
    """How many repositories of each project the scope shows and hold something."""
    held = (
        select(repositories.c.project_id, func.count())
        .join_from(projects, repositories, repositories.c.project_id == projects.c.id)
        .where(LIVE, scope.condition(), holds_something(), projects.c.id.in_(project_ids))
        .group_by(repositories.c.project_id)
    )
    return {row[0]: row[1] for row in connection.execute(held)}


def members_by_role(connection: Connection, project_id: int) -> dict[str, int]:
    """How many accounts and groups hold each role in the whole project."""
    whole = (members.c.project_id == project_id, members.c.path == "", members.c.path_prefix.is_(True))
    return {row[0]: row[1] for row in connection.execute(select(members.c.role, func.count()).where(*whole).group_by(members.c.role))}


def roles_in(connection: Connection, account_id: int, project_ids: list[int]) -> dict[int, set[str]]:
    """By project, the roles that an account holds in the whole of it, itself or by its groups."""
    mine = held_by(literal(account_id, projects.c.id.type))
    whole = (members.c.project_id.in_(project_ids), members.c.path == "", members.c.path_prefix.is_(True))
    found: dict[int, set[str]] = {}
    for project_id, role in connection.execute(select(members.c.project_id, members.c.role).where(*whole, mine)):
        found.setdefault(project_id, set()).add(role)
    return found


def search(connection: Connection, scope: ProjectScope, text: str, limit: int) -> tuple[list[ProjectRow], list[RepositoryRow]]:
    """Projects and repositories that the scope shows and whose name contains the text, by name, at most `limit` of each."""
    named: ColumnElement[bool] = matches(projects.c.name, Filter("q", Match.CONTAINS, (text,))) if text else or_(~false())
    columns = (projects.c[field] for field in ProjectRow.__struct_fields__)
    statement = select(*columns).where(projects.c.deleted_at.is_(None), scope.of_projects(), named).order_by(projects.c.name).limit(limit)
    found = [ProjectRow(*row) for row in connection.execute(statement)]
    wanted = (Filter("name", Match.CONTAINS, (text,)),) if text else ()
    rows, _ = repository_rows.page(connection, scope, Listing(wanted, page=Page(1, limit)))
    return found, rows
