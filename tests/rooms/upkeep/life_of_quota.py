"""A model of what projects use, and of what is refused, to be compared with the registry after every step.

"Manifests" are what people have pushed; what is derived of them costs nothing. The model counts from first principles: sets of contents,
added up anew each time. It knows nothing of entries, reservations or locks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Final

from hypothesis import strategies
from hypothesis.stateful import invariant, rule
from sqlalchemy import Connection, select

from roadstead.access.actor import SYSTEM
from roadstead.errors import BlobUnknown, ManifestUnknown, QuotaExceeded, ReferenceMissing, RepositoryUnknown, UploadUnknown
from roadstead.metadata import quota_upkeep
from roadstead.metadata.schema import blob_links, digests, projects, quota_charges, repositories
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.registry.sizes import LARGEST
from roadstead.registry.uploads import Body
from roadstead.upkeep.collect import collect
from roadstead.upkeep.quotas import compact_entries, recount
from roadstead.upkeep.uploads import expire_uploads
from tests.rooms.upkeep.house import House, Life
from tests.rooms.upkeep.life_of_content import MOMENT, derive, steps_of
from tests.support.factories import APP, COPY, VAULT, Blob, Image, blob, body, chunks, image, push_manifest

NAMES: Final = (APP, COPY, VAULT)
PROJECTS: Final = (APP.project, VAULT.project)
BLOBS: Final = tuple(blob(text) for text in ("a", "bb", "cccc"))
IMAGES: Final = (image("bb", config="a"), image("cccc", "bb", config="a"), image("cccc", "cccc", config="bb"))
DERIVED: Final = {source: image(text, config="a", subject=source) for source, text in zip(IMAGES, ("bb", "cccc", "cccc"), strict=True)}
"""What a conversion makes of each image: of contents that people push too."""
SIZES: Final = {one.digest: len(one.content) for one in BLOBS}
LIMITS: Final = (-1, -1, -1, 0, 3, 7, 12)
"""Few of them are low, or hardly anything would come in."""

some_name = strategies.sampled_from(NAMES)
some_blob = strategies.sampled_from(BLOBS)
some_image = strategies.sampled_from((*IMAGES, *DERIVED.values()))


class Pending:
    """An upload of `one` that has come as far as `offset`."""

    def __init__(self, token: str, name: RepositoryName, one: Blob, now: datetime) -> None:
        self.token, self.name, self.one = token, name, one
        self.offset, self.touched_at = 0, now


class LifeOfQuota(Life):
    """Pushes of every kind, mounts, deletions, limits, time and upkeep in any order, in two projects."""

    def __init__(self, house: House, rules: Rules) -> None:
        super().__init__(house, rules)
        for project in PROJECTS:
            house.run(self.registry.projects.ensure(project, public=True))
        self.limits = dict.fromkeys(PROJECTS, LARGEST)
        self.links: set[tuple[RepositoryName, Digest]] = set()
        self.manifests: set[tuple[RepositoryName, Image]] = set()
        self.derived: set[tuple[RepositoryName, Image]] = set()
        self.charged: set[tuple[str, Digest]] = set()
        self.pending: list[Pending] = []

    # --- what may happen

    @rule(project=strategies.sampled_from(PROJECTS), limit=strategies.sampled_from(LIMITS))
    def set_limit(self, project: str, limit: int) -> None:
        self.house.run(self.registry.quotas.set(SYSTEM, project, limit))
        self.limits[project] = LARGEST if limit < 0 else limit

    @rule(name=some_name, one=some_blob, algorithm=strategies.sampled_from(["sha256", "sha512"]), announced=strategies.booleans())
    def push(self, name: RepositoryName, one: Blob, algorithm: str, announced: bool) -> None:
        size = len(one.content)
        refused = size > self._left(name)
        digest = Digest.of(one.content, algorithm)
        try:
            self.house.run(self.registry.uploads.push(SYSTEM, name, digest, body(one.content, length=size if announced else None)))
        except QuotaExceeded:
            assert refused
        else:
            assert not refused
            self._linked(name, one)

    @rule(name=some_name, one=some_blob)
    def start(self, name: RepositoryName, one: Blob) -> None:
        refused = self._left(name) < 1
        try:
            upload = self.house.run(self.registry.uploads.start(SYSTEM, name))
        except QuotaExceeded:
            assert refused
        else:
            assert not refused
            self.pending.append(Pending(upload.token, name, one, self.clock()))

    @rule(data=strategies.data(), announced=strategies.booleans(), to_the_end=strategies.booleans())
    def go_on(self, data: strategies.DataObject, announced: bool, to_the_end: bool) -> None:
        if not self.pending:
            return
        upload = data.draw(strategies.sampled_from(self.pending))
        end = len(upload.one.content) if to_the_end else data.draw(strategies.integers(upload.offset, len(upload.one.content)))
        rest = upload.one.content[upload.offset : end]
        refused = len(rest) > max(self._left(upload.name), 0)
        parts = Body(chunks(rest[:1], rest[1:]), len(rest) if announced else None, upload.offset)
        try:
            if to_the_end:
                self.house.run(self.registry.uploads.finish(SYSTEM, upload.name, upload.token, upload.one.digest, parts))
            else:
                self.house.run(self.registry.uploads.write(SYSTEM, upload.name, upload.token, parts))
        except QuotaExceeded:
            assert refused
            self.pending.remove(upload)
        else:
            assert not refused
            upload.offset, upload.touched_at = end, self.clock()
            if to_the_end:
                self.pending.remove(upload)
                self._linked(upload.name, upload.one)

    @rule(data=strategies.data())
    def cancel(self, data: strategies.DataObject) -> None:
        if self.pending:
            upload = data.draw(strategies.sampled_from(self.pending))
            self.house.run(self.registry.uploads.cancel(SYSTEM, upload.name, upload.token))
            self.pending.remove(upload)

    @rule(name=some_name, source=some_name, one=some_blob)
    def mount(self, name: RepositoryName, source: RepositoryName, one: Blob) -> None:
        new = 0 if (name.project, one.digest) in self.charged else len(one.content)
        refused = (source, one.digest) in self.links and new > max(self._left(name), 0)
        try:
            mounted = self.house.run(self.registry.blobs.mount(SYSTEM, name, one.digest, source))
        except QuotaExceeded:
            assert refused
        else:
            assert not refused
            assert mounted == ((source, one.digest) in self.links)
            if mounted:
                self._linked(name, one)

    @rule(name=some_name, made=some_image)
    def put(self, name: RepositoryName, made: Image) -> None:
        seen = {(name.project, one.digest) for one in made.blobs if (name, one.digest) in self.links}
        whole = len(seen) == len({one.digest for one in made.blobs}) or self.site.accept_absent_content
        refused = sum(SIZES[digest] for _, digest in seen - self.charged) > max(self._left(name), 0)
        try:
            self.house.run(push_manifest(self.registry, SYSTEM, name, made))
        except ReferenceMissing:
            assert not whole
        except QuotaExceeded:
            assert whole
            assert refused
        else:
            assert whole
            assert not refused
            self.manifests.add((name, made))
            self.derived.discard((name, made))
            self.charged |= seen

    @rule(data=strategies.data())
    def derive(self, data: strategies.DataObject) -> None:
        some = [place for place in _sorted(self.manifests) if place[1] in DERIVED]
        if not some:
            return
        name, source = data.draw(strategies.sampled_from(some))
        made = DERIVED[source]
        self.house.run(derive(self.registry, self.house.database, name, source, made))
        if (name, made) not in self.manifests:
            self.derived.add((name, made))
        for one in made.blobs:
            self.links.add((name, one.digest))
            # The site pays, unless somebody's manifest waited for it.
            if any(one in other.blobs for place, other in self.manifests if place == name):
                self.charged.add((name.project, one.digest))

    @rule(name=some_name, made=some_image)
    def push_image(self, name: RepositoryName, made: Image) -> None:
        for one in made.blobs:
            if (name, one.digest) not in self.links:
                self.push(name, one, "sha256", True)
        self.put(name, made)

    @rule(data=strategies.data())
    def delete_some_manifest(self, data: strategies.DataObject) -> None:
        if self.manifests:
            self.delete_manifest(*data.draw(strategies.sampled_from(_sorted(self.manifests))))

    @rule(name=some_name, made=some_image)
    def delete_manifest(self, name: RepositoryName, made: Image) -> None:
        try:
            self.house.run(self.registry.manifests.delete(SYSTEM, name, made.digest))
        except ManifestUnknown:
            assert (name, made) not in self.manifests | self.derived
            return
        if made in DERIVED:
            self.derived.discard((name, DERIVED[made]))
        if (name, made) in self.derived:
            self.derived.remove((name, made))
        else:
            self.manifests.remove((name, made))
            left = self._named(name.project)
            self.charged -= {(name.project, one.digest) for one in made.blobs if one.digest not in left}

    @rule(name=some_name)
    def delete_repository(self, name: RepositoryName) -> None:
        try:
            self.house.run(self.registry.repositories.remove(SYSTEM, name))
        except RepositoryUnknown:
            assert name not in [place[0] for place in (*self.links, *self.manifests, *self.derived)]
            return
        gone = [made for place, made in self.manifests if place == name]
        self.manifests = {(place, made) for place, made in self.manifests if place != name}
        self.derived = {(place, made) for place, made in self.derived if place != name}
        self.pending = [upload for upload in self.pending if upload.name != name]
        for digest in [digest for place, digest in self.links if place == name]:
            self._unlinked(name, digest)
        left = self._named(name.project)
        self.charged -= {(name.project, one.digest) for made in gone for one in made.blobs if one.digest not in left}

    @rule(name=some_name, one=some_blob)
    def delete_blob(self, name: RepositoryName, one: Blob) -> None:
        try:
            self.house.run(self.registry.blobs.delete(SYSTEM, name, one.digest))
        except BlobUnknown:
            assert (name, one.digest) not in self.links
        else:
            self._unlinked(name, one.digest)

    @rule(data=strategies.data())
    def let_time_pass(self, data: strategies.DataObject) -> None:
        self.clock.advance(data.draw(strategies.sampled_from(steps_of(self.site))))

    @rule(later=strategies.booleans())
    def collect(self, later: bool) -> None:
        self.clock.advance(self.site.link_grace + MOMENT if later else timedelta())
        self.house.run(collect(self.house.database, self.store, self.site, self.clock))
        for name, digest in self.links - self._read_links():
            self._unlinked(name, digest)

    @rule()
    def expire(self) -> None:
        self.house.run(expire_uploads(self.house.database, self.store, self.site, self.clock))
        since = self.clock() - self.site.upload_lifetime
        self.pending = [upload for upload in self.pending if upload.touched_at >= since]

    @rule()
    def compact(self) -> None:
        self.house.run(compact_entries(self.house.database))

    @rule()
    def recount(self) -> None:
        assert self.house.run(recount(self.house.database, self.clock)) == []

    # --- what always holds

    @invariant()
    def usage_is_what_the_model_counts(self) -> None:
        for project in PROJECTS:
            row = self.house.run(self.registry.quotas.get(SYSTEM, project))
            assert (row.stored, row.uploading) == (self._stored(project), self._uploading(project))

    @invariant()
    def charges_are_those_that_the_model_knows(self) -> None:
        assert self.house.run(self.house.database.read(_charges)) == self.charged

    @invariant()
    def every_charge_has_a_link_and_what_is_named_where_it_is_linked_is_charged(self) -> None:
        assert self.charged <= {(name.project, digest) for name, digest in self.links}
        for name, made in self.manifests:
            for one in made.blobs:
                assert (name, one.digest) not in self.links or (name.project, one.digest) in self.charged

    @invariant()
    def what_is_derived_is_there_while_its_source_is(self) -> None:
        for name in NAMES:
            for source, made in DERIVED.items():
                there = (name, made) in self.manifests | self.derived
                assert self.house.run(_is_there(self.registry, name, made)) == there
                assert (name, made) not in self.derived or (name, source) in self.manifests

    @invariant()
    def the_ledger_agrees_with_itself(self) -> None:
        for project_id in self.house.run(self.house.database.read(quota_upkeep.project_ids)):
            assert self.house.run(self.house.database.read(partial(quota_upkeep.discrepancy, project_id=project_id))) is None

    @invariant()
    def uploads_are_those_that_the_model_knows(self) -> None:
        for upload in self.pending:
            try:
                assert self.house.run(self.registry.uploads.status(SYSTEM, upload.name, upload.token)).offset == upload.offset
            except UploadUnknown:
                raise AssertionError("an upload is gone") from None

    # --- the model's own

    def _stored(self, project: str) -> int:
        return sum(SIZES[digest] for here, digest in self.charged if here == project)

    def _uploading(self, project: str) -> int:
        return sum(upload.offset for upload in self.pending if upload.name.project == project)

    def _left(self, name: RepositoryName) -> int:
        return self.limits[name.project] - self._stored(name.project) - self._uploading(name.project)

    def _named(self, project: str) -> set[Digest]:
        return {one.digest for name, made in self.manifests if name.project == project for one in made.blobs}

    def _linked(self, name: RepositoryName, one: Blob) -> None:
        self.links.add((name, one.digest))
        self.charged.add((name.project, one.digest))

    def _unlinked(self, name: RepositoryName, digest: Digest) -> None:
        self.links.remove((name, digest))
        if not any((other, digest) in self.links for other in NAMES if other.project == name.project):
            self.charged.discard((name.project, digest))

    def _read_links(self) -> set[tuple[RepositoryName, Digest]]:
        return self.house.run(self.house.database.read(_links))


def _sorted(places: set[tuple[RepositoryName, Image]]) -> list[tuple[RepositoryName, Image]]:
    return sorted(places, key=lambda place: (str(place[0]), str(place[1].digest)))


async def _is_there(registry: Registry, name: RepositoryName, made: Image) -> bool:
    try:
        await registry.manifests.get(SYSTEM, name, made.digest, count=False)
    except ManifestUnknown:
        return False
    return True


def _links(connection: Connection) -> set[tuple[RepositoryName, Digest]]:
    statement = (
        select(projects.c.name, repositories.c.path, digests.c.digest)
        .join_from(blob_links, repositories, repositories.c.id == blob_links.c.repository_id)
        .join(projects, projects.c.id == repositories.c.project_id)
        .join(digests, digests.c.content_id == blob_links.c.content_id)
        .where(digests.c.digest.startswith("sha256:"), repositories.c.deleted_at.is_(None))
    )
    return {(RepositoryName(f"{project}/{path}"), Digest(digest)) for project, path, digest in connection.execute(statement)}


def _charges(connection: Connection) -> set[tuple[str, Digest]]:
    statement = (
        select(projects.c.name, digests.c.digest)
        .join_from(quota_charges, projects, projects.c.id == quota_charges.c.project_id)
        .join(digests, digests.c.content_id == quota_charges.c.content_id)
        .where(digests.c.digest.startswith("sha256:"))
    )
    return {(project, Digest(digest)) for project, digest in connection.execute(statement)}
