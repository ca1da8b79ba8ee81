"""A model of the life of content, as `metadata.schema` states it, to be compared with the registry after every step.

The model knows promises, not mechanisms: how long a link must stay at least, from when on it must be gone, and when bytes may go. What
is linked and stored it reads from the database and the store themselves.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from hypothesis import strategies
from hypothesis.stateful import invariant, rule
from sqlalchemy import Connection, select

from roadstead.access.actor import SYSTEM
from roadstead.errors import BlobUnknown, ManifestUnknown, ReferenceMissing
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow, RepositorySelects
from roadstead.metadata.schema import EPOCH, blob_links, contents, digests, repositories
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.upkeep.collect import collect
from tests.rooms.upkeep.house import House, Life
from tests.support.factories import APP, COPY, Blob, Image, blob, image, push_blob, push_manifest, read_blob

T = TypeVar("T")
Place = tuple[RepositoryName, Digest]

CONVERSION: Final = "converter 1"
MOMENT: Final = timedelta(microseconds=1)
NAMES: Final = (APP, COPY)
BLOBS: Final = tuple(blob(text) for text in "abc")
IMAGES: Final = (image("b", config="a"), image("c", config="b"), image("a", config="c"))
DERIVED: Final = {source: image(text, config="a", subject=source) for source, text in zip(IMAGES, "bca", strict=True)}
"""What a conversion makes of each image: of contents that people push too."""
BY_DIGEST: Final = {one.digest: one for one in BLOBS}

some_name = strategies.sampled_from(NAMES)
some_blob = strategies.sampled_from(BLOBS)
some_image = strategies.sampled_from(IMAGES)


def steps_of(rules: Rules) -> list[timedelta]:
    """Lengths of time around every limit."""
    link, content = rules.link_grace, rules.content_grace
    return [MOMENT, link / 4 - MOMENT, link / 4, link * 3 / 4, link, link + MOMENT, content, content + MOMENT]


class LifeOfContent(Life):
    """Pushes, mounts, HEADs, deletions, time and the collector in any order."""

    def __init__(self, house: House, rules: Rules) -> None:
        super().__init__(house, rules)
        house.run(self.registry.projects.ensure(APP.project, public=True))
        self.links: set[Place] = set()
        self.promised: dict[Place, datetime] = {}  # the link stays at least until then
        self.touched: dict[Place, datetime] = {}  # the last thing that may have begun its grace anew
        self.manifests: set[tuple[RepositoryName, Image]] = set()
        self.derived: set[tuple[RepositoryName, Image]] = set()
        self.unlinked: dict[Digest, datetime] = {}  # since when nothing links the content

    # --- what may happen

    @rule(name=some_name, one=some_blob)
    def push(self, name: RepositoryName, one: Blob) -> None:
        self.house.run(push_blob(self.registry, SYSTEM, name, one))
        self._linked(name, one.digest)

    @rule(name=some_name, source=strategies.sampled_from((*NAMES, None)), one=some_blob)
    def mount(self, name: RepositoryName, source: RepositoryName | None, one: Blob) -> None:
        mounted = self.house.run(self.registry.blobs.mount(SYSTEM, name, one.digest, source))
        sources = NAMES if source is None else (source,)
        assert mounted == any((place, one.digest) in self.links for place in sources)
        if mounted:
            self._linked(name, one.digest)

    @rule(name=some_name, one=some_blob)
    def head(self, name: RepositoryName, one: Blob) -> None:
        place = (name, one.digest)
        try:
            assert self.house.run(self.registry.blobs.size(SYSTEM, name, one.digest)) == 1
        except BlobUnknown:
            assert place not in self.links
        else:
            assert place in self.links
            self.promised[place] = max(self.promised[place], self.clock() + self.site.link_grace * 3 / 4)
            self.touched[place] = self.clock()

    @rule(name=some_name, one=some_blob)
    def delete_blob(self, name: RepositoryName, one: Blob) -> None:
        place = (name, one.digest)
        try:
            self.house.run(self.registry.blobs.delete(SYSTEM, name, one.digest))
        except BlobUnknown:
            assert place not in self.links
        else:
            assert place in self.links
            self._unlinked(place)

    @rule(name=some_name, made=some_image)
    def put(self, name: RepositoryName, made: Image) -> None:
        named = [(name, one.digest) for one in made.blobs]
        whole = all(place in self.links for place in named)
        try:
            self.house.run(push_manifest(self.registry, SYSTEM, name, made))
        except ReferenceMissing:
            assert not whole
        else:
            assert whole or self.site.accept_absent_content
            self.manifests.add((name, made))
            self._touch(place for place in named if place in self.links)

    @rule(name=some_name, source=some_image)
    def derive(self, name: RepositoryName, source: Image) -> None:
        made = DERIVED[source]
        try:
            self.house.run(derive(self.registry, self.house.database, name, source, made))
        except ManifestUnknown:
            assert (name, source) not in self.manifests
            return
        assert (name, source) in self.manifests
        self.derived.add((name, made))
        for place in {(name, one.digest) for one in made.blobs}:
            if place in self.links:
                self._touch([place])
            else:
                # Nobody relies on it, so that it may be evicted at once; but its manifest keeps it.
                self._linked(name, place[1])
                self.promised[place] = self.touched[place] = EPOCH

    @rule(name=some_name, source=some_image)
    def share(self, name: RepositoryName, source: Image) -> None:
        """Links as `derive` does, where it does anything."""
        made = DERIVED[source]
        try:
            digest = self.house.run(share(self.registry, self.house.database, name, source))
        except ManifestUnknown:
            assert (name, source) not in self.manifests
            return
        assert digest in (None, made.digest)
        if digest is not None:
            self.derived.add((name, made))
            for place in {(name, one.digest) for one in made.blobs} - self.links:
                self._linked(name, place[1])
                self.promised[place] = self.touched[place] = EPOCH

    @rule(name=some_name, made=some_image)
    def delete_manifest(self, name: RepositoryName, made: Image) -> None:
        try:
            self.house.run(self.registry.manifests.delete(SYSTEM, name, made.digest))
        except ManifestUnknown:
            assert (name, made) not in self.manifests
        else:
            self.manifests.remove((name, made))
            gone = [made, DERIVED[made]] if (name, DERIVED[made]) in self.derived else [made]
            self.derived.discard((name, DERIVED[made]))
            self._touch(place for each in gone for one in each.blobs if (place := (name, one.digest)) in self.links)

    @rule(data=strategies.data())
    def let_time_pass(self, data: strategies.DataObject) -> None:
        self.clock.advance(data.draw(strategies.sampled_from(steps_of(self.site))))

    @rule()
    def collect(self) -> None:
        self.house.run(collect(self.house.database, self.store, self.site, self.clock))
        for place in self.links - self._read_links():
            assert not self._named(place), "a link went that a live manifest names"
            assert self.promised[place] < self.clock(), "a link went before its time"
            self._unlinked(place)
        for place in self.links:
            assert self._named(place) or self.clock() - self.touched[place] <= self.site.link_grace, "a loose link stayed"
        for digest, since in self.unlinked.items():
            if self.clock() - since > self.site.content_grace:
                assert self._copies(BY_DIGEST[digest]) == 0, "bytes stayed after both graces"
                self.unlinked = {one: when for one, when in self.unlinked.items() if one != digest}

    # --- what always holds

    @invariant()
    def links_are_those_that_the_model_knows(self) -> None:
        assert self._read_links() == self.links

    @invariant()
    def what_is_linked_can_be_read(self) -> None:
        for name, digest in self.links:
            assert self.house.run(read_blob(self.registry, SYSTEM, name, digest)) == BY_DIGEST[digest].content

    @invariant()
    def bytes_stay_for_their_grace_and_lie_once(self) -> None:
        linked = {digest for _, digest in self.links}
        for one in BLOBS:
            assert self._copies(one) == int(one.digest in linked or one.digest in self.unlinked)
        assert len(self.store.medium) == self.house.run(self.house.database.read(_count_contents))

    @invariant()
    def every_manifest_is_there(self) -> None:
        for name, made in self.manifests | self.derived:
            assert self.house.run(self.registry.manifests.get(SYSTEM, name, made.digest)).content == made.content

    # --- the model's own

    def _linked(self, name: RepositoryName, digest: Digest) -> None:
        self.links.add((name, digest))
        self.unlinked.pop(digest, None)
        self._touch([(name, digest)])

    def _unlinked(self, place: Place) -> None:
        self.links.remove(place)
        if all(digest != place[1] for _, digest in self.links):
            self.unlinked[place[1]] = self.clock()

    def _touch(self, places: Any) -> None:
        for place in places:
            self.promised[place] = self.clock() + self.site.link_grace
            self.touched[place] = self.clock()

    def _named(self, place: Place) -> bool:
        return any(name == place[0] and place[1] in [one.digest for one in made.blobs] for name, made in self.manifests | self.derived)

    def _copies(self, one: Blob) -> int:
        return sum(bytes(content.data) == one.content for content in self.store.medium.values())

    def _read_links(self) -> set[Place]:
        return self.house.run(self.house.database.read(partial(_links, APP.project)))


async def derive(registry: Registry, database: Database, name: RepositoryName, source: Image, made: Image) -> None:
    """Record what a conversion has made. Raises ManifestUnknown."""
    blobs = [one.content for one in made.blobs]
    await registry.derived.record(await _place(database, name), name, source.digest, CONVERSION, made.content, blobs)


async def share(registry: Registry, database: Database, name: RepositoryName, source: Image) -> Digest | None:
    """Have what was made before. Raises ManifestUnknown."""
    return await registry.derived.share(await _place(database, name), name, source.digest, CONVERSION)


async def _place(database: Database, name: RepositoryName) -> PlaceRow:
    place = await RepositorySelects(database).place(name)
    assert place is not None
    return place


def _links(project: str, connection: Connection) -> set[Place]:
    statement = (
        select(repositories.c.path, digests.c.digest)
        .join_from(blob_links, repositories, repositories.c.id == blob_links.c.repository_id)
        .join(digests, digests.c.content_id == blob_links.c.content_id)
    )
    return {(RepositoryName(f"{project}/{path}"), Digest(digest)) for path, digest in connection.execute(statement)}


def _count_contents(connection: Connection) -> int:
    return len(connection.execute(select(contents.c.id)).all())
