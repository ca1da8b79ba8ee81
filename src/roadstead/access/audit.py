"""The audit log: who did what, from where, and how it ended.

* A change is audited in its own transaction: its room calls `audit.add(connection, audited(…))` of `metadata.audit` beside the change, so
  that there is never one without the other.
* What changes nothing (logins, failed logins, what was denied; pulls are counted by `registry.pulls`) is noted in memory by `Audit.note`
  and written every second by `Audit.flush`. A process that is killed loses what it noted since.
* Rows are never changed. They go by age alone, by `Audit.purge`, which says so in the log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.batches import to_its_end
from roadstead.access.clock import Clock, system_clock
from roadstead.access.policy import Attempt, Project
from roadstead.access.rights import Rights
from roadstead.errors import InsufficientScope, InvalidInput, RoadsteadError, Unauthenticated
from roadstead.metadata import audit, projects
from roadstead.metadata.audit import AuditRow, NewAudit
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing, Page
from roadstead.metadata.projects import ProjectRow

Result = Literal["success", "denied", "failed"]


COUNTED: Final = audit.COUNTED
"""Rows that `Audit.find` counts at most."""

Wanted = audit.Wanted
"""What people look for in the log: see `metadata.audit`."""


class Operation(StrEnum):
    """What was done, by Harbor's words where it has one."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    PUSH = "push"
    PULL = "pull"
    LOGIN = "login"
    LOGOUT = "logout"
    READ = "read"
    PURGE = "purge"
    ADMINISTER = "administer"


class ResourceType(StrEnum):
    """What it was done to, by Harbor's words where it has one."""

    PROJECT = "project"
    MEMBER = "member"
    USER = "user"
    ROBOT = "robot"
    TOKEN = "token"  # noqa: S105 - a word
    SESSION = "session"
    KEY = "key"
    GROUP = "group"
    SOURCE = "source"
    CONFIGURATION = "configuration"
    QUOTA = "quota"
    REPOSITORY = "repository"
    ARTIFACT = "artifact"
    TAG = "tag"
    BLOB = "blob"
    AUDIT = "audit"
    JOB = "job"
    CLUSTER = "cluster"
    SYSTEM = "system"


RESOURCES: Final[Mapping[ResourceType, str]] = {
    ResourceType.PROJECT: "the project's name",
    ResourceType.MEMBER: "project/holder, of an account or group",
    ResourceType.USER: "the account's name",
    ResourceType.ROBOT: "the robot's full name",
    ResourceType.TOKEN: "account/name of a personal token, CLI secret or refresh token",
    ResourceType.SESSION: "the account's name, or the name that was tried",
    ResourceType.KEY: "the OpenPGP key's fingerprint",
    ResourceType.GROUP: "the group's name",
    ResourceType.SOURCE: "the login source's name",
    ResourceType.CONFIGURATION: "the key",
    ResourceType.QUOTA: "the project's name",
    ResourceType.REPOSITORY: "project/path",
    ResourceType.ARTIFACT: "project/path:tag or project/path@digest",
    ResourceType.TAG: "project/path:tag",
    ResourceType.BLOB: "project/path@digest",
    ResourceType.AUDIT: "what was removed from the log",
    ResourceType.JOB: "kind/id",
    ResourceType.CLUSTER: "the cluster's name",
    ResourceType.SYSTEM: "`registry`, in denied attempts to administer it",
}
"""What the column `resource` holds for each type; where something was denied, the project or repository in which."""

ATTEMPTS: Final[Mapping[Action, tuple[Operation, ResourceType]]] = {
    Action.PULL: (Operation.PULL, ResourceType.REPOSITORY),
    Action.PUSH: (Operation.PUSH, ResourceType.REPOSITORY),
    Action.DELETE: (Operation.DELETE, ResourceType.REPOSITORY),
    Action.DESCRIBE: (Operation.UPDATE, ResourceType.REPOSITORY),
    Action.SEE: (Operation.READ, ResourceType.PROJECT),
    Action.SEE_MEMBERS: (Operation.READ, ResourceType.MEMBER),
    Action.SET_MEMBERS: (Operation.UPDATE, ResourceType.MEMBER),
    Action.SEE_ROBOTS: (Operation.READ, ResourceType.ROBOT),
    Action.SET_ROBOTS: (Operation.UPDATE, ResourceType.ROBOT),
    Action.SEE_AUDIT: (Operation.READ, ResourceType.AUDIT),
    Action.SEE_QUOTA: (Operation.READ, ResourceType.QUOTA),
    Action.DESCRIBE: (Operation.UPDATE, ResourceType.REPOSITORY),
    Action.CONFIGURE: (Operation.UPDATE, ResourceType.PROJECT),
    Action.REMOVE: (Operation.DELETE, ResourceType.PROJECT),
    Action.CREATE_PROJECTS: (Operation.CREATE, ResourceType.PROJECT),
    Action.ADMINISTER: (Operation.ADMINISTER, ResourceType.SYSTEM),
}
"""How an attempt that the policy denied is written."""

