"""Repositories: `project/path`."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select

from roadstead.metadata.database import Database
from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.schema import manifests, projects, repositories
from roadstead.metadata.statements import Prepared, insert_new
from roadstead.oci.reference import RepositoryName

LIVE = and_(projects.c.deleted_at.is_(None), repositories.c.deleted_at.is_(None))


class PlaceRow(msgspec.Struct, frozen=True):
    """What is known of a repository name: its live project, and the id of its live repository (None if there is none yet)."""

    project_id: int
    project_name: str
    public: bool
    repository_id: int | None


class RepositorySelects:
    """The hot select that every request on a repository begins with."""

    def __init__(self, database: Database) -> None:
        joined = projects.outerjoin(
            repositories,
            and_(
                repositories.c.project_id == projects.c.id,
                repositories.c.path == bindparam("path"),
                repositories.c.deleted_at.is_(None),
            ),
        )
        columns = (projects.c.id, projects.c.name, projects.c.public, repositories.c.id)
        live = (projects.c.name == bindparam("project"), projects.c.deleted_at.is_(None))
        self._place = database.hot(select(*columns).select_from(joined).where(*live))

    async def place(self, name: RepositoryName) -> PlaceRow | None:
        """The place of `name`, or None if its project does not exist."""
        row = await self._place.first(project=name.project, path=name.path)
        return None if row is None else PlaceRow(row[0], row[1], bool(row[2]), row[3])


_FIND = Prepared(
    select(repositories.c.id).where(
        repositories.c.project_id == bindparam("project_id"), repositories.c.path == bindparam("path"), repositories.c.deleted_at.is_(None)
    )
)


def ensure(connection: Connection, project_id: int, path: str, now: datetime) -> int:
    """The id of the live repository, made if it is not there."""
    wanted = {"project_id": project_id, "path": path}
    found = _FIND.first(connection, wanted)
    if found is None:
        insert_new(connection, repositories, {**wanted, "created_at": now})
        found = _FIND.first(connection, wanted)
        assert found is not None
    return int(found[0])


def filled(connection: Connection, project_id: int) -> int:
    """How many live repositories of a project hold a manifest."""
    holds = exists().where(manifests.c.repository_id == repositories.c.id, manifests.c.deleted_at.is_(None))
    mine = (repositories.c.project_id == project_id, repositories.c.deleted_at.is_(None), holds)
    return connection.execute(select(func.count()).select_from(repositories).where(*mine)).scalar_one()


def catalog(connection: Connection, scope: ProjectScope, after: RepositoryName | None, limit: int) -> list[str]:
    """Names of repositories that hold a manifest, by project and path, at most `limit` of them after `after`."""
    filled = exists().where(manifests.c.repository_id == repositories.c.id, manifests.c.deleted_at.is_(None))
    statement = (
        select(projects.c.name, repositories.c.path)
        .join_from(projects, repositories, repositories.c.project_id == projects.c.id)
        .where(LIVE, scope.condition(), filled)
        .order_by(projects.c.name, repositories.c.path)
        .limit(limit)
    )
    if after is not None:
        in_project = and_(projects.c.name == after.project, repositories.c.path > after.path)
        statement = statement.where(or_(projects.c.name > after.project, in_project))
    return [f"{project}/{path}" for project, path in connection.execute(statement)]
