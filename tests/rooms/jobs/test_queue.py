"""The queue, for those who ask for work and wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection

from roadstead.errors import DatabaseFailed, NotFound
from roadstead.jobs.queue import Queue
from roadstead.metadata import job_claims, jobs
from roadstead.metadata.database import Database
from roadstead.metadata.job_claims import Caps, Told, Turns, Verdict
from roadstead.metadata.jobs import NewJob, Outcome, State
from tests.support.factories import BEGINNING, ManualClock

LONG = 60.0


@pytest.fixture
async def queue(database: Database, clock: ManualClock) -> AsyncIterator[Queue]:
    queue = Queue(database, clock)
    yield queue
    await queue.close()


async def finish(database: Database, verdict: Verdict | None = None) -> None:
    """Run the next job, elsewhere."""
    claimed = await Turns(database, {"work": Caps(9)}).claim("w", BEGINNING + timedelta(minutes=1), BEGINNING)
    assert claimed is not None
    verdict = verdict or Verdict(State.SUCCEEDED, result="7")
    assert await database.write(partial(job_claims.settle, claim=claimed.claim, verdict=verdict, told=Told(), now=BEGINNING))


async def test_work_is_asked_for_in_the_transaction_of_its_cause(queue: Queue, database: Database) -> None:
    def cause(connection: Connection) -> int:
        return queue.enqueue(connection, NewJob("work")).id

    row = await database.read(partial(jobs.find, job_id=await database.write(cause)))
    assert row is not None
    assert (row.state, row.created_at) == ("waiting", BEGINNING)


async def test_a_thousand_wait_and_one_task_looks(queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    outcomes = jobs.outcomes

    def counted(connection: Connection, ids: tuple[int, ...]) -> dict[int, Outcome | None]:
        nonlocal looks
        looks += 1
        return outcomes(connection, ids)

    monkeypatch.setattr(jobs, "outcomes", counted)
    job_id = (await queue.add(NewJob("work"))).id
    waiting = [asyncio.create_task(queue.wait(job_id, LONG)) for _ in range(1000)]
    await asyncio.sleep(0)
    watches = [task for task in asyncio.all_tasks() if task.get_name() == "watch for ends of jobs"]
    assert len(watches) == 1
    await finish(database)
    assert await asyncio.gather(*waiting) == [Outcome(job_id, "succeeded", None, "7")] * 1000
    await watches[0]
    assert looks < 100


async def test_each_waits_for_a_job_of_its_own(queue: Queue, database: Database) -> None:
    first, second = (await queue.add(NewJob("work"))).id, (await queue.add(NewJob("work"))).id
    waiting = asyncio.gather(queue.wait(second, LONG), queue.wait(first, LONG))
    await finish(database)
    await finish(database, Verdict(State.FAILED, "broken", failed=True))
    assert list(await waiting) == [Outcome(second, "failed", "broken", None), Outcome(first, "succeeded", None, "7")]


async def test_who_is_out_of_patience_gets_nothing_and_the_others_still_wait(queue: Queue, database: Database) -> None:
    job_id = (await queue.add(NewJob("work"))).id
    patient = asyncio.create_task(queue.wait(job_id, LONG))
    assert await queue.wait(job_id, 0.01) is None
    leaving = asyncio.create_task(queue.wait(job_id, LONG))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await finish(database)
    assert await patient == Outcome(job_id, "succeeded", None, "7")
    assert await queue.wait(job_id, LONG) == Outcome(job_id, "succeeded", None, "7")


async def test_a_job_that_is_not_there_is_said_to_be_so(queue: Queue) -> None:
    with pytest.raises(NotFound, match="999"):
        await queue.wait(999, LONG)


async def test_waiting_outlives_a_failure_of_the_database(queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = (await queue.add(NewJob("work"))).id
    await finish(database)
    failures = [DatabaseFailed("away"), DatabaseFailed("still away")]
    read = database.read

    async def sometimes(work: object) -> object:
        if failures:
            raise failures.pop()
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "read", sometimes)
    assert await queue.wait(job_id, LONG) == Outcome(job_id, "succeeded", None, "7")
    assert failures == []


async def test_closing_ends_all_waiting(queue: Queue) -> None:
    waiting = asyncio.create_task(queue.wait((await queue.add(NewJob("work"))).id, LONG))
    await asyncio.sleep(0)
    await queue.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "watch for ends of jobs"]
