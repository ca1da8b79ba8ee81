"""Robot accounts: of a project or of the system, with permissions of their own in place of roles, in Harbor's form.

    [{"kind": "project", "namespace": "climate", "access": [{"resource": "repository", "action": "push"}, …]},
     {"kind": "system", "namespace": "/", "access": [{"resource": "project", "action": "create"}]}]

The namespace `*` is every project. What Roadstead has no word for is kept and shown, and allows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor, Level, RobotRights
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.configuration import Configuration
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.access.secret import hash_secret, hint, make_secret
from roadstead.errors import Conflict, Denied, InvalidAccount, NotFound, ProjectUnknown
from roadstead.metadata import accounts, audit, credentials, projects, robots
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.robots import RobotRow

PREFIX: Final = "robot$"
FOREVER: Final = -1
_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_LONGEST: Final = 100


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a robot may do, in Harbor's words."""

    resource: str
    action: str
    effect: str = "allow"


class Permission(msgspec.Struct, frozen=True):
    """What a robot may do in one namespace."""

    kind: str
    namespace: str
    access: tuple[Access, ...]


class NewRobot(msgspec.Struct, frozen=True):
    """A robot to be made: of a project, or of the system (None); `duration_days` -1 is for ever, None what the configuration says."""

    name: str
    project: str | None
    permissions: tuple[Permission, ...]
    description: str = ""
    duration_days: int | None = FOREVER


PROJECT_ACTIONS: Final[dict[tuple[str, str], frozenset[Action]]] = {
    ("repository", "pull"): frozenset({Action.PULL, Action.SEE}),
    ("repository", "push"): frozenset({Action.PUSH, Action.SEE}),
    ("repository", "list"): frozenset({Action.SEE}),
    ("repository", "read"): frozenset({Action.SEE}),
    ("repository", "update"): frozenset({Action.DESCRIBE, Action.SEE}),
    ("repository", "delete"): frozenset({Action.DELETE, Action.SEE}),
    ("artifact", "list"): frozenset({Action.SEE}),
    ("artifact", "read"): frozenset({Action.SEE}),
    ("artifact", "delete"): frozenset({Action.DELETE, Action.SEE}),
    ("tag", "list"): frozenset({Action.SEE}),
    ("project", "read"): frozenset({Action.SEE}),
    ("project", "update"): frozenset({Action.CONFIGURE, Action.SEE}),
    ("project", "delete"): frozenset({Action.REMOVE, Action.SEE}),
    ("member", "list"): frozenset({Action.SEE_MEMBERS}),
    ("member", "read"): frozenset({Action.SEE_MEMBERS}),
    ("member", "create"): frozenset({Action.SET_MEMBERS, Action.SEE_MEMBERS}),
    ("member", "update"): frozenset({Action.SET_MEMBERS, Action.SEE_MEMBERS}),
    ("member", "delete"): frozenset({Action.SET_MEMBERS, Action.SEE_MEMBERS}),
    ("robot", "list"): frozenset({Action.SEE_ROBOTS}),
    ("robot", "read"): frozenset({Action.SEE_ROBOTS}),
    ("log", "list"): frozenset({Action.SEE_AUDIT}),
    ("quota", "read"): frozenset({Action.SEE_QUOTA}),
}
"""What Harbor calls a permission in a project → what it allows."""

SYSTEM_ACTIONS: Final = {("project", "create"): frozenset({Action.CREATE_PROJECTS})}
"""The same, of the system."""

_NOTHING: Final[frozenset[Action]] = frozenset()


@lru_cache(maxsize=4096)
def read_permissions(stored: str) -> RobotRights:
    """The rights that stored permissions give."""
    by_project: dict[str, frozenset[Action]] = {}
    system: frozenset[Action] = frozenset()
    for permission in msgspec.json.decode(stored, type=tuple[Permission, ...]):
        for one in permission.access:
            if one.effect == "allow" and permission.kind == "project":
                before = by_project.get(permission.namespace, _NOTHING)
                by_project[permission.namespace] = before | PROJECT_ACTIONS.get((one.resource, one.action), _NOTHING)
            elif one.effect == "allow":
                system |= SYSTEM_ACTIONS.get((one.resource, one.action), _NOTHING)
    return RobotRights(by_project, system)


