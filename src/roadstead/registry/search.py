"""Finding what one has a part of the name of, and what a start page shows: pushes of late, and how much projects store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Actor
from roadstead.errors import InvalidInput
from roadstead.metadata import search
from roadstead.metadata.database import Database
from roadstead.metadata.listing import PAGE_LIMIT, Page
from roadstead.metadata.search import HitRow, PushRow, UseRow
from roadstead.oci.artifact_type import SIF, kind_of
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName

LONGEST: Final = 200
"""The longest text that is searched for (characters)."""


class Push(msgspec.Struct, frozen=True):
    """A tag as it was pushed last: `kind` as in `oci.artifact_type`, `size` in bytes with all that it names, `by` whom if that is known."""

    repository: RepositoryName
    tag: TagName
    digest: Digest
    kind: str
    artifact_type: str | None
    size: int
    by: str | None
    at: datetime


class Search:
    """Nothing is found that the actor may not see."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, actor: Actor, text: str, page: Page | None = None) -> tuple[Sequence[HitRow], bool]:
        """A page of what has `text` in its name, digest, labels or description, the best first; and whether there is more.

        Without text there is nothing. A digest is found by its first six digits or more, with `sha256:` before them or without, and a
        label by three characters or more. Raises InvalidInput, and InsufficientScope as every list does.
        """
        scope = policy.visible_projects(actor)
        wanted, page = _wanted(text), page or Page()
        if not 1 <= page.size <= PAGE_LIMIT or page.number < 1:
            raise InvalidInput(f"A page has a number from 1, and from 1 to {PAGE_LIMIT} rows.")
        if not wanted:
            return [], False
        return await self._database.read(lambda connection: search.find(connection, scope, wanted, page))

    async def recent(self, actor: Actor, limit: int = 10) -> Sequence[Push]:
        """The tags that were pushed last, the newest first: at most `limit`, and never more than a page."""
        scope = policy.visible_projects(actor)

        def work(connection: Connection) -> list[Push]:
            rows = search.recent(connection, scope, min(limit, PAGE_LIMIT))
            sizes, sifs = search.recent_sizes(connection, rows)
            return [_push(row, sizes[row.manifest_id], is_sif=row.manifest_id in sifs) for row in rows]

        return await self._database.read(work)

    async def use(self, actor: Actor, limit: int = 10) -> Sequence[UseRow]:
        """What the actor's projects store, the largest first; not those that are seen only because they are public."""
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: search.use(connection, scope, min(limit, PAGE_LIMIT)))


def _wanted(text: str) -> str:
    """What is searched for: of `name@digest` the digest, as that says more."""
    wanted = text.strip().rpartition("@")[2]
    if len(wanted) > LONGEST:
        raise InvalidInput(f"Search for at most {LONGEST} characters.")
    if "\0" in wanted or any("\ud800" <= one <= "\udfff" for one in wanted):
        raise InvalidInput("What is searched for has a character that no name holds.")
    return wanted


def _push(row: PushRow, size: int, *, is_sif: bool) -> Push:
    kind = SIF if is_sif else kind_of(row.media_type, row.artifact_type)
    return Push(row.repository, row.tag, row.digest, kind, row.artifact_type, size, row.by, row.at)
