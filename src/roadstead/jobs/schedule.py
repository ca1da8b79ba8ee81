"""Jobs that are enqueued by the clock: `Every` so often, or at the times of a `Cron` expression (UTC).

A schedule fires once, however many workers see it due. What was due while no worker ran is made up for by one job, not by many; and if
the job of the last time still runs, none is added.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from cronsim import CronSim, CronSimError
from sqlalchemy import Connection

from roadstead.errors import Misconfigured
from roadstead.metadata import jobs, schedules
from roadstead.metadata.jobs import NewJob
from roadstead.metadata.schema import EPOCH


class Every(msgspec.Struct, frozen=True):
    """At once, and then again and again after `interval`."""

    interval: timedelta

    def first(self, now: datetime) -> datetime:
        """When it is due for the first time, if it is new now: at once."""
        return now

    def following(self, now: datetime) -> datetime:
        """When it is due again, if it is done now."""
        return now + self.interval


class Cron(msgspec.Struct, frozen=True):
    """Five fields as in crontab(5): minute, hour, day of the month, month, day of the week. Raises Misconfigured."""

    expression: str

    def __post_init__(self) -> None:
        try:
            CronSim(self.expression, EPOCH)
        except CronSimError as error:
            raise Misconfigured(f"The schedule {self.expression!r} is not valid: {error}.") from error

    def first(self, now: datetime) -> datetime:
        """When it is due for the first time, if it is new now: the next of its times."""
        return self.following(now)

    def following(self, now: datetime) -> datetime:
        """When it is due again, if it is done now: always later."""
        return next(CronSim(self.expression, now))


class Schedule(msgspec.Struct, frozen=True):
    """What is enqueued when. The job's key is the schedule's name."""

    name: str
    rule: Every | Cron
    kind: str
    payload: str = "{}"


def prepare(connection: Connection, known: tuple[Schedule, ...], now: datetime) -> None:
    """Let the database know which schedules there are."""
    schedules.keep_only(connection, [one.name for one in known])
    for one in known:
        schedules.ensure(connection, one.name, repr(one.rule), one.rule.first(now))


def fire(connection: Connection, one: Schedule, due: datetime, now: datetime) -> bool:
    """Enqueue the job of a schedule that is due, unless another worker has; says which."""
    if not schedules.move_on(connection, one.name, due, one.rule.following(now)):
        return False
    jobs.enqueue(connection, NewJob(one.kind, one.payload, key=one.name), now)
    return True
