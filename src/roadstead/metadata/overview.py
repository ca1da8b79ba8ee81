"""Numbers of the whole."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import BigInteger, Connection, cast, func, select

from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.repositories import LIVE, holds_something
from roadstead.metadata.schema import contents, projects, repositories


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