class Robots:
    """Making, changing and ending robots. A project's robots are for those who administer it, the system's for administrators."""

    def __init__(self, database: Database, clock: Clock = system_clock, configuration: Configuration | None = None) -> None:
        self._database = database
        self._rights = Rights(database)
        self._clock = clock
        self._configuration = configuration or Configuration(database, clock)

    async def add(self, actor: Actor, new: NewRobot) -> tuple[RobotRow, str]:
        """Make a robot; returns it and its secret, which is not kept.

        Raises InvalidAccount, Conflict where the name is taken, and Denied for permissions beyond the project or the actor's own.
        """
        project = await self._require(actor, new.project, Action.SET_ROBOTS)
        _check_name(new.name)
        await self._check_permissions(actor, project, new.permissions)
        days = new.duration_days
        if days is None:
            days = (await self._configuration.present()).robot_token_duration
        now, secret = self._clock(), make_secret("robot")
        full = f"{PREFIX}{project.name}+{new.name}" if project else f"{PREFIX}{new.name}"
        expires = _expiry(days, now)

        def work(connection: Connection) -> RobotRow:
            if not accounts.add(connection, full, password_hash=None, is_admin=False, now=now, kind="robot"):
                raise Conflict(f"There is a robot {full!r} already.")
            account = accounts.find(connection, full)
            assert account is not None
            robots.add(
                connection,
                account_id=account.id,
                project_id=project.id if project else None,
                short_name=new.name,
                description=new.description,
                permissions=_stored(new.permissions),
                duration_days=days,
                expires_at=expires,
                created_by=actor.account_id,
                now=now,
            )
            _give_secret(connection, account.id, secret, now)
            row = _found(connection, account.id)
            _audit(connection, actor, now, Operation.CREATE, row, _stored(new.permissions))
            return row

        return await self._database.write(work), secret

    async def get(self, actor: Actor, robot_id: int) -> RobotRow:
        """One robot. Raises NotFound for one that may not be seen too."""
        row = await self._database.read(lambda connection: robots.get(connection, robot_id))
        if row is None:
            raise NotFound("There is no such robot.")
        try:
            await self._require(actor, row.project_name, Action.SEE_ROBOTS)
        except (Denied, ProjectUnknown):
            raise NotFound("There is no such robot.") from None
        return row

    async def list(self, actor: Actor, project: str | None) -> list[RobotRow]:
        """The robots of a project, or of the system."""
        found = await self._require(actor, project, Action.SEE_ROBOTS)
        return await self._database.read(lambda connection: robots.of_project(connection, found.id if found else None))

    async def page(self, actor: Actor, project: str | None, listing: Listing) -> tuple[Sequence[RobotRow], int]:
        """As `list`, as far as the listing asks for them, and how many there are on all pages. Raises InvalidInput."""
        found = await self._require(actor, project, Action.SEE_ROBOTS)
        return await self._database.read(lambda connection: robots.page(connection, found.id if found else None, listing))

    async def change(
        self,
        actor: Actor,
        robot_id: int,
        *,
        description: str,
        disabled: bool,
        duration_days: int,
        permissions: tuple[Permission, ...],
    ) -> RobotRow:
        """Replace what can be changed of a robot; the duration counts from its making. Raises as `add`."""
        row = await self.get(actor, robot_id)
        project = await self._require(actor, row.project_name, Action.SET_ROBOTS)
        await self._check_permissions(actor, project, permissions)
        now = self._clock()
        expires = _expiry(duration_days, row.created_at)

        def work(connection: Connection) -> RobotRow:
            robots.change(
                connection,
                robot_id,
                description=description,
                permissions=_stored(permissions),
                duration_days=duration_days,
                expires_at=expires,
                updated_at=now,
            )
            disabled_at = (row.disabled_at or now) if disabled else None
            accounts.change(connection, robot_id, disabled_at=disabled_at)
            changed = _found(connection, robot_id)
            _audit(connection, actor, now, Operation.UPDATE, changed, f"{'disabled' if disabled else 'enabled'}, {_stored(permissions)}")
            return changed

        return await self._database.write(work)

    async def set_disabled(self, actor: Actor, robot_id: int, disabled: bool) -> RobotRow:
        """Disable a robot, or enable it again with the secret that it had. It stops at its next request."""
        row = await self.get(actor, robot_id)
        await self._require(actor, row.project_name, Action.SET_ROBOTS)
        now = self._clock()

        def work(connection: Connection) -> RobotRow:
            robots.change(connection, robot_id, updated_at=now)
            accounts.change(connection, robot_id, disabled_at=(row.disabled_at or now) if disabled else None)
            changed = _found(connection, robot_id)
            _audit(connection, actor, now, Operation.UPDATE, changed, "disabled" if disabled else "enabled")
            return changed

        return await self._database.write(work)

    async def rotate(self, actor: Actor, robot_id: int) -> str:
        """Give a robot a new secret, and end the old one at once; returns the new one."""
        row = await self.get(actor, robot_id)
        await self._require(actor, row.project_name, Action.SET_ROBOTS)
        now, secret = self._clock(), make_secret("robot")

        def work(connection: Connection) -> None:
            credentials.revoke(connection, robot_id, now)
            _give_secret(connection, robot_id, secret, now)
            robots.change(connection, robot_id, updated_at=now)
            _audit(connection, actor, now, Operation.UPDATE, row, "new secret")

        await self._database.write(work)
        return secret

    async def remove(self, actor: Actor, robot_id: int) -> None:
        """End a robot and its secret."""
        row = await self.get(actor, robot_id)
        await self._require(actor, row.project_name, Action.SET_ROBOTS)
        now = self._clock()

        def work(connection: Connection) -> None:
            credentials.revoke(connection, robot_id, now)
            accounts.delete(connection, robot_id, now)
            _audit(connection, actor, now, Operation.DELETE, row)

        await self._database.write(work)

    async def _require(self, actor: Actor, project: str | None, action: Action) -> Project | None:
        if project is None:
            policy.require_on_system(actor, Action.ADMINISTER)
            return None
        row = await self._database.read(lambda connection: projects.find(connection, project))
        if row is None:
            raise policy.absent(actor, project)
        found = Project(row.id, row.name, row.public)
        await self._rights.require(actor, action, found)
        return found

    async def _check_permissions(self, actor: Actor, project: Project | None, permissions: Sequence[Permission]) -> None:
        """A project's robot stays in its project, and nobody gives a robot more than they may do themselves."""
        wanted = read_permissions(_stored(tuple(permissions)))
        if project is None:
            return
        if wanted.system or set(wanted.projects) - {project.name} or any(one.namespace != project.name for one in permissions):
            raise Denied(f"A robot of project {project.name!r} may have permissions in that project only.")
        beyond = wanted.of(project.name) - await self._rights.permitted(actor, project)
        if beyond:
            raise Denied(f"You may not give a robot what you may not do yourself: {', '.join(sorted(beyond))}.")


