"""The life of an upload, as `registry.uploads` draws it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import (
    BlobUnknown,
    BodyTimeout,
    ClientGone,
    DigestMismatch,
    OutOfOrder,
    ProjectUnknown,
    SizeMismatch,
    Unauthenticated,
    UnsupportedAlgorithm,
    UploadUnknown,
)
from roadstead.metadata.database import Database
from roadstead.metadata.schema import contents, uploads
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.registry.uploads import CLAIM, Body
from roadstead.upkeep.uploads import expire_uploads
from tests.support.factories import APP, COPY, ManualClock, blob, body, broken, read_blob

HELLO = blob("hello, world")


async def count_uploads(database: Database) -> int:
    return int(await database.read(lambda connection: connection.execute(select(func.count()).select_from(uploads)).scalar_one()))


async def start_with(registry: Registry, actor: Actor, content: bytes) -> str:
    upload = await registry.uploads.start(actor, APP)
    await registry.uploads.write(actor, APP, upload.token, body(content))
    return upload.token


class Held:
    """A body whose first bytes have come, and whose rest comes when the test says so."""

    def __init__(self, first: bytes, rest: bytes = b"") -> None:
        self.taken = asyncio.Event()
        self.go_on = asyncio.Event()
        self._first = first
        self._rest = rest

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._first
        self.taken.set()
        await self.go_on.wait()
        yield self._rest

    def body(self, start: int | None = None) -> Body:
        return Body(self.chunks(), None, start)


# --- the straight ways --------------------------------------------------------------------------------------------------------------


async def test_a_whole_blob_at_once(registry: Registry, admin: Actor) -> None:
    await registry.uploads.push(admin, APP, HELLO.digest, body(b"hello, ", b"world", length=12))
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def test_start_then_finish_with_the_whole_body(registry: Registry, admin: Actor) -> None:
    upload = await registry.uploads.start(admin, APP)
    assert upload.offset == 0
    await registry.uploads.finish(admin, APP, upload.token, HELLO.digest, body(HELLO.content))
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def test_chunks_one_after_the_other_and_an_empty_finish(registry: Registry, admin: Actor, database: Database) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    first = await registry.uploads.write(admin, APP, token, body(b"hello, ", start=0))
    assert first.offset == 7
    assert await registry.uploads.status(admin, APP, token) == first
    assert (await registry.uploads.write(admin, APP, token, body(b"wor", length=3, start=7))).offset == 10
    await registry.uploads.finish(admin, APP, token, HELLO.digest, body(b"ld"))
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content
    assert await count_uploads(database) == 0


@pytest.mark.parametrize("announced", ["sha256", "sha512"])
async def test_a_blob_by_sha512(registry: Registry, admin: Actor, announced: str) -> None:
    digest = Digest.of(HELLO.content, "sha512")
    token = (await registry.uploads.start(admin, APP, announced)).token
    await registry.uploads.write(admin, APP, token, body(b"hello, "))
    await registry.uploads.finish(admin, APP, token, digest, body(b"world"))
    assert await read_blob(registry, admin, APP, digest) == HELLO.content
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def test_an_empty_blob(registry: Registry, admin: Actor) -> None:
    await registry.uploads.push(admin, APP, Digest.of(b""), body(length=0))
    assert await registry.blobs.size(admin, APP, Digest.of(b"")) == 0


async def test_an_unknown_algorithm_starts_nothing(registry: Registry, admin: Actor, database: Database) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        await registry.uploads.start(admin, APP, "md5")
    assert await count_uploads(database) == 0


# --- what contradicts itself --------------------------------------------------------------------------------------------------------


async def test_a_wrong_digest_at_once_keeps_nothing(registry: Registry, admin: Actor, store: MemoryStore) -> None:
    with pytest.raises(DigestMismatch) as raised:
        await registry.uploads.push(admin, APP, blob("other").digest, body(HELLO.content))
    assert raised.value.detail == {"given": str(blob("other").digest), "actual": str(HELLO.digest)}
    assert store.medium == {}


async def test_a_wrong_digest_at_the_end_discards_the_upload(registry: Registry, admin: Actor, store: MemoryStore) -> None:
    token = await start_with(registry, admin, b"hello, ")
    with pytest.raises(DigestMismatch):
        await registry.uploads.finish(admin, APP, token, blob("other").digest, body(b"world"))
    with pytest.raises(UploadUnknown):
        await registry.uploads.status(admin, APP, token)
    assert store.medium == {}
    for digest in (blob("other").digest, HELLO.digest):
        with pytest.raises(BlobUnknown):
            await registry.blobs.size(admin, APP, digest)


@pytest.mark.parametrize("announced", [3, 20])
async def test_a_length_that_is_not_true_at_once_keeps_nothing(
    registry: Registry, admin: Actor, store: MemoryStore, announced: int
) -> None:
    with pytest.raises(SizeMismatch):
        await registry.uploads.push(admin, APP, HELLO.digest, body(HELLO.content, length=announced))
    assert store.medium == {}


@pytest.mark.parametrize("announced", [3, 20])
async def test_a_length_that_is_not_true_leaves_the_upload_where_it_stood(registry: Registry, admin: Actor, announced: int) -> None:
    token = await start_with(registry, admin, b"hello, ")
    with pytest.raises(SizeMismatch) as raised:
        await registry.uploads.write(admin, APP, token, body(b"world", length=announced))
    assert raised.value.detail == {"announced": announced, "received": 5}
    assert (await registry.uploads.status(admin, APP, token)).offset == 7
    await registry.uploads.finish(admin, APP, token, HELLO.digest, body(b"world", length=5))
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def test_a_length_that_is_not_true_in_the_last_request_leaves_the_upload_too(registry: Registry, admin: Actor) -> None:
    token = await start_with(registry, admin, b"hello, ")
    with pytest.raises(SizeMismatch):
        await registry.uploads.finish(admin, APP, token, HELLO.digest, body(b"wor", length=5))
    await registry.uploads.finish(admin, APP, token, HELLO.digest, body(b"world", length=5, start=7))
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


@pytest.mark.parametrize("start", [0, 6, 8])
async def test_a_chunk_that_begins_elsewhere_is_out_of_order(registry: Registry, admin: Actor, start: int) -> None:
    token = await start_with(registry, admin, b"hello, ")
    with pytest.raises(OutOfOrder) as raised:
        await registry.uploads.write(admin, APP, token, body(b"x", start=start))
    assert raised.value.detail == {"offset": 7}
    assert (await registry.uploads.status(admin, APP, token)).offset == 7


# --- faults on the way --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [ClientGone(), BodyTimeout()])
async def test_a_broken_connection_leaves_what_arrived(registry: Registry, admin: Actor, fault: Exception) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    with pytest.raises(type(fault)):
        await registry.uploads.write(admin, APP, token, Body(broken(b"hello", b", ", error=fault), 12))
    assert (await registry.uploads.status(admin, APP, token)).offset == 7
    await registry.uploads.finish(admin, APP, token, HELLO.digest, body(b"world", start=7))
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def test_a_connection_that_breaks_in_the_last_request_leaves_what_arrived(registry: Registry, admin: Actor) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    with pytest.raises(ClientGone):
        await registry.uploads.finish(admin, APP, token, HELLO.digest, Body(broken(b"hello, ", error=ClientGone())))
    assert (await registry.uploads.status(admin, APP, token)).offset == 7


async def test_a_connection_that_breaks_at_once_keeps_nothing(registry: Registry, admin: Actor, store: MemoryStore) -> None:
    with pytest.raises(ClientGone):
        await registry.uploads.push(admin, APP, HELLO.digest, Body(broken(b"hello, ", error=ClientGone())))
    assert store.medium == {}


async def test_a_cancelled_write_saves_its_progress(registry: Registry, admin: Actor) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    held = Held(b"hello, ")
    task = asyncio.create_task(registry.uploads.write(admin, APP, token, held.body()))
    await held.taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await registry.uploads.status(admin, APP, token)).offset == 7
    await registry.uploads.finish(admin, APP, token, HELLO.digest, body(b"world"))
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def test_a_cancelled_push_keeps_nothing(registry: Registry, admin: Actor, store: MemoryStore) -> None:
    held = Held(b"hello, ")
    task = asyncio.create_task(registry.uploads.push(admin, APP, HELLO.digest, held.body()))
    await held.taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.medium == {}


# --- one writer at a time -----------------------------------------------------------------------------------------------------------


async def test_the_second_writer_is_out_of_order_and_the_first_goes_on(registry: Registry, admin: Actor) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    held = Held(b"hello, ", b"world")
    first = asyncio.create_task(registry.uploads.write(admin, APP, token, held.body(0)))
    await held.taken.wait()
    with pytest.raises(OutOfOrder):
        await registry.uploads.write(admin, APP, token, body(b"HELLO", start=0))
    with pytest.raises(OutOfOrder):
        await registry.uploads.finish(admin, APP, token, HELLO.digest, body())
    with pytest.raises(OutOfOrder):
        await registry.uploads.cancel(admin, APP, token)
    held.go_on.set()
    assert (await first).offset == 12
    await registry.uploads.finish(admin, APP, token, HELLO.digest, body())
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def test_of_many_writers_at_once_one_wins(registry: Registry, admin: Actor) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    every = await asyncio.gather(
        *(registry.uploads.write(admin, APP, token, body(b"%02d" % number, start=0)) for number in range(8)), return_exceptions=True
    )
    won = [one for one in every if not isinstance(one, BaseException)]
    assert len(won) == 1
    assert all(isinstance(one, OutOfOrder) for one in every if isinstance(one, BaseException))
    assert await registry.uploads.status(admin, APP, token) == won[0]


async def test_the_claim_of_a_writer_that_died_runs_out(registry: Registry, admin: Actor, clock: ManualClock, database: Database) -> None:
    token = await start_with(registry, admin, b"hello, ")
    # What a killed process leaves: a claim that nobody renews.
    claimed = uploads.update().values(claimed_until=clock() + CLAIM, version=uploads.c.version + 1)
    await database.write(lambda connection: connection.execute(claimed))
    with pytest.raises(OutOfOrder):
        await registry.uploads.write(admin, APP, token, body(b"world", start=7))
    clock.advance(CLAIM)
    with pytest.raises(OutOfOrder):
        await registry.uploads.write(admin, APP, token, body(b"world", start=7))
    clock.advance(timedelta(microseconds=1))
    assert (await registry.uploads.write(admin, APP, token, body(b"world", start=7))).offset == 12


async def test_who_lost_the_claim_cannot_change_the_upload(registry: Registry, admin: Actor, clock: ManualClock) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    held = Held(b"hello, ")
    first = asyncio.create_task(registry.uploads.write(admin, APP, token, held.body()))
    await held.taken.wait()
    clock.advance(CLAIM * 2)
    await registry.uploads.write(admin, APP, token, body(b"HELLO", start=0))
    held.go_on.set()
    with pytest.raises(OutOfOrder):
        await first
    assert (await registry.uploads.status(admin, APP, token)).offset == 5


async def test_a_body_that_stalls_keeps_its_claim(
    registry: Registry, admin: Actor, clock: ManualClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a second writer could finish the upload, and the first then write into bytes that were acknowledged."""
    monkeypatch.setattr("roadstead.registry.uploads.RENEW_SECONDS", 0.01)
    token = (await registry.uploads.start(admin, APP)).token
    held = Held(b"hello, ", b"world")
    first = asyncio.create_task(registry.uploads.finish(admin, APP, token, HELLO.digest, held.body()))
    await held.taken.wait()
    for _ in range(3):
        clock.advance(CLAIM * 0.9)
        await until_claimed(database, clock() + CLAIM)
    assert [(row.arrived, row.by) for row in await registry.uploads.running(admin, APP)] == [(len("hello, "), "admin")]
    with pytest.raises(OutOfOrder):
        await registry.uploads.write(admin, APP, token, body(b"HELLO", start=0))
    held.go_on.set()
    await first
    assert await read_blob(registry, admin, APP, HELLO.digest) == HELLO.content