SEVERAL: Final = "*"
"""Stands for an actor, address or resource in a row that sums up more of them than are kept apart; no account has this name."""

_LONGEST: Final = 512
_LONGEST_ADDRESS: Final = 100
_LONGEST_DETAIL: Final = 1000
_DISTINCT: Final = 1000
_LOGIN_AGAIN: Final = timedelta(hours=1)
_LOGINS_REMEMBERED: Final = 8192
_PURGED_AT_ONCE: Final = 5000


def audited(
    actor: Actor,
    at: datetime,
    action: Operation,
    resource_type: ResourceType,
    resource: str,
    *,
    project_id: int | None = None,
    result: Result = "success",
    detail: str | None = None,
    amount: int = 1,
) -> NewAudit:
    """One entry, ready for `metadata.audit.add`. `detail` is for people: what changed; never a secret."""
    return NewAudit(
        at=at,
        actor_id=actor.account_id,
        actor=_plain(actor.name, _LONGEST),
        address=_plain(actor.address, _LONGEST_ADDRESS),
        action=action,
        resource_type=resource_type,
        resource=_plain(resource, _LONGEST),
        project_id=project_id,
        result=result,
        detail=None if detail is None else _plain(detail, _LONGEST_DETAIL),
        amount=amount,
    )


def _plain(text: str, longest: int) -> str:
    """The text in one line that every database and every log takes: what was tried as a name is anything."""
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


