"""Collecting, where the order of steps or what happens at the same time matters."""

from __future__ import annotations

from datetime import timedelta

import pytest

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import BlobUnknown, StoreFailed
from roadstead.metadata.database import Database
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.upkeep.collect import collect
from tests.conftest import MakeRegistry
from tests.support.factories import APP, COPY, ManualClock, blob, image, push_blob, push_image, push_manifest, read_blob

RULES = Rules()
MOMENT = timedelta(microseconds=1)
PUSHED = image("one")
CONFIG, LAYER = PUSHED.blobs


class Collector:
    """Lets both graces pass, with a collection after each."""

    def __init__(self, database: Database, store: MemoryStore, clock: ManualClock) -> None:
        self._database, self._store, self._clock = database, store, clock

    async def now(self) -> int:
        return await collect(self._database, self._store, RULES, self._clock)

    async def after_both_graces(self) -> int:
        self._clock.advance(RULES.link_grace + MOMENT)
        first = await self.now()
        self._clock.advance(RULES.content_grace + MOMENT)
        return first + await self.now()


@pytest.fixture
def collector(database: Database, store: MemoryStore, clock: ManualClock) -> Collector:
    return Collector(database, store, clock)


async def test_a_blob_that_came_after_its_manifest_stays(make_registry: MakeRegistry, admin: Actor, collector: Collector) -> None:
    sparse = make_registry(Rules(accept_absent_content=True))
    await push_manifest(sparse, admin, APP, PUSHED)
    await push_blob(sparse, admin, APP, LAYER)
    await push_blob(sparse, admin, COPY, CONFIG)
    assert await collector.after_both_graces() == 1
    assert await read_blob(sparse, admin, APP, LAYER.digest) == LAYER.content


async def test_a_blob_that_was_deleted_and_came_again_stays(registry: Registry, admin: Actor, collector: Collector) -> None:
    await push_image(registry, admin, APP, PUSHED)
    await registry.blobs.delete(admin, APP, LAYER.digest)
    assert await collector.after_both_graces() == 1
    await push_blob(registry, admin, APP, LAYER)
    assert await collector.after_both_graces() == 0
    assert await read_blob(registry, admin, APP, LAYER.digest) == LAYER.content
    await registry.manifests.delete(admin, APP, PUSHED.digest)
    assert await collector.after_both_graces() == 2


async def test_deleting_a_manifest_gives_its_blobs_a_last_grace(
    registry: Registry, admin: Actor, collector: Collector, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, PUSHED)
    clock.advance(RULES.link_grace * 10)
    await registry.manifests.delete(admin, APP, PUSHED.digest)
    clock.advance(RULES.link_grace)
    await collector.now()
    await push_manifest(registry, admin, APP, PUSHED)
    assert await collector.after_both_graces() == 0


async def test_a_blob_that_two_manifests_name_stays_for_the_second(registry: Registry, admin: Actor, collector: Collector) -> None:
    other = image("one", "two")
    for made in (PUSHED, other):
        await push_image(registry, admin, APP, made)
    await registry.manifests.delete(admin, APP, PUSHED.digest)
    assert await collector.after_both_graces() == 0
    await registry.manifests.delete(admin, APP, other.digest)
    assert await collector.after_both_graces() == 3


async def test_a_manifest_in_another_repository_is_no_reason_to_stay_here(registry: Registry, admin: Actor, collector: Collector) -> None:
    await push_image(registry, admin, COPY, PUSHED)
    await push_blob(registry, admin, APP, LAYER)
    assert await collector.after_both_graces() == 0
    with pytest.raises(BlobUnknown):
        await registry.blobs.size(admin, APP, LAYER.digest)
    assert await read_blob(registry, admin, COPY, LAYER.digest) == LAYER.content


async def test_more_than_a_batch_is_collected(
    registry: Registry, admin: Actor, collector: Collector, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadstead.upkeep.collect._BATCH", 4)
    for number in range(10):
        await push_blob(registry, admin, APP, blob(str(number)))
    assert await collector.after_both_graces() == 10
    assert store.medium == {}


class DeadStore(MemoryStore):
    """A store whose deletions fail."""

    async def delete(self, key: str) -> None:
        raise StoreFailed


async def test_a_collection_that_was_cut_off_is_finished_by_the_next(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock, collector: Collector
) -> None:
    await push_blob(registry, admin, APP, LAYER)
    await registry.blobs.delete(admin, APP, LAYER.digest)
    clock.advance(RULES.content_grace + MOMENT)
    with pytest.raises(StoreFailed):
        await collect(database, DeadStore(store.medium), RULES, clock)
    # The row is marked; the bytes are still there, and nobody can link them any more.
    assert not await registry.blobs.mount(admin, COPY, LAYER.digest, None)
    await push_blob(registry, admin, APP, LAYER)
    assert len(store.medium) == 2
    assert await collector.now() == 1
    assert len(store.medium) == 1
    assert await read_blob(registry, admin, APP, LAYER.digest) == LAYER.content
