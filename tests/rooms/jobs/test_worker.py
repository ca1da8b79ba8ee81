"""The worker, on a clock of the test's: handlers say by events how far they are, and the test waits for those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection

from roadstead.errors import DatabaseFailed, InvalidManifest, StoreFailed, TooManyRequests
from roadstead.jobs.failures import BackOff
from roadstead.jobs.queue import Queue
from roadstead.jobs.running import ClaimLost, Handler, Job, Kind
from roadstead.jobs.schedule import Every, Schedule
from roadstead.jobs.worker import Pace, Worker
from roadstead.metadata import job_claims, jobs, projects
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow, NewJob, Outcome
from roadstead.metadata.listing import Listing
from tests.support.factories import BEGINNING, ManualClock

QUICK = Pace(look=0.01, grace=0.05)
LONG = 60.0
MOMENT = timedelta(microseconds=1)


class Bench:
    """Starts workers, and looks at what they do."""

    def __init__(self, database: Database, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.database = database
        self.clock = clock
        self.queue = Queue(database, clock)
        self._stack = stack

    async def start(self, *kinds: Kind, pace: Pace = QUICK, database: Database | None = None, **options: object) -> Worker:
        """A worker that is at work until the test ends."""
        worker = Worker(database or self.database, kinds, clock=self.clock, pace=pace, **options)  # type: ignore[arg-type]
        await self._stack.enter_async_context(running(worker))
        return worker

    async def add(self, new: NewJob | None = None) -> int:
        return (await self.queue.add(new or NewJob("work"))).id

    async def ended(self, job_id: int) -> Outcome:
        outcome = await self.queue.wait(job_id, LONG)
        assert outcome is not None
        return outcome

    async def row(self, job_id: int) -> JobRow:
        row = await self.database.read(partial(jobs.find, job_id=job_id))
        assert row is not None
        return row

    async def until(self, job_id: int, condition: Callable[[JobRow], bool]) -> JobRow:
        """The job as soon as it is so."""
        async with asyncio.timeout(LONG):
            while not condition(row := await self.row(job_id)):  # noqa: ASYNC110 - a row is written, and nobody is told
                await asyncio.sleep(0.005)
        return row

    async def log(self, job_id: int) -> list[str]:
        return [one.line for one in await self.database.read(partial(jobs.lines, job_id=job_id))]


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(LONG):
            await task


@pytest.fixture
async def bench(database: Database, clock: ManualClock) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        bench = Bench(database, clock, stack)
        stack.push_async_callback(bench.queue.close)
        yield bench


class Held:
    """A handler that begins, and goes on when it is let."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Job] = asyncio.Queue()
        self.let = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, job: Job) -> int:
        await self.begun.put(job)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return job.id

    async def next(self) -> Job:
        async with asyncio.timeout(LONG):
            return await self.begun.get()


def raising(*errors: Exception) -> Handler:
    """A handler that raises these, one an attempt, and then succeeds."""
    left = list(errors)

    async def handler(job: Job) -> None:
        if left:
            raise left.pop(0)

    return handler


# --- running ------------------------------------------------------------------------------------------------------------------------


async def test_a_job_runs_with_its_payload_and_leaves_its_result(bench: Bench) -> None:
    async def double(job: Job) -> dict[str, int]:
        assert asyncio.current_task() is not None
        job.log(f"attempt {job.attempt} of {asyncio.current_task().get_name()}")  # type: ignore[union-attr]
        job.progress(0.25, "doubling")
        return {"n": job.payload["n"] * 2}

    await bench.start(Kind("work", double))
    job_id = await bench.add(NewJob("work", '{"n":21}'))
    assert await bench.ended(job_id) == Outcome(job_id, "succeeded", None, '{"n":42}')
    row = await bench.row(job_id)
    assert (row.attempt, row.failures, row.worker, row.lease_until, row.fraction, row.doing) == (1, 0, None, None, 0.25, "doubling")
    assert await bench.log(job_id) == [f"attempt 1 of job {job_id} work"]


async def test_progress_and_log_are_seen_while_it_runs(bench: Bench, clock: ManualClock) -> None:
    held = Held()
    await bench.start(Kind("work", held))
    job_id = await bench.add()
    job = await held.next()
    job.progress(7.0, "half\0way")
    job.log("begun")
    clock.advance(QUICK.tell)
    row = await bench.until(job_id, lambda row: row.fraction is not None)
    assert (row.state, row.fraction, row.doing) == ("running", 1.0, "half\N{REPLACEMENT CHARACTER}way")
    assert await bench.log(job_id) == ["begun"]


