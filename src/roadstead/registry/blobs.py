"""Blobs: reading, mounting, deleting, and recording what an upload has sealed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore, Sealed, Span
from roadstead.errors import BlobUnknown, ContentDamaged, NotFound, Refused, StoreFailed
from roadstead.metadata import audit, contents, repositories
from roadstead.metadata.contents import BlobRow, BlobSelects, ContentRow
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.quotas import charge
from roadstead.registry.repositories import Repositories
from roadstead.registry.rules import Rules
from roadstead.registry.seams import OpenBlob, Seams, SpanOf

_LINK_ATTEMPTS = 5


class Recorded(msgspec.Struct, frozen=True):
    """How a sealed upload was recorded: `existing` is the content that was there already, with other bytes of its own."""

    content_id: int
    existing: ContentRow | None


def whole(_size: int) -> tuple[int, int] | None:
    """Want all of a blob."""
    return None


class Blobs:
    """A blob is seen in a repository that links it, and nowhere else: knowing a digest grants nothing."""

    def __init__(
        self, database: Database, store: ContentStore, repositories: Repositories, rules: Rules, seams: Seams, clock: Clock
    ) -> None:
        self._database = database
        self._store = store
        self._repositories = repositories
        self._rules = rules
        self._seams = seams
        self._clock = clock
        self._selects = BlobSelects(database)

    async def open(self, actor: Actor, name: RepositoryName, digest: Digest, span_of: SpanOf = whole) -> OpenBlob:
        """Open a blob. Raises BlobUnknown, RangeNotSatisfiable, ContentDamaged, and what `locate` and the gate raise."""
        place, row = await self._find(actor, name, digest)
        if row is None:
            return await self._open_missing(actor, place, name, digest, span_of)
        wanted = span_of(row.size)
        span = Span(*wanted) if wanted else None
        content = await self._store.open(row.key, row.size, span, elsewhere=True)
        return OpenBlob(row.size, span, content)

    async def size(self, actor: Actor, name: RepositoryName, digest: Digest, right: Action = Action.PULL) -> int:
        """The size of a blob (bytes), for a client that will rely on its being here: its link's grace begins anew. Raises as `open`.

        It asks for another `right` than that to pull where nothing but the size is told, to who has uploaded it.
        """
        place, row = await self._find(actor, name, digest, right)
        if row is None:
            return (await self._open_missing(actor, place, name, digest, whole)).size
        if not await self._store.holds(row.key, row.size):
            raise ContentDamaged(f"The bytes of {digest} are missing or short in the store.", digest=str(digest))
        await self._keep(place, row, name, digest)
        return row.size

    async def _find(
        self, actor: Actor, name: RepositoryName, digest: Digest, right: Action = Action.PULL
    ) -> tuple[PlaceRow, BlobRow | None]:
        place = await self._repositories.locate(actor, name, right)
        if self._seams.pull_gate is not None and right is Action.PULL:
            await self._seams.pull_gate.blob(actor, place, name, digest)
        if place.repository_id is None:
            return place, None
        row = await self._selects.find(place.repository_id, digest)
        if row is not None:
            require_here(row, self._store, str(digest))
        return place, row

    async def _open_missing(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest, span_of: SpanOf) -> OpenBlob:
        source = self._seams.missing_content
        found = source and await source.blob(actor, place, name, digest, span_of)
        if found:
            return found
        raise unknown(name, digest)

    async def _keep(self, place: PlaceRow, row: BlobRow, name: RepositoryName, digest: Digest) -> None:
        """Renew the link's grace once a quarter of it has passed.

        A client that was told "it is here" so has at least three quarters of the grace to rely on it.
        """
        now = self._clock()
        repository_id = place.repository_id
        if repository_id is None or now - row.touched_at < self._rules.link_grace / 4:
            return
        if not await self._database.write(lambda connection: contents.touch(connection, repository_id, row.content_id, now)):
            raise unknown(name, digest)

    async def delete(self, actor: Actor, name: RepositoryName, digest: Digest) -> None:
        """Take a blob out of a repository. Manifests that name it stay, and cannot be pulled whole any more. Raises BlobUnknown."""
        place = await self._repositories.locate(actor, name, Action.DELETE)
        repository_id = place.repository_id
        if repository_id is None:
            raise unknown(name, digest)
        now = self._clock()

        def work(connection: Connection) -> None:
            if not contents.unlink(connection, repository_id, digest, now):
                raise unknown(name, digest)
            said = audited(actor, now, Operation.DELETE, ResourceType.BLOB, f"{name}@{digest}", project_id=place.project_id)
            audit.add(connection, said)

        await self._database.write(work)

    async def mount(self, actor: Actor, name: RepositoryName, digest: Digest, source: RepositoryName | None) -> bool:
        """Link a blob from `source`, or from any repository that the actor may pull from.

        False if there is none such: whether the content is elsewhere, out of the actor's sight, is not told. Raises QuotaExceeded and
        what `locate` raises.
        """
        place = await self._repositories.locate(actor, name, Action.PUSH)
        source_id = None
        if source is not None:
            source_id = await self._readable(actor, source, digest)
            if source_id is None:
                return False
        scope = policy.mountable_projects(actor) if source is None else policy.ANY_PROJECT
        now = self._clock()

        def work(connection: Connection) -> bool:
            found = contents.mountable(connection, digest, scope, source_id, place.project_id)
            if found is None:
                return False
            repository_id = repositories.ensure(connection, place.project_id, name.path, now)
            if not contents.link(connection, repository_id, found.id, actor.account_id, now):
                return False
            charge(connection, place, found.id, found.size, now)
            return True

        return await self._database.write(work)

    async def _readable(self, actor: Actor, name: RepositoryName, digest: Digest) -> int | None:
        """The repository, if the actor may fetch the blob from it."""
        try:
            place = await self._repositories.locate(actor, name, Action.PULL)
            if self._seams.pull_gate is not None:
                await self._seams.pull_gate.blob(actor, place, name, digest)
        except (NotFound, Refused):
            return None
        return place.repository_id

    async def record(
        self,
        place: PlaceRow,
        name: RepositoryName,
        sealed: Sealed,
        account_id: int | None,
        also: Callable[[Connection], None],
        *,
        held: int = 0,
    ) -> None:
        """Link sealed bytes in a repository, in one transaction with `also`; if the content was here already, keep one copy.

        A copy whose bytes were lost is replaced by the fresh one, so that pushing again heals. `held` bytes of the project's quota are
        given back by `also`. Raises QuotaExceeded; then nothing is recorded, and the sealed bytes are left to the caller.
        """
        now = self._clock()

        def work(connection: Connection) -> Recorded:
            also(connection)
            repository_id = repositories.ensure(connection, place.project_id, name.path, now)
            recorded = self.link(connection, repository_id, sealed, account_id, now)
            charge(connection, place, recorded.content_id, sealed.size, now, held=held)
            return recorded

        await self.keep_one(await self._database.write(work), sealed)

    def link(
        self, connection: Connection, repository_id: int, sealed: Sealed, account_id: int | None, now: datetime, *, relied_on: bool = True
    ) -> Recorded:
        """Link sealed bytes in a repository, or what is there already by their digests, uncharged; `keep_one` follows the commit."""
        known_by = tuple(sealed.digests.values())
        for _ in range(_LINK_ATTEMPTS):
            recorded = self._add_or_find(connection, sealed, known_by)
            if contents.link(connection, repository_id, recorded.content_id, account_id, now, relied_on=relied_on):
                if recorded.existing is not None:
                    # Not before the link: what the collector has taken must not be found again by a new name.
                    contents.alias(connection, recorded.content_id, known_by)
                return recorded
        raise StoreFailed("The content is being deleted and pushed at the same time; push it again.")

    def _add_or_find(self, connection: Connection, sealed: Sealed, known_by: tuple[Digest, ...]) -> Recorded:
        """The content of these digests: one that is there, or the sealed bytes as a new one."""
        for digest in known_by:
            if (found := contents.find(connection, digest)) is not None:
                return Recorded(found.id, found)
        added = contents.add(connection, size=sealed.size, store=self._store.name, key=sealed.key, known_by=known_by, now=self._clock())
        if added is not None:
            return Recorded(added, None)
        # Somebody committed the same content between the two statements (PostgreSQL): now it is found.
        return self._add_or_find(connection, sealed, known_by)

    async def keep_one(self, recorded: Recorded, sealed: Sealed) -> None:
        """Delete one of two copies of the same bytes: the sealed one, unless that of the content which was there already is lost."""
        existing = recorded.existing
        if existing is None or existing.key == sealed.key:
            return  # the same upload was recorded before, and its answer was lost
        if existing.store == self._store.name and await self._store.holds(existing.key, existing.size):
            await self._store.delete(sealed.key)
            return
        swapped = await self._database.write(
            lambda connection: contents.replace_key(connection, existing.id, existing.key, sealed.key, self._store.name)
        )
        if not swapped:
            await self._store.delete(sealed.key)
        elif existing.store == self._store.name:
            await self._store.delete(existing.key)


def unknown(name: RepositoryName, digest: Digest) -> BlobUnknown:
    """The one sentence for a blob that a repository does not see."""
    return BlobUnknown(f"There is no blob {digest!s} in {name!s}.", digest=str(digest), name=str(name))


def require_here(row: BlobRow, store: ContentStore, what: str) -> None:
    """Return if the bytes lie in this process's store. Raises StoreFailed, which names them as `what`."""
    if row.store != store.name:
        raise StoreFailed(f"The bytes of {what} lie in a store of kind {row.store!r}, which this process does not use.")
