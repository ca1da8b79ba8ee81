"""What administrators have set while the registry runs: JSON by key. What is not here has its default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from roadstead.metadata.schema import configuration
from roadstead.metadata.statements import insert_new


def stored(connection: Connection) -> dict[str, str]:
    """Every value that was set, as JSON by key."""
    return dict(tuple(row) for row in connection.execute(select(configuration.c.key, configuration.c.value)))


def change(connection: Connection, values: Mapping[str, str | None], now: datetime) -> None:
    """Set values, or with None return them to their defaults; in the order of keys, so that two replicas cannot deadlock."""
    for key in sorted(values):
        value, mine = values[key], configuration.c.key == key
        if value is None:
            connection.execute(delete(configuration).where(mine))
        elif not insert_new(connection, configuration, {"key": key, "value": value, "updated_at": now}):
            connection.execute(update(configuration).where(mine).values(value=value, updated_at=now))
