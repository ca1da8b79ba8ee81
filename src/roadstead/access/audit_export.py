"""Exporting the audit log, at least once: rows are sent, then marked; what was not marked is sent again.

One job worker at a time exports, by a lease, so that several neither double nor shuffle the rows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Gauge

from roadstead.access.audit_sinks import Sink
from roadstead.access.batches import to_its_end
from roadstead.access.clock import Clock, system_clock
from roadstead.metadata import audit, leases
from roadstead.metadata.audit import AuditRow
from roadstead.metadata.database import Database

log = structlog.get_logger()

WAITING: Final = Gauge("roadstead_audit_export_waiting", "Entries of the audit log that wait to be exported.", multiprocess_mode="livesum")
LAG: Final = Gauge("roadstead_audit_export_lag_seconds", "Age of the oldest entry that waits to be exported.", multiprocess_mode="livesum")

_LEASE: Final = "audit export"
_HELD: Final = timedelta(minutes=1)
_BATCH: Final = 500
_LONGEST_REST: Final = timedelta(minutes=1)


class AuditExport:
    """Exports to one sink. After a failure it rests, a second at first and up to a minute, and begins again where it was."""

    def __init__(self, database: Database, sink: Sink, clock: Clock = system_clock) -> None:
        self._database = database
        self._sink = sink
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._failures = 0
        self._rest_until: datetime | None = None

    async def run(self) -> int:
        """Export what waits; returns how many rows. A sink that fails is logged and not raised."""
        if self._rest_until is not None and self._clock() < self._rest_until:
            return 0
        exported = 0
        if not await self._measure():
            return 0
        while await self._hold() and (rows := await self._database.read(lambda connection: audit.to_export(connection, _BATCH))):
            if not await self._send(rows):
                break
            exported += len(rows)
        await self._measure()
        return exported

    async def _hold(self) -> bool:
        now = self._clock()
        return await self._database.write(lambda connection: leases.take(connection, _LEASE, self._holder, now + _HELD, now), durable=False)

    async def _send(self, rows: Sequence[AuditRow]) -> bool:
        try:
            await to_its_end(asyncio.to_thread(self._sink.send, rows))
        except OSError as error:
            self._rest(error)
            return False
        self._failures, self._rest_until = 0, None
        ids, now = [row.id for row in rows], self._clock()
        await self._database.write(lambda connection: audit.exported(connection, ids, now), durable=False)
        return True

    def _rest(self, error: OSError) -> None:
        rest = min(timedelta(seconds=2**self._failures), _LONGEST_REST)
        self._failures = min(self._failures + 1, 6)
        self._rest_until = self._clock() + rest
        log.error("audit export failed", reason=str(error) or type(error).__name__, next_try_in=rest.total_seconds())

    async def _measure(self) -> int:
        number, oldest = await self._database.read(audit.waiting)
        WAITING.set(number)
        LAG.set((self._clock() - oldest).total_seconds() if oldest is not None else 0)
        return number

    async def close(self) -> None:
        """Let another worker go on at once."""
        now = self._clock()
        await self._database.write(lambda connection: leases.give_back(connection, _LEASE, self._holder, now), durable=False)


async def pass_over(database: Database) -> int:
    """Where nothing is exported, mark what would wait for it for ever; returns how many rows."""
    passed = 0
    while marked := await database.write(lambda connection: audit.pass_over(connection, _BATCH), durable=False):
        passed += marked
    return passed
