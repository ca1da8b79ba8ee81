"""What this registry makes of a manifest: recording it beside that, finding it again, sharing it.

Machinery without actors, for the rooms that convert; no door calls it. Who may have something made is decided there, and who may pull it
is decided as for every manifest. What is derived goes with its subject (`metadata.derived`) and is charged to nobody (`metadata.quotas`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore, Sealed
from roadstead.errors import Conflict, InvalidManifest, ManifestUnknown, ReferenceMissing, RoadsteadError, Unavailable
from roadstead.metadata import contents, derived, events, manifests, quota_upkeep, repositories
from roadstead.metadata.database import Database
from roadstead.metadata.derived import DerivedRow
from roadstead.metadata.events import NewEvent
from roadstead.metadata.manifests import NewManifest, ReferenceRow
from roadstead.metadata.projects import ConversionPolicy, ConversionSelects
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.blobs import Blobs, Recorded
from roadstead.registry.manifests import references_of

T = TypeVar("T")

_TRIED: Final = 8


class _New(msgspec.Struct, frozen=True):
    """A derived manifest that has been checked, ready to be recorded."""

    place: PlaceRow
    name: RepositoryName
    subject: Digest
    conversion: str
    manifest: Manifest
    content: bytes

    @property
    def digest(self) -> Digest:
        return Digest.of(self.content)


class Derived:
    """A conversion, by its identity, makes of one manifest one other, the same wherever and whenever it is made."""

    def __init__(self, database: Database, store: ContentStore, blobs: Blobs, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._policies = ConversionSelects(database)

    async def policy(self, project_id: int) -> ConversionPolicy:
        """What the project converts, when, and for whom; by one select. Raises ManifestUnknown if the project is gone."""
        found = await self._policies.of_project(project_id)
        if found is None:
            raise ManifestUnknown
        return found

    async def find(self, repository_id: int, subject: Digest, conversion: str) -> DerivedRow | None:
        """What that conversion has made of the subject in this repository, and whether all that it names is here."""
        return await self._database.read(partial(derived.find, repository_id=repository_id, subject=subject, conversion=conversion))

    async def record(
        self,
        place: PlaceRow,
        name: RepositoryName,
        subject: Digest,
        conversion: str,
        content: bytes,
        blobs: Sequence[Sealed | bytes] = (),
    ) -> Digest:
        """Record in one transaction what a conversion has made: link `blobs`, charged to nobody, and write the manifest `content`.

        The sealed bytes are this method's from here on: what is here already, or comes to nothing, is deleted. May be repeated, also to
        bring back content that had been evicted. A blob that the manifest names is given, or in the repository. Returns the digest.
        Raises ManifestUnknown where the subject is gone, ReferenceMissing, InvalidManifest if `subject` is not the manifest's subject, and
        Conflict if the same conversion has made another manifest of it before.
        """
        async with self._kept(blobs) as sealed:
            new = _New(place, name, subject, conversion, _checked(content, subject), content)
            recorded = await self._write(partial(self._record, new, sealed))
        for one, outcome in zip(sealed, recorded, strict=True):
            await self._blobs.keep_one(outcome, one)
        return new.digest

    async def share(self, place: PlaceRow, name: RepositoryName, subject: Digest, conversion: str) -> Digest | None:
        """Have what was made before, without making it again: content that was evicted and is not collected yet, or another repository's.

        The latter only if this repository sees every blob of the subject: knowing a digest grants nothing. An index is to be had where its
        parts are here. Returns the digest, None where there is nothing to have. Raises ManifestUnknown where the subject is gone.
        """
        return await self._write(partial(self._share, place, name, subject, conversion))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._database.write(work)
        except IntegrityError:
            # Somebody else recorded the same between our look and our insert (PostgreSQL): now it is found.
            return await self._database.write(work)

    @asynccontextmanager
    async def _kept(self, blobs: Sequence[Sealed | bytes]) -> AsyncIterator[Sequence[Sealed]]:
        """All of them sealed; deleted again where a refusal makes sure that nothing was recorded."""
        sealed: list[Sealed] = []
        try:
            for one in blobs:
                sealed.append(one if isinstance(one, Sealed) else await self._sealed(one))
            yield sealed
        except Unavailable:
            raise  # who knows what was committed
        except RoadsteadError:
            for one in sealed:
                # Recording may be repeated, and the first time may have succeeded.
                if not await self._database.read(partial(contents.is_key, store=self._store.name, key=one.key)):
                    await self._store.delete(one.key)
            raise

    async def _sealed(self, content: bytes) -> Sealed:
        writer = await self._store.resume((await self._store.begin()).state, len(content))
        try:
            await writer.write(content)
            return await writer.seal()
        except BaseException:
            await writer.discard()
            raise

    def _record(self, new: _New, sealed: Sequence[Sealed], connection: Connection) -> list[Recorded]:
        repository_id = _home(connection, new.place, new.name, new.subject)
        now = self._clock()
        recorded: dict[str, Recorded] = {}
        # In one order, so that two that link the same contents do not wait for each other in a circle.
        for one in sorted(sealed, key=lambda one: sorted(one.digests.values())):
            recorded[one.key] = self._blobs.link(connection, repository_id, one, None, now, relied_on=False)
        self._enter(connection, repository_id, new)
        return [recorded[one.key] for one in sealed]

    def _enter(self, connection: Connection, repository_id: int, new: _New) -> None:
        """Write the manifest, after its links as a push does."""
        now = self._clock()
        if derived.hold(connection, repository_id, new.subject) is None:
            raise _gone(new.name, new.subject)
        earlier = derived.find(connection, repository_id, new.subject, new.conversion)
        if earlier is not None and earlier.digest != new.digest:
            raise Conflict(f"The same conversion of {new.subject} has made {earlier.digest}, and now {new.digest}.")
        references = _references(connection, repository_id, new.manifest)
        manifest_id = manifests.find_id(connection, repository_id, new.digest)
        if manifest_id is None:
            manifest_id = manifests.add(connection, _row(new, repository_id, references, now))
            happened = NewEvent("manifest.derived", now, None, new.place.project_id, repository_id, manifest_id, new_digest=str(new.digest))
            events.add(connection, happened)
        else:
            derived.name(connection, manifest_id, new.conversion)
            manifests.set_references(connection, manifest_id, references)
        # A sparse image may have named it before it was here.
        content_ids = [one.content_id for one in references if one.content_id is not None]
        quota_upkeep.charge_missing(connection, new.place.project_id, content_ids, now)

    def _share(self, place: PlaceRow, name: RepositoryName, subject: Digest, conversion: str, connection: Connection) -> Digest | None:
        repository_id = _home(connection, place, name, subject)
        subject_id = manifests.find_id(connection, repository_id, subject)
        if subject_id is None:
            raise _gone(name, subject)
        sees_subject = not derived.unseen(connection, repository_id, subject_id)
        for one in derived.originals(connection, subject, conversion, repository_id, _TRIED):
            own = one.repository_id == repository_id
            if own or (sees_subject and derived.is_whole(connection, one.repository_id, one.manifest_id)):
                new = _New(place, name, subject, conversion, parse_manifest(one.content, None), one.content)
                if self._linked(connection, repository_id, new.manifest):
                    self._enter(connection, repository_id, new)
                    return new.digest
        return None

    def _linked(self, connection: Connection, repository_id: int, manifest: Manifest) -> bool:
        """Link what the manifest names; False if something of it is not to be had."""
        wanted = sorted({one.digest for one in manifest.blobs()})
        found = [contents.find(connection, digest) for digest in wanted]
        if any(one is None or one.store != self._store.name for one in found):
            return False
        if manifests.missing(connection, repository_id, [child.digest for child in manifest.children]):
            return False
        return all(contents.link(connection, repository_id, one.id, None, self._clock(), relied_on=False) for one in found if one)


def _home(connection: Connection, place: PlaceRow, name: RepositoryName, subject: Digest) -> int:
    """The repository, which nobody deletes before this transaction ends. Raises ManifestUnknown."""
    repository_id = repositories.find(connection, place.project_id, name.path)
    if repository_id is None:
        raise _gone(name, subject)
    return repository_id


def _checked(content: bytes, subject: Digest) -> Manifest:
    manifest = parse_manifest(content, None)
    if manifest.subject is None or manifest.subject.digest != subject:
        raise InvalidManifest(f"What was made of {subject} does not name it as its subject.")
    return manifest


def _references(connection: Connection, repository_id: int, manifest: Manifest) -> tuple[ReferenceRow, ...]:
    """What the manifest refers to, all of which the repository sees. Raises ReferenceMissing."""
    seen = contents.visible(connection, repository_id, [one.digest for one in manifest.blobs()])
    absent = [one.digest for one in manifest.blobs() if one.digest not in seen]
    absent += manifests.missing(connection, repository_id, [child.digest for child in manifest.children])
    if absent:
        raise ReferenceMissing(f"What was made names content that is not in this repository: {absent[0]}.")
    return references_of(manifest, seen)


def _row(new: _New, repository_id: int, references: tuple[ReferenceRow, ...], now: datetime) -> NewManifest:
    return NewManifest(
        repository_id=repository_id,
        digest=new.digest,
        media_type=new.manifest.media_type,
        artifact_type=new.manifest.artifact_type,
        subject=new.subject,
        annotations=new.manifest.annotations,
        content=new.content,
        references=references,
        pushed_by=None,
        pushed_at=now,
        conversion=new.conversion,
    )


def _gone(name: RepositoryName, subject: Digest) -> ManifestUnknown:
    return ManifestUnknown(f"The manifest {subject} is not in {name} any more.", name=str(name), reference=str(subject))
