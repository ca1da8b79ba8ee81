"""Lists as people ask for them: filtered, sorted and cut into pages, by the fields that a list offers.

A door reads its own grammar into a `Listing`; each list of this room says with `Fields` what may be asked of it, and `listed` makes SQL
of the two. So text from outside meets SQL only as a bound value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Boolean, ColumnElement, Connection, Integer, Select, and_, func, literal, select

from roadstead.errors import InvalidInput
from roadstead.metadata import likeness
from roadstead.metadata.schema import Moment
from roadstead.metadata.statements import BATCH

Values = tuple[Any, ...]

PAGE_LIMIT: Final = 100
"""The most rows of one page."""

LAST: Final = "\U0010ffff"
"""Sorts behind every other character."""

FAR: Final = 2**62
"""Beyond this offset (rows) there is no page, and near the end of what the databases can count."""


class Match(StrEnum):
    """How a field is compared: with one value; with a part of it, whatever the case; between two; with any of several, or with each."""

    EQUAL = "equal"
    CONTAINS = "contains"
    BETWEEN = "between"
    ANY = "any"
    ALL = "all"


class Filter(msgspec.Struct, frozen=True):
    """One condition. The values are text as it came; BETWEEN has two, of which "" is an open end (both ends belong to the range)."""

    field: str
    match: Match
    values: tuple[str, ...]


class Sort(msgspec.Struct, frozen=True):
    """One key of the order."""

    field: str
    descending: bool = False


class Page(msgspec.Struct, frozen=True):
    """Which part of the list: pages count from 1, `size` is in rows."""

    number: int = 1
    size: int = 10


class Listing(msgspec.Struct, frozen=True):
    """What is asked of a list. Every filter must hold; where nothing is said of the order, the list has its own."""

    filters: tuple[Filter, ...] = ()
    sort: tuple[Sort, ...] = ()
    page: Page = Page()


class Fields(msgspec.Struct, frozen=True):
    """What a list can be asked: `columns` to filter and sort by, `conditions` for fields that can only be filtered.

    `order` is the list's own, and the unique `key` makes every order total, so that no row is on two pages.
    """

    columns: Mapping[str, ColumnElement[Any]]
    key: ColumnElement[int]
    order: tuple[Sort, ...]
    conditions: Mapping[str, Callable[[Filter], ColumnElement[bool]]] = {}


def listed(connection: Connection, statement: Select[Any], fields: Fields, listing: Listing) -> tuple[list[Values], int]:
    """The rows of the page, and how many the list has without pages. `statement` groups nothing. Raises InvalidInput.

    A page after the last is empty.
    """
    filtered = statement.where(*(_condition(fields, one) for one in listing.filters))
    ordered = _sorted(filtered, fields, listing.sort)
    offset = min((listing.page.number - 1) * listing.page.size, FAR)
    rows = [tuple(row) for row in connection.execute(ordered.limit(listing.page.size).offset(offset))]
    if 0 < len(rows) < listing.page.size or (not rows and offset == 0):
        return rows, offset + len(rows)
    return rows, counted(connection, filtered)


def counted(connection: Connection, statement: Select[Any], most: int | None = None) -> int:
    """How many rows a statement has; with `most`, no more than that and one are looked at."""
    plain = statement.order_by(None)
    if most is None:
        whole: int = connection.execute(plain.with_only_columns(func.count(), maintain_column_froms=True)).scalar_one()
        return whole
    some = plain.with_only_columns(literal(1).label("one"), maintain_column_froms=True).limit(most + 1).subquery()
    found: int = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return found


def _sorted(statement: Select[Any], fields: Fields, sort: tuple[Sort, ...]) -> Select[Any]:
    for one in sort or fields.order:
        statement = statement.order_by(_ordering(_known(fields.columns, one.field, "sorted"), one))
    return statement.order_by(fields.key)


def _ordering(column: ColumnElement[Any], one: Sort) -> ColumnElement[Any]:
    """A key of the order. What has no value comes before all that have one, as SQLite has it; PostgreSQL must be told."""
    ordering = column.desc() if one.descending else column.asc()
    if not getattr(column, "nullable", False):
        return ordering  # an index can serve it on both
    return ordering.nulls_last() if one.descending else ordering.nulls_first()


def _known(offered: Mapping[str, Any], field: str, done: str) -> Any:
    if field not in offered:
        raise InvalidInput(f"This list cannot be {done} by {field[:80]!r}, only by {', '.join(sorted(offered))}.")
    return offered[field]


def _condition(fields: Fields, asked: Filter) -> ColumnElement[bool]:
    own = _known({**fields.columns, **fields.conditions}, asked.field, "filtered")
    return matches(own, asked) if isinstance(own, ColumnElement) else own(asked)


def matches(column: ColumnElement[Any], asked: Filter) -> ColumnElement[bool]:
    """The filter as a condition on a column. Raises InvalidInput for a value that is not of the column's kind."""
    if len(asked.values) > BATCH:
        raise InvalidInput(f"The filter {asked.field!r} has {len(asked.values)} values; at most {BATCH} are allowed.")
    return _MATCHES[asked.match](column, asked)


def _equal(column: ColumnElement[Any], asked: Filter) -> ColumnElement[bool]:
    return column == _value(column, asked, 0)


def _contains(column: ColumnElement[Any], asked: Filter) -> ColumnElement[bool]:
    if isinstance(column.type, BigInteger | Integer | Moment | Boolean):
        return _equal(column, asked)
    return likeness.contains(column, str(_value(column, asked, 0)))


def _between(column: ColumnElement[Any], asked: Filter) -> ColumnElement[bool]:
    ends = [column >= _value(column, asked, 0)] if asked.values[0] else []
    ends += [column <= _value(column, asked, 1)] if asked.values[1] else []
    return and_(column.is_not(None), *ends)


def _any(column: ColumnElement[Any], asked: Filter) -> ColumnElement[bool]:
    return column.in_([_value(column, asked, position) for position in range(len(asked.values))])


def _all(column: ColumnElement[Any], asked: Filter) -> ColumnElement[bool]:
    return and_(column.is_not(None), *(column == _value(column, asked, position) for position in range(len(asked.values))))


_MATCHES: Final[Mapping[Match, Callable[[ColumnElement[Any], Filter], ColumnElement[bool]]]] = {
    Match.EQUAL: _equal,
    Match.CONTAINS: _contains,
    Match.BETWEEN: _between,
    Match.ANY: _any,
    Match.ALL: _all,
}


def _value(column: ColumnElement[Any], asked: Filter, position: int) -> object:
    """A filter's value as the column has it."""
    text = asked.values[position]
    try:
        return _converted(column, text)
    except (ValueError, OverflowError):
        raise InvalidInput(f"The filter {asked.field!r} cannot be compared with {text[:80]!r}.") from None


def _converted(column: ColumnElement[Any], text: str) -> object:
    if isinstance(column.type, Moment):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if isinstance(column.type, Boolean):
        return _flag(text)
    if isinstance(column.type, Integer):
        return _within(int(text), 63 if isinstance(column.type, BigInteger) else 31)
    if "\0" in text:
        raise ValueError("PostgreSQL's text cannot hold it")
    text.encode()  # a lone surrogate cannot be sent
    return text


_FLAGS: Final = {"true": True, "false": False, "1": True, "0": False}


def _flag(text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise ValueError(text)
    return _FLAGS[text.lower()]


def _within(number: int, bits: int) -> int:
    if not -(2**bits) <= number < 2**bits:
        raise OverflowError(number)
    return number
