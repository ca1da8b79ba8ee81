"""Projects and their members."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import SYSTEM, Action, Actor, Role
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.access.configuration import Configuration
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.errors import Conflict, InUse, InvalidAccount, InvalidName, NotFound, ProjectUnknown
from roadstead.metadata import accounts, audit, credentials, members, projects, repositories, robots
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.members import MemberRow
from roadstead.metadata.projects import ProjectDetails, ProjectRow
from roadstead.oci.reference import RepositoryName
from roadstead.registry.conversion import ConversionSettings
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
        self,
        actor: Actor,
        name: str,
        *,
        public: bool = False,
        description: str = "",
        storage_limit: int | None = None,
        conversion: ConversionSettings | None = None,
    ) -> ProjectRow:
        """Make a project; who makes it becomes its projectAdmin.

        `storage_limit` (bytes; -1 is none) is for administrators to choose, None is the configured one. Raises InvalidName,
        InvalidAccount, InvalidInput, Conflict, Denied.
        """
        present = await self._configuration.present()
        policy.require_on_system(actor, Action.CREATE_PROJECTS, present.project_creation_restriction)
        if storage_limit is not None:
            policy.require_on_system(actor, Action.ADMINISTER)
        _check_name(name)
        limit = limit_of(present.storage_per_project if storage_limit is None else storage_limit)
        now, values = self._clock(), _columns(conversion)

        def work(connection: Connection) -> ProjectRow:
            added = projects.ensure(
                connection, name, public=public, owner_id=actor.account_id, now=now, description=description, storage_limit=limit, **values
            )
            row = projects.find(connection, name)
            if not added or row is None:
                raise Conflict(f"There is a project {name!r} already.")
            if actor.account_id is not None and actor.robot is None:
                members.add(connection, row.id, account_id=actor.account_id, group_id=None, role=Role.PROJECT_ADMIN, now=now)
            _audit(connection, actor, now, Operation.CREATE, row, _said({"": "public" if public else "private", **values}))
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

    async def get(self, actor: Actor, which: str | int, action: Action = Action.SEE) -> ProjectRow:
        """The project of that name or id, if the actor may do `action` there. Raises ProjectUnknown and what the policy raises."""
        row = await self._database.read(
            lambda connection: projects.get(connection, which) if isinstance(which, int) else projects.find(connection, which)
        )
        if row is None:
            raise policy.absent(actor, str(which))
        try:
            await self._rights.require(actor, action, Project(row.id, row.name, row.public))
        except ProjectUnknown:
            # In the words of the question: an id must not tell a name.
            raise policy.absent(actor, str(which)) from None
        return row

    async def page(self, actor: Actor, listing: Listing) -> tuple[list[ProjectDetails], int]:
        """A page of the projects that the actor may see, and how many there are on all. Raises InvalidInput."""
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: projects.page(connection, scope, listing))

    async def details(self, actor: Actor, which: str | int) -> ProjectDetails:
        """As `get`, with what a page about the project shows."""
        row = await self.get(actor, which)
        scope = policy.visible_projects(actor)
        found = await self._database.read(lambda connection: projects.details(connection, scope, row.id))
        if found is None:
            raise policy.absent(actor, str(which))
        return found

    async def roles(self, actor: Actor, project_ids: Iterable[int]) -> dict[int, frozenset[Role]]:
        """The actor's own roles in the whole of each of these projects; an administrator is as good as every project's own."""
        ids = tuple(project_ids)
        account_id = actor.account_id
        if actor.is_admin:
            return dict.fromkeys(ids, frozenset({Role.PROJECT_ADMIN}))
        if account_id is None or actor.robot is not None:
            return dict.fromkeys(ids, frozenset())
        held = await self._database.read(lambda connection: members.roles_in(connection, account_id, ids))
        return {one: frozenset(Role(role) for project_id, role in held if project_id == one) for one in ids}

    async def permitted(self, actor: Actor, which: str | int) -> frozenset[Action]:
        """Everything that the actor may do in the project. Raises as `get`."""
        row = await self.get(actor, which)
        return await self._rights.permitted(actor, Project(row.id, row.name, row.public))

    async def visible(self, actor: Actor) -> list[ProjectRow]:
        """The projects that the actor may see, by name."""
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: projects.visible(connection, scope))

    async def change(
        self,
        actor: Actor,
        name: str | int,
        *,
        public: bool | None = None,
        description: str | None = None,
        conversion: ConversionSettings | None = None,
    ) -> None:
        """Change what is given. Raises InvalidInput."""
        row = await self.get(actor, name, Action.CONFIGURE)
        wanted = {"public": public, "description": description, **_columns(conversion)}
        values = {key: value for key, value in wanted.items() if value is not None}
        now = self._clock()

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, now, **values)
            _audit(connection, actor, now, Operation.UPDATE, row, _said(values))

        await self._database.write(work)

    async def filled(self, actor: Actor, which: str | int) -> int:
        """How many repositories of the project hold images, for those who may remove it: with any it cannot be removed."""
        row = await self.get(actor, which, Action.REMOVE)
        return await self._database.read(lambda connection: repositories.filled(connection, row.id))

    async def remove(self, actor: Actor, name: str | int) -> None:
        """Delete a project that holds no images any more, with its robots. Raises InUse if it does."""
        row = await self.get(actor, name, Action.REMOVE)
        now = self._clock()

        def work(connection: Connection) -> None:
            filled = repositories.filled(connection, row.id)
            if filled:
                raise InUse(f"The project {row.name!r} still holds {filled} repositories; delete their images first.")
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

    async def members_page(self, actor: Actor, which: str | int, listing: Listing, *, whole: bool = True) -> tuple[list[MemberRow], int]:
        """A page of the members of the `whole` project, or else of the grants on paths in it; and how many on all. Raises InvalidInput."""
        row = await self.get(actor, which, Action.SEE_MEMBERS)
        return await self._database.read(lambda connection: members.page(connection, row.id, listing, whole=whole))

    async def member(self, actor: Actor, which: str | int, member_id: int) -> MemberRow:
        """One membership. Raises NotFound."""
        row = await self.get(actor, which, Action.SEE_MEMBERS)
        found = await self._database.read(lambda connection: members.find(connection, row.id, member_id))
        if found is None:
            raise NotFound("There is no such member.")
        return found

    async def member_counts(self, actor: Actor, which: str | int) -> dict[Role, int]:
        """How many members of the whole project have each role."""
        row = await self.get(actor, which, Action.SEE_MEMBERS)
        found = await self._database.read(lambda connection: members.counts(connection, row.id))
        return {role: found.get(role, 0) for role in Role}

    async def add_member(self, actor: Actor, name: str | int, account: str | int, role: Role, path: str = "*") -> MemberRow:
        """Give the account of that name or id a role in the project, in one repository at `path`, or below a folder (`team/*`).

        Raises InvalidAccount for a bad path, NotFound for no such account, Conflict if it has a role there.
        """

        def find(connection: Connection) -> int | None:
            found = accounts.get(connection, account) if isinstance(account, int) else accounts.find(connection, account)
            return found.id if found is not None and found.kind == "user" else None

        return await self._join(actor, name, "account", account, find, role, path)

    async def add_group(self, actor: Actor, name: str | int, group: str | int, role: Role, path: str = "*") -> MemberRow:
        """As `add_member`, for everybody in the group of that name or id."""
        return await self._join(actor, name, "group", group, lambda connection: members.group_id(connection, group), role, path)

    async def _join(
        self, actor: Actor, name: str | int, kind: str, holder: str | int, find: Callable[[Connection], int | None], role: Role, path: str
    ) -> MemberRow:
        row = await self.get(actor, name, Action.SET_MEMBERS)
        stored, prefix = _stored_path(path)
        now = self._clock()

        def work(connection: Connection) -> MemberRow:
            holder_id = find(connection)
            if holder_id is None:
                raise NotFound(f"There is no {kind} {holder!r}.")
            added = members.add(
                connection,
                row.id,
                account_id=holder_id if kind == "account" else None,
                group_id=holder_id if kind == "group" else None,
                role=role,
                now=now,
                path=stored,
                path_prefix=prefix,
            )
            found = None if added is None else members.find(connection, row.id, added)
            if found is None:
                raise Conflict(f"The {kind} {holder!r} has a role there already; change or end that one.")
            _audit_member(connection, actor, now, Operation.CREATE, row, found)
            return found

        return await self._database.write(work)

    async def set_role(self, actor: Actor, name: str | int, member_id: int, role: Role) -> None:
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

    async def remove_member(self, actor: Actor, name: str | int, member_id: int) -> None:
        """End a membership. Raises NotFound."""
        row = await self.get(actor, name, Action.SET_MEMBERS)
        now = self._clock()

        def work(connection: Connection) -> None:
            member = members.find(connection, row.id, member_id)
            if member is None or not members.remove(connection, row.id, member_id):
                raise NotFound("There is no such member.")
            _audit_member(connection, actor, now, Operation.DELETE, row, member)

        await self._database.write(work)


def _columns(conversion: ConversionSettings | None) -> dict[str, Any]:
    return {} if conversion is None else conversion.columns()


def _said(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key}: {value}" if key else str(value) for key, value in values.items())


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
