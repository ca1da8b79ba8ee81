"""Lists: filters, order and pages, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection, select

from roadstead.errors import InvalidInput
from roadstead.metadata import accounts as account_rows
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Fields, Filter, Listing, Match, Page, Sort, listed, matches
from roadstead.metadata.schema import accounts
from tests.support.factories import BEGINNING

FIELDS = Fields(
    columns={
        "name": accounts.c.name,
        "id": accounts.c.id,
        "admin": accounts.c.is_admin,
        "made": accounts.c.created_at,
        "disabled": accounts.c.disabled_at,
    },
    key=accounts.c.id,
    order=(Sort("name"),),
    conditions={"shouted": lambda one: matches(accounts.c.name, Filter("name", one.match, tuple(map(str.lower, one.values))))},
)
FIRST = Page()
NAMES = ("ada", "bob_b", "bobXb", "carol", "dora%")


@pytest.fixture(autouse=True)
async def people(database: Database) -> None:
    """Five accounts, made a day after each other; carol is an administrator, ada and dora are disabled."""

    def work(connection: Connection) -> None:
        for day, name in enumerate(NAMES):
            made = BEGINNING + timedelta(days=day)
            account_rows.add(connection, name, password_hash=None, is_admin=name == "carol", now=made)
        for name in ("ada", "dora%"):
            row = account_rows.find(connection, name)
            assert row is not None
            account_rows.change(connection, row.id, disabled_at=BEGINNING)

    await database.write(work)


async def ask(database: Database, *filters: Filter, sort: tuple[Sort, ...] = (), page: Page = FIRST) -> tuple[list[str], int]:
    """Names of the page, and the total."""
    listing = Listing(filters, sort, page)
    rows, total = await database.read(lambda connection: listed(connection, select(accounts.c.name), FIELDS, listing))
    return [row[0] for row in rows], total


def one(field: str, match: Match, *values: str) -> Filter:
    return Filter(field, match, values)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (one("name", Match.EQUAL, "carol"), ["carol"]),
        (one("name", Match.EQUAL, "CAROL"), []),
        (one("name", Match.CONTAINS, "O"), ["bobXb", "bob_b", "carol", "dora%"]),
        (one("name", Match.CONTAINS, "b_b"), ["bob_b"]),
        (one("name", Match.CONTAINS, "%"), ["dora%"]),
        (one("name", Match.ANY, "ada", "carol", "nobody"), ["ada", "carol"]),
        (one("name", Match.ALL, "ada", "carol"), []),
        (one("name", Match.ALL, "ada"), ["ada"]),
        (one("name", Match.BETWEEN, "b", "carol"), ["bobXb", "bob_b", "carol"]),
        (one("name", Match.BETWEEN, "c", ""), ["carol", "dora%"]),
        (one("admin", Match.EQUAL, "true"), ["carol"]),
        (one("admin", Match.EQUAL, "0"), ["ada", "bobXb", "bob_b", "dora%"]),
        (one("made", Match.BETWEEN, "2026-01-02 00:00:00", "2026-01-03T00:00:00Z"), ["bobXb", "bob_b"]),
        (one("made", Match.BETWEEN, "", "2026-01-01"), ["ada"]),
        (one("disabled", Match.BETWEEN, "", ""), ["ada", "dora%"]),
        (one("shouted", Match.EQUAL, "ADA"), ["ada"]),
    ],
)
async def test_filters(database: Database, asked: Filter, expected: list[str]) -> None:
    assert await ask(database, asked) == (expected, len(expected))


async def test_every_filter_must_hold(database: Database) -> None:
    assert await ask(database, one("name", Match.CONTAINS, "o"), one("admin", Match.EQUAL, "false")) == (["bobXb", "bob_b", "dora%"], 3)


@pytest.mark.parametrize(
    "asked",
    [
        one("password_hash", Match.CONTAINS, "a"),
        one("id", Match.EQUAL, "one"),
        one("id", Match.EQUAL, "9" * 30),
        one("admin", Match.EQUAL, "perhaps"),
        one("made", Match.BETWEEN, "yesterday", ""),
        one("name", Match.EQUAL, "a\0b"),
        one("name", Match.CONTAINS, "\udc80"),
        one("name", Match.ANY, *map(str, range(501))),
    ],
)
async def test_what_cannot_be_filtered_is_refused(database: Database, asked: Filter) -> None:
    with pytest.raises(InvalidInput):
        await ask(database, asked)


async def test_an_unknown_field_of_the_order_is_refused_with_those_that_are_known(database: Database) -> None:
    with pytest.raises(InvalidInput, match=r"'shouted', only by admin, disabled, id, made, name\."):
        await ask(database, sort=(Sort("shouted"),))


async def test_the_order_is_total_and_what_has_no_value_comes_first(database: Database) -> None:
    assert (await ask(database, sort=(Sort("disabled"),)))[0] == ["bob_b", "bobXb", "carol", "ada", "dora%"]
    assert (await ask(database, sort=(Sort("disabled", descending=True),)))[0] == ["ada", "dora%", "bob_b", "bobXb", "carol"]
    assert (await ask(database, sort=(Sort("admin", descending=True), Sort("name", descending=True))))[0][:2] == ["carol", "dora%"]


async def test_pages_have_every_row_once_and_tell_the_total(database: Database) -> None:
    pages = [await ask(database, page=Page(number, 2)) for number in (1, 2, 3, 4, 10**30)]
    assert [name for names, _ in pages for name in names] == ["ada", "bobXb", "bob_b", "carol", "dora%"]
    assert {total for _, total in pages} == {5}
    assert await ask(database, one("name", Match.EQUAL, "nobody"), page=Page(3, 2)) == ([], 0)
