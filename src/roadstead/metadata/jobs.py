"""Jobs as those see them who ask for work: enqueued, looked up, listed, cancelled, retried, forgotten. Working at them is `job_claims`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import Connection, and_, bindparam, case, delete, exc, func, select, update

from roadstead.metadata.listing import Fields, Listing, Sort, listed
from roadstead.metadata.schema import job_log, jobs, projects
from roadstead.metadata.statements import Prepared, batched, insert_new


class State(StrEnum):
    """How a job stands. Only the first two are live; a job whose attempt failed and that will be tried again is waiting."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class NewJob(msgspec.Struct, frozen=True):
    """Work to be done. Of jobs of one kind with the same `key` at most one is live.

    `payload` is JSON. Jobs of greater `priority` go first. It begins at `run_after` (None: now), and fails after `max_attempts` failures.
    """

    kind: str
    payload: str = "{}"
    key: str | None = None
    project_id: int | None = None
    priority: int = 0
    run_after: datetime | None = None
    max_attempts: int = 5


class Enqueued(msgspec.Struct, frozen=True):
    """The job that does what was asked for, and whether it was added for that: otherwise it was live already."""

    id: int
    added: bool


class JobRow(msgspec.Struct, frozen=True):
    """One job. `fraction` is from 0 to 1; `payload` and `result` are JSON; `project` is the project's name."""

    id: int
    kind: str
    key: str | None
    project_id: int | None
    project: str | None
    payload: str
    priority: int
    state: str
    run_after: datetime
    attempt: int
    failures: int
    max_attempts: int
    worker: str | None
    lease_until: datetime | None
    cancel_requested_at: datetime | None
    fraction: float | None
    doing: str | None
    reason: str | None
    result: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class LogLine(msgspec.Struct, frozen=True):
    """Something that a job said, in which of its attempts; later lines have greater ids."""

    id: int
    at: datetime
    attempt: int
    line: str


class Outcome(msgspec.Struct, frozen=True):
    """How a job ended."""

    id: int
    state: str
    reason: str | None
    result: str | None


# --- enqueueing -----------------------------------------------------------------------------------------------------------------

_LIVE = and_(jobs.c.kind == bindparam("the_kind"), jobs.c.key == bindparam("the_key"), jobs.c.finished_at.is_(None))
_FIND_LIVE = Prepared(select(jobs.c.id, jobs.c.priority, jobs.c.run_after, jobs.c.state, jobs.c.failures).where(_LIVE))


def enqueue(connection: Connection, new: NewJob, now: datetime) -> Enqueued:
    """Add a job in the caller's transaction, unless one of its kind and key is live: then that one is the answer.

    A live one that waits for its first attempt takes the greater priority and the earlier time of the two.
    """
    if new.key is None:
        return Enqueued(_insert(connection, new, now), added=True)
    while True:
        live = _FIND_LIVE.first(connection, {"the_kind": new.kind, "the_key": new.key})
        if live is not None:
            _hasten(connection, live, new, now)
            return Enqueued(live[0], added=False)
        # Between the two statements another transaction may add one (PostgreSQL), and it may even have finished when we look again.
        if insert_new(connection, jobs, _values(new, now)):
            added = _FIND_LIVE.first(connection, {"the_kind": new.kind, "the_key": new.key})
            assert added is not None
            return Enqueued(added[0], added=True)


def _values(new: NewJob, now: datetime) -> dict[str, object]:
    return {
        "kind": new.kind,
        "key": new.key,
        "project_id": new.project_id,
        "lane": new.project_id or 0,
        "payload": new.payload,
        "priority": new.priority,
        "state": State.WAITING.value,
        "run_after": new.run_after or now,
        "attempt": 0,
        "failures": 0,
        "max_attempts": new.max_attempts,
        "created_at": now,
    }


def _insert(connection: Connection, new: NewJob, now: datetime) -> int:
    found: int = connection.execute(jobs.insert().values(_values(new, now)).returning(jobs.c.id)).scalar_one()
    return found


def _hasten(connection: Connection, live: Sequence[object], new: NewJob, now: datetime) -> None:
    """Nothing is written for those who change nothing: a thousand askers cost a thousand reads."""
    job_id, priority, run_after, state, failures = live
    soon = new.run_after or now
    assert isinstance(priority, int)
    assert isinstance(run_after, datetime)
    # What has failed waits for its reason: asking for it again is no reason to hurry.
    if state == State.WAITING and not failures and (new.priority > priority or soon < run_after):
        waiting = (jobs.c.id == job_id, jobs.c.state == State.WAITING)
        values = {"priority": max(priority, new.priority), "run_after": min(run_after, soon)}
        connection.execute(update(jobs).where(*waiting).values(values))


# --- looking --------------------------------------------------------------------------------------------------------------------

_COLUMNS = tuple(projects.c.name if field == "project" else jobs.c[field] for field in JobRow.__struct_fields__)
_ROWS = select(*_COLUMNS).select_from(jobs.outerjoin(projects, projects.c.id == jobs.c.project_id))
_FIELDS = Fields(
    {field: column for field, column in zip(JobRow.__struct_fields__, _COLUMNS, strict=True) if field not in ("payload", "result")},
    jobs.c.id,
    (Sort("id", descending=True),),
)


