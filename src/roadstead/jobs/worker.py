"""The worker: claims jobs, runs each in a task of its own, keeps its claims while they run, and records how they ended.

* A claim is a lease: renewed while the job runs, and when its worker dies it ends, and another worker begins the job anew.
* A worker that cannot renew in time ends the job itself, as another may have it by then. If it comes too late, what it writes is refused.
* Somebody's wish to end a job is seen at the next look at the queue, on whatever replica the job runs.
* Asked to stop, the worker claims nothing more, lets what runs finish for a moment, then gives it back: another attempt, no failure.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec
import structlog

from roadstead.errors import RoadsteadError, Unavailable
from roadstead.jobs import schedule
from roadstead.jobs.failures import asked_pause, is_passing, reason
from roadstead.jobs.running import ClaimLost, Ending, Job, Kind
from roadstead.jobs.schedule import Schedule
from roadstead.metadata import job_claims
from roadstead.metadata.database import Database
from roadstead.metadata.job_claims import Caps, ClaimedJob, Told, Turns, Verdict
from roadstead.metadata.jobs import State
from roadstead.metadata.schedules import ScheduleSelects

log = structlog.get_logger()

_SELDOM: Final = 10  # looks: a second passes before a schedule or a dead worker is seen, which nobody notices


class Pace(msgspec.Struct, frozen=True):
    """How often a worker does what. `look` and `grace` are in seconds."""

    look: float = 0.1
    """Between looks at the queue."""

    lease: timedelta = timedelta(seconds=15)
    """How long a claim lasts that is not renewed: after that time the jobs of a dead worker are begun again."""

    renew: timedelta = timedelta(seconds=4)
    """Between renewals of the claims."""

    tell: timedelta = timedelta(seconds=1)
    """Between writing what running jobs say."""

    grace: float = 4.0
    """How long what runs may take to finish when the worker stops; and then, to end."""

    share: float = 0.05
    """The part of the time that looking may take: who looks at a long queue looks less often, but twice a second at least."""

    def pause(self, took: float) -> float:
        """Seconds until the next look, after one that took so many."""
        return max(self.look, min(took / self.share, 0.5))


class _Run:
    """An attempt that this worker is at."""

    def __init__(self, claimed: ClaimedJob, job: Job, until: datetime) -> None:
        self.claimed = claimed
        self.job = job
        self.until = until
        self.ending: Ending | None = None
        self.settling = False
        self.task: asyncio.Task[None] | None = None

    def end(self, ending: Ending) -> None:
        """End the handler, once; what has ended by itself is left to be recorded."""
        if self.ending is None and not self.settling and self.task is not None:
            self.ending = ending
            self.task.cancel()


class Worker:
    """One worker, of which any number may share a database. It runs at most `slots` jobs at once, and fires the schedules."""

    def __init__(
        self,
        database: Database,
        kinds: Iterable[Kind],
        schedules: tuple[Schedule, ...] = (),
        *,
        clock: Callable[[], datetime],
        slots: int = 8,
        pace: Pace | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._database = database
        self._kinds = {kind.name: kind for kind in kinds}
        self._schedules = {one.name: one for one in schedules}
        self._clock = clock
        self._slots = slots
        self._pace = pace or Pace()
        self._chance = chance
        self._turns = Turns(database, {kind.name: Caps(kind.at_once, kind.at_once_per_project) for kind in self._kinds.values()})
        self._due = ScheduleSelects(database)
        self._runs: dict[tuple[int, int], _Run] = {}
        self._awake = asyncio.Event()
        self._prepared = False
        self._looks = 0
        self._renewed = self._told = clock()

    def wake(self) -> None:
        """Look at the queue now."""
        self._awake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. A failure of the database is logged, and then tried again."""
        stopping = asyncio.create_task(stop.wait(), name="stop of the job worker")
        stopping.add_done_callback(lambda _: self.wake())
        try:
            while not stop.is_set():
                self._awake.clear()
                began = asyncio.get_running_loop().time()
                await self._attempt()
                await self._pause(self._pace.pause(asyncio.get_running_loop().time() - began))
            await self._finish()
        finally:
            stopping.cancel()
            for task in (tasks := self._tasks()):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self) -> None:
        try:
            await self._turn()
        except Unavailable as error:
            log.warning("the job worker cannot use the database", reason=error.message)
            await asyncio.sleep(self._pace.look * 5)
        except Exception:
            log.exception("the job worker failed")
            await asyncio.sleep(self._pace.look * 5)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _turn(self) -> None:
        """One look at everything."""
        if not self._prepared:
            await self._database.write(partial(schedule.prepare, known=tuple(self._schedules.values()), now=self._clock()))
            self._prepared = True
        self._end_overdue()
        if self._runs:
            await self._keep()
            await self._end_cancelled()
        if self._looks % _SELDOM == 0:
            await self._fire()
            await self._recover()
        self._looks += 1
        await self._claim()

    # --- what runs ---

    def _end_overdue(self) -> None:
        now = self._clock()
        for run in self._runs.values():
            if run.until <= now:
                run.end(Ending.LOST)

    async def _keep(self) -> None:
        """Renew the claims and write what jobs say, each as often as is due."""
        now = self._clock()
        if now - self._renewed >= self._pace.renew:
            held = await self._database.write(partial(job_claims.renew, worker=self.name, until=now + self._pace.lease), durable=False)
            self._renewed = now
            for key, run in self._runs.items():
                if key in held:
                    run.until = now + self._pace.lease
                else:
                    run.end(Ending.LOST)
        if now - self._told >= self._pace.tell:
            self._told = now
            for run in list(self._runs.values()):
                await self._tell(run)

    async def _tell(self, run: _Run) -> None:
        if run.job.changed and not run.settling and run.ending is None:
            told = run.job.told()
            if not await self._database.write(partial(job_claims.tell, claim=run.job.claim, told=told), durable=False):
                run.end(Ending.LOST)

    async def _end_cancelled(self) -> None:
        for key in await self._turns.cancelled(self.name):
            if key in self._runs:
                self._runs[key].end(Ending.CANCELLED)

    # --- what is to run ---

    async def _fire(self) -> None:
        now = self._clock()
        for name, due in await self._due.due(now):
            if (one := self._schedules.get(name)) is not None:
                await self._database.write(partial(schedule.fire, one=one, due=due, now=now), durable=False)

    async def _recover(self) -> None:
        if not await self._turns.any_lapsed(self._clock()):
            return
        for claim in await self._database.write(partial(job_claims.recover, now=self._clock())):
            log.warning("job taken from a worker that is gone", job=claim.id, worker=claim.worker, attempt=claim.attempt)

    async def _claim(self) -> None:
        while len(self._runs) < self._slots and await self._turns.any(self._clock()):
            now = self._clock()
            claimed = await self._turns.claim(self.name, now + self._pace.lease, now)
            if claimed is None:
                return  # another worker was quicker
            self._begin(claimed, now + self._pace.lease)

    def _begin(self, claimed: ClaimedJob, until: datetime) -> None:
        run = _Run(claimed, Job(claimed, self._database, self._clock), until)
        key = (claimed.claim.id, claimed.claim.attempt)
        self._runs[key] = run
        run.task = asyncio.create_task(self._work(run), name=f"job {claimed.claim.id} {claimed.kind}")
        run.task.add_done_callback(partial(self._done, key))

    def _done(self, key: tuple[int, int], task: asyncio.Task[None]) -> None:
        del self._runs[key]
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("how a job ended could not be recorded", job=key[0], exc_info=error)

    # --- one job ---

    async def _work(self, run: _Run) -> None:
        """Run the handler, and record how it ended; the claim of an attempt that was lost is no longer ours to end."""
        with structlog.contextvars.bound_contextvars(job=run.job.id, kind=run.job.kind, attempt=run.job.attempt):
            verdict = await self._verdict(run)
            run.settling = True
            if verdict is not None and not await self._settle(run, verdict):
                log.warning("what a job ended with was refused: another worker has it")

    async def _verdict(self, run: _Run) -> Verdict | None:
        """How the attempt ended; None if that is for another worker to say."""
        try:
            result = await self._kinds[run.job.kind].handler(run.job)
            return Verdict(State.SUCCEEDED, result=msgspec.json.encode(result).decode())
        except asyncio.CancelledError:
            if run.ending is None:
                raise
            return self._ended(run.ending)
        except ClaimLost:
            return None
        except Exception as error:
            return self._ended(run.ending) if run.ending else self._failed(run, error)

    def _ended(self, ending: Ending) -> Verdict | None:
        match ending:
            case Ending.CANCELLED:
                return Verdict(State.CANCELLED)
            case Ending.STOPPED:
                return Verdict(State.WAITING, run_after=self._clock())
            case Ending.LOST:
                return None

    def _failed(self, run: _Run, error: Exception) -> Verdict:
        """Another attempt later, if there is one left and the error may pass."""
        failures = run.claimed.failures + 1
        over = failures >= run.claimed.max_attempts or not is_passing(error)
        run.job.log(f"Failed: {reason(error)}")
        log.warning("job failed", reason=reason(error), last=over, exc_info=None if isinstance(error, RoadsteadError) else error)
        if over:
            return Verdict(State.FAILED, reason(error), failed=True)
        back_off = self._kinds[run.job.kind].back_off
        pause = max(back_off.after(failures, self._chance()), asked_pause(error))
        return Verdict(State.WAITING, reason(error), run_after=self._clock() + pause, failed=True)

    async def _settle(self, run: _Run, verdict: Verdict) -> bool:
        """Record the end of an attempt, however often the database must be asked while the lease lasts."""
        told: Told = run.job.told()
        while True:
            now = self._clock()
            try:
                return await self._database.write(partial(job_claims.settle, claim=run.job.claim, verdict=verdict, told=told, now=now))
            except Unavailable as error:
                if now >= run.until:
                    return False
                log.warning("cannot record how a job ended", reason=error.message)
                await asyncio.sleep(self._pace.look * 5)

    # --- the end ---

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [run.task for run in self._runs.values() if run.task is not None]

    async def _finish(self) -> None:
        """Let what runs finish, then give it back. A handler that does not even end when it is cancelled is left to its lease."""
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=self._pace.grace)
        for run in list(self._runs.values()):
            run.end(Ending.STOPPED)
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=self._pace.grace)
