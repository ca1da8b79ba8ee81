"""Claims: whose turn it is, how many at once, and that who has lost a claim changes nothing any more."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, insert

from roadstead.metadata import job_claims, jobs
from roadstead.metadata.database import Database, open_database
from roadstead.metadata.job_claims import LINES_KEPT, Caps, ClaimedJob, Told, Turns, Verdict
from roadstead.metadata.jobs import JobRow, NewJob, State
from roadstead.metadata.schema import projects
from tests.support.factories import BEGINNING

LEASE = timedelta(seconds=15)
MOMENT = timedelta(microseconds=1)
ANY_NUMBER = {"work": Caps(1000), "other": Caps(1000)}


async def add(database: Database, *new: NewJob) -> list[int]:
    return [(await database.write(partial(jobs.enqueue, new=one, now=BEGINNING + MOMENT * number))).id for number, one in enumerate(new)]


async def add_projects(database: Database, *names: str) -> list[int]:
    def work(connection: Connection) -> list[int]:
        rows = [{"name": name, "created_at": BEGINNING} for name in names]
        return [connection.execute(insert(projects).values(row).returning(projects.c.id)).scalar_one() for row in rows]

    return await database.write(work)


async def claim(turns: Turns, worker: str = "w", after: timedelta = timedelta(seconds=1)) -> ClaimedJob | None:
    now = BEGINNING + after
    return await turns.claim(worker, now + LEASE, now)


async def claim_all(turns: Turns) -> list[int]:
    """Claim, a second between, until nothing is left."""
    claimed: list[int] = []
    while one := await claim(turns, after=timedelta(seconds=len(claimed) + 1)):
        claimed.append(one.claim.id)
    return claimed


async def settle(database: Database, one: ClaimedJob, verdict: Verdict | None = None, after: timedelta = timedelta(0)) -> bool:
    verdict = verdict or Verdict(State.SUCCEEDED)
    return await database.write(partial(job_claims.settle, claim=one.claim, verdict=verdict, told=Told(), now=BEGINNING + after))


async def found(database: Database, job_id: int) -> JobRow:
    row = await database.read(partial(jobs.find, job_id=job_id))
    assert row is not None
    return row


# --- whose turn it is ---------------------------------------------------------------------------------------------------------------


async def test_the_greatest_priority_goes_first_then_who_was_due_first(database: Database) -> None:
    late = BEGINNING + timedelta(milliseconds=500)
    ids = await add(database, NewJob("work"), NewJob("work", priority=5), NewJob("work", run_after=late), NewJob("work"))
    assert await claim_all(Turns(database, ANY_NUMBER)) == [ids[1], ids[0], ids[3], ids[2]]


async def test_what_is_not_due_and_kinds_that_are_not_known_wait(database: Database) -> None:
    ids = await add(database, NewJob("work", run_after=BEGINNING + LEASE), NewJob("strange"))
    turns = Turns(database, ANY_NUMBER)
    assert not await turns.any(BEGINNING + LEASE - MOMENT)
    assert await claim(turns, after=LEASE - MOMENT) is None
    assert await turns.any(BEGINNING + LEASE)
    claimed = await claim(turns, after=LEASE)
    assert claimed is not None
    assert (claimed.claim.id, claimed.kind, claimed.claim.attempt, claimed.failures) == (ids[0], "work", 1, 0)
    assert not await turns.any(BEGINNING + LEASE * 9)


async def test_a_project_with_many_jobs_does_not_hold_up_the_others(database: Database) -> None:
    """One place, and each lane in turn: a project's hundredth job waits for the first of everybody else."""
    first, second = await add_projects(database, "first", "second")
    many = await add(database, *(NewJob("work", project_id=first) for _ in range(4)))
    few = await add(database, *(NewJob("work", project_id=second) for _ in range(2)))
    none = await add(database, NewJob("work"))
    turns = Turns(database, {"work": Caps(1)})
    order: list[int] = []
    while one := await claim(turns, after=timedelta(seconds=len(order) + 1)):
        order.append(one.claim.id)
        assert await settle(database, one)
    assert order[:3] == [none[0], many[0], few[0]]
    assert order[3:] == [many[1], few[1], many[2], many[3]]


