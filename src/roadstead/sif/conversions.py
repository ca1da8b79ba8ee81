"""Having an image converted, and waiting for it.

Whoever asks for an image in its other form is given what was made before, or what another repository has, or waits for the job that makes
it. However many ask, there is one job; those of one process wait by one look at the database, and are at most `Patience.waiters`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Actor
from roadstead.access.clock import Clock
from roadstead.errors import NotConvertible, NotReady, Unauthenticated
from roadstead.jobs.queue import Queue
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow, State
from roadstead.metadata.projects import ConversionPolicy
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.derived import Derived
from roadstead.sif.forms import Form
from roadstead.sif.makers import Maker
from roadstead.sif.wanted import KIND, ON_DEMAND, Result, Wanted

LIVE: Final = (State.WAITING, State.RUNNING)
_ASK_AGAIN: Final = 10
"""Seconds after which a client that was not waited for is told to come again."""


class Patience(msgspec.Struct, frozen=True):
    """How long one request waits (seconds), how many of one process may wait at once, and how long a failure is the answer.

    A conversion that only failed because something was out of order at the time is begun again after `passing`.
    """

    seconds: float = 300.0
    waiters: int = 1024
    failure: timedelta = timedelta(hours=1)
    passing: timedelta = timedelta(minutes=1)


class Conversions:
    """See the module's docstring. Safe to use from all tasks of one event loop."""

    def __init__(
        self,
        database: Database,
        queue: Queue,
        derived: Derived,
        makers: Mapping[Form, Maker],
        clock: Clock,
        patience: Patience | None = None,
    ) -> None:
        self._database = database
        self._queue = queue
        self._derived = derived
        self._makers = makers
        self._clock = clock
        self._patience = patience or Patience()
        self._beginning: dict[str, asyncio.Task[Digest | int]] = {}
        self._waiting = 0

    def converts_to(self, form: Form) -> bool:
        """Whether images of the other form can be had in this one."""
        return form in self._makers

    def wanted(self, place: PlaceRow, name: RepositoryName, source: Digest, form: Form) -> Wanted:
        """The image whose manifest is `source` in another form, by the conversion of today. Raises NotConvertible where there is none."""
        if place.repository_id is None:
            raise NotConvertible
        return self.wanted_in(place.project_id, place.repository_id, name, source, form)

    def wanted_in(self, project_id: int, repository_id: int, name: RepositoryName, source: Digest, form: Form) -> Wanted:
        """As `wanted`, where the place is known by its ids."""
        maker = self._makers.get(form)
        if maker is None:
            raise NotConvertible
        return Wanted(form, project_id, repository_id, str(name), str(source), maker.identity(source))

    async def ensure(self, actor: Actor, place: PlaceRow, policy: ConversionPolicy, several: Sequence[Wanted]) -> list[Digest]:
        """What each of them is in its other form, all of it there.

        Raises NotReady with the job's id, state and progress where that takes longer than a request may wait, NotConvertible with the
        reason, and Unauthenticated where the project does not convert for the anonymous.
        """
        until = asyncio.get_running_loop().time() + self._patience.seconds
        begun = [await self._begin(actor, place, policy, wanted) for wanted in several]
        return [one if isinstance(one, Digest) else await self._wait(one, until) for one in begun]

    async def _begin(self, actor: Actor, place: PlaceRow, policy: ConversionPolicy, wanted: Wanted) -> Digest | int:
        found = await self._derived.find(wanted.repository_id, wanted.digest, wanted.conversion)
        if found is not None and found.whole:
            return found.digest
        if actor.anonymous and not policy.anonymous:
            raise Unauthenticated("This image has not been converted yet. Log in to have it converted.")
        return await self._once(wanted.key, partial(self._look, place, wanted))

    async def _once(self, key: str, act: Callable[[], Coroutine[Any, Any, Digest | int]]) -> Digest | int:
        """Do it once for all who ask at the same time."""
        task = self._beginning.get(key)
        if task is None:
            task = self._beginning[key] = asyncio.create_task(act(), name=f"begin conversion {key}")
            task.add_done_callback(partial(self._begun, key))
        return await asyncio.shield(task)

    def _begun(self, key: str, task: asyncio.Task[Digest | int]) -> None:
        del self._beginning[key]
        if not task.cancelled():
            task.exception()  # those who asked may have left, and nobody else is told

    async def _look(self, place: PlaceRow, wanted: Wanted) -> Digest | int:
        """What there is already, here or elsewhere; else the job that makes it."""
        row = await self.last(wanted)
        if row is not None and self._still_counts(row):
            raise refusal(row)
        shared = await self._derived.share(place, wanted.repository, wanted.digest, wanted.conversion)
        return shared or (await self._queue.add(wanted.job(ON_DEMAND))).id

    async def last(self, wanted: Wanted) -> JobRow | None:
        """The newest job for it."""
        return await self._database.read(partial(jobs.last, kind=KIND, key=wanted.key))

    def _still_counts(self, row: JobRow) -> bool:
        """Whether a failure is the answer still, so that it is not tried again for every client that asks."""
        if row.finished_at is None or row.state == State.SUCCEEDED:
            return False
        kept = self._patience.passing if _may_pass(row) else self._patience.failure
        return row.finished_at > self._clock() - kept

    async def _wait(self, job_id: int, until: float) -> Digest:
        if self._waiting >= self._patience.waiters:
            raise await self._not_ready(job_id)
        self._waiting += 1
        try:
            outcome = await self._queue.wait(job_id, until - asyncio.get_running_loop().time())
        finally:
            self._waiting -= 1
        if outcome is None:
            raise await self._not_ready(job_id)
        if outcome.state == State.SUCCEEDED and outcome.result is not None:
            return Digest(msgspec.json.decode(outcome.result, type=Result).digest)
        raise refusal(await self._row(job_id))

    async def _not_ready(self, job_id: int) -> NotReady:
        return not_ready(await self._row(job_id))

    async def _row(self, job_id: int) -> JobRow:
        row = await self._database.read(partial(jobs.find, job_id=job_id))
        if row is None:
            raise NotReady(retry_after=_ASK_AGAIN)
        return row

    def begin(self, connection: Connection, wanted: Wanted, priority: int) -> int:
        """Have it made, in the caller's own transaction, whatever came of it before; the id of the job."""
        return self._queue.enqueue(connection, wanted.job(priority)).id


def _may_pass(row: JobRow) -> bool:
    """Whether it failed only because its attempts were used up: what is wrong with the image ends it at the first."""
    return row.state == State.FAILED and row.failures >= row.max_attempts


def refusal(row: JobRow) -> NotConvertible | NotReady:
    """What to tell of a job that came to nothing."""
    if _may_pass(row):
        return NotReady(f"The image could not be converted at the moment: {row.reason}", retry_after=60, job=row.id, state=row.state)
    return NotConvertible(row.reason, job=row.id, state=row.state)


def not_ready(row: JobRow) -> NotReady:
    """What to tell of a job that is not done."""
    done = "" if row.fraction is None else f", {row.fraction:.0%} done"
    message = f"The image is still being converted: job {row.id} is {row.state}{done}. Try again in a moment."
    return NotReady(message, retry_after=_ASK_AGAIN, job=row.id, state=row.state, progress=row.fraction)