class Audit:
    """Notes what no transaction records, and shows the log: to administrators all, to others what happened in their projects."""

    def __init__(self, database: Database, clock: Clock = system_clock) -> None:
        self._database = database
        self._rights = Rights(database)
        self._clock = clock
        self._noted: dict[NewAudit, NewAudit] = {}
        self._logins: OrderedDict[tuple[int | None, int | None, str], datetime] = OrderedDict()

    def note(
        self,
        actor: Actor,
        action: Operation,
        resource_type: ResourceType,
        resource: str,
        *,
        project_id: int | None = None,
        result: Result = "success",
        detail: str | None = None,
    ) -> None:
        """Remember something that happened now, for the next flush. The same again is one entry with a greater `amount`."""
        self._merge(audited(actor, self._clock(), action, resource_type, resource, project_id=project_id, result=result, detail=detail))

    def login(self, actor: Actor, how: str) -> None:
        """Note that somebody has proved who they are; the same credential from the same address once an hour."""
        key, now = (actor.account_id, actor.credential_id, actor.address), self._clock()
        noted = self._logins.get(key)
        if noted is not None and now - noted < _LOGIN_AGAIN:
            return
        self._logins[key] = now
        self._logins.move_to_end(key)
        if len(self._logins) > _LOGINS_REMEMBERED:
            self._logins.popitem(last=False)
        self.note(actor, Operation.LOGIN, ResourceType.SESSION, actor.name, detail=how)

    def failed_login(self, name: str, address: str, reason: str) -> None:
        """Note that somebody has not. `name` is what they called themselves, be there such an account or not; so there is no actor's id."""
        nobody = Actor(None, name, address=address)
        self.note(nobody, Operation.LOGIN, ResourceType.SESSION, name, result="failed", detail=reason)

    def refused(self, error: RoadsteadError) -> None:
        """Note an attempt that the policy denied to somebody known. The anonymous are only asked who they are."""
        attempt = error.attempt
        if isinstance(attempt, Attempt):
            action, resource_type = ATTEMPTS[attempt.action]
            where = attempt.name or (attempt.project.name if attempt.project else "registry")
            project_id = attempt.project.id if attempt.project else None
            said = f"may not {policy.words(attempt.action)}"
            self.note(attempt.actor, action, resource_type, str(where), project_id=project_id, result="denied", detail=said)

    def _merge(self, new: NewAudit) -> None:
        key = msgspec.structs.replace(new, at=audit.NOT_WANTED, amount=1)
        if key not in self._noted and len(self._noted) >= _DISTINCT:
            new = msgspec.structs.replace(
                new, actor_id=None, actor=SEVERAL, address=SEVERAL, resource=SEVERAL, project_id=None, detail="more than are kept apart"
            )
            key = msgspec.structs.replace(new, at=audit.NOT_WANTED, amount=1)
        before = self._noted.get(key)
        if before is not None:
            new = msgspec.structs.replace(before, amount=before.amount + new.amount)
        self._noted[key] = new

    async def flush(self) -> None:
        """Write what was noted since the last flush; what cannot be written is kept for the next time."""
        noted, self._noted = self._noted, {}
        if noted:
            await to_its_end(self._write(tuple(noted.values())))

    async def _write(self, noted: Sequence[NewAudit]) -> None:
        try:
            await self._database.write(lambda connection: audit.add(connection, *noted), durable=False)
        except BaseException:
            for one in noted:
                self._merge(one)
            raise

    async def list(self, actor: Actor, listing: Listing) -> tuple[Sequence[AuditRow], int]:
        """A page of all that happened for administrators, of what happened in their projects for others; and how many rows there are."""
        everything = Action.ADMINISTER in policy.permitted_on_system(actor)
        project_ids = None if everything else await self._readable(actor)
        return await self._database.read(lambda connection: audit.page(connection, listing, project_ids))

    async def find(self, actor: Actor, wanted: Wanted, page: Page) -> tuple[Sequence[AuditRow], int]:
        """As `list`, of what people look for, the newest first; `COUNTED` rows and one stand for more than can be counted soon."""
        everything = Action.ADMINISTER in policy.permitted_on_system(actor)
        project_ids = None if everything else await self._readable(actor)
        return await self._database.read(lambda connection: audit.find(connection, wanted, page, project_ids))

    async def find_in_project(self, actor: Actor, project: str, wanted: Wanted, page: Page) -> tuple[Sequence[AuditRow], int]:
        """As `find`, of what happened in one project. Raises ProjectUnknown and what the policy raises."""
        only = frozenset({(await self._project(actor, project)).id})
        return await self._database.read(lambda connection: audit.find(connection, wanted, page, only))

    async def _project(self, actor: Actor, project: str) -> ProjectRow:
        """The project, whose log the actor may read."""
        row = await self._database.read(lambda connection: projects.find(connection, project))
        if row is None:
            raise policy.absent(actor, project)
        _require_whole(actor)
        await self._rights.require(actor, Action.SEE_AUDIT, Project(row.id, row.name, row.public))
        return row

    async def _readable(self, actor: Actor) -> frozenset[int]:
        """The projects in which the actor may read the log."""
        _require_whole(actor)
        if actor.anonymous:
            raise Unauthenticated
        scope = policy.visible_projects(actor)
        rows = await self._database.read(lambda connection: projects.own(connection, scope))
        found = [Project(row.id, row.name, row.public) for row in rows]
        return frozenset([one.id for one in found if Action.SEE_AUDIT in await self._rights.permitted(actor, one)])

    async def of_project(self, actor: Actor, project: str, listing: Listing) -> tuple[Sequence[AuditRow], int]:
        """As `list`, of what happened in one project. Raises ProjectUnknown and what the policy raises."""
        only = frozenset({(await self._project(actor, project)).id})
        return await self._database.read(lambda connection: audit.page(connection, listing, only))

    async def purge(self, actor: Actor, older_than: datetime) -> int:
        """Remove what happened before that time; returns how many rows. Each batch's own entry is written in its transaction.

        Raises InvalidInput for a time to come.
        """
        policy.require_on_system(actor, Action.ADMINISTER)
        if older_than > self._clock():
            raise InvalidInput("The audit log is purged of what has happened, not of what will.")
        before = older_than.isoformat(timespec="seconds")

        def work(connection: Connection) -> int:
            removed = audit.purge(connection, older_than, _PURGED_AT_ONCE)
            if removed:
                said = audited(actor, self._clock(), Operation.PURGE, ResourceType.AUDIT, f"before {before}", amount=removed)
                audit.add(connection, msgspec.structs.replace(said, detail=f"{removed} rows"))
            return removed

        total = 0
        while removed := await self._database.write(work):
            total += removed
        return total


def _require_whole(actor: Actor) -> None:
    """A bearer token's scope names repositories, and the log is none of them."""
    if actor.scope is not None:
        raise InsufficientScope