async def test_no_more_run_at_once_than_there_are_slots_and_caps_allow(bench: Bench) -> None:
    """Two workers, whose caps count together."""
    now: dict[str, int] = {"work": 0, "other": 0}
    most = dict(now)

    async def handler(job: Job) -> None:
        now[job.kind] += 1
        most[job.kind] = max(most[job.kind], now[job.kind])
        for _ in range(3):
            await bench.database.check()
        now[job.kind] -= 1

    ids = [await bench.add(NewJob(kind)) for kind in ("work", "other") for _ in range(12)]
    for _ in range(2):
        await bench.start(Kind("work", handler, at_once=3), Kind("other", handler, at_once=99), slots=4)
    assert {(await bench.ended(job_id)).state for job_id in ids} == {"succeeded"}
    assert most["work"] <= 3
    assert 1 < most["other"] <= 8


async def test_a_schedule_fires_once_for_two_workers(bench: Bench, clock: ManualClock) -> None:
    held = Held()
    tidy = (Schedule("tidy", Every(timedelta(hours=1)), "work", '"tidy"'),)
    for _ in range(2):
        await bench.start(Kind("work", held), schedules=tidy)
    first = await held.next()
    assert first.payload == "tidy"
    held.let.set()
    await bench.ended(first.id)
    clock.advance(timedelta(hours=1))
    second = await held.next()
    await bench.ended(second.id)
    assert (await bench.database.read(partial(jobs.page, listing=Listing())))[1] == 2


# --- failures -----------------------------------------------------------------------------------------------------------------------


async def test_what_may_pass_is_tried_again_later_and_later(bench: Bench, clock: ManualClock) -> None:
    handler = raising(StoreFailed("The store is away."), ValueError("secret"))
    await bench.start(Kind("work", handler, back_off=BackOff(timedelta(seconds=8))), chance=lambda: 0.25)
    job_id = await bench.add()
    row = await bench.until(job_id, lambda row: row.failures == 1)
    assert (row.state, row.reason, row.run_after) == ("waiting", "The store is away.", BEGINNING + timedelta(seconds=6))
    clock.advance(timedelta(seconds=6) - MOMENT)
    assert (await bench.row(job_id)).attempt == 1
    clock.advance(MOMENT)
    row = await bench.until(job_id, lambda row: row.failures == 2)
    assert row.run_after == clock() + timedelta(seconds=12)
    assert "ValueError" in str(row.reason)
    clock.advance(timedelta(seconds=12))
    assert await bench.ended(job_id) == Outcome(job_id, "succeeded", None, "null")
    assert "secret" not in str(await bench.log(job_id))
    assert (await bench.row(job_id)).attempt == 3


async def test_what_will_not_pass_fails_at_once_with_its_reason(bench: Bench) -> None:
    await bench.start(Kind("work", raising(InvalidManifest("The layer is no tar."))))
    job_id = await bench.add()
    assert await bench.ended(job_id) == Outcome(job_id, "failed", "The layer is no tar.", None)
    row = await bench.row(job_id)
    assert (row.attempt, row.failures) == (1, 1)
    assert await bench.log(job_id) == ["Failed: The layer is no tar."]


async def test_there_is_an_end_to_trying(bench: Bench, clock: ManualClock) -> None:
    await bench.start(Kind("work", raising(*(StoreFailed(str(number)) for number in range(9)))))
    job_id = await bench.add(NewJob("work", max_attempts=3))
    for failures in (1, 2):
        await bench.until(job_id, lambda row, failures=failures: row.failures == failures)  # type: ignore[misc]
        clock.advance(timedelta(hours=1))
    assert await bench.ended(job_id) == Outcome(job_id, "failed", "2", None)


async def test_an_error_that_says_how_long_to_wait_is_listened_to(bench: Bench) -> None:
    await bench.start(Kind("work", raising(TooManyRequests(retry_after=500))))
    job_id = await bench.add()
    row = await bench.until(job_id, lambda row: row.failures == 1)
    assert row.run_after == BEGINNING + timedelta(seconds=500)


