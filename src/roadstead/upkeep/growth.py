"""A sample a day of what is stored, so that an administrator sees how it grows. Samples are kept for two years."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from roadstead.access.clock import Clock
from roadstead.metadata import growth, overview
from roadstead.metadata.database import Database
from roadstead.metadata.growth import Sample
from roadstead.metadata.projects import ProjectScope

KEPT: Final = timedelta(days=731)


async def measure(database: Database, clock: Clock) -> Sample:
    """Take one, and forget what is too old. Returns it."""
    now = clock()

    def work(connection: Connection) -> Sample:
        repositories = sum(one.repositories for one in overview.counts(connection, ProjectScope(everything=True)).values())
        sample = Sample(now, overview.stored(connection), repositories)
        growth.add(connection, sample)
        growth.forget(connection, now - KEPT)
        return sample

    return await database.write(work)
