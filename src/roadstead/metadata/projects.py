"""Projects."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, literal, select, true, update

from roadstead.metadata.database import Database
from roadstead.metadata.listing import Fields, Listing, Sort, listed
from roadstead.metadata.members import covers, held_by
from roadstead.metadata.schema import accounts, manifests, members, projects, repositories
from roadstead.metadata.statements import Prepared, batched, insert_new


class ConversionPolicy(msgspec.Struct, frozen=True):
    """What a project converts: `when` is 'push', 'demand' or 'off'; `anonymous` says whether requests without an account start conversions.

    Of an index those of the `platforms` are converted that it has, each written os/architecture or os/architecture/variant. With
    `sif_as_image` clients that only run images get one when they ask for a tag that is a SIF.
    """

    when: str = "demand"
    anonymous: bool = False
    platforms: tuple[str, ...] = ("linux/amd64",)
    sif_as_image: bool = True


class ProjectRow(msgspec.Struct, frozen=True):
    """One live project."""

    id: int
    name: str
    public: bool
    description: str
    owner_id: int | None
    created_at: datetime
    updated_at: datetime | None
    conversion: str
    anonymous_conversion: bool
    conversion_platforms: str
    sif_as_image: bool

    @property
    def conversion_policy(self) -> ConversionPolicy:
        """What it converts."""
        return _policy(self.conversion, self.anonymous_conversion, self.conversion_platforms, self.sif_as_image)


def _policy(when: str, anonymous: bool, platforms: str, sif_as_image: bool) -> ConversionPolicy:
    return ConversionPolicy(when, bool(anonymous), tuple(platforms.split(",")), bool(sif_as_image))


_OF_PROJECT = select(
    projects.c.conversion, projects.c.anonymous_conversion, projects.c.conversion_platforms, projects.c.sif_as_image
).where(projects.c.id == bindparam("project_id"), projects.c.deleted_at.is_(None))
_POLICY = Prepared(_OF_PROJECT)


class ConversionSelects:
    """The select of a project's conversion policy, for those who ask for what has to be made."""

    def __init__(self, database: Database) -> None:
        self._policy = database.hot(_OF_PROJECT)

    async def of_project(self, project_id: int) -> ConversionPolicy | None:
        """The policy of a live project."""
        row = await self._policy.first(project_id=project_id)
        return None if row is None else _policy(*row)


def conversion_policy(connection: Connection, project_id: int) -> ConversionPolicy | None:
    """The conversion policy of a live project."""
    row = _POLICY.first(connection, {"project_id": project_id})
    return None if row is None else _policy(*row)


class ProjectScope(msgspec.Struct, frozen=True):
    """Which repositories a listing or a search across projects may see.

    The public ones; with `everything` all; those in which `account_id` is a member; those of the projects in `names`. `only_ids`, where
    given, narrows what is not public to these projects.
    """

    everything: bool = False
    account_id: int | None = None
    names: frozenset[str] = frozenset()
    only_ids: frozenset[int] | None = None

    def condition(self) -> ColumnElement[bool]:
        """The scope as a condition on `projects` and `repositories`."""
        own = self._own(covers(repositories.c.path))
        return projects.c.public.is_(True) | own

    def of_projects(self) -> ColumnElement[bool]:
        """The scope as a condition on `projects` alone: whoever may see something in a project sees the project."""
        return projects.c.public.is_(True) | self.of_own_projects()

    def of_own_projects(self) -> ColumnElement[bool]:
        """As `of_projects`, without what is seen only because it is public."""
        return self._own(true())

    def _own(self, there: ColumnElement[bool]) -> ColumnElement[bool]:
        if self.everything:
            own: ColumnElement[bool] = true()
        elif self.account_id is not None:
            mine = held_by(literal(self.account_id, projects.c.id.type))
            own = exists().where(members.c.project_id == projects.c.id, mine, there)
        else:
            own = projects.c.name.in_(self.names)
        return own if self.only_ids is None else own & projects.c.id.in_(self.only_ids)


_ROWS = select(*(projects.c[field] for field in ProjectRow.__struct_fields__)).where(projects.c.deleted_at.is_(None))


