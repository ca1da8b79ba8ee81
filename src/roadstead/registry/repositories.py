"""Finding the repository that a request is about, and whether the actor may do there what it asks; listing, describing, removing them."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.access.configuration import Configuration
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.errors import InvalidInput, RepositoryUnknown
from roadstead.metadata import audit, contents, events, manifests, projects, quotas, repositories, tags
from roadstead.metadata.database import Database
from roadstead.metadata.events import NewEvent
from roadstead.metadata.listing import Listing
from roadstead.metadata.repositories import PlaceRow, RepositoryRow, RepositorySelects
from roadstead.oci.reference import RepositoryName
from roadstead.registry.quotas import limit_of
from roadstead.registry.rules import Rules

_LONGEST_DESCRIPTION: Final = 64 * 1024


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

    async def permitted(self, actor: Actor, name: RepositoryName) -> frozenset[Action]:
        """Everything that the actor may do in a repository, by roles in its project and on its path; it need not be there.

        Of a project that does not exist it is nothing.
        """
        place = await self._selects.place(name)
        if place is None:
            return frozenset()
        return await self._rights.permitted(actor, Project(place.project_id, place.project_name, place.public), name)

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

    async def visible(self, actor: Actor, listing: Listing) -> tuple[list[RepositoryRow], int]:
        """A page of the repositories that hold something and that the actor may see, and how many there are. Raises InvalidInput."""
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: repositories.page(connection, scope, listing))

    async def of_project(self, actor: Actor, project: str, listing: Listing) -> tuple[list[RepositoryRow], int]:
        """As `visible`, of one project. Raises ProjectUnknown and what the policy raises."""
        row = await self._database.read(lambda connection: projects.find(connection, project))
        if row is None:
            raise policy.absent(actor, project)
        await self._rights.require(actor, Action.SEE, Project(row.id, row.name, row.public))
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: repositories.page(connection, scope, listing, row.id))

    async def get(self, actor: Actor, name: RepositoryName, *, counts: bool = True) -> RepositoryRow:
        """One repository, also if it holds nothing (any more); without `counts`, which are for who counts its artifacts anyhow, `artifacts`
        is 0. Raises what `require` raises."""
        repository_id = await self.require(actor, name, Action.SEE)
        row = await self._database.read(lambda connection: repositories.get(connection, repository_id, counts=counts))
        if row is None:
            raise unknown(name)
        return row

    async def changed_at(self, actor: Actor, name: RepositoryName) -> datetime | None:
        """Its `updated_at`, for who looks at it again and again; None if it is gone. Raises what `require` raises."""
        repository_id = await self.require(actor, name, Action.SEE)
        return await self._database.read(partial(repositories.changed_at, repository_id=repository_id))

    async def describe(self, actor: Actor, name: RepositoryName, description: str) -> None:
        """Set what is said of a repository (text, at most 64 KiB). Raises InvalidInput and what `require` raises."""
        if len(description.encode()) > _LONGEST_DESCRIPTION:
            raise InvalidInput(f"A description has at most {_LONGEST_DESCRIPTION} bytes.")
        place = await self.locate(actor, name, Action.DESCRIBE)
        now = self._clock()

        def work(connection: Connection) -> bool:
            if place.repository_id is None or not repositories.describe(connection, place.repository_id, description, now):
                return False
            said = audited(actor, now, Operation.UPDATE, ResourceType.REPOSITORY, name, project_id=place.project_id, detail="description")
            audit.add(connection, said)
            return True

        if not await self._database.write(work):
            raise unknown(name)

    async def introduce(self, actor: Actor, name: RepositoryName, description: str) -> None:
        """As `describe`, of what is about to be pushed: the repository need not be there, and what is said of it already stays."""
        place = await self.locate(actor, name, Action.PUSH)
        row = None
        if place.repository_id is None:
            now = self._clock()
            await self._database.write(lambda connection: repositories.ensure(connection, place.project_id, name.path, now))
        else:
            repository_id = place.repository_id
            row = await self._database.read(lambda connection: repositories.get(connection, repository_id, counts=False))
        if row is None or not row.description:
            await self.describe(actor, name, description)

    async def remove(self, actor: Actor, name: RepositoryName) -> None:
        """Delete a repository with all that is in it; what is pushed by that name from now on comes into a new one.

        One event tells of it, and none of each manifest. Its blobs become loose, as those of a deleted manifest do. Raises what
        `require` raises.
        """
        place = await self.locate(actor, name, Action.DELETE)

        def work(connection: Connection) -> bool:
            return place.repository_id is not None and self._remove(connection, actor, place.project_id, place.repository_id, name)

        if not await self._database.write(work):
            raise unknown(name)

    def _remove(self, connection: Connection, actor: Actor, project_id: int, repository_id: int, name: RepositoryName) -> bool:
        now = self._clock()
        if not repositories.hold(connection, repository_id):
            return False
        contents.touch_repository(connection, repository_id, now)
        tags.remove_all(connection, repository_id, actor.account_id, now)
        gone = manifests.delete_all(connection, repository_id, now)
        repositories.delete(connection, repository_id, now)
        quotas.free_repository(connection, repository_id)
        happened = NewEvent("repository.deleted", now, actor.account_id, project_id, repository_id)
        events.add(connection, happened)
        said = f"with {gone} manifests"
        audit.add(connection, audited(actor, now, Operation.DELETE, ResourceType.REPOSITORY, name, project_id=project_id, detail=said))
        return True


def _pushing(actor: Actor, name: RepositoryName) -> Actor:
    """The actor without the token's scope, if that covers the push: a scope names repositories, and this one's project is wanted."""
    covered = actor.scope is not None and actor.scope.covers(name, Action.PUSH)
    return msgspec.structs.replace(actor, scope=None) if covered else actor


def unknown(name: RepositoryName) -> RepositoryUnknown:
    """The one sentence for a repository that does not exist in a project that may be seen."""
    return RepositoryUnknown(f"There is no repository {name!s}, or you may not see it.", name=str(name))
