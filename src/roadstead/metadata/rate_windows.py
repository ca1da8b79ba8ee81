"""How many requests or pulls somebody has made in a window of time, added up over all workers and replicas."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.schema import rate_windows, to_microseconds
from roadstead.metadata.statements import batched, insert_new


class Window(NamedTuple):
    """What is counted, of whom, since when."""

    kind: str
    subject: str
    started_at: datetime


class WindowSelects:
    """The select that the first pull of somebody in a window begins with."""

    def __init__(self, database: Database) -> None:
        mine = (
            rate_windows.c.kind == bindparam("kind"),
            rate_windows.c.subject == bindparam("subject"),
            rate_windows.c.started_at == bindparam("started_at"),
        )
        self._used = database.hot(select(rate_windows.c.used).where(*mine))

    async def used(self, window: Window) -> int:
        """The count of a window."""
        row = await self._used.first(kind=window.kind, subject=window.subject, started_at=to_microseconds(window.started_at))
        return 0 if row is None else int(row[0])


def add(connection: Connection, counts: Mapping[Window, int]) -> None:
    """Add to the counts of windows; in their order, so that two replicas cannot deadlock."""
    for window in sorted(counts):
        if not insert_new(connection, rate_windows, {**window._asdict(), "used": counts[window]}):
            mine = [rate_windows.c[key] == value for key, value in window._asdict().items()]
            connection.execute(update(rate_windows).where(*mine).values(used=rate_windows.c.used + counts[window]))


def used(connection: Connection, windows: Collection[Window]) -> dict[Window, int]:
    """The counts of those windows that have one."""
    wanted = set(windows)
    columns = (rate_windows.c.kind, rate_windows.c.subject, rate_windows.c.started_at, rate_windows.c.used)
    found: dict[Window, int] = {}
    for started_at in {window.started_at for window in wanted}:
        subjects = sorted({window.subject for window in wanted if window.started_at == started_at})
        for some in batched(subjects):
            rows = connection.execute(select(*columns).where(rate_windows.c.started_at == started_at, rate_windows.c.subject.in_(some)))
            found |= {Window(*row[:3]): row[3] for row in rows}
    return {window: count for window, count in found.items() if window in wanted}


def purge(connection: Connection, kind: str, before: datetime) -> int:
    """Remove the windows of a kind that began before that time; returns how many."""
    return connection.execute(delete(rate_windows).where(rate_windows.c.kind == kind, rate_windows.c.started_at < before)).rowcount