async def test_the_lane_that_runs_the_fewest_is_next(database: Database) -> None:
    first, second = await add_projects(database, "first", "second")
    many = await add(database, *(NewJob("work", project_id=first) for _ in range(3)))
    turns = Turns(database, ANY_NUMBER)
    for _ in range(2):
        await claim(turns)
    few = await add(database, *(NewJob("work", project_id=second) for _ in range(3)))
    assert await claim_all(turns) == [few[0], few[1], many[2], few[2]]


async def test_caps_hold_for_the_kind_and_for_each_project(database: Database) -> None:
    first, second = await add_projects(database, "first", "second")
    await add(database, *(NewJob("work", project_id=project) for project in (first, second) for _ in range(5)), NewJob("other"))
    turns = Turns(database, {"work": Caps(3, 2), "other": Caps(1)})
    running = [one for _ in range(4) if (one := await claim(turns))]
    assert Counter((one.kind, one.project_id) for one in running) in (
        Counter({("work", first): 2, ("work", second): 1, ("other", None): 1}),
        Counter({("work", first): 1, ("work", second): 2, ("other", None): 1}),
    )
    assert not await turns.any(BEGINNING + LEASE)
    assert await claim(turns) is None
    assert await settle(database, next(one for one in running if one.kind == "work"))
    assert await turns.any(BEGINNING + LEASE)
    assert await claim(turns) is not None
    assert await claim(turns) is None


async def test_a_cap_of_each_project_leaves_places_for_others(database: Database) -> None:
    (first,) = await add_projects(database, "first")
    await add(database, *(NewJob("work", project_id=first) for _ in range(3)))
    turns = Turns(database, {"work": Caps(5, 1)})
    assert await claim(turns) is not None
    assert await claim(turns) is None
    await add(database, NewJob("work"))
    assert await claim(turns) is not None


async def test_claimers_at_once_never_get_the_same_job_nor_exceed_a_cap(database: Database, database_url: str) -> None:
    first, second = await add_projects(database, "first", "second")
    ids = await add(database, *(NewJob("work", project_id=(first, second)[number % 2]) for number in range(60)))
    another = await open_database(database_url)
    running: Counter[int | None] = Counter()
    claimed: list[int] = []

    async def work(one: Database, name: str) -> None:
        turns = Turns(one, {"work": Caps(5, 3)})
        while len(claimed) < len(ids):
            if (job := await claim(turns, name)) is None:
                await asyncio.sleep(0)  # somebody else's turn
                continue
            claimed.append(job.claim.id)
            running[job.project_id] += 1
            assert running.total() <= 5
            assert running[job.project_id] <= 3
            await asyncio.sleep(0)
            running[job.project_id] -= 1
            assert await settle(one, job)

    try:
        await asyncio.gather(*(work(one, f"{number}") for one in (database, another) for number in range(4)))
    finally:
        await another.close()
    assert sorted(claimed) == ids


# --- held and lost ------------------------------------------------------------------------------------------------------------------


async def test_a_lease_that_is_renewed_is_kept(database: Database) -> None:
    await add(database, NewJob("work"))
    turns = Turns(database, ANY_NUMBER)
    one = await claim(turns, after=timedelta(0))
    assert one is not None
    assert not await turns.any_lapsed(BEGINNING + LEASE)
    assert await turns.any_lapsed(BEGINNING + LEASE + MOMENT)
    assert await database.write(partial(job_claims.renew, worker="w", until=BEGINNING + LEASE * 2)) == {(one.claim.id, 1)}
    assert await database.write(partial(job_claims.renew, worker="x", until=BEGINNING + LEASE * 9)) == set()
    assert not await turns.any_lapsed(BEGINNING + LEASE * 2)
    assert await database.write(partial(job_claims.recover, now=BEGINNING + LEASE * 2)) == []