_LINES = select(job_log.c.id, job_log.c.at, job_log.c.attempt, job_log.c.line)


def find(connection: Connection, job_id: int) -> JobRow | None:
    """One job."""
    row = connection.execute(_ROWS.where(jobs.c.id == job_id)).first()
    return None if row is None else JobRow(*tuple(row))


def last(connection: Connection, kind: str, key: str) -> JobRow | None:
    """The newest job of that kind and key, however it stands."""
    row = connection.execute(_ROWS.where(jobs.c.kind == kind, jobs.c.key == key).order_by(jobs.c.id.desc()).limit(1)).first()
    return None if row is None else JobRow(*tuple(row))


def page(connection: Connection, listing: Listing, project_ids: frozenset[int] | None = None) -> tuple[list[JobRow], int]:
    """The jobs that the listing asks for, newest first unless it says otherwise, and how many there are on all pages.

    Only those of `project_ids`, where given. Every column but payload and result can be asked for. Raises InvalidInput.
    """
    seen = _ROWS if project_ids is None else _ROWS.where(jobs.c.project_id.in_(project_ids))
    rows, total = listed(connection, seen, _FIELDS, listing)
    return [JobRow(*tuple(row)) for row in rows], total


def lines(connection: Connection, job_id: int, after: int = 0) -> list[LogLine]:
    """What a job has said since the line with the id `after`, oldest first."""
    said = _LINES.where(job_log.c.job_id == job_id, job_log.c.id > after)
    return [LogLine(*row) for row in connection.execute(said.order_by(job_log.c.id))]


def log_page(connection: Connection, job_id: int, number: int | None, size: int) -> tuple[list[LogLine], int, int]:
    """A page of what a job has said, oldest first (None: the last one), how many lines there are, and the page's number."""
    total: int = connection.execute(select(func.count()).where(job_log.c.job_id == job_id)).scalar_one()
    number = number or max(1, -(-total // size))
    said = _LINES.where(job_log.c.job_id == job_id).order_by(job_log.c.id).offset((number - 1) * size).limit(size)
    return [LogLine(*row) for row in connection.execute(said)] if (number - 1) * size < total else [], total, number


def outcomes(connection: Connection, ids: Iterable[int]) -> dict[int, Outcome | None]:
    """How each of these jobs ended; None for those that are live. Those that do not exist are left out."""
    columns = (jobs.c.id, jobs.c.state, jobs.c.reason, jobs.c.result, jobs.c.finished_at)
    found: dict[int, Outcome | None] = {}
    for some in batched(ids):
        for *outcome, finished_at in connection.execute(select(*columns).where(jobs.c.id.in_(some))):
            found[outcome[0]] = None if finished_at is None else Outcome(*outcome)
    return found


# --- changing -------------------------------------------------------------------------------------------------------------------


def cancel(connection: Connection, job_id: int, reason: str, now: datetime) -> bool:
    """Cancel a waiting job, or ask for the end of a running one, which its worker sees within a second. False if it is not live."""
    ends = jobs.c.state == State.WAITING
    values = {
        "state": case((ends, State.CANCELLED.value), else_=jobs.c.state),
        "finished_at": case((ends, bindparam("now", now, jobs.c.finished_at.type)), else_=None),
        "cancel_requested_at": func.coalesce(jobs.c.cancel_requested_at, bindparam("now", now, jobs.c.finished_at.type)),
        "reason": reason,
    }
    return connection.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.finished_at.is_(None)).values(values)).rowcount == 1


def again(connection: Connection, job_id: int, now: datetime) -> bool:
    """Let a job that failed, was cancelled, or waits for its next attempt begin now, with all its attempts before it.

    False if it runs, has succeeded, or another one of its kind and key is live.
    """
    fresh = {"state": State.WAITING.value, "run_after": now, "failures": 0, "cancel_requested_at": None, "finished_at": None}
    idle = jobs.c.state.in_((State.WAITING, State.FAILED, State.CANCELLED))
    begun = update(jobs).where(jobs.c.id == job_id, idle).values(**fresh, fraction=None, doing=None, result=None)
    try:
        with connection.begin_nested():
            return connection.execute(begun).rowcount == 1
    except exc.IntegrityError:  # uq_jobs_kind_key_live
        return False


def purge(connection: Connection, finished_before: datetime, limit: int) -> int:
    """Forget up to `limit` jobs that ended before that time, with what they said; returns how many."""
    old = select(jobs.c.id).where(jobs.c.finished_at < finished_before).order_by(jobs.c.finished_at).limit(limit)
    ids = list(connection.execute(old.with_for_update(skip_locked=True)).scalars())
    for some in batched(ids):
        connection.execute(delete(job_log).where(job_log.c.job_id.in_(some)))
        connection.execute(delete(jobs).where(jobs.c.id.in_(some)))
    return len(ids)
