"""Tags: their names (distribution-spec, "Listing Tags"), what each points to, and what it stood for before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.metadata import artifacts, tags
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.tags import TagChangeRow, TagDetail, TaggedRow
from roadstead.oci.artifact_type import SCHEMES, SIF, kind_of, scheme_of
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.repositories import Repositories


class Tagged(msgspec.Struct, frozen=True):
    """A tag with what it points to: `kind` as in `oci.artifact_type`, `size` in bytes with all that it names.

    `accessory` is the kind of accessory that the tag's form makes of it, if it does.
    """

    tag: TagDetail
    digest: Digest
    kind: str
    artifact_type: str | None
    accessory: str | None
    size: int


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

    async def page(self, actor: Actor, name: RepositoryName, listing: Listing) -> tuple[Sequence[Tagged], int]:
        """A page of the repository's tags, pushed last first unless asked otherwise, and how many there are.

        It can be filtered by `name` and `digest`. Raises InvalidInput, RepositoryUnknown and what `locate` raises.
        """
        repository_id = await self._repositories.require(actor, name, Action.SEE)

        def work(connection: Connection) -> tuple[Sequence[Tagged], int]:
            rows, total = tags.page_of_repository(connection, repository_id, listing)
            ids = [row.tag.manifest_id for row in rows]
            sizes, sifs = artifacts.sizes(connection, ids), artifacts.sifs(connection, ids)
            return [_tagged(row, sizes[row.tag.manifest_id], is_sif=row.tag.manifest_id in sifs) for row in rows], total

        return await self._database.read(work)

    async def history(self, actor: Actor, name: RepositoryName, listing: Listing) -> tuple[Sequence[TagChangeRow], int]:
        """A page of what happened to the repository's tags, the newest first, and how much there is; it can be filtered by `tag`.

        Raises InvalidInput, RepositoryUnknown and what `locate` raises.
        """
        repository_id = await self._repositories.require(actor, name, Action.SEE)
        return await self._database.read(partial(tags.history, repository_id=repository_id, listing=listing))


def _tagged(row: TaggedRow, size: int, *, is_sif: bool) -> Tagged:
    kind = SIF if is_sif else kind_of(row.media_type, row.artifact_type)
    return Tagged(row.tag, row.digest, kind, row.artifact_type, SCHEMES.get(scheme_of(row.tag.name)), size)
