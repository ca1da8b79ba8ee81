"""Projects and their members."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import SYSTEM, Action, Actor, Role
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.access.configuration import Configuration
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.errors import Conflict, InUse, InvalidAccount, InvalidName, NotFound
from roadstead.metadata import accounts, audit, credentials, members, projects, repositories, robots
from roadstead.metadata.database import Database
from roadstead.metadata.members import MemberRow
from roadstead.metadata.projects import ProjectRow
from roadstead.oci.reference import RepositoryName
from roadstead.registry.quotas import limit_of

_NAME_LIMIT: Final = 128
_PATH: Final = re.compile(r"[a-z0-9._/-]+")


class Projects:
    """Projects are made by administrators, or by everybody if they say so; what happens in one is decided by the roles in it."""

    def __init__(self, database: Database, clock: Clock, configuration: Configuration | None = None) -> None:
        self._database = database
        self._configuration = configuration or Configuration(database, clock)
        self._rights = Rights(database)
        self._clock = clock

    async def add(
        self, actor: Actor, name: str, *, public: bool = False, description: str = "", storage_limit: int | None = None
    ) -> ProjectRow:
        """Make a project; who makes it becomes its projectAdmin.

        `storage_limit` (bytes; -1 is none) is for administrators to choose, None is the configured one. Raises InvalidName,
        InvalidAccount, Conflict, Denied.
        """
        present = await self._configuration.present()
        policy.require_on_system(actor, Action.CREATE_PROJECTS, present.project_creation_restriction)
        if storage_limit is not None:
            policy.require_on_system(actor, Action.ADMINISTER)
        _check_name(name)
        limit = limit_of(present.storage_per_project if storage_limit is None else storage_limit)
        now = self._clock()

        def work(connection: Connection) -> ProjectRow:
            added = projects.ensure(
                connection, name, public=public, owner_id=actor.account_id, now=now, description=description, storage_limit=limit
            )
            row = projects.find(connection, name)
            if not added or row is None:
                raise Conflict(f"There is a project {name!r} already.")
            if actor.account_id is not None and actor.robot is None:
                members.add(connection, row.id, account_id=actor.account_id, group_id=None, role=Role.PROJECT_ADMIN, now=now)
            _audit(connection, actor, now, Operation.CREATE, row, "public" if public else "private")
            return row

        return await self._database.write(work)

    async def ensure(self, name: str, *, public: bool) -> None:
        """Make a project if it is not there; for the first start."""
        now = self._clock()

        def work(connection: Connection) -> None:
            added = projects.ensure(connection, name, public=public, owner_id=None, now=now)
            row = projects.find(connection, name)
            if added and row is not None:
                _audit(connection, SYSTEM, now, Operation.CREATE, row, "public" if public else "private")

        await self._database.write(work)

    async def get(self, actor: Actor, name: str, action: Action = Action.SEE) -> ProjectRow:
        """The project, if the actor may do `action` there. Raises ProjectUnknown and what the policy raises."""
        row = await self._database.read(lambda connection: projects.find(connection, name))
        if row is None:
            raise policy.absent(actor, name)
        await self._rights.require(actor, action, Project(row.id, row.name, row.public))
        return row

    async def visible(self, actor: Actor) -> list[ProjectRow]:
        """The projects that the actor may see, by name."""
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: projects.visible(connection, scope))

    async def change(self, actor: Actor, name: str, *, public: bool | None = None, description: str | None = None) -> None:
        """Change what is given."""
        row = await self.get(actor, name, Action.CONFIGURE)
        wanted = {"public": public, "description": description}
        values = {key: value for key, value in wanted.items() if value is not None}
        now = self._clock()

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, now, **values)
            _audit(connection, actor, now, Operation.UPDATE, row, ", ".join(f"{key}: {value}" for key, value in values.items()))

        await self._database.write(work)

    async def remove(self, actor: Actor, name: str) -> None:
        """Delete a project that holds no images any more, with its robots. Raises InUse if it does."""
        row = await self.get(actor, name, Action.REMOVE)
        now = self._clock()

        def work(connection: Connection) -> None:
            filled = repositories.filled(connection, row.id)
            if filled:
                raise InUse(f"The project {name!r} still holds {filled} repositories; delete their images first.")
            # Their permissions name the project, and another may have that name later.
            for robot in robots.of_project(connection, row.id):
                credentials.revoke(connection, robot.id, now)
                accounts.delete(connection, robot.id, now)
                gone = audited(actor, now, Operation.DELETE, ResourceType.ROBOT, robot.name, project_id=row.id, detail="with its project")
                audit.add(connection, gone)
            projects.delete(connection, row.id, now)
            _audit(connection, actor, now, Operation.DELETE, row)

        await self._database.write(work)

    async def members(self, actor: Actor, name: str) -> list[MemberRow]:
        """Everybody who has a role in the project, or below a path in it."""
        row = await self.get(actor, name, Action.SEE_MEMBERS)
        return await self._database.read(lambda connection: members.of_project(connection, row.id))

    async def add_member(self, actor: Actor, name: str, account: str, role: Role, path: str = "*") -> MemberRow:
        """Give an account a role in the project, in one repository at `path`, or below a folder (`team/*`).

        Raises InvalidAccount for a bad path, NotFound for no such account, Conflict if it has a role there.
        """
        row = await self.get(actor, name, Action.SET_MEMBERS)
        stored, prefix = _stored_path(path)
        now = self._clock()

        def work(connection: Connection) -> MemberRow:
            holder = accounts.find(connection, account)
            if holder is None or holder.kind != "user":
                raise NotFound(f"There is no account {account!r}.")
            added = members.add(
                connection,
                row.id,
                account_id=holder.id,
                group_id=None,
                role=role,
                now=now,
                path=stored,
                path_prefix=prefix,
            )
            found = None if added is None else members.find(connection, row.id, added)
            if found is None:
                raise Conflict(f"{account!r} has a role there already; change or end that one.")
            _audit_member(connection, actor, now, Operation.CREATE, row, found)
            return found

        return await self._database.write(work)

    async def set_role(self, actor: Actor, name: str, member_id: int, role: Role) -> None:
        """Change a membership's role. Raises NotFound."""
        row = await self.get(actor, name, Action.SET_MEMBERS)
        now = self._clock()

        def work(connection: Connection) -> None:
            members.set_role(connection, row.id, member_id, role)
            changed = members.find(connection, row.id, member_id)
            if changed is None:
                raise NotFound("There is no such member.")
            _audit_member(connection, actor, now, Operation.UPDATE, row, changed)

        await self._database.write(work)

    async def remove_member(self, actor: Actor, name: str, member_id: int) -> None:
        """End a membership. Raises NotFound."""
        row = await self.get(actor, name, Action.SET_MEMBERS)
        now = self._clock()

        def work(connection: Connection) -> None:
            member = members.find(connection, row.id, member_id)
            if member is None or not members.remove(connection, row.id, member_id):
                raise NotFound("There is no such member.")
            _audit_member(connection, actor, now, Operation.DELETE, row, member)

        await self._database.write(work)


