"""Blobs: who sees them, and how long they stay."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.content.store import Span, Stream
from roadstead.errors import (
    BlobUnknown,
    ContentDamaged,
    Denied,
    InsufficientScope,
    ProjectUnknown,
    RangeNotSatisfiable,
    StoreFailed,
    Unauthenticated,
)
from roadstead.metadata.database import Database
from roadstead.metadata.schema import blob_links, contents, digests
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.upkeep.collect import collect
from tests.support.factories import APP, COPY, VAULT, ManualClock, blob, body, image, narrowed, push_blob, push_image, read_blob

LAYER = blob("a layer")
RULES = Rules()
MOMENT = timedelta(microseconds=1)


async def rows(database: Database, table: str) -> int:
    counted = {"contents": contents, "digests": digests, "links": blob_links}[table]
    return int(await database.read(lambda connection: connection.execute(select(func.count()).select_from(counted)).scalar_one()))


# --- who sees a blob ----------------------------------------------------------------------------------------------------------------


async def test_a_blob_is_seen_where_it_was_pushed_and_nowhere_else(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, APP, LAYER)
    assert await registry.blobs.size(admin, APP, LAYER.digest) == len(LAYER.content)
    for elsewhere in (COPY, RepositoryName("library/never"), VAULT):
        with pytest.raises(BlobUnknown):
            await registry.blobs.open(admin, elsewhere, LAYER.digest)
        with pytest.raises(BlobUnknown):
            await registry.blobs.size(admin, elsewhere, LAYER.digest)


async def test_everybody_reads_a_public_project_and_not_a_private_one(
    registry: Registry, admin: Actor, user: Actor, anonymous: Actor
) -> None:
    for name in (APP, VAULT):
        await push_blob(registry, admin, name, LAYER)
    for actor in (user, anonymous):
        assert await read_blob(registry, actor, APP, LAYER.digest) == LAYER.content
    with pytest.raises(Unauthenticated):
        await registry.blobs.open(anonymous, VAULT, LAYER.digest)
    with pytest.raises(ProjectUnknown) as hidden:
        await registry.blobs.open(user, VAULT, LAYER.digest)
    with pytest.raises(ProjectUnknown) as absent:
        await registry.blobs.open(user, RepositoryName("nowhere/app"), LAYER.digest)
    assert hidden.value.message.replace("vault", "nowhere") == absent.value.message


async def test_a_span_of_a_blob(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, APP, LAYER)
    opened = await registry.blobs.open(admin, APP, LAYER.digest, lambda size: (size - 5, 3))
    assert (opened.size, opened.span) == (7, Span(2, 3))
    assert isinstance(opened.content, Stream)
    assert [chunk async for chunk in opened.content.chunks] == [b"lay"]


async def test_a_span_that_is_refused_reaches_the_caller(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, APP, LAYER)

    def refuse(_size: int) -> tuple[int, int]:
        raise RangeNotSatisfiable

    with pytest.raises(RangeNotSatisfiable):
        await registry.blobs.open(admin, APP, LAYER.digest, refuse)


# --- mount --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [APP, None])
async def test_a_mount_links_the_same_bytes(registry: Registry, admin: Actor, store: MemoryStore, source: RepositoryName | None) -> None:
    await push_blob(registry, admin, APP, LAYER)
    assert await registry.blobs.mount(admin, COPY, LAYER.digest, source)
    assert await read_blob(registry, admin, COPY, LAYER.digest) == LAYER.content
    assert len(store.medium) == 1


@pytest.mark.parametrize("source", [APP, RepositoryName("library/never"), RepositoryName("nowhere/app"), None])
async def test_a_mount_of_what_is_not_there_is_declined(registry: Registry, admin: Actor, source: RepositoryName | None) -> None:
    assert not await registry.blobs.mount(admin, COPY, LAYER.digest, source)


async def test_a_mount_from_a_repository_that_does_not_link_it_is_declined(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, APP, LAYER)
    await push_blob(registry, admin, COPY, blob("another"))
    assert not await registry.blobs.mount(admin, VAULT, LAYER.digest, COPY)


@pytest.mark.parametrize("source", [VAULT, None])
async def test_a_token_that_does_not_cover_a_private_source_mounts_nothing_from_it(
    registry: Registry, admin: Actor, source: RepositoryName | None
) -> None:
    await push_blob(registry, admin, VAULT, LAYER)
    narrow = narrowed(admin, {COPY: "pull,push"})
    assert not await registry.blobs.mount(narrow, COPY, LAYER.digest, source)
    with pytest.raises(BlobUnknown):
        await registry.blobs.size(admin, COPY, LAYER.digest)


async def test_a_token_that_covers_a_private_source_mounts_from_it(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, VAULT, LAYER)
    wide = narrowed(admin, {COPY: "pull,push", VAULT: "pull"})
    assert await registry.blobs.mount(wide, COPY, LAYER.digest, VAULT)


@pytest.mark.parametrize("source", [APP, None])
async def test_a_narrow_token_mounts_from_a_public_project(registry: Registry, admin: Actor, source: RepositoryName | None) -> None:
    await push_blob(registry, admin, APP, LAYER)
    assert await registry.blobs.mount(narrowed(admin, {COPY: "push"}), COPY, LAYER.digest, source)


async def test_nobody_mounts_into_a_repository_without_the_right(registry: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    await push_blob(registry, admin, APP, LAYER)
    with pytest.raises(Unauthenticated):
        await registry.blobs.mount(anonymous, COPY, LAYER.digest, APP)
    with pytest.raises(Denied):
        await registry.blobs.mount(user, COPY, LAYER.digest, APP)
    with pytest.raises(InsufficientScope):
        await registry.blobs.mount(narrowed(admin, {COPY: "pull"}), COPY, LAYER.digest, APP)


# --- delete -------------------------------------------------------------------------------------------------------------------------


async def test_a_deleted_blob_is_gone_here_and_stays_elsewhere(registry: Registry, admin: Actor) -> None:
    for name in (APP, COPY):
        await push_blob(registry, admin, name, LAYER)
    await registry.blobs.delete(admin, APP, LAYER.digest)
    with pytest.raises(BlobUnknown):
        await registry.blobs.open(admin, APP, LAYER.digest)
    with pytest.raises(BlobUnknown):
        await registry.blobs.delete(admin, APP, LAYER.digest)
    assert await read_blob(registry, admin, COPY, LAYER.digest) == LAYER.content


async def test_the_last_deletion_dooms_the_content_and_a_push_saves_it(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    await push_blob(registry, admin, APP, LAYER)
    await registry.blobs.delete(admin, APP, LAYER.digest)
    clock.advance(RULES.content_grace)
    assert await collect(database, store, RULES, clock) == 0
    await push_blob(registry, admin, COPY, LAYER)
    clock.advance(MOMENT)
    assert await collect(database, store, RULES, clock) == 0
    assert await read_blob(registry, admin, COPY, LAYER.digest) == LAYER.content
    assert len(store.medium) == 1


async def test_nobody_deletes_without_the_right(registry: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    await push_blob(registry, admin, APP, LAYER)
    for actor, error in ((anonymous, Unauthenticated), (user, Denied), (narrowed(admin, {APP: "pull,push"}), InsufficientScope)):
        with pytest.raises(error):
            await registry.blobs.delete(actor, APP, LAYER.digest)


# --- the promise of a HEAD ----------------------------------------------------------------------------------------------------------


async def test_asking_for_the_size_begins_the_grace_anew(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    await push_blob(registry, admin, APP, LAYER)
    for _ in range(3):
        clock.advance(RULES.link_grace * 0.9)
        assert await registry.blobs.size(admin, APP, LAYER.digest) == 7
        await collect(database, store, RULES, clock)
    clock.advance(RULES.link_grace)
    await collect(database, store, RULES, clock)
    assert await read_blob(registry, admin, APP, LAYER.digest) == LAYER.content
    clock.advance(MOMENT)
    await collect(database, store, RULES, clock)
    with pytest.raises(BlobUnknown):
        await registry.blobs.size(admin, APP, LAYER.digest)


async def test_a_promise_holds_for_three_quarters_of_the_grace(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    """The worst case: asked just before a quarter has passed, so that nothing is written."""
    made = image()
    for one in made.blobs:
        await push_blob(registry, admin, APP, one)
    clock.advance(RULES.link_grace / 4 - MOMENT)
    for one in made.blobs:
        await registry.blobs.size(admin, APP, one.digest)
    clock.advance(RULES.link_grace * 3 / 4)
    await collect(database, store, RULES, clock)
    await registry.manifests.put(admin, APP, made.digest, made.content, made.media_type)


# --- bytes that are lost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [None, b"a lay"])
async def test_lost_bytes_are_damage_and_no_absence_and_a_new_push_heals(
    registry: Registry, admin: Actor, store: MemoryStore, left: bytes | None
) -> None:
    await push_blob(registry, admin, APP, LAYER)
    [key] = store.medium
    if left is None:
        del store.medium[key]
    else:
        store.medium[key].data[:] = left
    for act in (registry.blobs.open(admin, APP, LAYER.digest), registry.blobs.size(admin, APP, LAYER.digest)):
        with pytest.raises(ContentDamaged):
            await act
    await push_blob(registry, admin, COPY, LAYER)
    for name in (APP, COPY):
        assert await read_blob(registry, admin, name, LAYER.digest) == LAYER.content
    assert len(store.medium) == 1


class ElsewhereStore(MemoryStore):
    @property
    def name(self) -> str:
        return "elsewhere"


async def test_a_blob_of_a_store_that_is_not_in_use_is_a_fault_of_this_side(
    registry: Registry, admin: Actor, database: Database, clock: ManualClock
) -> None:
    await push_blob(registry, admin, APP, LAYER)
    moved = Registry(database, ElsewhereStore(), clock=clock)
    with pytest.raises(StoreFailed, match="memory"):
        await moved.blobs.open(admin, APP, LAYER.digest)
    await push_blob(moved, admin, APP, LAYER)
    assert await read_blob(moved, admin, APP, LAYER.digest) == LAYER.content


# --- one content, several digests ---------------------------------------------------------------------------------------------------


async def test_the_same_bytes_by_two_algorithms_are_one_content(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore
) -> None:
    long = Digest.of(LAYER.content, "sha512")
    await push_blob(registry, admin, APP, LAYER)
    with pytest.raises(BlobUnknown):
        await registry.blobs.size(admin, APP, long)
    await registry.uploads.push(admin, COPY, long, body(LAYER.content))
    assert await read_blob(registry, admin, APP, long) == await read_blob(registry, admin, COPY, LAYER.digest) == LAYER.content
    assert (await rows(database, "contents"), await rows(database, "digests"), len(store.medium)) == (1, 2, 1)
    await registry.blobs.delete(admin, APP, long)
    with pytest.raises(BlobUnknown):
        await registry.blobs.size(admin, APP, LAYER.digest)


async def test_what_nothing_links_is_collected_after_both_graces(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    kept = image("kept")
    await push_image(registry, admin, APP, kept)
    await push_blob(registry, admin, APP, LAYER)
    clock.advance(RULES.link_grace + MOMENT)
    assert await collect(database, store, RULES, clock) == 0
    clock.advance(RULES.content_grace)
    assert await collect(database, store, RULES, clock) == 0
    clock.advance(MOMENT)
    assert await collect(database, store, RULES, clock) == 1
    assert (await rows(database, "contents"), await rows(database, "digests"), await rows(database, "links")) == (2, 2, 2)
    assert sorted(bytes(content.data) for content in store.medium.values()) == [b"kept", b"{}"]
