"""What the administration commands work with: the rooms, over the configured database, without the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from roadstead.access.actor import SYSTEM
from roadstead.access.robots import Access, NewRobot, Permission
from roadstead.app.system import System, open_system
from roadstead.errors import InvalidAccount, Misconfigured
from roadstead.metadata import migrations
from roadstead.metadata.audit import AuditRow
from roadstead.metadata.database import sqlite_path
from roadstead.metadata.listing import Filter, Listing, Match, Page
from roadstead.metadata.robots import RobotRow
from roadstead.settings import Settings

_PULL = Access("repository", "pull")
_PUSH = Access("repository", "push")
_DELETE = Access("repository", "delete")
_MAY = {"pull": (_PULL,), "push": (_PULL, _PUSH), "delete": (_PULL, _PUSH, _DELETE)}


class Desk:
    """The rooms that administration needs. Who sits here has the database, so the policy lets them do everything."""

    def __init__(self, system: System) -> None:
        self.people = system.access.people
        self.credentials = system.access.credentials
        self.robots = system.access.robots
        self.sources = system.access.sources
        self.groups = system.access.groups
        self.openpgp_keys = system.access.openpgp_keys
        self.projects = system.registry.projects
        self.trust = system.registry.trust
        self.clusters = system.clusters
        self.jobs = system.jobs
        self.audit = system.access.audit
        self.quotas = system.registry.quotas

    async def add_robot(self, name: str, project: str | None, may: str, description: str, days: int) -> tuple[RobotRow, str]:
        """Make a robot that may `pull`, `push` or `delete`, in its project or in all."""
        if may not in _MAY:
            raise InvalidAccount("A robot may 'pull', 'push' or 'delete'.")
        permissions = (Permission("project", project or "*", _MAY[may]),)
        return await self.robots.add(SYSTEM, NewRobot(name, project, permissions, description, days))

    async def audited(self, project: str | None, equal: Mapping[str, str], since: datetime | None, limit: int) -> Sequence[AuditRow]:
        """The newest entries of the audit log, of a project or of all, with these values and from this time on; the latest last."""
        filters = tuple(Filter(field, Match.EQUAL, (value,)) for field, value in equal.items())
        if since is not None:
            filters += (Filter("at", Match.BETWEEN, (since.isoformat(), "")),)
        listing = Listing(filters, page=Page(size=limit))
        rows, _ = await (self.audit.list(SYSTEM, listing) if project is None else self.audit.of_project(SYSTEM, project, listing))
        return rows[::-1]


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """Open the configured database, brought to the present schema. Raises Misconfigured where there is no installation."""
    if settings.database.startswith("sqlite") and not (place := sqlite_path(settings.database)).exists():
        raise Misconfigured(
            f"There is no installation here: {place} is missing. Name it with --data DIR or --config FILE; `roadstead serve` makes one."
        )
    settings.make_data_directory()
    await migrations.upgrade(settings.database)
    async with open_system(settings) as system:
        yield Desk(system)