@pytest.mark.parametrize("payload", ["{}", "no JSON"])
async def test_a_result_or_a_payload_that_is_no_json_is_a_failure(bench: Bench, payload: str) -> None:
    async def handler(job: Job) -> object:
        return object() if job.payload == {} else None

    await bench.start(Kind("work", handler))
    job_id = await bench.add(NewJob("work", payload, max_attempts=1))
    assert (await bench.ended(job_id)).state == "failed"


# --- cancelling ---------------------------------------------------------------------------------------------------------------------


async def test_a_job_is_cancelled_wherever_it_runs(bench: Bench) -> None:
    """Two workers; the wish is written by neither."""
    held = Held()
    for _ in range(2):
        await bench.start(Kind("work", held, at_once=2), slots=1)
    ids = [await bench.add(), await bench.add()]
    await held.next()
    await held.next()
    for job_id in ids:
        assert await bench.database.write(partial(jobs.cancel, job_id=job_id, reason="enough", now=BEGINNING))
    assert [await bench.ended(job_id) for job_id in ids] == [Outcome(job_id, "cancelled", "enough", None) for job_id in ids]
    assert held.cancelled.is_set()


async def test_a_cancelled_job_is_not_tried_again_whatever_it_raises(bench: Bench) -> None:
    begun = asyncio.Event()

    async def stubborn(job: Job) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise StoreFailed("while cleaning up")

    await bench.start(Kind("work", stubborn))
    job_id = await bench.add()
    await begun.wait()
    assert await bench.database.write(partial(jobs.cancel, job_id=job_id, reason="enough", now=BEGINNING))
    assert await bench.ended(job_id) == Outcome(job_id, "cancelled", "enough", None)


# --- leases -------------------------------------------------------------------------------------------------------------------------


async def test_a_claim_is_kept_while_the_job_runs(bench: Bench, clock: ManualClock) -> None:
    held = Held()
    await bench.start(Kind("work", held))
    await bench.start(Kind("work", held))
    job_id = await bench.add()
    await held.next()
    for _ in range(10):
        now = clock.advance(QUICK.renew)
        await bench.until(job_id, lambda row, now=now: row.lease_until == now + QUICK.lease)  # type: ignore[misc]
    held.let.set()
    assert (await bench.ended(job_id)).state == "succeeded"
    assert (await bench.row(job_id)).attempt == 1


async def test_a_worker_that_has_lost_its_claim_ends_the_job_and_leaves_the_heirs_alone(bench: Bench, clock: ManualClock) -> None:
    """Its lease is over before it comes to renew it, as after a pause of the whole process."""
    zombies, heirs = Held(), Held()
    slow = Pace(look=LONG * 10, grace=0.05)
    job_id = await bench.add()
    worker = await bench.start(Kind("work", zombies), pace=slow)
    zombie = await zombies.next()
    clock.advance(slow.lease + MOMENT)
    await bench.start(Kind("work", heirs))
    heir = await heirs.next()
    assert (heir.id, heir.attempt) == (job_id, 2)
    row = await bench.row(job_id)

    def add(connection: Connection) -> bool:
        return projects.ensure(connection, "made-by-a-zombie", public=False, owner_id=None, now=BEGINNING)

    with pytest.raises(ClaimLost):
        await zombie.write(add)
    assert await bench.database.read(partial(projects.find, name="made-by-a-zombie")) is None
    zombie.log("not heard")
    worker.wake()
    async with asyncio.timeout(LONG):
        await zombies.cancelled.wait()
    assert await bench.row(job_id) == row
    assert await heir.write(add)
    heirs.let.set()
    assert (await bench.ended(job_id)).state == "succeeded"
    assert (await bench.row(job_id)).failures == 1
    assert "not heard" not in await bench.log(job_id)


async def test_a_zombie_that_finishes_is_refused(bench: Bench, clock: ManualClock) -> None:
    held = Held()
    job_id = await bench.add()
    await bench.start(Kind("work", held), pace=Pace(look=LONG * 10, grace=0.05))
    await held.next()
    late = clock() + QUICK.lease + MOMENT
    assert len(await bench.database.write(partial(job_claims.recover, now=late))) == 1
    row = await bench.row(job_id)
    tasks = [task for task in asyncio.all_tasks() if task.get_name() == f"job {job_id} work"]
    held.let.set()
    await asyncio.wait(tasks)
    assert await bench.row(job_id) == row
    assert row.state == "waiting"