def _audit(connection: Connection, actor: Actor, at: datetime, action: Operation, row: ProjectRow, detail: str | None = None) -> None:
    audit.add(connection, audited(actor, at, action, ResourceType.PROJECT, row.name, project_id=row.id, detail=detail))


def _audit_member(connection: Connection, actor: Actor, at: datetime, action: Operation, row: ProjectRow, member: MemberRow) -> None:
    resource, detail = f"{row.name}/{member.holder}", f"{member.role} at {member.path}{'*' if member.path_prefix else ''}"
    audit.add(connection, audited(actor, at, action, ResourceType.MEMBER, resource, project_id=row.id, detail=detail))


def _check_name(name: str) -> None:
    """A project's name is the first component of a repository name."""
    if "/" in name or len(name) > _NAME_LIMIT:
        raise InvalidName(f"A project's name has one component and at most {_NAME_LIMIT} characters.")
    RepositoryName.parse(f"{name}/x")


def _stored_path(path: str) -> tuple[str, bool]:
    """The path of a membership, and whether it is a prefix. Raises InvalidAccount."""
    folder = path.removesuffix("*")
    if path == "*" or (path != folder and folder.endswith("/") and _PATH.fullmatch(folder)):
        return folder, True
    if path != folder or not _PATH.fullmatch(path):
        raise InvalidAccount("A path is written as a repository's path, or as a folder and a star: 'team/*'.")
    return path, False
