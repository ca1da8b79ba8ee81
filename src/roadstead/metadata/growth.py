"""How much was stored over time: one sample after the other."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, select

from roadstead.metadata.schema import storage_samples
from roadstead.metadata.statements import insert_new


class Sample(msgspec.Struct, frozen=True):
    """What was `stored` at that time (bytes, each content once), in how many repositories."""

    at: datetime
    stored: int
    repositories: int


_COLUMNS = tuple(storage_samples.c[field] for field in Sample.__struct_fields__)


def add(connection: Connection, sample: Sample) -> None:
    """Keep it, unless there is one of that very moment."""
    insert_new(connection, storage_samples, {"at": sample.at, "stored": sample.stored, "repositories": sample.repositories})


def forget(connection: Connection, before: datetime) -> None:
    """Remove what is older."""
    connection.execute(delete(storage_samples).where(storage_samples.c.at < before))


def samples(connection: Connection, since: datetime) -> list[Sample]:
    """The samples from that time on, the oldest first."""
    return [
        Sample(*row) for row in connection.execute(select(*_COLUMNS).where(storage_samples.c.at >= since).order_by(storage_samples.c.at))
    ]