def _check_name(name: str) -> None:
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise InvalidAccount("A robot's name is lower-case letters and digits, with single '.', '_' or '-' between them, at most 100.")


def _expiry(duration_days: int, since: datetime) -> datetime | None:
    if duration_days == FOREVER:
        return None
    if not 0 < duration_days <= 36_500:
        raise InvalidAccount("A robot's duration is a number of days from 1 to 36500, or -1 for ever.")
    return since + timedelta(days=duration_days)


def _stored(permissions: Sequence[Permission]) -> str:
    return msgspec.json.encode(permissions).decode()


def _give_secret(connection: Connection, account_id: int, secret: str, now: datetime) -> None:
    credentials.add(
        connection,
        account_id=account_id,
        kind="robot",
        name="robot",
        secret_hash=hash_secret(secret),
        hint=hint(secret),
        level=Level.ADMIN,
        project_ids=None,
        expires_at=None,
        now=now,
    )


def _audit(connection: Connection, actor: Actor, at: datetime, action: Operation, row: RobotRow, detail: str | None = None) -> None:
    audit.add(connection, audited(actor, at, action, ResourceType.ROBOT, row.name, project_id=row.project_id, detail=detail))


def _found(connection: Connection, account_id: int) -> RobotRow:
    row = robots.get(connection, account_id)
    assert row is not None
    return row
