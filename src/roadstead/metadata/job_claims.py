"""Jobs as those see them who work at them: whose turn it is, claimed for a while, kept, told of, settled, and taken from the dead.

A claim is a job's id, the worker's name and the number of the attempt. Every write of a worker names all three and changes nothing when
they are no longer the row's: a worker that was thought dead and wakes up (a zombie) cannot harm the one that took over.

Whose turn it is: of the jobs that are due, those of the greatest priority; of these, one of the *lane* (kind and project) that has the
fewest running, then of the one that was served the longest ago; in a lane, the one due first. Caps count what all workers run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Integer, Select, bindparam, case, delete, func, literal_column, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.jobs import State
from roadstead.metadata.schema import job_log, jobs, to_microseconds
from roadstead.metadata.statements import Prepared

LINES_KEPT: Final = 1000
"""How many lines a job's log has at most: the newest."""

_UNLIMITED: Final = 2**31 - 1
_CLAIM_LOCK: Final = 0x6A6F_6273  # claims are made one after the other (PostgreSQL), or two could both take the last place

# The words stand in the statement itself, as only so do the partial indexes serve it.
_WAITING: ColumnElement[str] = literal_column("'waiting'")
_RUNNING: ColumnElement[str] = literal_column("'running'")
_ONE: ColumnElement[int] = literal_column("1")
_NONE: ColumnElement[int] = literal_column("0")  # SQLAlchemy writes an offset for SQLite in any case, and as a parameter
_MOMENT = jobs.c.run_after.type


class Caps(msgspec.Struct, frozen=True):
    """How many jobs of a kind may run at once, over all workers: altogether, and of one project (None: as many)."""

    total: int
    each: int | None = None


