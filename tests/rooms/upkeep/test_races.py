"""The collector beside pushes, mounts and HEADs that happen at the same time.

On PostgreSQL they truly interleave, statement by statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import pytest
from sqlalchemy import Connection, select

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import BlobUnknown, ManifestUnknown, ReferenceMissing
from roadstead.metadata.database import Database
from roadstead.metadata.schema import blob_links, contents
from roadstead.oci.reference import TagName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.upkeep.collect import collect
from tests.support.factories import APP, COPY, ManualClock, image, push_blob, push_manifest

RULES = Rules()
MOMENT = timedelta(microseconds=1)
ROUNDS = 20


async def require_bytes_of_all_links(database: Database, store: MemoryStore) -> None:
    """No content that anybody links lacks its bytes, or is on its way out."""

    def linked(connection: Connection) -> list[tuple[str, str, int]]:
        statement = select(contents.c.state, contents.c.key, contents.c.size).where(contents.c.id.in_(select(blob_links.c.content_id)))
        return [(row[0], row[1], row[2]) for row in connection.execute(statement)]

    for state, key, size in await database.read(linked):
        assert state == "stored"
        assert await store.holds(key, size)


async def succeeded(act: Awaitable[object], *refusals: type[Exception]) -> bool:
    try:
        return await act is not False
    except refusals:
        return False


async def test_what_was_acknowledged_beside_a_collector_is_there(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    for number in range(ROUNDS):
        made = image(*(f"{number} {layer}" for layer in "abcdef"))
        for one in made.blobs:
            await push_blob(registry, admin, APP, one)
        clock.advance(RULES.link_grace + MOMENT)
        put, _, *mounted = await asyncio.gather(
            succeeded(push_manifest(registry, admin, APP, made), ReferenceMissing),
            collect(database, store, RULES, clock),
            *(succeeded(registry.blobs.mount(admin, COPY, one.digest, APP)) for one in made.blobs[1:4]),
        )
        await require_bytes_of_all_links(database, store)
        if put:
            for one in made.blobs:
                assert await registry.blobs.size(admin, APP, one.digest) == len(one.content), "a manifest lost what it was accepted with"
        for one, there in zip(made.blobs[1:4], mounted, strict=True):
            assert await succeeded(registry.blobs.size(admin, COPY, one.digest), BlobUnknown) is there


async def test_what_is_pushed_while_its_content_is_being_collected_is_there(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    made = image(*"abcdef")
    for _ in range(ROUNDS):
        for one in made.blobs:
            await push_blob(registry, admin, APP, one)
            await registry.blobs.delete(admin, APP, one.digest)
        clock.advance(RULES.content_grace + MOMENT)
        await asyncio.gather(
            collect(database, store, RULES, clock),
            collect(database, store, RULES, clock),
            *(push_blob(registry, admin, name, one) for one in made.blobs for name in (APP, COPY)),
        )
        await require_bytes_of_all_links(database, store)
        for one in made.blobs:
            for name in (APP, COPY):
                assert await registry.blobs.size(admin, name, one.digest) == len(one.content)
                await registry.blobs.delete(admin, name, one.digest)


async def test_a_head_beside_a_collector_promises_only_what_stays(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    for number in range(ROUNDS):
        made = image(*(f"{number} {layer}" for layer in "abcdef"))
        for one in made.blobs:
            await push_blob(registry, admin, APP, one)
        clock.advance(RULES.link_grace + MOMENT)
        _, *answers = await asyncio.gather(
            collect(database, store, RULES, clock),
            *(succeeded(registry.blobs.size(admin, APP, one.digest), BlobUnknown) for one in made.blobs),
        )
        clock.advance(RULES.link_grace * 3 / 4)
        await collect(database, store, RULES, clock)
        for one, promised in zip(made.blobs, answers, strict=True):
            assert await succeeded(registry.blobs.size(admin, APP, one.digest), BlobUnknown) is promised


@pytest.mark.parametrize("by_tag", [True, False])
async def test_a_push_beside_the_deletion_of_the_same_manifest_leaves_a_whole_state(registry: Registry, admin: Actor, by_tag: bool) -> None:
    """Whichever comes last has its way; a tag never points to a manifest that cannot be pulled by its digest."""
    made = image("one")
    for one in made.blobs:
        await push_blob(registry, admin, APP, one)
    await push_manifest(registry, admin, APP, made, "latest")
    for _ in range(ROUNDS):
        tags = ("latest",) if by_tag else ()
        await asyncio.gather(
            succeeded(registry.manifests.delete(admin, APP, made.digest), ManifestUnknown),
            push_manifest(registry, admin, APP, made, *tags),
            push_manifest(registry, admin, APP, made, *tags),
        )
        there = await succeeded(registry.manifests.get(admin, APP, made.digest), ManifestUnknown)
        tagged = await succeeded(registry.manifests.get(admin, APP, TagName("latest")), ManifestUnknown)
        assert there or not tagged, "a tag points to a manifest that was deleted"
        await push_manifest(registry, admin, APP, made, "latest")