async def test_a_zombie_changes_nothing(database: Database) -> None:
    await add(database, NewJob("work"))
    turns = Turns(database, ANY_NUMBER)
    zombie = await claim(turns, "zombie", timedelta(0))
    assert zombie is not None
    assert await database.write(partial(job_claims.recover, now=BEGINNING + LEASE + MOMENT)) == [zombie.claim]
    heir = await claim(turns, "heir", LEASE * 2)
    assert heir is not None
    assert (heir.claim.id, heir.claim.attempt, heir.failures) == (zombie.claim.id, 2, 1)
    before = await found(database, heir.claim.id)
    told = Told(0.9, "rising", ((BEGINNING, "brains"),))
    assert not await database.write(partial(job_claims.tell, claim=zombie.claim, told=told))
    assert not await database.write(partial(job_claims.hold, claim=zombie.claim))
    assert not await settle(database, zombie)
    assert not await settle(database, zombie, Verdict(State.FAILED, "brains", failed=True))
    assert await database.write(partial(job_claims.renew, worker="zombie", until=BEGINNING + LEASE * 99)) == set()
    assert await found(database, heir.claim.id) == before
    lines = await database.read(partial(jobs.lines, job_id=heir.claim.id))
    assert [("zombie" in line.line, line.attempt) for line in lines] == [(True, 1)]
    assert await database.write(partial(job_claims.hold, claim=heir.claim))
    assert await settle(database, heir)


async def test_the_same_worker_is_told_apart_by_the_attempt(database: Database) -> None:
    await add(database, NewJob("work"))
    turns = Turns(database, ANY_NUMBER)
    old = await claim(turns)
    assert old is not None
    assert await settle(database, old, Verdict(State.WAITING, run_after=BEGINNING))
    new = await claim(turns)
    assert new is not None
    assert (new.claim.attempt, new.failures) == (2, 0)
    assert not await settle(database, old)
    assert await settle(database, new)


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_job_that_takes_its_worker_with_it_fails_in_the_end(database: Database, workers: int) -> None:
    (job_id,) = await add(database, NewJob("work", max_attempts=2))
    turns = Turns(database, ANY_NUMBER)
    for number in range(2):
        assert await claim(turns, after=LEASE * 2 * number) is not None
        late = BEGINNING + LEASE * 2 * (number + 1)
        ended = await asyncio.gather(*(database.write(partial(job_claims.recover, now=late)) for _ in range(workers)))
        assert sum(map(len, ended)) == 1
    row = await found(database, job_id)
    assert (row.state, row.failures, row.finished_at) == ("failed", 2, BEGINNING + LEASE * 4)
    assert "worker" in str(row.reason)
    assert await claim(turns, after=LEASE * 9) is None


async def test_a_dead_workers_job_that_was_to_end_has_ended(database: Database) -> None:
    (job_id,) = await add(database, NewJob("work"))
    assert await claim(Turns(database, ANY_NUMBER), after=timedelta(0)) is not None
    await database.write(partial(jobs.cancel, job_id=job_id, reason="enough", now=BEGINNING))
    await database.write(partial(job_claims.recover, now=BEGINNING + LEASE * 2))
    row = await found(database, job_id)
    assert (row.state, row.reason) == ("cancelled", "enough")


async def test_wishes_to_end_a_job_reach_its_worker_alone(database: Database) -> None:
    mine, theirs = await add(database, NewJob("work"), NewJob("work"))
    turns = Turns(database, ANY_NUMBER)
    await claim(turns, "mine")
    await claim(turns, "theirs")
    assert await turns.cancelled("mine") == set()
    for job_id in (mine, theirs):
        await database.write(partial(jobs.cancel, job_id=job_id, reason="enough", now=BEGINNING))
    assert await turns.cancelled("mine") == {(mine, 1)}


async def test_a_log_keeps_its_newest_lines(database: Database) -> None:
    (job_id,) = await add(database, NewJob("work"))
    one = await claim(Turns(database, ANY_NUMBER))
    assert one is not None
    for start in range(0, LINES_KEPT + 300, 300):
        lines = tuple((BEGINNING, str(number)) for number in range(start, start + 300))
        assert await database.write(partial(job_claims.tell, claim=one.claim, told=Told(0.5, "talking", lines)))
    kept = await database.read(partial(jobs.lines, job_id=job_id))
    last = len(range(0, LINES_KEPT + 300, 300)) * 300
    assert [line.line for line in kept] == [str(number) for number in range(last - LINES_KEPT, last)]
    row = await found(database, job_id)
    assert (row.fraction, row.doing) == (0.5, "talking")
