"""The outbox: what happened, written in the transaction in which it happened.

Rows are claimed, never read by a cursor over ids: ids become visible in the order of commits, not of numbers, so a
cursor would pass over a row that commits late.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, or_, select, update

from roadstead.metadata.schema import events
from roadstead.metadata.statements import Prepared


class NewEvent(msgspec.Struct, frozen=True):
    """Something that happened. `type` is noun.verb, as in manifest.pushed."""

    type: str
    at: datetime
    actor_id: int | None = None
    project_id: int | None = None
    repository_id: int | None = None
    manifest_id: int | None = None
    tag: str | None = None
    old_digest: str | None = None
    new_digest: str | None = None


class EventRow(msgspec.Struct, frozen=True):
    """One claimed event."""

    id: int
    attempts: int
    event: NewEvent


_FIELDS = tuple(events.c[field] for field in NewEvent.__struct_fields__)


_ADD = Prepared(events.insert())


def add(connection: Connection, *new: NewEvent) -> None:
    """Record events."""
    if new:
        _ADD.change_each(connection, [msgspec.structs.asdict(one) for one in new])


def claim(connection: Connection, worker: str, until: datetime, now: datetime, limit: int) -> list[EventRow]:
    """Take up to `limit` events that are neither done nor held by a living worker."""
    free = or_(events.c.claimed_until.is_(None), events.c.claimed_until < now)
    due = select(events.c.id).where(events.c.done_at.is_(None), free).order_by(events.c.id).limit(limit)
    statement = (
        update(events)
        .where(events.c.id.in_(due.with_for_update(skip_locked=True)))
        .values(claimed_by=worker, claimed_until=until, attempts=events.c.attempts + 1)
        .returning(events.c.id, events.c.attempts, *_FIELDS)
    )
    rows = [EventRow(row[0], row[1], NewEvent(*row[2:])) for row in connection.execute(statement)]
    return sorted(rows, key=lambda row: row.id)


def finish(connection: Connection, event_id: int, worker: str, now: datetime) -> bool:
    """Mark a claimed event as done; False if the claim was lost."""
    mine = (events.c.id == event_id, events.c.claimed_by == worker, events.c.done_at.is_(None))
    return connection.execute(update(events).where(*mine).values(done_at=now)).rowcount == 1
