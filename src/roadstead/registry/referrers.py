"""What refers to a manifest (distribution-spec, "Listing Referrers")."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.errors import InvalidManifest
from roadstead.metadata import manifests
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ReferrerRow
from roadstead.oci import media_type
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import RepositoryName, referrers_tag
from roadstead.registry.repositories import Repositories


class ReferrersPage(msgspec.Struct, frozen=True):
    """One page of referrers, and the id to continue after (None: this was the last)."""

    referrers: tuple[Descriptor, ...]
    continue_after: int | None


class Referrers:
    """The referrers of any digest, also of one that is not here."""

    def __init__(self, database: Database, repositories: Repositories) -> None:
        self._database = database
        self._repositories = repositories

    async def list(
        self, actor: Actor, name: RepositoryName, subject: Digest, artifact_type: str | None, after: int, limit: int
    ) -> ReferrersPage:
        """Up to `limit` referrers in the order in which they came, after the id `after`; raises what `locate` raises.

        A repository that is not there yet has none. The first page also lists manifests that only the index under the fallback tag names
        ("Enabling the Referrers API").
        """
        place = await self._repositories.locate(actor, name, Action.PULL)
        repository_id = place.repository_id
        if repository_id is None:
            return ReferrersPage((), None)

        def work(connection: Connection) -> ReferrersPage:
            rows = manifests.referrers(connection, repository_id, subject, artifact_type, after, limit + 1)
            page, more = rows[:limit], len(rows) > limit
            if after == 0:
                page = _fallback(connection, repository_id, subject, artifact_type) + page
            return ReferrersPage(tuple(map(_descriptor, page)), page[-1].manifest_id if more else None)

        return await self._database.read(work)


def _descriptor(row: ReferrerRow) -> Descriptor:
    return Descriptor(row.media_type, row.digest, row.size, row.annotations, row.artifact_type)


def _fallback(connection: Connection, repository_id: int, subject: Digest, artifact_type: str | None) -> list[ReferrerRow]:
    """Manifests that the index under the fallback tag names, and that do not name the subject themselves."""
    content = manifests.content_by_tag(connection, repository_id, referrers_tag(subject))
    if content is None:
        return []
    try:
        index = parse_manifest(content, None)
    except InvalidManifest:
        return []
    if index.media_type not in media_type.INDEX_TYPES:
        return []
    listed = manifests.described(connection, repository_id, (child.digest for child in index.children))
    return [row for row in listed if row.subject is None and artifact_type in (None, row.artifact_type)]