async def until_claimed(database: Database, until: datetime) -> None:
    """Wait for the renewal, of which nothing else tells."""
    claimed_until = select(uploads.c.claimed_until)
    async with asyncio.timeout(20):
        while await database.read(lambda connection: connection.execute(claimed_until).scalar()) != until:
            continue


async def take_over(database: Database) -> None:
    """What another replica does that finds the claim run out."""
    await database.write(lambda connection: connection.execute(uploads.update().values(version=uploads.c.version + 1)))


async def test_a_writer_that_lost_its_claim_is_stopped(
    registry: Registry, admin: Actor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadstead.registry.uploads.RENEW_SECONDS", 0.01)
    token = (await registry.uploads.start(admin, APP)).token
    held = Held(b"hello, ")
    first = asyncio.create_task(registry.uploads.write(admin, APP, token, held.body()))
    await held.taken.wait()
    await take_over(database)
    with pytest.raises(OutOfOrder):
        await first
    assert (await registry.uploads.status(admin, APP, token)).offset == 0


async def test_a_claim_that_was_lost_at_the_last_moment_acknowledges_nothing(registry: Registry, admin: Actor, database: Database) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    held = Held(b"hello, ", b"world")
    first = asyncio.create_task(registry.uploads.finish(admin, APP, token, HELLO.digest, held.body()))
    await held.taken.wait()
    await take_over(database)
    held.go_on.set()
    with pytest.raises(OutOfOrder):
        await first
    with pytest.raises(BlobUnknown):
        await registry.blobs.size(admin, APP, HELLO.digest)


# --- the end ------------------------------------------------------------------------------------------------------------------------


async def test_cancel_takes_upload_and_bytes_away(registry: Registry, admin: Actor, store: MemoryStore) -> None:
    token = await start_with(registry, admin, b"hello, ")
    assert len(store.medium) == 1
    await registry.uploads.cancel(admin, APP, token)
    assert store.medium == {}
    for act in (registry.uploads.status(admin, APP, token), registry.uploads.cancel(admin, APP, token)):
        with pytest.raises(UploadUnknown):
            await act


async def test_a_finished_upload_is_unknown(registry: Registry, admin: Actor) -> None:
    token = await start_with(registry, admin, HELLO.content)
    await registry.uploads.finish(admin, APP, token, HELLO.digest, body())
    with pytest.raises(UploadUnknown):
        await registry.uploads.finish(admin, APP, token, HELLO.digest, body())


async def test_an_upload_whose_bytes_are_gone_is_unknown(registry: Registry, admin: Actor, store: MemoryStore, database: Database) -> None:
    token = await start_with(registry, admin, b"hello, ")
    store.medium.clear()
    with pytest.raises(UploadUnknown):
        await registry.uploads.write(admin, APP, token, body(b"world"))
    assert await count_uploads(database) == 0


async def test_a_stale_upload_expires_and_a_living_one_stays(
    registry: Registry, admin: Actor, store: MemoryStore, clock: ManualClock, database: Database
) -> None:
    rules = Rules()
    stale = await start_with(registry, admin, b"stale")
    clock.advance(rules.upload_lifetime)
    living = await start_with(registry, admin, b"living")
    assert await expire_uploads(database, store, rules, clock) == 0
    clock.advance(timedelta(seconds=1))
    assert await expire_uploads(database, store, rules, clock) == 1
    assert (await registry.uploads.status(admin, APP, living)).offset == 6
    with pytest.raises(UploadUnknown):
        await registry.uploads.status(admin, APP, stale)
    assert [bytes(content.data) for content in store.medium.values()] == [b"living"]


async def test_the_same_content_twice_at_once_is_stored_once(
    registry: Registry, admin: Actor, store: MemoryStore, database: Database
) -> None:
    await asyncio.gather(*(registry.uploads.push(admin, name, HELLO.digest, body(HELLO.content)) for name in (APP, COPY) * 4))
    assert len(store.medium) == 1
    assert await read_blob(registry, admin, APP, HELLO.digest) == await read_blob(registry, admin, COPY, HELLO.digest) == HELLO.content
    count = select(func.count()).select_from(contents)
    assert await database.read(lambda connection: connection.execute(count).scalar_one()) == 1


# --- who may ------------------------------------------------------------------------------------------------------------------------


async def test_an_upload_belongs_to_its_repository(registry: Registry, admin: Actor) -> None:
    token = await start_with(registry, admin, b"hello, ")
    await registry.uploads.start(admin, COPY)
    for act in (
        registry.uploads.status(admin, COPY, token),
        registry.uploads.write(admin, COPY, token, body(b"world")),
        registry.uploads.finish(admin, COPY, token, HELLO.digest, body(b"world")),
        registry.uploads.cancel(admin, COPY, token),
        registry.uploads.status(admin, RepositoryName("library/none"), token),
    ):
        with pytest.raises(UploadUnknown):
            await act
    assert (await registry.uploads.status(admin, APP, token)).offset == 7


async def test_nobody_pushes_without_the_right(registry: Registry, admin: Actor, anonymous: Actor) -> None:
    token = await start_with(registry, admin, b"hello, ")
    for act in (
        registry.uploads.start(anonymous, APP),
        registry.uploads.push(anonymous, APP, HELLO.digest, body(HELLO.content)),
        registry.uploads.status(anonymous, APP, token),
        registry.uploads.write(anonymous, APP, token, body(b"world")),
        registry.uploads.finish(anonymous, APP, token, HELLO.digest, body(b"world")),
        registry.uploads.cancel(anonymous, APP, token),
    ):
        with pytest.raises(Unauthenticated):
            await act


async def test_a_project_that_is_not_there_takes_nothing_unless_the_site_allows_it(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    name = RepositoryName("newcomer/app")
    with pytest.raises(ProjectUnknown, match="newcomer"):
        await registry.uploads.start(admin, name)
    willing = Registry(database, store, Rules(create_projects_on_push=True), clock=clock)
    await willing.uploads.push(admin, name, HELLO.digest, body(HELLO.content))
    assert await read_blob(registry, admin, name, HELLO.digest) == HELLO.content
    with pytest.raises(Unauthenticated):
        await willing.uploads.start(Actor(None, "anonymous"), RepositoryName("another/app"))
