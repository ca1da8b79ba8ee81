"""When each schedule is next due. Of all workers that see one due, the one whose compare-and-swap succeeds does what is to be done."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.schema import from_microseconds, schedules, to_microseconds
from roadstead.metadata.statements import insert_new


class ScheduleSelects:
    """The hot select of what is due."""

    def __init__(self, database: Database) -> None:
        now = bindparam("now", type_=schedules.c.next_at.type)
        self._due = database.hot(select(schedules.c.name, schedules.c.next_at).where(schedules.c.next_at <= now))

    async def due(self, now: datetime) -> list[tuple[str, datetime]]:
        """The schedules that are due, each with the time since when it is."""
        return [(name, from_microseconds(at)) for name, at in await self._due.all(now=to_microseconds(now))]


def ensure(connection: Connection, name: str, rule: str, first: datetime) -> None:
    """Let a schedule be due at `first`, if it is new or has a new rule; otherwise leave it as it is."""
    if not insert_new(connection, schedules, {"name": name, "rule": rule, "next_at": first}):
        changed = (schedules.c.name == name, schedules.c.rule != rule)
        connection.execute(update(schedules).where(*changed).values(rule=rule, next_at=first))


def keep_only(connection: Connection, names: Collection[str]) -> None:
    """Forget all other schedules: the program has none of those names any more."""
    connection.execute(delete(schedules).where(schedules.c.name.not_in(names)))


def move_on(connection: Connection, name: str, due: datetime, next_at: datetime) -> bool:
    """Set when it is next due; False if somebody else has."""
    mine = (schedules.c.name == name, schedules.c.next_at == due)
    return connection.execute(update(schedules).where(*mine).values(next_at=next_at)).rowcount == 1