class ProjectDetails(ProjectRow, frozen=True):
    """One live project, the name of its owner, and how many repositories hold something in it that the reader may see."""

    owner: str | None
    repositories: int


_OWNER = select(accounts.c.name).where(accounts.c.id == projects.c.owner_id).scalar_subquery()
_FIELDS = Fields(
    {**{field: projects.c[field] for field in ("id", "name", "public", "owner_id", "created_at", "updated_at")}, "owner": _OWNER},
    projects.c.id,
    (Sort("name"),),
)


def find(connection: Connection, name: str) -> ProjectRow | None:
    """The live project of that name."""
    row = connection.execute(_ROWS.where(projects.c.name == name)).first()
    return None if row is None else ProjectRow(*row)


def get(connection: Connection, project_id: int) -> ProjectRow | None:
    """The live project of that id."""
    row = connection.execute(_ROWS.where(projects.c.id == project_id)).first()
    return None if row is None else ProjectRow(*row)


def names_of(connection: Connection, ids: Collection[int]) -> dict[int, str]:
    """The names of live projects by their ids."""
    found: dict[int, str] = {}
    for some in batched(ids):
        rows = connection.execute(select(projects.c.id, projects.c.name).where(projects.c.id.in_(some), projects.c.deleted_at.is_(None)))
        found.update((row[0], row[1]) for row in rows)
    return found


def details(connection: Connection, scope: ProjectScope, project_id: int) -> ProjectDetails | None:
    """A live project that the scope shows."""
    statement = _ROWS.add_columns(_OWNER, _filled(scope)).where(scope.of_projects(), projects.c.id == project_id)
    row = connection.execute(statement).first()
    return None if row is None else ProjectDetails(*tuple(row))


def page(connection: Connection, scope: ProjectScope, listing: Listing) -> tuple[list[ProjectDetails], int]:
    """The live projects that the scope shows and the listing asks for, and how many there are on all pages. Raises InvalidInput."""
    statement = _ROWS.add_columns(_OWNER, _filled(scope)).where(scope.of_projects())
    rows, total = listed(connection, statement, _FIELDS, listing)
    return [ProjectDetails(*tuple(row)) for row in rows], total


def _filled(scope: ProjectScope) -> ColumnElement[int]:
    """How many repositories of a project hold a manifest, of those that the scope shows."""
    holds = exists().where(manifests.c.repository_id == repositories.c.id, manifests.c.deleted_at.is_(None))
    mine = (repositories.c.project_id == projects.c.id, repositories.c.deleted_at.is_(None), holds, scope.condition())
    return select(func.count()).select_from(repositories).where(*mine).correlate(projects).scalar_subquery()


def visible(connection: Connection, scope: ProjectScope) -> list[ProjectRow]:
    """The live projects that the scope shows, by name."""
    return [ProjectRow(*row) for row in connection.execute(_ROWS.where(scope.of_projects()).order_by(projects.c.name))]


def own(connection: Connection, scope: ProjectScope) -> list[ProjectRow]:
    """The live projects that the scope shows for another reason than being public, by name."""
    return [ProjectRow(*row) for row in connection.execute(_ROWS.where(scope.of_own_projects()).order_by(projects.c.name))]


def change(connection: Connection, project_id: int, now: datetime, **values: object) -> None:
    """Set columns of a project."""
    connection.execute(update(projects).where(projects.c.id == project_id).values(updated_at=now, **values))


def delete(connection: Connection, project_id: int, now: datetime) -> None:
    """Mark a project as deleted; its name is free again."""
    change(connection, project_id, now, deleted_at=now)


def ensure(
    connection: Connection,
    name: str,
    *,
    public: bool,
    owner_id: int | None,
    now: datetime,
    description: str = "",
    storage_limit: int | None = None,
    **values: object,
) -> bool:
    """Add a project unless one of that name is there; say whether it was added.

    `storage_limit` is in bytes; `values` are columns that otherwise have their defaults.
    """
    given = {"name": name, "public": public, "owner_id": owner_id, "created_at": now, "description": description}
    return insert_new(connection, projects, {**given, "storage_limit": storage_limit, **values})
