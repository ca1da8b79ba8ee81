"""Login sources: directories and identity providers, in the order in which they are asked."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.schema import from_microseconds, login_sources
from roadstead.metadata.statements import insert_new


class SourceRow(msgspec.Struct, frozen=True):
    """One source that is not removed; `settings` is JSON by its kind, `secret` is encrypted with the key of that id."""

    id: int
    name: str
    kind: str
    position: int
    enabled: bool
    settings: str
    secret: bytes | None
    encryption_key_id: str | None
    created_at: datetime
    updated_at: datetime


_COLUMNS = tuple(login_sources.c[field] for field in SourceRow.__struct_fields__)
_LIVE = login_sources.c.deleted_at.is_(None)
_IN_ORDER = select(*_COLUMNS).where(_LIVE).order_by(login_sources.c.position, login_sources.c.id)


class SourceSelects:
    """The select that every login by a password of a source begins with."""

    def __init__(self, database: Database) -> None:
        self._enabled = database.hot(_IN_ORDER.where(login_sources.c.enabled.is_(True)))

    async def enabled(self) -> list[SourceRow]:
        """The sources that are enabled now, in their order."""
        return [_row(values) for values in await self._enabled.all()]


def _row(values: tuple[Any, ...]) -> SourceRow:
    """A row as the hot select has it: times in microseconds."""
    source_id, name, kind, position, enabled, settings, secret, key_id, created, updated = values
    times = from_microseconds(created), from_microseconds(updated)
    return SourceRow(source_id, name, kind, position, bool(enabled), settings, secret, key_id, *times)


def in_order(connection: Connection) -> list[SourceRow]:
    """Every source, in the order in which they are asked."""
    return [SourceRow(*row) for row in connection.execute(_IN_ORDER)]


def find(connection: Connection, name: str) -> SourceRow | None:
    """The source of that name."""
    row = connection.execute(select(*_COLUMNS).where(login_sources.c.name == name, _LIVE)).first()
    return None if row is None else SourceRow(*row)


def get(connection: Connection, source_id: int) -> SourceRow | None:
    """The source of that id."""
    row = connection.execute(select(*_COLUMNS).where(login_sources.c.id == source_id, _LIVE)).first()
    return None if row is None else SourceRow(*row)


def add(
    connection: Connection, name: str, *, kind: str, settings: str, secret: bytes | None, encryption_key_id: str | None, now: datetime
) -> bool:
    """Add a source behind the others; False if the name is taken."""
    last = connection.execute(select(func.coalesce(func.max(login_sources.c.position), 0)).where(_LIVE)).scalar_one()
    values = {"name": name, "kind": kind, "position": last + 1, "enabled": True, "settings": settings, "secret": secret}
    return insert_new(connection, login_sources, {**values, "encryption_key_id": encryption_key_id, "created_at": now, "updated_at": now})


def change(connection: Connection, source_id: int, now: datetime, **values: object) -> bool:
    """Set columns of a source; False if it is gone."""
    mine = (login_sources.c.id == source_id, _LIVE)
    return connection.execute(update(login_sources).where(*mine).values(updated_at=now, **values)).rowcount == 1


def place(connection: Connection, ids: list[int], now: datetime) -> None:
    """Give the sources the order of `ids`."""
    for position, source_id in enumerate(ids, 1):
        mine = (login_sources.c.id == source_id, login_sources.c.position != position)
        connection.execute(update(login_sources).where(*mine).values(position=position, updated_at=now))


def remove(connection: Connection, source_id: int, now: datetime) -> bool:
    """Mark a source as removed, and forget its secret; False if it is gone already."""
    return change(connection, source_id, now, deleted_at=now, enabled=False, secret=None, encryption_key_id=None)
