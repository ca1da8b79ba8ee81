"""The site's budget for what it derives: the longest unused goes, unless somebody pays for it, relies on it, or it cannot be made again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import BlobUnknown
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import RepositorySelects
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.upkeep.collect import collect
from roadstead.upkeep.eviction import Budget, Evicted, evict
from tests.support.factories import APP, COPY, VAULT, Image, ManualClock, image, push_blob, push_image, push_manifest, read_blob

SOURCES = tuple(image(text, config="{}") for text in ("one", "two", "three"))
MADE = tuple(image(f"sif of {text}", config="{}", subject=source) for text, source in zip(("1", "2", "3"), SOURCES, strict=True))
SIZE = len(b"sif of 1")
TODAY = "today"
HOUR = timedelta(hours=1)


class Site:
    """A registry with sources in it, of which things are derived; and its budget."""

    def __init__(self, registry: Registry, database: Database, store: MemoryStore, admin: Actor, clock: ManualClock) -> None:
        self.registry, self.admin, self.clock = registry, admin, clock
        self._database, self._store = database, store

    async def derive(self, number: int, name: RepositoryName = APP, conversion: str = TODAY, made: Image | None = None) -> Image:
        """Push a source, and record what is made of it; an hour passes."""
        source, made = SOURCES[number], made or MADE[number]
        await push_image(self.registry, self.admin, name, source, f"v{number}")
        place = await RepositorySelects(self._database).place(name)
        assert place is not None
        blobs = [one.content for one in made.blobs]
        await self.registry.derived.record(place, name, source.digest, conversion, made.content, blobs)
        self.clock.advance(HOUR)
        return made

    async def pull(self, made: Image) -> None:
        """Pull it by its digest, as who has it pinned; an hour passes."""
        await self.registry.manifests.get(self.admin, APP, made.digest)
        await self.registry.pulls.flush()
        self.clock.advance(HOUR)

    async def evict(self, size: int) -> Evicted:
        budget = Budget(size, lambda _source, conversion: conversion == TODAY)
        return await evict(self._database, budget, Rules(), self.clock)

    async def here(self, name: RepositoryName = APP) -> list[int]:
        """Which of the three are there with their content."""
        return [number for number, made in enumerate(MADE) if await self.has(name, made.blobs[1].digest)]

    async def has(self, name: RepositoryName, digest: Digest) -> bool:
        try:
            await read_blob(self.registry, self.admin, name, digest)
        except BlobUnknown:
            return False
        return True

    async def collect(self) -> int:
        return await collect(self._database, self._store, Rules(), self.clock)


@pytest.fixture
def site(registry: Registry, database: Database, store: MemoryStore, admin: Actor, clock: ManualClock) -> Site:
    return Site(registry, database, store, admin, clock)


async def test_the_least_recently_pulled_goes_first_and_no_more_than_must(site: Site) -> None:
    first, _, third = [await site.derive(number) for number in range(3)]
    await site.pull(first)

    assert await site.evict(3 * SIZE) == Evicted(0, 0, 3 * SIZE)
    assert await site.evict(2 * SIZE) == Evicted(1, SIZE, 2 * SIZE)
    assert await site.here() == [0, 2]
    assert await site.evict(SIZE) == Evicted(1, SIZE, SIZE)
    assert await site.here() == [0]
    # Its manifest stays, so that who has its digest may have it made again.
    assert (await site.registry.manifests.get(site.admin, APP, third.digest)).content == third.content


async def test_bytes_go_by_the_collectors_rules_and_come_again(site: Site) -> None:
    made = await site.derive(0)
    await site.evict(0)
    assert await site.collect() == 0
    site.clock.advance(Rules().content_grace + HOUR)
    assert await site.collect() == 1

    assert await site.derive(0) == made
    assert await site.here() == [0]
    assert await site.evict(SIZE) == Evicted(0, 0, SIZE)


async def test_what_cannot_be_made_again_stays(site: Site) -> None:
    await site.derive(0, conversion="yesterday")
    await site.derive(1)

    assert await site.evict(0) == Evicted(1, SIZE, SIZE)
    assert await site.here() == [0]


async def test_what_somebody_has_pushed_is_theirs(site: Site) -> None:
    manifests, blobs, other = [await site.derive(number) for number in range(3)]
    await push_manifest(site.registry, site.admin, APP, manifests, "mine")
    await push_blob(site.registry, site.admin, APP, blobs.blobs[1])
    await push_image(site.registry, site.admin, APP, image("sif of 3", config="other"), "named")
    site.clock.advance(Rules().link_grace + HOUR)

    assert await site.evict(0) == Evicted(0, 0, 0)
    assert await site.here() == [0, 1, 2]
    assert other.digest != manifests.digest


async def test_who_was_told_that_it_is_here_has_a_grace_to_rely_on_it(site: Site) -> None:
    made = await site.derive(0)
    await site.registry.blobs.size(site.admin, APP, made.blobs[1].digest)

    assert await site.evict(0) == Evicted(0, 0, SIZE)
    site.clock.advance(Rules().link_grace + HOUR)
    assert await site.evict(0) == Evicted(1, SIZE, 0)


async def test_what_several_repositories_share_counts_once_and_is_kept_by_each(site: Site) -> None:
    for name in (APP, COPY, VAULT):
        await site.derive(0, name)

    assert (await site.evict(SIZE)).used == SIZE
    assert [await site.here(name) for name in (APP, COPY, VAULT)] == [[0], [0], [0]]
    assert await site.evict(0) == Evicted(3, SIZE, 0)
    assert [await site.here(name) for name in (APP, COPY, VAULT)] == [[], [], []]


async def test_what_one_project_pays_for_counts_nowhere(site: Site) -> None:
    made = await site.derive(0)
    await site.derive(0, VAULT)
    await push_image(site.registry, site.admin, VAULT, made, "mine")

    assert await site.evict(0) == Evicted(0, 0, 0)
    assert await site.here(VAULT) == [0]


async def test_the_config_that_all_of_them_share_stays_while_one_of_them_does(site: Site) -> None:
    first, second = [await site.derive(number, made=image(f"{number}", config="of all", subject=SOURCES[number])) for number in (0, 1)]

    assert await site.evict(len("1of all")) == Evicted(1, 1, len("1of all"))
    assert [await site.has(APP, one.digest) for one in (*first.blobs, *second.blobs)] == [True, False, True, True]
    # Both manifests name it, so it is left: a few bytes.
    assert await site.evict(0) == Evicted(1, 1, len("of all"))
