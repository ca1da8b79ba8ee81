"""Keeping the ledger of quotas short and true."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, select, update

from roadstead.metadata.contents import referenced_in_repository
from roadstead.metadata.quotas import charge, linked_in_project, stored_in
from roadstead.metadata.schema import blob_links, contents, manifests, projects, quota_charges, quota_entries, repositories
from roadstead.metadata.statements import batched


def crowded(connection: Connection, most: int) -> list[int]:
    """The projects that have more than `most` entries."""
    statement = select(quota_entries.c.project_id).group_by(quota_entries.c.project_id).having(func.count() > most)
    return list(connection.execute(statement).scalars())


def compact(connection: Connection, project_id: int, limit: int) -> int:
    """Make one entry of up to `limit` entries of a project; returns how many there were.

    What is summed is exactly what was deleted: entries that are added meanwhile stay, and of two at this each takes what the other
    does not.
    """
    oldest = select(quota_entries.c.id).where(quota_entries.c.project_id == project_id).order_by(quota_entries.c.id).limit(limit)
    taken = delete(quota_entries).where(quota_entries.c.id.in_(oldest)).returning(quota_entries.c.delta)
    deltas = list(connection.execute(taken).scalars())
    if sum(deltas):
        connection.execute(quota_entries.insert().values(project_id=project_id, delta=sum(deltas)))
    return len(deltas)


class Discrepancy(msgspec.Struct, frozen=True):
    """How the ledger of a project differs from its links and manifests, as numbers of contents; and from itself, in bytes.

    `missing` are not charged though a live manifest names them where they are linked, `unlinked` are charged though nothing links them,
    `resized` are charged for another size than theirs; `difference` is what the charges add up to less what the entries do.
    """

    project: str
    missing: int
    unlinked: int
    resized: int
    difference: int


def project_ids(connection: Connection) -> list[int]:
    """Every live project."""
    return list(connection.execute(select(projects.c.id).where(projects.c.deleted_at.is_(None))).scalars())


def _missing(project_id: int) -> Select[int, int]:
    charged = exists().where(quota_charges.c.project_id == project_id, quota_charges.c.content_id == contents.c.id)
    pushed = referenced_in_repository(manifests.c.derived.is_(False))
    return (
        select(contents.c.id, contents.c.size)
        .distinct()
        .join_from(blob_links, repositories, repositories.c.id == blob_links.c.repository_id)
        .join(contents, contents.c.id == blob_links.c.content_id)
        .where(repositories.c.project_id == project_id, repositories.c.deleted_at.is_(None), ~charged, pushed)
        .order_by(contents.c.id)
    )


def charge_missing(connection: Connection, project_id: int, content_ids: Collection[int], now: datetime) -> None:
    """Count those of these contents that are not charged though a manifest that was pushed names them where they are linked."""
    for some in batched(content_ids):
        for content_id, size in connection.execute(_missing(project_id).where(contents.c.id.in_(some))).all():
            charge(connection, project_id, content_id, size, now)


def _unlinked(project_id: int) -> ColumnElement[bool]:
    return and_(quota_charges.c.project_id == project_id, ~linked_in_project())


_SIZE: Final = select(contents.c.size).where(contents.c.id == quota_charges.c.content_id).scalar_subquery()


def _resized(project_id: int) -> ColumnElement[bool]:
    return and_(quota_charges.c.project_id == project_id, quota_charges.c.size != _SIZE)


def discrepancy(connection: Connection, project_id: int) -> Discrepancy | None:
    """What is wrong with a project's ledger; None if nothing is. Reads only."""
    missing = len(connection.execute(_missing(project_id)).all())
    unlinked, resized = (
        connection.execute(select(func.count()).select_from(quota_charges).where(wrong(project_id))).scalar_one()
        for wrong in (_unlinked, _resized)
    )
    difference = _difference(connection, project_id)
    if not (missing or unlinked or resized or difference):
        return None
    name = connection.execute(select(projects.c.name).where(projects.c.id == project_id)).scalar_one()
    return Discrepancy(name, missing, unlinked, resized, difference)


def _difference(connection: Connection, project_id: int) -> int:
    # One statement: what others charge meanwhile is in both sums, or in neither.
    charged = func.coalesce(func.sum(quota_charges.c.size), 0)
    statement = select(charged, stored_in(projects.c.id)).join_from(projects, quota_charges, isouter=True).group_by(projects.c.id)
    total, entered = connection.execute(statement.where(projects.c.id == project_id)).one()
    return int(total) - int(entered)


def recount(connection: Connection, project_id: int, now: datetime) -> Discrepancy | None:
    """Make the ledger of a project what its links and manifests say; returns what was wrong with it, None if nothing was."""
    found = discrepancy(connection, project_id)
    if found is None:
        return None
    connection.execute(delete(quota_charges).where(_unlinked(project_id)))
    connection.execute(update(quota_charges).where(_resized(project_id)).values(size=_SIZE))
    for content_id, size in connection.execute(_missing(project_id)).all():
        charge(connection, project_id, content_id, size, now)
    difference = _difference(connection, project_id)
    if difference:
        connection.execute(quota_entries.insert().values(project_id=project_id, delta=difference))
    return found
