"""Workers that are processes of their own, as the replicas of a site are: what they share is the database alone."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from roadstead.access.clock import system_clock
from roadstead.jobs.queue import Queue
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow, NewJob
from tests.rooms.jobs.working_process import AT_ONCE, work

LONG = 60.0
pytestmark = pytest.mark.slow


class Replicas:
    """Starts worker processes, and looks at what they do from outside."""

    def __init__(self, database: Database, url: str, diary: Path) -> None:
        self.database = database
        self.queue = Queue(database, system_clock)
        self.diary = diary
        self._url = url
        self._processes: list[SpawnProcess] = []

    def start(self, count: int = 1) -> list[SpawnProcess]:
        context = multiprocessing.get_context("spawn")
        started = [context.Process(target=work, args=(self._url, self.diary)) for _ in range(count)]
        for process in started:
            process.start()
        self._processes += started
        return started

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.join(LONG)

    async def until(self, job_id: int, condition: Callable[[JobRow], bool]) -> JobRow:
        """The job as soon as it is so."""
        async with asyncio.timeout(LONG):
            while True:
                row = await self.database.read(partial(jobs.find, job_id=job_id))
                assert row is not None
                if condition(row):
                    return row
                await asyncio.sleep(0.01)

    async def running(self, job_id: int) -> JobRow:
        return await self.until(job_id, lambda row: row.doing == "half done")


@pytest.fixture
async def replicas(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    replicas = Replicas(database, database_url, tmp_path / "diary")
    try:
        yield replicas
    finally:
        await replicas.queue.close()
        replicas.end()


async def test_each_job_is_done_once_and_no_cap_is_exceeded(replicas: Replicas) -> None:
    ids = [(await replicas.queue.add(NewJob("brief"))).id for _ in range(40)]
    replicas.start(3)
    outcomes = await asyncio.gather(*(replicas.queue.wait(job_id, LONG) for job_id in ids))
    assert [outcome and outcome.state for outcome in outcomes] == ["succeeded"] * 40
    lines = replicas.diary.read_text().split()
    assert Counter(lines) == Counter(f"{sign}{job_id}" for sign in "+-" for job_id in ids)
    running = most = 0
    for line in lines:
        running += 1 if line[0] == "+" else -1
        most = max(most, running)
    assert most <= AT_ONCE


async def test_the_job_of_a_worker_that_was_killed_is_done_by_another(replicas: Replicas) -> None:
    (victim,) = replicas.start()
    job_id = (await replicas.queue.add(NewJob("endless"))).id
    before = await replicas.running(job_id)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join(LONG)
    replicas.start()
    outcome = await replicas.queue.wait(job_id, LONG)
    assert outcome is not None
    assert (outcome.state, outcome.result) == ("succeeded", "2")
    row = await replicas.until(job_id, lambda row: row.finished_at is not None)
    assert (row.attempt, row.failures) == (2, 1)
    assert before.lease_until is not None
    assert row.started_at is not None
    assert row.started_at > before.lease_until
    (line,) = await replicas.database.read(partial(jobs.lines, job_id=job_id))
    assert str(before.worker) in line.line


async def test_a_job_of_another_process_is_cancelled_within_a_second(replicas: Replicas) -> None:
    """The quickest of three, as a test's machine may be busy."""
    replicas.start(2)
    taken = []
    for _ in range(3):
        job_id = (await replicas.queue.add(NewJob("endless"))).id
        await replicas.running(job_id)
        asked = time.monotonic()
        assert await replicas.database.write(partial(jobs.cancel, job_id=job_id, reason="enough", now=system_clock()))
        assert (await replicas.until(job_id, lambda row: row.finished_at is not None)).state == "cancelled"
        taken.append(time.monotonic() - asked)
    assert min(taken) < 1.0
