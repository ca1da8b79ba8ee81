"""Repositories: `project/path`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, exists, func, or_, select, update

from roadstead.metadata import artifacts
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Fields, Listing, Sort, Values, listed
from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.schema import manifests, projects, repositories
from roadstead.metadata.statements import Prepared, insert_new
from roadstead.oci.reference import RepositoryName

LIVE = and_(projects.c.deleted_at.is_(None), repositories.c.deleted_at.is_(None))


class PlaceRow(msgspec.Struct, frozen=True):
    """What is known of a repository name: its live project, and the id of its live repository (None if there is none yet).

    `storage_limit` is what the project may use (bytes), None without limit; `only_signed_sifs` says that it gives out no others.
    """

    project_id: int
    project_name: str
    public: bool
    repository_id: int | None
    storage_limit: int | None = None
    only_signed_sifs: bool = False


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
        columns = (
            projects.c.id,
            projects.c.name,
            projects.c.public,
            repositories.c.id,
            projects.c.storage_limit,
            projects.c.only_signed_sifs,
        )
        live = (projects.c.name == bindparam("project"), projects.c.deleted_at.is_(None))
        self._place = database.hot(select(*columns).select_from(joined).where(*live))

    async def place(self, name: RepositoryName) -> PlaceRow | None:
        """The place of `name`, or None if its project does not exist."""
        row = await self._place.first(project=name.project, path=name.path)
        return None if row is None else PlaceRow(row[0], row[1], bool(row[2]), row[3], row[4], bool(row[5]))


_FIND = Prepared(
    select(repositories.c.id)
    .where(
        repositories.c.project_id == bindparam("project_id"), repositories.c.path == bindparam("path"), repositories.c.deleted_at.is_(None)
    )
    # Who deletes the repository waits until we end, and we wait for who does (`hold`), so that nothing is pushed into a deleted one.
    .with_for_update(read=True, key_share=True)
)


def ensure(connection: Connection, project_id: int, path: str, now: datetime) -> int:
    """The id of the live repository, made if it is not there."""
    found = find(connection, project_id, path)
    if found is None:
        insert_new(connection, repositories, {"project_id": project_id, "path": path, "created_at": now})
        found = find(connection, project_id, path)
        assert found is not None
    return found


def find(connection: Connection, project_id: int, path: str) -> int | None:
    """The id of the live repository, which nobody deletes before this transaction ends; None if it is not there."""
    found = _FIND.first(connection, {"project_id": project_id, "path": path})
    return None if found is None else int(found[0])


def holds_something() -> ColumnElement[bool]:
    """Whether a repository holds a manifest."""
    return exists().where(manifests.c.repository_id == repositories.c.id, manifests.c.deleted_at.is_(None))


def filled(connection: Connection, project_id: int) -> int:
    """How many live repositories of a project hold a manifest."""
    mine = (repositories.c.project_id == project_id, repositories.c.deleted_at.is_(None), holds_something())
    return connection.execute(select(func.count()).select_from(repositories).where(*mine)).scalar_one()


def catalog(connection: Connection, scope: ProjectScope, after: RepositoryName | None, limit: int) -> list[str]:
    """Names of repositories that hold a manifest, by project and path, at most `limit` of them after `after`."""
    statement = (
        select(projects.c.name, repositories.c.path)
        .join_from(projects, repositories, repositories.c.project_id == projects.c.id)
        .where(LIVE, scope.condition(), holds_something())
        .order_by(projects.c.name, repositories.c.path)
        .limit(limit)
    )
    if after is not None:
        in_project = and_(projects.c.name == after.project, repositories.c.path > after.path)
        statement = statement.where(or_(projects.c.name > after.project, in_project))
    return [f"{project}/{path}" for project, path in connection.execute(statement)]


class RepositoryRow(msgspec.Struct, frozen=True):
    """One live repository as people browse it. `artifacts` counts its roots; `updated_at` is the last push's or description's time."""

    id: int
    project_id: int
    project_name: str
    public: bool
    path: str
    description: str
    created_at: datetime
    updated_at: datetime
    pull_count: int
    artifacts: int

    @property
    def name(self) -> RepositoryName:
        """In full."""
        return RepositoryName(f"{self.project_name}/{self.path}")


_DESCRIBED = func.coalesce(repositories.c.updated_at, repositories.c.created_at)
FULL_NAME: Final = projects.c.name + "/" + repositories.c.path
_ROW = (
    repositories.c.id,
    repositories.c.project_id,
    projects.c.name,
    projects.c.public,
    repositories.c.path,
    repositories.c.description,
    repositories.c.created_at,
    _DESCRIBED,
    repositories.c.pull_count,
)
_ROWS = select(*_ROW).join_from(projects, repositories, repositories.c.project_id == projects.c.id).where(LIVE)
_LAST_PUSH = (
    select(func.max(manifests.c.pushed_at))
    .where(manifests.c.repository_id == repositories.c.id, manifests.c.deleted_at.is_(None), manifests.c.derived.is_(False))
    .scalar_subquery()
)
FIELDS: Final = Fields(
    columns={
        "id": repositories.c.id,
        "project_id": repositories.c.project_id,
        "project": projects.c.name,
        "path": repositories.c.path,
        "name": FULL_NAME,
        "description": repositories.c.description,
        "created_at": repositories.c.created_at,
        "updated_at": case((_LAST_PUSH > _DESCRIBED, _LAST_PUSH), else_=_DESCRIBED),
        "pull_count": repositories.c.pull_count,
    },
    key=repositories.c.id,
    order=(Sort("project"), Sort("path")),
)


def page(connection: Connection, scope: ProjectScope, listing: Listing, project_id: int | None = None) -> tuple[list[RepositoryRow], int]:
    """A page of the repositories that the scope shows and that hold something, and how many there are. Raises InvalidInput."""
    statement = _ROWS.where(scope.condition(), holds_something())
    if project_id is not None:
        statement = statement.where(repositories.c.project_id == project_id)
    rows, total = listed(connection, statement, FIELDS, listing)
    return _complete(connection, rows), total


def get(connection: Connection, repository_id: int, *, counts: bool = True) -> RepositoryRow | None:
    """The live repository of that id, also if it holds nothing. Without `counts`, `artifacts` is 0: in a large one counting takes long."""
    found = _complete(connection, [tuple(row) for row in connection.execute(_ROWS.where(repositories.c.id == repository_id))], counts)
    return found[0] if found else None


def changed_at(connection: Connection, repository_id: int) -> datetime | None:
    """When something was pushed into it or said of it last, as `RepositoryRow.updated_at`; by one look into an index."""
    row = connection.execute(select(_DESCRIBED, _LAST_PUSH).where(repositories.c.id == repository_id)).first()
    return None if row is None else max(row[0], row[1] or row[0])


def _complete(connection: Connection, rows: Sequence[Values], counted: bool = True) -> list[RepositoryRow]:
    """The rows with what is counted, by a query for all of them."""
    ids = [row[0] for row in rows]
    counts = artifacts.roots(connection, ids) if counted else {}
    # One look into an index for each, where a maximum by groups would read all that they hold.
    newest = select(repositories.c.id, _LAST_PUSH).where(repositories.c.id.in_(ids))
    pushed: dict[int, datetime | None] = {row[0]: row[1] for row in connection.execute(newest)}
    whole = ((*row[:7], max(row[7], pushed[row[0]] or row[7]), row[8], counts.get(row[0], 0)) for row in rows)
    return [RepositoryRow(*values) for values in whole]


def describe(connection: Connection, repository_id: int, description: str, now: datetime) -> bool:
    """Set what is said of a repository; False if it is gone."""
    mine = (repositories.c.id == repository_id, repositories.c.deleted_at.is_(None))
    return connection.execute(update(repositories).where(*mine).values(description=description, updated_at=now)).rowcount == 1


def hold(connection: Connection, repository_id: int) -> bool:
    """Wait for pushes into a repository that are under way, and let those to come wait for us; False if it is gone."""
    mine = select(repositories.c.id).where(repositories.c.id == repository_id, repositories.c.deleted_at.is_(None))
    return connection.execute(mine.with_for_update()).first() is not None


def delete(connection: Connection, repository_id: int, now: datetime) -> None:
    """Mark a repository as deleted; its name is free again."""
    connection.execute(update(repositories).where(repositories.c.id == repository_id).values(deleted_at=now))
