"""Listing tags (distribution-spec, "Listing Tags")."""

from __future__ import annotations

from roadstead.access.actor import Action, Actor
from roadstead.metadata import tags
from roadstead.metadata.database import Database
from roadstead.oci.reference import RepositoryName
from roadstead.registry.repositories import Repositories


class Tags:
    """The tags of a repository."""

    def __init__(self, database: Database, repositories: Repositories) -> None:
        self._database = database
        self._repositories = repositories

    async def names(self, actor: Actor, name: RepositoryName, after: str, limit: int) -> list[str]:
        """Up to `limit` tags in the order of their bytes, after `after` ("" for the beginning).

        Raises RepositoryUnknown and what `locate` raises.
        """
        repository_id = await self._repositories.require(actor, name, Action.PULL)
        return await self._database.read(lambda connection: tags.names(connection, repository_id, after, limit))
