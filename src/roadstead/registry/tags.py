"""Listing tags (distribution-spec, "Listing Tags"), and what each stood for before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from roadstead.access.actor import Action, Actor
from roadstead.metadata import tags
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.tags import TagChangeRow
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

    async def history(self, actor: Actor, name: RepositoryName, listing: Listing) -> tuple[Sequence[TagChangeRow], int]:
        """A page of what happened to the repository's tags, the newest first, and how much there is; it can be filtered by `tag`.

        Raises InvalidInput, RepositoryUnknown and what `locate` raises.
        """
        repository_id = await self._repositories.require(actor, name, Action.SEE)
        return await self._database.read(partial(tags.history, repository_id=repository_id, listing=listing))
