"""Jobs as those see them who ask for work."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import msgspec
import pytest
from sqlalchemy import Connection

from roadstead.errors import InvalidInput
from roadstead.metadata import job_claims, jobs
from roadstead.metadata.database import Database, open_database
from roadstead.metadata.job_claims import Caps, Told, Turns, Verdict
from roadstead.metadata.jobs import Enqueued, JobRow, NewJob, Outcome, State
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from tests.support.factories import BEGINNING

MINUTE = timedelta(minutes=1)
WORK = NewJob("work", key="one")


async def enqueue(database: Database, new: NewJob = WORK, after: timedelta = timedelta()) -> Enqueued:
    return await database.write(partial(jobs.enqueue, new=new, now=BEGINNING + after))


async def found(database: Database, job_id: int) -> JobRow:
    row = await database.read(partial(jobs.find, job_id=job_id))
    assert row is not None
    return row


async def run(database: Database, verdict: Verdict) -> int:
    """Claim the next job and end it so."""
    claimed = await Turns(database, {"work": Caps(9)}).claim("w", BEGINNING + MINUTE, BEGINNING)
    assert claimed is not None
    assert await database.write(partial(job_claims.settle, claim=claimed.claim, verdict=verdict, told=Told(), now=BEGINNING))
    return claimed.claim.id


async def test_a_job_is_there_as_it_was_enqueued(database: Database) -> None:
    new = NewJob("work", '{"a":1}', "key", None, 3, BEGINNING + MINUTE, 2)
    row = await found(database, (await enqueue(database, new)).id)
    assert (row.kind, row.payload, row.key, row.project, row.priority) == ("work", '{"a":1}', "key", None, 3)
    assert (row.state, row.run_after, row.max_attempts, row.created_at) == ("waiting", BEGINNING + MINUTE, 2, BEGINNING)
    assert (row.attempt, row.failures, row.worker, row.finished_at) == (0, 0, None, None)


async def test_a_job_of_a_transaction_that_failed_never_was(database: Database) -> None:
    def fail(connection: Connection) -> None:
        jobs.enqueue(connection, WORK, BEGINNING)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fail)
    assert await database.read(partial(jobs.page, listing=Listing())) == ([], 0)


async def test_a_thousand_askers_cause_one_job(database: Database, database_url: str) -> None:
    """Those who ask at the same moment too, over two connections' pools."""
    another = await open_database(database_url)
    try:
        every = await asyncio.gather(*(enqueue(one) for one in (database, another) * 500))
    finally:
        await another.close()
    assert len({one.id for one in every}) == 1
    assert sum(one.added for one in every) == 1
    assert (await database.read(partial(jobs.page, listing=Listing())))[1] == 1


async def test_a_key_is_of_its_kind_and_free_again_when_its_job_has_ended(database: Database) -> None:
    first = await enqueue(database)
    assert (await enqueue(database, NewJob("other", key="one"))).added
    assert await run(database, Verdict(State.SUCCEEDED)) == first.id
    second = await enqueue(database)
    assert second.added
    assert second.id > first.id
    assert (await enqueue(database, NewJob("work"))).id != (await enqueue(database, NewJob("work"))).id


async def test_who_asks_again_with_more_urgency_hastens_the_live_one(database: Database) -> None:
    first = await enqueue(database, msgspec.structs.replace(WORK, priority=1, run_after=BEGINNING + MINUTE))
    await enqueue(database, msgspec.structs.replace(WORK, priority=5, run_after=BEGINNING + MINUTE * 2))
    row = await found(database, first.id)
    assert (row.priority, row.run_after) == (5, BEGINNING + MINUTE)
    await enqueue(database)
    row = await found(database, first.id)
    assert (row.priority, row.run_after) == (5, BEGINNING)


async def test_a_job_that_failed_is_not_hastened(database: Database) -> None:
    first = await enqueue(database)
    later = BEGINNING + MINUTE
    await run(database, Verdict(State.WAITING, "no luck", run_after=later, failed=True))
    assert await enqueue(database, msgspec.structs.replace(WORK, priority=9)) == Enqueued(first.id, added=False)
    row = await found(database, first.id)
    assert (row.run_after, row.priority, row.failures, row.reason) == (later, 0, 1, "no luck")


async def test_outcomes_tell_the_live_from_the_ended_and_the_unknown(database: Database) -> None:
    ended, live = (await enqueue(database)).id, (await enqueue(database, NewJob("other"))).id
    await run(database, Verdict(State.SUCCEEDED, result='{"n":1}'))
    seen = await database.read(partial(jobs.outcomes, ids=(ended, live, 999)))
    assert seen == {ended: Outcome(ended, "succeeded", None, '{"n":1}'), live: None}


