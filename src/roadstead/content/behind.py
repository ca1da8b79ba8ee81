"""The work that goes on behind a writer while its caller brings the next chunk."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

R = TypeVar("R")


class Behind:
    """At most one job at a time. The first failure stays: what comes after it could not be appended any more.

    A job outlives a cancelled wait; the next wait finds it.
    """

    def __init__(self) -> None:
        self._job: asyncio.Future[Any] | None = None
        self._failure: BaseException | None = None
        self._told = False

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._job is not None and not self._job.done()

    async def ready(self) -> None:
        """Wait until no job runs. Raises the failure if there is one, each time."""
        await self.settle()
        if self._failure is not None:
            self._told = True
            raise self._failure

    async def settle(self) -> None:
        """Wait until no job runs, however it ended."""
        if self._job is not None and not self._job.done():
            await asyncio.wait([self._job])
        if self._job is not None:
            self._failure = self._failure or self._job.exception()
        self._job = None

    async def failed(self) -> bool:
        """Whether a job failed, once nothing runs. Raises the failure if nobody has been told of it yet."""
        if not self._told:
            await self.ready()
        await self.settle()
        return self._failure is not None

    def start(self, job: asyncio.Future[Any]) -> None:
        """Let `job` go on alone. Only when `ready`."""
        self._job = job

    async def finish(self, job: asyncio.Future[R]) -> R:
        """Let `job` go on, and wait for its result."""
        self.start(job)
        await self.ready()
        return job.result()
