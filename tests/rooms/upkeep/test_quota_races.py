"""Quotas where much happens at the same time, on two replicas; and where a transaction dies.

On PostgreSQL the replicas truly interleave, statement by statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
from sqlalchemy import Connection, func, select

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import BlobUnknown, ManifestUnknown, QuotaExceeded
from roadstead.metadata import quota_upkeep, quotas
from roadstead.metadata.database import Database, open_database
from roadstead.metadata.schema import blob_links, quota_charges, quota_entries
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry import reservations
from roadstead.registry.quotas import charge
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.registry.uploads import Body
from roadstead.upkeep.collect import collect
from roadstead.upkeep.quotas import compact_entries
from tests.support.factories import APP, COPY, ManualClock, blob, body, chunks, image, push_blob, push_image, push_manifest

LIBRARY = APP.project
ROUNDS = 10


@pytest.fixture
async def replicas(
    registry: Registry, database_url: str, database: Database, store: MemoryStore, clock: ManualClock
) -> AsyncIterator[tuple[Registry, Registry]]:
    """Two registries on one database and one store."""
    other = await open_database(database_url)
    try:
        yield registry, Registry(other, MemoryStore(store.medium), clock=clock)
    finally:
        await other.close()


async def succeeded(act: Awaitable[object], *refusals: type[Exception]) -> bool:
    try:
        return await act is not False
    except refusals:
        return False


async def require_true_ledger(database: Database) -> None:
    for project_id in await database.read(quota_upkeep.project_ids):
        assert await database.read(partial(quota_upkeep.discrepancy, project_id=project_id)) is None


async def push_at_once(registry: Registry, actor: Actor, content: bytes) -> None:
    await registry.uploads.push(actor, APP, Digest.of(content), body(content, length=len(content)))


async def push_announced(registry: Registry, actor: Actor, content: bytes) -> None:
    token = (await registry.uploads.start(actor, APP)).token
    await registry.uploads.finish(actor, APP, token, Digest.of(content), body(content, length=len(content)))


async def push_streaming(registry: Registry, actor: Actor, content: bytes) -> None:
    """As docker does: a PATCH of unknown length, and a PUT without a body."""
    token = (await registry.uploads.start(actor, APP)).token
    parts = [content[start : start + 10] for start in range(0, len(content), 10)]
    await registry.uploads.write(actor, APP, token, Body(chunks(*parts)))
    await registry.uploads.finish(actor, APP, token, Digest.of(content), Body(chunks(), 0))


async def push_mounting(registry: Registry, actor: Actor, content: bytes) -> None:
    source = RepositoryName("vault/source")
    await registry.uploads.push(actor, source, Digest.of(content), body(content))
    assert await registry.blobs.mount(actor, APP, Digest.of(content), source)


WAYS = [push_at_once, push_announced, push_streaming, push_mounting]


@pytest.mark.parametrize("way", WAYS)
async def test_no_more_comes_in_than_fits(
    replicas: tuple[Registry, Registry],
    admin: Actor,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Registry, Actor, bytes], Awaitable[None]],
) -> None:
    """Of twelve pushes of a hundred bytes each that begin together, at most the five that fit; and what remains is what is counted."""
    monkeypatch.setattr(reservations, "STEP", 20)
    await replicas[0].quotas.set(admin, LIBRARY, 599)
    pushes = [way(replicas[number % 2], admin, f"{number:0100}".encode()) for number in range(12)]
    came = sum(await asyncio.gather(*(succeeded(push, QuotaExceeded) for push in pushes)))
    row = await replicas[0].quotas.get(admin, LIBRARY)
    assert (row.stored, row.uploading) == (came * 100, 0)
    # Streams that grow beside each other may stop each other, all but one of them.
    assert came in (range(1, 6) if way is push_streaming else [5])
    await require_true_ledger(database)


async def test_of_two_large_uploads_that_do_not_fit_together_one_is_refused(replicas: tuple[Registry, Registry], admin: Actor) -> None:
    for number in range(ROUNDS):
        limit = (await replicas[0].quotas.get(admin, LIBRARY)).used + 1000
        await replicas[0].quotas.set(admin, LIBRARY, limit)
        contents = [f"{number} {one}".encode().ljust(600) for one in range(2)]
        pushes = [push_announced(replica, admin, content) for replica, content in zip(replicas, contents, strict=True)]
        assert sum(await asyncio.gather(*(succeeded(push, QuotaExceeded) for push in pushes))) == 1


async def test_the_same_content_at_once_counts_once(replicas: tuple[Registry, Registry], admin: Actor, database: Database) -> None:
    for number in range(ROUNDS):
        before = (await replicas[0].quotas.get(admin, LIBRARY)).used
        one = blob(f"{number:010}")
        await asyncio.gather(*(push_blob(replica, admin, name, one) for replica in replicas for name in (APP, COPY)))
        assert (await replicas[0].quotas.get(admin, LIBRARY)).used == before + 10
    await require_true_ledger(database)


async def test_whatever_happens_at_once_the_ledger_is_true(
    replicas: tuple[Registry, Registry], admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    """Pushes, deletions of manifests and blobs, collecting and compacting; in the end everything that is named is charged, and no more."""
    here, there = replicas
    shared, other = image("layer", "more", config="{}"), image("layer", config="{}")
    for _ in range(ROUNDS):
        for name in (APP, COPY):
            await push_image(here, admin, name, shared)
        await asyncio.gather(
            succeeded(here.manifests.delete(admin, APP, shared.digest), ManifestUnknown),
            succeeded(there.manifests.delete(admin, COPY, shared.digest), ManifestUnknown),
            push_manifest(there, admin, APP, other),
            push_manifest(here, admin, COPY, other),
            succeeded(there.blobs.delete(admin, APP, shared.blobs[2].digest), BlobUnknown),
            push_blob(here, admin, COPY, shared.blobs[2]),
            collect(database, store, Rules(), clock),
            compact_entries(database),
        )
        await require_true_ledger(database)
        for name in (APP, COPY):
            await here.manifests.delete(admin, name, other.digest)
            await succeeded(here.manifests.delete(admin, name, shared.digest), ManifestUnknown)
        for name in (APP, COPY):
            await succeeded(here.blobs.delete(admin, name, shared.blobs[2].digest), BlobUnknown)
        assert (await here.quotas.get(admin, LIBRARY)).used == 0


# --- a transaction that dies --------------------------------------------------------------------------------------------------------


def counted(connection: Connection) -> tuple[int, ...]:
    tables = (blob_links, quota_charges, quota_entries)
    return tuple(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)


async def test_a_link_and_its_charge_come_together_or_not_at_all(
    registry: Registry, admin: Actor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def charge_and_die(*arguments: object, **options: object) -> None:
        charge(*arguments, **options)  # type: ignore[arg-type]
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr("roadstead.registry.blobs.charge", charge_and_die)
        with pytest.raises(RuntimeError):
            await push_blob(registry, admin, APP, blob())
    assert await database.read(counted) == (0, 0, 0)
    await push_blob(registry, admin, APP, blob())
    assert await database.read(counted) == (1, 1, 1)


async def test_a_manifest_goes_with_its_charges_or_not_at_all(
    registry: Registry, admin: Actor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free_and_die(connection: Connection, manifest_id: int) -> int:
        free_named(connection, manifest_id)
        raise RuntimeError

    free_named = quotas.free_named
    made = image("layer", config="{}")
    await push_image(registry, admin, APP, made)
    with monkeypatch.context() as patched:
        patched.setattr(quotas, "free_named", free_and_die)
        with pytest.raises(RuntimeError):
            await registry.manifests.delete(admin, APP, made.digest)
    assert (await registry.manifests.get(admin, APP, made.digest)).digest == made.digest
    assert (await registry.quotas.get(admin, LIBRARY)).used == 7
    await require_true_ledger(database)
