"""Finding the repository that a request is about, and whether the actor may do there what it asks."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.access.configuration import Configuration
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.errors import RepositoryUnknown
from roadstead.metadata import audit, projects, repositories
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow, RepositorySelects
from roadstead.oci.reference import RepositoryName
from roadstead.registry.quotas import limit_of
from roadstead.registry.rules import Rules


class Repositories:
    """Every other part of this room begins with `locate`, which is where the policy is asked."""

    def __init__(self, database: Database, rules: Rules, clock: Clock, configuration: Configuration | None = None) -> None:
        self._database = database
        self._configuration = configuration or Configuration(database, clock)
        self._selects = RepositorySelects(database)
        self._rights = Rights(database)
        self._rules = rules
        self._clock = clock

    async def locate(self, actor: Actor, name: RepositoryName, action: Action) -> PlaceRow:
        """The project, and the repository if it is there, in which the actor may do `action`.

        Raises ProjectUnknown, Unauthenticated, Denied or InsufficientScope.
        """
        place = await self._selects.place(name)
        if place is None and action is Action.PUSH:
            place = await self._create_project(actor, name)
        if place is None:
            raise policy.absent(actor, name.project)
        await self._rights.require(actor, action, Project(place.project_id, place.project_name, place.public), name)
        return place

    async def require(self, actor: Actor, name: RepositoryName, action: Action) -> int:
        """As `locate`, for a repository that must be there; returns its id. Raises RepositoryUnknown too."""
        place = await self.locate(actor, name, action)
        if place.repository_id is None:
            raise unknown(name)
        return place.repository_id

    async def _create_project(self, actor: Actor, name: RepositoryName) -> PlaceRow | None:
        if not (self._rules.create_projects_on_push and Action.CREATE_PROJECTS in policy.permitted_on_system(_pushing(actor, name))):
            return None
        now, limit = self._clock(), limit_of((await self._configuration.present()).storage_per_project)

        def work(connection: Connection) -> None:
            if projects.ensure(connection, name.project, public=False, owner_id=actor.account_id, now=now, storage_limit=limit):
                row = projects.find(connection, name.project)
                project_id = None if row is None else row.id
                audit.add(
                    connection,
                    audited(
                        actor, now, Operation.CREATE, ResourceType.PROJECT, name.project, project_id=project_id, detail="private, by a push"
                    ),
                )

        await self._database.write(work)
        return await self._selects.place(name)

    async def catalog(self, actor: Actor, after: RepositoryName | None, limit: int) -> list[str]:
        """Up to `limit` names, after `after`, of repositories that hold something and that the actor may see."""
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: repositories.catalog(connection, scope, after, limit))


def _pushing(actor: Actor, name: RepositoryName) -> Actor:
    """The actor without the token's scope, if that covers the push: a scope names repositories, and this one's project is wanted."""
    covered = actor.scope is not None and actor.scope.covers(name, Action.PUSH)
    return msgspec.structs.replace(actor, scope=None) if covered else actor


def unknown(name: RepositoryName) -> RepositoryUnknown:
    """The one sentence for a repository that does not exist in a project that may be seen."""
    return RepositoryUnknown(f"There is no repository {name!s}, or you may not see it.", name=str(name))