class Claim(msgspec.Struct, frozen=True):
    """The right to work at a job, until its lease ends."""

    id: int
    worker: str
    attempt: int


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job that its worker has just claimed. `payload` is JSON."""

    claim: Claim
    kind: str
    project_id: int | None
    payload: str
    failures: int
    max_attempts: int


class Told(msgspec.Struct, frozen=True):
    """What a job says of itself: how far it is (0 to 1, or None: unknown), what it is doing, and lines for its log with their times."""

    fraction: float | None = None
    doing: str | None = None
    lines: tuple[tuple[datetime, str], ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """How an attempt ended. WAITING at `run_after` is another attempt; `failed` counts this one among the failures."""

    state: State
    reason: str | None = None
    result: str | None = None
    run_after: datetime | None = None
    failed: bool = False


# --- whose turn it is -----------------------------------------------------------------------------------------------------------


def _turn(kinds: int) -> Select[Any]:
    """The id of the job whose turn it is, among as many kinds with their caps; parameters as `_Turn.values` names them."""
    now = bindparam("now", type_=_MOMENT)
    names = [bindparam(f"kind_{number}", type_=jobs.c.kind.type) for number in range(kinds)]
    due = select(jobs.c.kind, jobs.c.lane, func.max(jobs.c.priority).label("priority"))
    due = due.where(jobs.c.state == _WAITING, jobs.c.run_after <= now, jobs.c.kind.in_(names))
    lanes = due.group_by(jobs.c.kind, jobs.c.lane).subquery("lanes")

    def cap(of: str) -> Any:
        caps = [(lanes.c.kind == name, bindparam(f"{of}_{number}", type_=Integer)) for number, name in enumerate(names)]
        return case(*caps, else_=_NONE)

    running, served, first = jobs.alias("running"), jobs.alias("served"), jobs.alias("first")
    of_kind = select(func.count()).where(running.c.state == _RUNNING, running.c.kind == lanes.c.kind).scalar_subquery()
    here = select(func.count()).where(running.c.state == _RUNNING, running.c.kind == lanes.c.kind, running.c.lane == lanes.c.lane)
    begun = (served.c.kind == lanes.c.kind, served.c.lane == lanes.c.lane, served.c.started_at.is_not(None))
    last = select(func.max(served.c.started_at)).where(*begun)
    wanted = (first.c.state == _WAITING, first.c.kind == lanes.c.kind, first.c.lane == lanes.c.lane, first.c.priority == lanes.c.priority)
    found = select(first.c.id).where(*wanted, first.c.run_after <= now).order_by(first.c.run_after, first.c.id).limit(_ONE).offset(_NONE)
    in_order = (lanes.c.priority.desc(), here.scalar_subquery(), last.scalar_subquery().asc().nulls_first(), lanes.c.kind, lanes.c.lane)
    allowed = (of_kind < cap("total"), here.scalar_subquery() < cap("each"))
    return select(found.scalar_subquery().label("id")).where(*allowed).order_by(*in_order).limit(_ONE).offset(_NONE)


class Turns:
    """The queue, for a worker that knows these kinds: prepared once, as it is looked at many times a second."""

    def __init__(self, database: Database, caps: Mapping[str, Caps]) -> None:
        self._database = database
        turn = _turn(len(caps))
        self._next = database.hot(turn)
        self._values: dict[str, object] = {}
        for number, (kind, cap) in enumerate(caps.items()):
            each = cap.total if cap.each is None else cap.each
            self._values |= {f"kind_{number}": kind, f"total_{number}": cap.total, f"each_{number}": each}
        self._take = Prepared(_take(turn))
        now, worker = bindparam("now", type_=_MOMENT), bindparam("worker", type_=jobs.c.worker.type)
        self._lapsed = database.hot(select(jobs.c.id).where(jobs.c.state == _RUNNING, jobs.c.lease_until < now).limit(_ONE).offset(_NONE))
        asked = (jobs.c.state == _RUNNING, jobs.c.worker == worker, jobs.c.cancel_requested_at.is_not(None))
        self._cancelled = database.hot(select(jobs.c.id, jobs.c.attempt).where(*asked))

    async def any(self, now: datetime) -> bool:
        """Whether there is a job to claim."""
        return await self._next.first(**self._values, now=to_microseconds(now)) is not None

    async def any_lapsed(self, now: datetime) -> bool:
        """Whether a job runs whose worker has let its lease end."""
        return await self._lapsed.first(now=to_microseconds(now)) is not None

    async def cancelled(self, worker: str) -> set[tuple[int, int]]:
        """Id and attempt of the jobs of this worker that somebody wants to end."""
        return {(row[0], row[1]) for row in await self._cancelled.all(worker=worker)}

    async def claim(self, worker: str, until: datetime, now: datetime) -> ClaimedJob | None:
        """Take the job whose turn it is; None if there is none."""

        def work(connection: Connection) -> ClaimedJob | None:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_CLAIM_LOCK)))
            row = self._take.first(connection, {**self._values, "now": now, "worker": worker, "lease_until": until, "started_at": now})
            return None if row is None else ClaimedJob(Claim(row[0], worker, row[1]), *row[2:])

        # A power cut may undo it, and the job is waiting again. What the claim then wrote would be refused.
        return await self._database.write(work, durable=False)


def _take(turn: Select[Any]) -> Any:
    values = {
        "state": State.RUNNING.value,
        "attempt": jobs.c.attempt + 1,
        "worker": bindparam("worker"),
        "lease_until": bindparam("lease_until"),
        "started_at": bindparam("started_at"),
        "fraction": None,
        "doing": None,
    }
    claimed = (jobs.c.id, jobs.c.attempt, jobs.c.kind, jobs.c.project_id, jobs.c.payload, jobs.c.failures, jobs.c.max_attempts)
    # That it is waiting is said again, for the row may be cancelled after the search for it (PostgreSQL).
    return update(jobs).where(jobs.c.id == turn.scalar_subquery(), jobs.c.state == _WAITING).values(values).returning(*claimed)


# --- while it is held -----------------------------------------------------------------------------------------------------------


def _mine(claim: Claim) -> tuple[Any, ...]:
    return jobs.c.id == claim.id, jobs.c.worker == claim.worker, jobs.c.attempt == claim.attempt, jobs.c.state == _RUNNING


def hold(connection: Connection, claim: Claim) -> bool:
    """Whether the claim still stands; if so, nobody can take it before this transaction ends."""
    return connection.execute(select(jobs.c.id).where(*_mine(claim)).with_for_update()).first() is not None


def renew(connection: Connection, worker: str, until: datetime) -> set[tuple[int, int]]:
    """Keep all of this worker's claims; returns id and attempt of those that stand."""
    mine = (jobs.c.state == _RUNNING, jobs.c.worker == worker)
    kept = update(jobs).where(*mine).values(lease_until=until).returning(jobs.c.id, jobs.c.attempt)
    return {(row.id, row.attempt) for row in connection.execute(kept)}