async def test_cancelling_ends_a_waiting_job_and_asks_for_the_end_of_a_running_one(database: Database) -> None:
    waiting = (await enqueue(database, NewJob("other"))).id
    running = (await enqueue(database)).id
    claimed = await Turns(database, {"work": Caps(1)}).claim("w", BEGINNING + MINUTE, BEGINNING)
    assert claimed is not None
    for job_id in (waiting, running):
        assert await database.write(partial(jobs.cancel, job_id=job_id, reason="enough", now=BEGINNING))
    row = await found(database, waiting)
    assert (row.state, row.finished_at, row.reason) == ("cancelled", BEGINNING, "enough")
    row = await found(database, running)
    assert (row.state, row.finished_at, row.cancel_requested_at) == ("running", None, BEGINNING)
    again = Verdict(State.WAITING, "failed too", run_after=BEGINNING, failed=True)
    assert await database.write(partial(job_claims.settle, claim=claimed.claim, verdict=again, told=Told(), now=BEGINNING))
    row = await found(database, running)
    assert (row.state, row.reason) == ("cancelled", "enough")
    assert not await database.write(partial(jobs.cancel, job_id=running, reason="again", now=BEGINNING))
    assert not await database.write(partial(jobs.cancel, job_id=999, reason="again", now=BEGINNING))


async def test_what_failed_or_was_cancelled_or_waits_can_begin_again(database: Database) -> None:
    job_id = (await enqueue(database)).id
    again = partial(jobs.again, job_id=job_id, now=BEGINNING + MINUTE)
    await run(database, Verdict(State.FAILED, "broken", failed=True))
    assert await database.write(again)
    row = await found(database, job_id)
    assert (row.state, row.failures, row.finished_at, row.run_after, row.attempt) == ("waiting", 0, None, BEGINNING + MINUTE, 1)
    await database.write(partial(jobs.cancel, job_id=job_id, reason="enough", now=BEGINNING))
    assert await database.write(again)
    assert await database.write(again)
    assert (await found(database, job_id)).cancel_requested_at is None


async def test_what_runs_succeeded_or_has_a_successor_cannot_begin_again(database: Database) -> None:
    job_id = (await enqueue(database)).id
    again = partial(jobs.again, job_id=job_id, now=BEGINNING)
    turns = Turns(database, {"work": Caps(9)})
    claimed = await turns.claim("w", BEGINNING + MINUTE, BEGINNING)
    assert claimed is not None
    assert not await database.write(again)
    failed = Verdict(State.FAILED, "broken", failed=True)
    await database.write(partial(job_claims.settle, claim=claimed.claim, verdict=failed, told=Told(), now=BEGINNING))
    await enqueue(database)
    assert not await database.write(again)
    successor = await run(database, Verdict(State.SUCCEEDED))
    assert not await database.write(partial(jobs.again, job_id=successor, now=BEGINNING))
    assert await database.write(again)


async def test_jobs_are_listed_by_filters_and_pages(database: Database) -> None:
    for number in range(5):
        await enqueue(database, NewJob("work" if number % 2 else "other", priority=number))
    await run(database, Verdict(State.FAILED, "broken disk", failed=True))

    async def listed(*filters: Filter, sort: tuple[Sort, ...] = (), page: Page | None = None) -> tuple[list[int], int]:
        rows, total = await database.read(partial(jobs.page, listing=Listing(filters, sort, page or Page())))
        return [row.priority for row in rows], total

    assert await listed() == ([4, 3, 2, 1, 0], 5)
    assert await listed(page=Page(2, 2)) == ([2, 1], 5)
    assert await listed(Filter("state", Match.EQUAL, ("waiting",)), Filter("kind", Match.EQUAL, ("work",))) == ([1], 1)
    assert await listed(Filter("reason", Match.CONTAINS, ("DISK",))) == ([3], 1)
    assert await listed(sort=(Sort("priority"),)) == ([0, 1, 2, 3, 4], 5)
    with pytest.raises(InvalidInput):
        await listed(Filter("payload", Match.EQUAL, ("x",)))


async def test_what_ended_long_ago_is_forgotten_with_its_log(database: Database) -> None:
    old = (await enqueue(database)).id
    claimed = await Turns(database, {"work": Caps(1)}).claim("w", BEGINNING + MINUTE, BEGINNING)
    assert claimed is not None
    done = Told(lines=((BEGINNING, "said"),))
    await database.write(partial(job_claims.settle, claim=claimed.claim, verdict=Verdict(State.SUCCEEDED), told=done, now=BEGINNING))
    live = (await enqueue(database)).id
    assert await database.write(partial(jobs.purge, finished_before=BEGINNING, limit=10)) == 0
    assert [one.line for one in await database.read(partial(jobs.lines, job_id=old))] == ["said"]
    assert await database.write(partial(jobs.purge, finished_before=BEGINNING + MINUTE, limit=10)) == 1
    assert await database.read(partial(jobs.find, job_id=old)) is None
    assert await database.read(partial(jobs.lines, job_id=old)) == []
    assert (await found(database, live)).state == "waiting"
