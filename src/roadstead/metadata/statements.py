"""Statements that are built and compiled once and run often, and those that SQLAlchemy spells differently for the two databases.

Building a statement costs several times what running it does, and SQLAlchemy's execution several times what SQLite's own does. So what a
push runs stands ready as a module's constant of type `Prepared`, with named bind parameters, and on SQLite goes to the driver itself. In
an UPDATE a bind parameter may not have a column's name unless it sets that column: what is looked for is called `the_…`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, Insert, Table, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.sqlite.pysqlite import dialect as pysqlite_dialect
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import CompilerElement

T = TypeVar("T")
Values = Mapping[str, Any]

BATCH: Final = 500
"""Values of one IN list: far below what either database takes."""


def batched(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in lists that fit one IN list; a manifest of 4 MiB can name tens of thousands of layers."""
    rest = iter(values)
    while some := list(islice(rest, BATCH)):
        yield some


_Convert = Callable[[Any], Any]


class _Compiled(NamedTuple):
    """A statement in SQLite's words: where its parameters go, and how those and its results differ from what the driver has."""

    sql: str
    fixed: Values
    positions: tuple[str, ...]
    into: tuple[tuple[str, _Convert], ...]
    out_of: tuple[tuple[int, _Convert], ...]

    def parameters(self, values: Values) -> list[Any]:
        merged = {**self.fixed, **values}
        for name, convert in self.into:
            merged[name] = convert(merged[name])
        return [merged[name] for name in self.positions]

    def row(self, found: Sequence[Any]) -> tuple[Any, ...]:
        if not self.out_of:
            return tuple(found)
        row = list(found)
        for position, convert in self.out_of:
            row[position] = convert(row[position])
        return tuple(row)


class Prepared:
    """One statement. An INSERT is given the same columns at every call."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: _Compiled | None = None

    def rows(self, connection: Connection, values: Values) -> list[tuple[Any, ...]]:
        """Every row that it finds or returns."""
        if connection.dialect.name != "sqlite":
            return [tuple(row) for row in connection.execute(self._statement, dict(values))]
        compiled = self._compiled or self._compile(values)
        return [compiled.row(row) for row in _execute(connection, compiled, values).fetchall()]

    def first(self, connection: Connection, values: Values) -> tuple[Any, ...] | None:
        """The first row that it finds or returns."""
        rows = self.rows(connection, values)
        return rows[0] if rows else None

    def change(self, connection: Connection, values: Values) -> int:
        """Run it; how many rows it changed."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, dict(values)).rowcount
        compiled = self._compiled or self._compile(values)
        return _execute(connection, compiled, values).rowcount

    def change_each(self, connection: Connection, many: Sequence[Values]) -> None:
        """Run it once for each of `many`."""
        if connection.dialect.name != "sqlite":
            connection.execute(self._statement, [dict(values) for values in many])
        elif many:
            compiled = self._compiled or self._compile(many[0])
            for values in many:
                _execute(connection, compiled, values)

    def _compile(self, values: Values) -> _Compiled:
        """Compile for SQLite, with the types' own conversions."""
        dialect = pysqlite_dialect()
        keys = list(values) if isinstance(self._statement, Insert) else None
        assert isinstance(self._statement, CompilerElement)
        done: Any = self._statement.compile(dialect=dialect, column_keys=keys)
        positions = tuple(done.positiontup or ())
        into = [(name, done.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) for name in set(positions)]
        found = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in done._result_columns]
        self._compiled = _Compiled(
            sql=str(done),
            fixed=dict(done.params),
            positions=positions,
            into=tuple((name, convert) for name, convert in into if convert is not None),
            out_of=tuple((position, convert) for position, convert in enumerate(found) if convert is not None),
        )
        return self._compiled


def _execute(connection: Connection, compiled: _Compiled, values: Values) -> sqlite3.Cursor:
    """Run it on the driver; a constraint that forbids it is told as SQLAlchemy tells it."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    try:
        return driver.execute(compiled.sql, compiled.parameters(values))
    except sqlite3.IntegrityError as error:
        raise exc.IntegrityError(compiled.sql, None, error) from error


def insert_new(connection: Connection, table: Table, values: Values) -> bool:
    """Insert one row unless a unique index forbids it; say whether it was inserted."""
    return _insert_new(connection.dialect.name, table, frozenset(values)).change(connection, values) == 1


@cache
def _insert_new(dialect: str, table: Table, _columns: frozenset[str]) -> Prepared:
    insert = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    return Prepared(insert.on_conflict_do_nothing())


def insert_id(connection: Connection, table: Table, values: Values) -> int:
    """Insert one row and return its id."""
    row = _insert_id(table, frozenset(values)).first(connection, values)
    assert row is not None
    return int(row[0])


@cache
def _insert_id(table: Table, _columns: frozenset[str]) -> Prepared:
    return Prepared(table.insert().returning(table.c.id))
