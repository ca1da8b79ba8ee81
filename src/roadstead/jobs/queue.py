"""The queue, for those who ask for work.

A job is a row of the database that everything else is in, so it is enqueued in the transaction of its cause: both are there or neither.
Workers are other processes, so they look for rows, ten times a second: a look costs some microseconds (SQLite) or a tenth of a millisecond
(PostgreSQL), and unlike a notification it needs no connection of its own and misses nothing when the database was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from roadstead.errors import NotFound, Unavailable
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import Enqueued, NewJob, Outcome

log = structlog.get_logger()

_LOOK_SECONDS: Final = 0.1


class Queue:
    """Where work is asked for and waited for. Safe to use from all tasks of one event loop."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._waiters: dict[int, int] = {}
        self._watch: asyncio.Task[None] | None = None

    def enqueue(self, connection: Connection, new: NewJob) -> Enqueued:
        """Ask for work in the caller's own transaction; see `metadata.jobs.enqueue`."""
        return jobs.enqueue(connection, new, self._clock())

    async def add(self, new: NewJob) -> Enqueued:
        """Ask for work that has no other cause in the database."""
        return await self._database.write(lambda connection: self.enqueue(connection, new))

    async def wait(self, job_id: int, timeout: float) -> Outcome | None:
        """How the job ended, as soon as it does; None if it has not within `timeout` seconds. Raises NotFound.

        However many wait, for whatever number of jobs, one task of the process looks for all of them.
        """
        ended = self._waiting.setdefault(job_id, asyncio.get_running_loop().create_future())
        self._waiters[job_id] = self._waiters.get(job_id, 0) + 1
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look_again_and_again(), name="watch for ends of jobs")
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(ended)  # others wait for it too
        except TimeoutError:
            return None
        finally:
            self._leave(job_id, ended)

    def _leave(self, job_id: int, ended: asyncio.Future[Outcome]) -> None:
        if self._waiting.get(job_id) is not ended:
            return  # it has ended, and whoever waits for it now came later
        self._waiters[job_id] -= 1
        if self._waiters[job_id] == 0:
            del self._waiters[job_id], self._waiting[job_id]

    async def _look_again_and_again(self) -> None:
        while self._waiting:
            try:
                await self._look()
            except Unavailable as error:
                log.warning("cannot see how jobs ended", reason=error.message)
            if self._waiting:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        asked = tuple(self._waiting)
        found = await self._database.read(partial(jobs.outcomes, ids=asked))
        for job_id in asked:
            if job_id not in found:
                self._resolve(job_id, NotFound(f"There is no job {job_id}, or it ended so long ago that it is forgotten."))
            elif (outcome := found[job_id]) is not None:
                self._resolve(job_id, outcome)

    def _resolve(self, job_id: int, answer: Outcome | NotFound) -> None:
        ended = self._waiting.pop(job_id, None)
        if ended is None:
            return  # those who waited left while we looked
        del self._waiters[job_id]
        if isinstance(answer, Outcome):
            ended.set_result(answer)
        else:
            ended.set_exception(answer)

    async def close(self) -> None:
        """End all waiting."""
        for ended in self._waiting.values():
            ended.cancel()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
