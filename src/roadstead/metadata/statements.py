"""The few statements that SQLAlchemy spells differently for the two databases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")


BATCH: Final = 500
"""Values of one IN list: far below what either database takes."""


def batched(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in lists that fit one IN list; a manifest of 4 MiB can name tens of thousands of layers."""
    rest = iter(values)
    while some := list(islice(rest, BATCH)):
        yield some


def insert_new(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert one row unless a unique index forbids it; say whether it was inserted."""
    insert = sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
    return connection.execute(insert.values(values).on_conflict_do_nothing()).rowcount == 1


def insert_id(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    """Insert one row and return its id."""
    row_id: int = connection.execute(table.insert().values(values).returning(table.c.id)).scalar_one()
    return row_id