class Fickle:
    """A database that can be away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.away = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)

    async def write(self, work: Callable[[Connection], object], *, durable: bool = True) -> object:
        if self.away:
            raise DatabaseFailed("away")
        return await self._database.write(work, durable=durable)


async def test_an_end_is_recorded_as_soon_as_the_database_is_back(bench: Bench) -> None:
    fickle, held = Fickle(bench.database), Held()
    await bench.start(Kind("work", held), database=fickle)  # type: ignore[arg-type]
    job_id = await bench.add()
    await held.next()
    fickle.away = True
    held.let.set()
    await asyncio.sleep(0)
    fickle.away = False
    assert (await bench.ended(job_id)).state == "succeeded"
    assert (await bench.row(job_id)).attempt == 1


async def test_a_job_ends_when_its_claim_cannot_be_renewed_in_time(bench: Bench, clock: ManualClock) -> None:
    fickle, held = Fickle(bench.database), Held()
    await bench.start(Kind("work", held), database=fickle)  # type: ignore[arg-type]
    job_id = await bench.add()
    await held.next()
    fickle.away = True
    clock.advance(QUICK.lease)
    async with asyncio.timeout(LONG):
        await held.cancelled.wait()
    fickle.away = False
    again = await held.next() if (await bench.row(job_id)).attempt == 2 else await _recovered(held, clock)
    assert again.attempt == 2
    held.let.set()
    assert (await bench.ended(job_id)).state == "succeeded"


async def _recovered(held: Held, clock: ManualClock) -> Job:
    clock.advance(MOMENT)
    return await held.next()


def test_who_looks_at_a_long_queue_looks_less_often() -> None:
    assert [Pace().pause(took) for took in (0.0, 0.001, 0.01, 5.0)] == pytest.approx([0.1, 0.1, 0.2, 0.5])


# --- stopping -----------------------------------------------------------------------------------------------------------------------


async def test_a_worker_that_stops_lets_its_jobs_finish(bench: Bench) -> None:
    held = Held()
    worker = Worker(bench.database, [Kind("work", held)], clock=bench.clock, pace=Pace(look=0.01, grace=LONG))
    job_id = await bench.add()
    async with running(worker) as stop:
        await held.next()
        stop.set()
        late = await bench.add()
        held.let.set()
    assert (await bench.row(job_id)).state == "succeeded"
    assert (await bench.row(late)).state == "waiting"


async def test_what_does_not_finish_is_given_back_and_no_failure(bench: Bench) -> None:
    held = Held()
    worker = Worker(bench.database, [Kind("work", held)], clock=bench.clock, pace=QUICK)
    job_id = await bench.add()
    async with running(worker):
        (await held.next()).log("half done")
    row = await bench.row(job_id)
    assert (row.state, row.failures, row.attempt, row.worker, row.run_after) == ("waiting", 0, 1, None, BEGINNING)
    assert await bench.log(job_id) == ["half done"]
    held.let.set()
    await bench.start(Kind("work", held))
    assert (await bench.ended(job_id)).state == "succeeded"


async def test_a_handler_that_will_not_end_does_not_hold_up_the_stop(bench: Bench) -> None:
    begun, at_last = asyncio.Event(), asyncio.Event()

    async def deaf(job: Job) -> None:
        begun.set()
        while not at_last.is_set():
            try:
                await at_last.wait()
            except asyncio.CancelledError:
                asyncio.get_running_loop().call_later(0.2, at_last.set)

    job_id = await bench.add()
    async with running(Worker(bench.database, [Kind("work", deaf)], clock=bench.clock, pace=QUICK)):
        await begun.wait()
    assert (await bench.row(job_id)).state in ("running", "succeeded")


async def test_a_worker_goes_on_after_failures_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = await bench.start(Kind("work", raising()))
    failures: list[Exception] = [DatabaseFailed("away"), RuntimeError("a fault")]
    turn: Callable[[], Awaitable[None]] = worker._turn

    async def sometimes() -> None:
        if failures:
            raise failures.pop()
        await turn()

    monkeypatch.setattr(worker, "_turn", sometimes)
    assert (await bench.ended(await bench.add())).state == "succeeded"
    assert failures == []
