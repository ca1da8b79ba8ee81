"""Jobs, for people: administrators see and end all of them, who configures a project those of that project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.errors import Conflict, InsufficientScope, NotFound, Unauthenticated
from roadstead.metadata import audit, jobs, projects
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow, LogLine, State
from roadstead.metadata.listing import Listing

STATES: Final = tuple(State)
"""Every state of a job."""


class ShownJob(msgspec.Struct, frozen=True):
    """One job with what it has said, oldest line first."""

    job: JobRow
    log: Sequence[LogLine]


class LogPage(msgspec.Struct, frozen=True):
    """One job with a page of what it has said: `number` counts pages from 1, `total` all its lines."""

    job: JobRow
    log: Sequence[LogLine]
    total: int
    number: int


class Jobs:
    """Lists, shows, cancels and retries jobs."""

    def __init__(self, database: Database, clock: Clock = system_clock) -> None:
        self._database = database
        self._rights = Rights(database)
        self._clock = clock

    async def list(self, actor: Actor, listing: Listing) -> tuple[Sequence[JobRow], int]:
        """A page of all jobs for administrators, of those of their projects for others; and how many there are.

        Every field of `JobRow` but payload and result can be asked for. Raises InvalidInput and what the policy raises.
        """
        everything = Action.ADMINISTER in policy.permitted_on_system(actor)
        project_ids = None if everything else await self._own(actor)
        return await self._database.read(partial(jobs.page, listing=listing, project_ids=project_ids))

    async def of_project(self, actor: Actor, project: str, listing: Listing) -> tuple[Sequence[JobRow], int]:
        """As `list`, of one project's jobs, for who configures it. Raises ProjectUnknown and what the policy raises."""
        row = await self._database.read(partial(projects.find, name=project))
        if row is None:
            raise policy.absent(actor, project)
        _require_whole(actor)
        await self._rights.require(actor, Action.CONFIGURE, Project(row.id, row.name, row.public))
        return await self._database.read(partial(jobs.page, listing=listing, project_ids=frozenset({row.id})))

    async def _own(self, actor: Actor) -> frozenset[int]:
        """The projects that the actor may configure."""
        _require_whole(actor)
        if actor.anonymous:
            raise Unauthenticated
        rows = await self._database.read(partial(projects.own, scope=policy.visible_projects(actor)))
        found = [Project(row.id, row.name, row.public) for row in rows]
        return frozenset([one.id for one in found if Action.CONFIGURE in await self._rights.permitted(actor, one)])

    async def show(self, actor: Actor, job_id: int, after: int = 0) -> ShownJob:
        """A job and its log, or what it said since the line with the id `after`. Raises NotFound, for those the actor may not see too."""
        row = await self._seen(actor, job_id)
        return ShownJob(row, await self._database.read(partial(jobs.lines, job_id=job_id, after=after)))

    async def page(self, actor: Actor, job_id: int, number: int | None, size: int) -> LogPage:
        """A job with a page of its log: by its number from 1, or the last one (None). Raises NotFound as `show`."""
        row = await self._seen(actor, job_id)
        said, total, found = await self._database.read(partial(jobs.log_page, job_id=job_id, number=number, size=size))
        return LogPage(row, said, total, found)

    async def _seen(self, actor: Actor, job_id: int) -> JobRow:
        row = await self._database.read(partial(jobs.find, job_id=job_id))
        if Action.ADMINISTER not in policy.permitted_on_system(actor):
            own = await self._own(actor)
            row = row if row is not None and row.project_id in own else None
        if row is None:
            raise NotFound(f"There is no job {job_id}, or you may not see it.")
        return row

    async def cancel(self, actor: Actor, job_id: int) -> JobRow:
        """End a job: at once if it waits; if it runs, its worker ends it within a second. Raises NotFound, Conflict."""
        reason = f"Cancelled by {actor.name}."
        return await self._change(actor, job_id, "cancelled", partial(jobs.cancel, job_id=job_id, reason=reason, now=self._clock()))

    async def retry(self, actor: Actor, job_id: int) -> JobRow:
        """Begin a job again that failed or was cancelled, or at once one that waits for its next attempt. Raises NotFound, Conflict."""
        return await self._change(actor, job_id, "retried", partial(jobs.again, job_id=job_id, now=self._clock()))

    async def _change(self, actor: Actor, job_id: int, what: str, act: Callable[[Connection], bool]) -> JobRow:
        """Do it and audit it in one transaction."""
        row = await self._seen(actor, job_id)
        said = audited(actor, self._clock(), Operation.UPDATE, ResourceType.JOB, f"{row.kind}/{job_id}", project_id=row.project_id)

        def work(connection: Connection) -> JobRow:
            if not act(connection):
                raise Conflict(_why_not(jobs.find(connection, job_id), job_id, what))
            audit.add(connection, msgspec.structs.replace(said, detail=what))
            changed = jobs.find(connection, job_id)
            assert changed is not None
            return changed

        return await self._database.write(work)


_STANDS: Final = {
    State.WAITING: "is waiting",
    State.RUNNING: "is running",
    State.SUCCEEDED: "has succeeded",
    State.FAILED: "has failed",
    State.CANCELLED: "was cancelled",
}


def _why_not(row: JobRow | None, job_id: int, what: str) -> str:
    if row is not None and what == "retried" and row.state in (State.FAILED, State.CANCELLED):
        return f"Job {job_id} cannot be retried: another one for the same is waiting or running."
    stands = "is gone" if row is None else _STANDS[State(row.state)]
    return f"Job {job_id} {stands}, so it cannot be {what}."


def _require_whole(actor: Actor) -> None:
    """A bearer token's scope names repositories, and jobs are none of them."""
    if actor.scope is not None:
        raise InsufficientScope
