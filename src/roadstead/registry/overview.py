"""The whole in numbers, a project in numbers, and search."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor, Role
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.metadata import overview
from roadstead.metadata.database import Database
from roadstead.metadata.overview import Counts
from roadstead.metadata.projects import ProjectRow
from roadstead.metadata.repositories import RepositoryRow
from roadstead.registry.projects import Projects

FOUND_LIMIT: Final = 200
"""A search shows at most so many projects, and so many repositories."""


class Statistics(msgspec.Struct, frozen=True):
    """What the actor sees, public and not. `stored` (bytes, each content once) is for administrators, None for others."""

    public: Counts
    private: Counts
    stored: int | None


class FoundProject(msgspec.Struct, frozen=True):
    """A project that a search found: how many of its repositories the actor sees, and the roles that they hold in the whole of it."""

    project: ProjectRow
    repositories: int
    roles: tuple[Role, ...]


class Found(msgspec.Struct, frozen=True):
    """What a search found, by name."""

    projects: Sequence[FoundProject]
    repositories: Sequence[RepositoryRow]


class Summary(msgspec.Struct, frozen=True):
    """A project in numbers; `members` (by role, in the whole project) is None for who may not see them."""

    project: ProjectRow
    repositories: int
    members: Mapping[Role, int] | None


class Overview:
    """Nothing is counted or found that the actor may not see."""

    def __init__(self, database: Database, projects: Projects) -> None:
        self._database = database
        self._projects = projects
        self._rights = Rights(database)

    async def statistics(self, actor: Actor) -> Statistics:
        """Count what the actor sees."""
        scope = policy.visible_projects(actor)
        everything = Action.ADMINISTER in policy.permitted_on_system(actor)

        def work(connection: Connection) -> Statistics:
            counts = overview.counts(connection, scope)
            return Statistics(counts[True], counts[False], overview.stored(connection) if everything else None)

        return await self._database.read(work)

    async def search(self, actor: Actor, text: str) -> Found:
        """Projects and repositories with this text in their names, whatever the case, at most `FOUND_LIMIT` of each.

        Raises InvalidInput.
        """
        scope = policy.visible_projects(actor)

        def work(connection: Connection) -> Found:
            projects, repositories = overview.search(connection, scope, text, FOUND_LIMIT)
            ids = [one.id for one in projects]
            held = overview.repositories_in(connection, scope, ids)
            roles = {} if actor.account_id is None else overview.roles_in(connection, actor.account_id, ids)
            found = [FoundProject(one, held.get(one.id, 0), _sorted(roles.get(one.id, ()))) for one in projects]
            return Found(found, repositories)

        return await self._database.read(work)

    async def summary(self, actor: Actor, name: str) -> Summary:
        """A project in numbers. Raises ProjectUnknown and what the policy raises."""
        project = await self._projects.get(actor, name)
        allowed = await self._rights.permitted(actor, Project(project.id, project.name, project.public))
        scope = policy.visible_projects(actor)

        def work(connection: Connection) -> Summary:
            held = overview.repositories_in(connection, scope, [project.id]).get(project.id, 0)
            roles = overview.members_by_role(connection, project.id) if Action.SEE_MEMBERS in allowed else None
            return Summary(project, held, None if roles is None else {Role(role): count for role, count in roles.items()})

        return await self._database.read(work)


def _sorted(roles: Collection[str]) -> tuple[Role, ...]:
    """The roles, the mightiest first."""
    return tuple(role for role in reversed(Role) if role in roles)
