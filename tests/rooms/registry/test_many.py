"""Lists of a large site: each page is a handful of statements, whatever number of rows there are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from roadstead.metadata import artifacts, migrations, overview, repositories, tags
from roadstead.metadata.database import open_database
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from roadstead.metadata.projects import ProjectScope
from tests.support import many

pytestmark = pytest.mark.slow

LARGE, SMALL = 1, 77
ADMIN, MEMBER, NOBODY = ProjectScope(everything=True), ProjectScope(account_id=many.MEMBER), ProjectScope()
LISTINGS = {
    "first page": Listing(),
    "hundred": Listing(page=Page(3, 100)),
    "by name": Listing((Filter("name", Match.CONTAINS, ("app-01",)),)),
    "last pushed": Listing(sort=(Sort("updated_at", True),)),
    "most pulled": Listing(sort=(Sort("pull_count", True),)),
}
ARTIFACTS = {
    "first page": Listing(),
    "hundred": Listing(page=Page(3, 100)),
    "by tag": Listing((Filter("tags", Match.CONTAINS, ("v19",)),)),
    "untagged": Listing((Filter("tags", Match.EQUAL, ("nil",)),)),
}


def browse(connection: Connection, repository_id: int, listing: Listing) -> int:
    """All that a page of artifacts asks of the database."""
    rows, total = artifacts.page(connection, repository_id, listing)
    ids = [row.id for row in rows]
    artifacts.sizes(connection, ids)
    tags.newest_of(connection, ids, 100)
    artifacts.configs(connection, repository_id, ids)
    artifacts.accessories_of(connection, repository_id, {row.id: row.digest for row in rows})
    return total


Act = Callable[[Connection], object]
ACTS: dict[str, Act] = {}
for whose, scope in (("administrator", ADMIN), ("member", MEMBER), ("nobody", NOBODY)):
    for what, listing in LISTINGS.items():
        ACTS[f"repositories of {whose}, {what}"] = partial(repositories.page, scope=scope, listing=listing)
    ACTS[f"counts of {whose}"] = partial(overview.counts, scope=scope)
for size, repository in (("large", LARGE), ("small", SMALL)):
    for what, listing in ARTIFACTS.items():
        ACTS[f"artifacts of a {size} one, {what}"] = partial(browse, repository_id=repository, listing=listing)


@pytest.fixture(params=["sqlite", "postgresql"])
async def own_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own: what is filled here would take other tests long to empty."""
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'many.sqlite'}" if is_file else str(request.getfixturevalue("postgres").fresh_database())
    await migrations.upgrade(url)
    return url


async def test_no_page_asks_more_often_for_more_rows(own_url: str) -> None:
    """Run once for all acts: filling takes longer than asking."""
    database = await open_database(own_url)
    try:
        await database.write(many.fill)
        counted = {name: await database.read(partial(statements, act)) for name, act in ACTS.items()}
        assert {name: count for name, count in counted.items() if count > 12} == {}
        sums = await database.read(lambda c: (browse(c, LARGE, Listing()), artifacts.roots(c, [LARGE, SMALL])))
        # Of ten manifests, two are parts of the index that the tenth is; the small one has no index.
        assert sums == (many.LARGE * 8 // 10, {LARGE: many.LARGE * 8 // 10, SMALL: 8})
    finally:
        await database.close()


def statements(act: Act, connection: Connection) -> int:
    """How many statements an act runs."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(connection.engine, "before_cursor_execute", note)
    try:
        act(connection)
    finally:
        event.remove(connection.engine, "before_cursor_execute", note)
    return len(seen)