def tell(connection: Connection, claim: Claim, told: Told) -> bool:
    """Record what a job says of itself; False, and nothing is recorded, if the claim was lost."""
    values = {"fraction": told.fraction, "doing": told.doing}
    if connection.execute(update(jobs).where(*_mine(claim)).values(values)).rowcount == 0:
        return False
    _add_lines(connection, claim, told.lines)
    return True


def _add_lines(connection: Connection, claim: Claim, lines: Sequence[tuple[datetime, str]]) -> None:
    if not lines:
        return
    rows = [{"job_id": claim.id, "attempt": claim.attempt, "at": at, "line": line} for at, line in lines[-LINES_KEPT:]]
    connection.execute(job_log.insert(), rows)
    mine = job_log.c.job_id == claim.id
    newest = select(job_log.c.id).where(mine).order_by(job_log.c.id.desc())
    connection.execute(delete(job_log).where(mine, job_log.c.id <= newest.offset(LINES_KEPT).limit(1).scalar_subquery()))


# --- its end --------------------------------------------------------------------------------------------------------------------


def settle(connection: Connection, claim: Claim, verdict: Verdict, told: Told, now: datetime) -> bool:
    """End an attempt. What somebody wanted to end is not begun again. False, and nothing is changed, if the claim was lost."""
    row = connection.execute(select(jobs.c.cancel_requested_at, jobs.c.reason).where(*_mine(claim)).with_for_update()).first()
    if row is None:
        return False
    _add_lines(connection, claim, told.lines)
    if verdict.state is State.WAITING and row.cancel_requested_at is not None:
        verdict = Verdict(State.CANCELLED, row.reason)
    elif verdict.state is State.CANCELLED:
        verdict = msgspec.structs.replace(verdict, reason=row.reason)
    _end(connection, claim, verdict, told, now)
    return True


def _end(connection: Connection, claim: Claim, verdict: Verdict, told: Told, now: datetime) -> None:
    over = verdict.state is not State.WAITING
    values: dict[str, Any] = {"state": verdict.state.value, "worker": None, "lease_until": None, "cancel_requested_at": None}
    values |= {"reason": verdict.reason, "result": verdict.result, "fraction": told.fraction, "doing": told.doing}
    values |= {"failures": jobs.c.failures + int(verdict.failed), "finished_at": now if over else None}
    if verdict.run_after is not None:
        values["run_after"] = verdict.run_after
    connection.execute(update(jobs).where(*_mine(claim)).values(values))


def recover(connection: Connection, now: datetime) -> list[Claim]:
    """Take the jobs of workers that are gone: they wait again, or have failed if it was the last attempt. Returns the claims that ended."""
    lapsed = (jobs.c.state == _RUNNING, jobs.c.lease_until < now)
    columns = (jobs.c.id, jobs.c.worker, jobs.c.attempt, jobs.c.failures, jobs.c.max_attempts)
    # Several workers may see the same: each takes what no other is taking.
    rows = connection.execute(select(*columns).where(*lapsed).with_for_update(skip_locked=True)).all()
    claims = []
    for job_id, worker, attempt, failures, max_attempts in rows:
        claim = Claim(job_id, worker, attempt)
        reason = f"The worker {worker} ended, or lost the database, in the middle of it."
        state = State.FAILED if failures + 1 >= max_attempts else State.WAITING
        settle(connection, claim, Verdict(state, reason, run_after=now, failed=True), Told(lines=((now, reason),)), now)
        claims.append(claim)
    return claims
