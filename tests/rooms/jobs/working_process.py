"""The body of a process that is a job worker, beside others on the same database."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from roadstead.access.clock import system_clock
from roadstead.jobs.running import Job, Kind
from roadstead.jobs.worker import Pace, Worker
from roadstead.metadata.database import open_database

AT_ONCE = 2
LEASE = timedelta(seconds=2)
_PACE = Pace(look=0.02, lease=LEASE, renew=timedelta(seconds=0.3), tell=timedelta(seconds=0.05), grace=0.2)


def work(url: str, diary: Path) -> None:
    """Work until killed. Each job that begins and ends is a line of the diary: "+ID" and "-ID"."""
    asyncio.run(_work(url, diary))


async def _work(url: str, diary: Path) -> None:
    file = os.open(diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def brief(job: Job) -> None:
        os.write(file, f"+{job.id}\n".encode())
        await database.check()
        os.write(file, f"-{job.id}\n".encode())

    async def endless_at_first(job: Job) -> int:
        job.progress(0.5, "half done")
        if job.attempt == 1:
            await asyncio.Event().wait()
        return job.attempt

    database = await open_database(url)
    kinds = (Kind("brief", brief, at_once=AT_ONCE), Kind("endless", endless_at_first))
    await Worker(database, kinds, clock=system_clock, pace=_PACE).run(asyncio.Event())
