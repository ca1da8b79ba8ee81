"""The few statements that SQLAlchemy spells differently for the two databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert one row unless a unique index forbids it; say whether it was inserted."""
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    return connection.execute(insert.values(values).on_conflict_do_nothing()).rowcount == 1


def insert_id(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    """Insert one row and return its id."""
    row_id: int = connection.execute(table.insert().values(values).returning(table.c.id)).scalar_one()
    return row_id
