"""The outbox: a row is claimed by one worker, and comes back when that worker dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from roadstead.metadata import events
from roadstead.metadata.database import Database
from roadstead.metadata.events import EventRow, NewEvent
from tests.support.factories import BEGINNING

LEASE = timedelta(minutes=1)


async def add(database: Database, count: int) -> None:
    rows = [NewEvent("manifest.pushed", BEGINNING, tag=f"t{number}", new_digest=f"sha256:{number}") for number in range(count)]
    await database.write(lambda connection: events.add(connection, *rows))


async def claim(database: Database, worker: str, limit: int = 100, after: timedelta = timedelta(0)) -> list[EventRow]:
    now = BEGINNING + after
    return await database.write(partial(events.claim, worker=worker, until=now + LEASE, now=now, limit=limit))


async def test_events_come_in_the_order_of_their_ids_and_once(database: Database) -> None:
    await add(database, 5)
    first = await claim(database, "one", 3)
    second = await claim(database, "two", 3)
    assert [row.event.tag for row in first + second] == ["t0", "t1", "t2", "t3", "t4"]
    assert first[0].event == NewEvent("manifest.pushed", BEGINNING, tag="t0", new_digest="sha256:0")
    assert {row.attempts for row in first + second} == {1}
    assert await claim(database, "three") == []


async def test_claimers_at_once_never_get_the_same_row(database: Database) -> None:
    await add(database, 60)

    async def work(worker: str) -> list[int]:
        mine: list[int] = []
        while rows := await claim(database, worker, 4):
            mine += [row.id for row in rows]
        return mine

    every = await asyncio.gather(*(work(f"worker {number}") for number in range(5)))
    claimed = Counter(row for mine in every for row in mine)
    assert len(claimed) == 60
    assert set(claimed.values()) == {1}


async def test_a_dead_workers_rows_come_back_and_its_late_finish_is_refused(database: Database) -> None:
    await add(database, 1)
    [row] = await claim(database, "dead")
    assert await claim(database, "heir", after=LEASE) == []
    [again] = await claim(database, "heir", after=LEASE + timedelta(microseconds=1))
    assert (again.id, again.attempts) == (row.id, 2)

    def finish(worker: str, connection: Connection) -> bool:
        return events.finish(connection, row.id, worker, BEGINNING)

    assert not await database.write(partial(finish, "dead"))
    assert await database.write(partial(finish, "heir"))
    assert not await database.write(partial(finish, "heir"))
    assert await claim(database, "other", after=LEASE * 10) == []


async def test_an_event_of_a_transaction_that_failed_never_was(database: Database) -> None:
    def fail(connection: Connection) -> None:
        events.add(connection, NewEvent("tag.deleted", BEGINNING))
        raise LookupError

    results = await asyncio.gather(database.write(fail), return_exceptions=True)
    assert isinstance(results[0], LookupError)
    assert await claim(database, "one") == []
