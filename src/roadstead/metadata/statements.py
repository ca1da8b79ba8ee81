"""Statements that are built once and run often, and those that SQLAlchemy spells differently for the two databases.

Building a statement costs several times what running it does, so what a push runs stands ready as a module's constant with named bind
parameters. In an UPDATE a bind parameter may not have a column's name unless it sets that column: what is looked for is called `the_…`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

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
    return connection.execute(_insert_new(connection.dialect.name, table), values).rowcount == 1


@cache
def _insert_new(dialect: str, table: Table) -> Insert:
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    return insert.on_conflict_do_nothing()


def insert_id(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    """Insert one row and return its id."""
    row_id: int = connection.execute(_insert_id(table), values).scalar_one()
    return row_id


@cache
def _insert_id(table: Table) -> ReturningInsert[Any]:
    return table.insert().returning(table.c.id)
