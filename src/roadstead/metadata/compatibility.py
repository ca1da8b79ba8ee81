"""What images need of machines (JSON that `sif.compatibility` writes, beside it what is searched by), and the clusters of the site."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, literal, select, update

from roadstead.metadata.listing import Page
from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.repositories import LIVE
from roadstead.metadata.schema import clusters, image_facts, manifests, projects, repositories
from roadstead.metadata.statements import batched, insert_new
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName

NUMBERS: Final = ("level", "glibc", "cuda", "rocm")
"""What is searched by ranges."""
WORDS: Final = ("architecture", "base")
"""What is searched by the whole word."""


class Searched(msgspec.Struct, frozen=True):
    """What of the facts is searched by; `mpi` has a space before and behind each family and library."""

    architecture: str | None
    level: int | None
    glibc: int | None
    cuda: int | None
    rocm: int | None
    mpi: str
    base: str | None


class Condition(msgspec.Struct, frozen=True):
    """A column of `Searched`: a number from `least` to below `below` (None: open), or the `word` that stands there."""

    column: str
    word: str | None = None
    least: int | None = None
    below: int | None = None


class FoundRow(msgspec.Struct, frozen=True):
    """A manifest whose facts were found."""

    repository: RepositoryName
    digest: Digest
    facts: str


def record(connection: Connection, manifest_id: int, facts: str, searched: Searched, now: datetime) -> None:
    """Keep the facts of a manifest, in place of earlier ones."""
    values = {"facts": facts, **msgspec.structs.asdict(searched), "read_at": now}
    if not insert_new(connection, image_facts, {"manifest_id": manifest_id, **values}):
        connection.execute(update(image_facts).where(image_facts.c.manifest_id == manifest_id).values(values))


def of_manifests(connection: Connection, manifest_ids: Collection[int]) -> dict[int, str]:
    """By manifest, the facts that are known."""
    found: dict[int, str] = {}
    for some in batched(manifest_ids):
        statement = select(image_facts.c.manifest_id, image_facts.c.facts).where(image_facts.c.manifest_id.in_(some))
        found.update((row[0], row[1]) for row in connection.execute(statement))
    return found


def find(connection: Connection, scope: ProjectScope, conditions: Sequence[Condition], page: Page) -> tuple[list[FoundRow], bool]:
    """A page of the live manifests in the scope that fulfil every condition, and whether there is more."""
    statement = (
        select(projects.c.name, repositories.c.path, manifests.c.digest, image_facts.c.facts)
        .join_from(image_facts, manifests, manifests.c.id == image_facts.c.manifest_id)
        .join(repositories, repositories.c.id == manifests.c.repository_id)
        .join(projects, projects.c.id == repositories.c.project_id)
        .where(manifests.c.deleted_at.is_(None), LIVE, scope.condition(), *map(_holds, conditions))
        .order_by(projects.c.name, repositories.c.path, manifests.c.id.desc())
        .limit(page.size + 1)
        .offset((page.number - 1) * page.size)
    )
    rows = [FoundRow(RepositoryName(f"{row[0]}/{row[1]}"), Digest(row[2]), row[3]) for row in connection.execute(statement)]
    return rows[: page.size], len(rows) > page.size


def _holds(condition: Condition) -> ColumnElement[bool]:
    column: ColumnElement[Any] = image_facts.c[condition.column]
    if condition.column == "mpi":
        return column.contains(f" {condition.word} ", autoescape=True)
    if condition.word is not None:
        return func.lower(column) == condition.word
    found: ColumnElement[bool] = column.is_not(None)
    if condition.least is not None:
        found &= column >= literal(condition.least)
    if condition.below is not None:
        found &= column < literal(condition.below)
    return found


# --- clusters -------------------------------------------------------------------------------------------------------------------


def all_clusters(connection: Connection) -> list[str]:
    """What is described, as JSON, by name."""
    return list(connection.execute(select(clusters.c.description).order_by(clusters.c.name)).scalars())


def find_cluster(connection: Connection, name: str) -> str | None:
    """The description of the cluster of that name."""
    return connection.execute(select(clusters.c.description).where(clusters.c.name == name)).scalar()


def add_cluster(connection: Connection, name: str, description: str, now: datetime) -> bool:
    """Describe one more; False if the name is taken."""
    return insert_new(connection, clusters, {"name": name, "description": description, "updated_at": now})


def change_cluster(connection: Connection, name: str, description: str, now: datetime) -> bool:
    """Describe it otherwise; False if there is none."""
    values = {"description": description, "updated_at": now}
    return connection.execute(update(clusters).where(clusters.c.name == name).values(values)).rowcount == 1


def remove_cluster(connection: Connection, name: str) -> bool:
    """Forget it; False if there is none."""
    return connection.execute(delete(clusters).where(clusters.c.name == name)).rowcount == 1
