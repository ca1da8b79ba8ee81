"""A job as its handler sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from roadstead.jobs.failures import BackOff, plain
from roadstead.metadata import job_claims
from roadstead.metadata.database import Database
from roadstead.metadata.job_claims import LINES_KEPT, ClaimedJob, Told

T = TypeVar("T")


class ClaimLost(Exception):
    """Another worker has the job now: this attempt ends, and whatever it would still do is refused."""


class Job:
    """What a handler is given. It begins at the beginning in every attempt, so what it did before must not be done twice: see `Handler`.

    `attempt` counts from 1.
    """

    def __init__(self, claimed: ClaimedJob, database: Database, clock: Callable[[], datetime]) -> None:
        self.id = claimed.claim.id
        self.kind = claimed.kind
        self.project_id = claimed.project_id
        self.attempt = claimed.claim.attempt
        self.claim = claimed.claim
        self._payload = claimed.payload
        self._database = database
        self._clock = clock
        self._fraction: float | None = None
        self._doing: str | None = None
        self._lines: deque[tuple[datetime, str]] = deque(maxlen=LINES_KEPT)
        self._changed = False

    @property
    def payload(self) -> Any:
        """What was enqueued, out of its JSON."""
        return msgspec.json.decode(self._payload)

    def progress(self, fraction: float | None, doing: str | None = None) -> None:
        """Say how far it is, from 0 to 1 (None: unknown), and what it is doing. Costs nothing: it is written once a second at most."""
        self._fraction = None if fraction is None else min(1.0, max(0.0, fraction))
        self._doing = None if doing is None else plain(doing)
        self._changed = True

    def log(self, line: str) -> None:
        """Add a line to the job's log, of which the newest thousand are kept. For people who see the project; never a secret."""
        self._lines.append((self._clock(), plain(line)))
        self._changed = True

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """`Database.write`, refused if another worker has taken over: then nothing is written. Raises ClaimLost."""

        def held(connection: Connection) -> T:
            if not job_claims.hold(connection, self.claim):
                raise ClaimLost
            return work(connection)

        return await self._database.write(held, durable=durable)

    @property
    def changed(self) -> bool:
        """Whether there is something to tell since `told` was called."""
        return self._changed

    def told(self) -> Told:
        """What is to be written now; the lines are not given again."""
        lines, self._changed = tuple(self._lines), False
        self._lines.clear()
        return Told(self._fraction, self._doing, lines)


Handler = Callable[[Job], Awaitable[object]]
"""What a kind of job does; what it returns must be JSON, and is the job's result.

It must be idempotent: after a crash, a failure, or a stop of its worker it is begun again from the beginning, and for moments a second
worker may run it beside one that was thought dead. `Job.write` keeps the latter out of the database. It is cancelled as any task is, and
ends at once. Errors of the tree that will not pass end the job; all others are tried again (see `failures`).
"""


class Kind(msgspec.Struct, frozen=True):
    """A kind of job: how many may run at once, over all workers and replicas, altogether and of one project (None: as many)."""

    name: str
    handler: Handler
    at_once: int = 1
    at_once_per_project: int | None = None
    back_off: BackOff = BackOff()


class Ending(Enum):
    """Why a worker ends a handler that has not ended by itself."""

    CANCELLED = "somebody wanted it to end"
    LOST = "another worker has the job"
    STOPPED = "the worker stops"
