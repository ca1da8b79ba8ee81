"""The quotas of projects, as they are listed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, select

from roadstead.metadata.listing import Fields, Listing, Sort, listed
from roadstead.metadata.quotas import stored_in, uploading_in
from roadstead.metadata.schema import projects


class QuotaRow(msgspec.Struct, frozen=True):
    """A project's `limit` (None: without), what it has `stored` and is `uploading`, in bytes, and what that makes: `used`."""

    project_id: int
    project: str
    public: bool
    limit: int | None
    stored: int
    uploading: int
    used: int
    created_at: datetime
    updated_at: datetime | None


_STORED: Final = stored_in(projects.c.id)
_UPLOADING: Final = uploading_in(projects.c.id)
_USED: Final = _STORED + _UPLOADING
_ROWS: Final[Select[Any]] = select(
    projects.c.id,
    projects.c.name,
    projects.c.public,
    projects.c.storage_limit,
    _STORED,
    _UPLOADING,
    _USED,
    projects.c.created_at,
    projects.c.updated_at,
).where(projects.c.deleted_at.is_(None))
_FIELDS: Final = Fields(
    columns={"id": projects.c.id, "project": projects.c.name, "limit": projects.c.storage_limit, "used": _USED},
    key=projects.c.id,
    order=(Sort("project"),),
)


def find(connection: Connection, project: str) -> QuotaRow | None:
    """The quota of the live project of that name."""
    row = connection.execute(_ROWS.where(projects.c.name == project)).first()
    return None if row is None else QuotaRow(*row)


def page(connection: Connection, listing: Listing) -> tuple[list[QuotaRow], int]:
    """The page that is asked for, by default in the order of names, and how many projects there are. Raises InvalidInput."""
    rows, total = listed(connection, _ROWS, _FIELDS, listing)
    return [QuotaRow(*tuple(row)) for row in rows], total
