"""The body of a process that writes to an SQLite file that others write to at the same time."""

from __future__ import annotations

import asyncio
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from sqlalchemy import Connection, func, select

from roadstead.metadata.database import open_database
from roadstead.metadata.schema import projects
from tests.support.factories import BEGINNING

PROCESSES = 4
WRITES = 200


def write_many(url: str, process: int, gate: Barrier, failures: Queue[str]) -> None:
    """Write `WRITES` transactions, starting when every process is at the gate; then say what went wrong ("": nothing)."""
    try:
        asyncio.run(_write_many(url, process, gate))
        failures.put("")
    except BaseException as error:
        failures.put(repr(error))
        raise


async def _write_many(url: str, process: int, gate: Barrier) -> None:
    database = await open_database(url)
    try:
        await asyncio.to_thread(gate.wait, 60)
        for number in range(WRITES):
            await database.write(partial(_read_then_write, f"p{process}-{number}"))
    finally:
        await database.close()


def _read_then_write(name: str, connection: Connection) -> None:
    connection.execute(select(func.count()).select_from(projects)).scalar_one()
    connection.execute(projects.insert().values({"name": name, "created_at": BEGINNING}))
