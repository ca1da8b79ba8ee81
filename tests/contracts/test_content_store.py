"""What every content store does, whatever it stands on: one suite, run on each implementation."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from roadstead.content.filesystem import FilesystemStore
from roadstead.content.memory import MemoryContent, MemoryStore
from roadstead.content.opening import open_store
from roadstead.content.store import (
    ContentStore,
    Elsewhere,
    LocalFile,
    Opened,
    Progress,
    Sealed,
    Span,
    StoredKey,
    Stream,
    UploadState,
    Writer,
)
from roadstead.errors import ContentDamaged, UnsupportedAlgorithm, UploadUnknown
from roadstead.oci.digest import Digest
from tests.support.seaweedfs import SeaweedFS

MIB = 1 << 20


class Medium(Protocol):
    """What a store stands on. Each `store()` is another replica over the same bytes."""

    async def store(self) -> ContentStore: ...

    async def cut(self, key: str, size: int) -> None:
        """Damage finished content: leave only its first `size` bytes."""


class MemoryMedium:
    def __init__(self) -> None:
        self.contents: dict[str, MemoryContent] = {}

    async def store(self) -> ContentStore:
        return MemoryStore(self.contents)

    async def cut(self, key: str, size: int) -> None:
        del self.contents[key].data[size:]


class FilesystemMedium:
    def __init__(self, root: Path) -> None:
        self.root = root

    async def store(self) -> ContentStore:
        store = FilesystemStore(self.root)
        await store.prepare()
        return store

    async def cut(self, key: str, size: int) -> None:
        path = self.root / "content" / key[:2] / key
        path.write_bytes(path.read_bytes()[:size])


class S3Medium:
    def __init__(self, server: SeaweedFS) -> None:
        self.server = server
        self.bucket = server.fresh_bucket()

    async def store(self) -> ContentStore:
        return await open_store(self.server.url(self.bucket, "some/prefix"))

    async def cut(self, key: str, size: int) -> None:
        client, name = self.server.client(), f"some/prefix/content/{key}"
        content = client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        client.put_object(Bucket=self.bucket, Key=name, Body=content[:size])


class Replicas:
    """Makes stores over one medium, and closes them at the test's end."""

    def __init__(self, medium: Medium) -> None:
        self.medium = medium
        self.made: list[ContentStore] = []

    async def another(self) -> ContentStore:
        self.made.append(await self.medium.store())
        return self.made[-1]


def medium(kind: str, request: pytest.FixtureRequest) -> Medium:
    if kind == "memory":
        return MemoryMedium()
    if kind == "filesystem":
        return FilesystemMedium(request.getfixturevalue("tmp_path"))
    server = request.getfixturevalue("seaweedfs")
    for name, value in server.environment.items():
        request.getfixturevalue("monkeypatch").setenv(name, value)
    return S3Medium(server)


@pytest.fixture(params=["memory", "filesystem", "s3"])
async def replicas(request: pytest.FixtureRequest) -> AsyncIterator[Replicas]:
    replicas = Replicas(medium(request.param, request))
    yield replicas
    for store in replicas.made:
        await store.close()


@pytest.fixture
async def store(replicas: Replicas) -> ContentStore:
    return await replicas.another()


def sample(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


async def started(store: ContentStore, *algorithms: str) -> Writer:
    return await store.resume((await store.begin(algorithms)).state)


async def put(store: ContentStore, content: bytes, *algorithms: str) -> Sealed:
    writer = await started(store, *algorithms)
    await writer.write(content)
    return await writer.seal()


async def upload_part(store: ContentStore, progress: Progress, content: bytes) -> Progress:
    writer = await store.resume(progress.state)
    await writer.write(content)
    return await writer.suspend()


async def read(opened: Opened) -> bytes:
    if isinstance(opened, LocalFile):
        with opened.path.open("rb") as file:
            file.seek(opened.span.start if opened.span else 0)
            return file.read(opened.span.length if opened.span else -1)
    assert isinstance(opened, Stream)
    chunks = [chunk async for chunk in opened.chunks]
    assert all(0 < len(chunk) <= MIB for chunk in chunks)
    assert sum(map(len, chunks)) == opened.length
    return b"".join(chunks)


async def content_of(store: ContentStore, sealed: Sealed) -> bytes:
    return await read(await store.open(sealed.key, sealed.size))


async def stored_keys(store: ContentStore) -> list[StoredKey]:
    keys = store.keys()
    return [stored async for stored in keys]


async def listed(store: ContentStore) -> dict[str, int]:
    return {stored.key: stored.size for stored in await stored_keys(store)}


def assert_holds(sealed: Sealed, content: bytes, *algorithms: str) -> None:
    assert sealed.size == len(content)
    assert sealed.digests == {algorithm: Digest.of(content, algorithm) for algorithm in {"sha256", *algorithms}}


# One upload, in one go


@pytest.mark.parametrize("length", [1, 1009, MIB - 1, MIB, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 17 * MIB])
async def test_content_comes_back_as_it_was_written(store: ContentStore, length: int) -> None:
    content = sample(length)
    sealed = await put(store, content)
    assert_holds(sealed, content)
    assert await content_of(store, sealed) == content
    assert await store.holds(sealed.key, length)


async def test_empty_content(store: ContentStore) -> None:
    sealed = await put(store, b"")
    assert_holds(sealed, b"")
    assert await content_of(store, sealed) == b""


async def test_content_to_which_nothing_was_ever_written(store: ContentStore) -> None:
    sealed = await (await started(store)).seal()
    assert_holds(sealed, b"")
    assert await store.holds(sealed.key, 0)


@pytest.mark.parametrize("chunk", [1, 4099, 300_001, MIB, 3 * MIB + 7])
async def test_chunks_of_any_length_add_up(store: ContentStore, chunk: int) -> None:
    content = sample(min(8 * MIB, 3000 * chunk))
    writer = await started(store)
    for start in range(0, len(content), chunk):
        await writer.write(content[start : start + chunk])
        await writer.write(b"")
        assert writer.offset == min(start + chunk, len(content))
    sealed = await writer.seal()
    assert_holds(sealed, content)
    assert await content_of(store, sealed) == content


async def test_a_second_algorithm_known_from_the_start(store: ContentStore) -> None:
    assert_holds(await put(store, sample(100_000), "sha512"), sample(100_000), "sha512")


async def test_a_second_algorithm_asked_for_at_the_end(store: ContentStore) -> None:
    writer = await started(store)
    await writer.write(sample(6 * MIB))
    assert_holds(await writer.seal({"sha512"}), sample(6 * MIB), "sha512")


async def test_an_algorithm_that_nobody_knows_is_refused(store: ContentStore) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        await store.begin({"md5"})


async def test_beginning_leaves_no_trace(store: ContentStore) -> None:
    progress = await store.begin()
    assert progress.offset == 0
    assert await listed(store) == {}


async def test_equal_content_twice_has_two_keys(store: ContentStore) -> None:
    first, second = await put(store, b"same"), await put(store, b"same")
    assert first.key != second.key
    await store.delete(first.key)
    assert await content_of(store, second) == b"same"


# Suspended and resumed


@pytest.mark.parametrize("part", [1, 70_001, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 7 * MIB])
async def test_an_upload_goes_on_in_another_replica(replicas: Replicas, part: int) -> None:
    content = sample(part * 3 + part // 2)
    progress = await (await replicas.another()).begin({"sha512"})
    for start in range(0, len(content), part):
        progress = await upload_part(await replicas.another(), progress, content[start : start + part])
        assert progress.offset == min(start + part, len(content))
    store = await replicas.another()
    sealed = await (await store.resume(progress.state)).seal()
    assert_holds(sealed, content, "sha512")
    assert await content_of(store, sealed) == content


async def test_many_small_parts(replicas: Replicas) -> None:
    store, content = await replicas.another(), sample(25 * 300_000)
    progress = await store.begin()
    for start in range(0, len(content), 300_000):
        progress = await upload_part(store, progress, content[start : start + 300_000])
    sealed = await (await store.resume(progress.state)).seal()
    assert_holds(sealed, content)
    assert await content_of(store, sealed) == content
    assert await listed(store) == {sealed.key: len(content)}


async def test_suspending_without_a_byte_changes_nothing(store: ContentStore) -> None:
    progress = await upload_part(store, await store.begin(), b"")
    assert progress.offset == 0
    progress = await upload_part(store, await upload_part(store, progress, b"abc"), b"")
    assert progress.offset == 3
    assert_holds(await (await store.resume(progress.state)).seal(), b"abc")


@pytest.mark.parametrize("kept", [0, 1000, 6 * MIB])
async def test_a_writer_that_died_is_resumed_from_the_older_state(replicas: Replicas, kept: int) -> None:
    store = await replicas.another()
    older = await upload_part(store, await store.begin(), sample(kept))
    abandoned = await store.resume(older.state)
    await abandoned.write(sample(12 * MIB, seed=1))
    await abandoned.suspend()  # its answer is lost: nobody saw the newer state

    successor = await replicas.another()
    writer = await successor.resume(older.state)
    assert writer.offset == kept
    await writer.write(sample(3 * MIB, seed=2))
    sealed = await writer.seal()
    assert_holds(sealed, sample(kept) + sample(3 * MIB, seed=2))
    assert await content_of(successor, sealed) == sample(kept) + sample(3 * MIB, seed=2)


async def test_bytes_beyond_the_state_are_cut_off(store: ContentStore) -> None:
    older = await upload_part(store, await store.begin(), b"kept")
    await upload_part(store, older, b"never acknowledged")
    sealed = await (await store.resume(older.state)).seal()
    assert_holds(sealed, b"kept")
    assert await content_of(store, sealed) == b"kept"


@pytest.mark.parametrize("length", [0, 5, 5 * MIB, 6 * MIB])
async def test_sealing_twice_gives_the_same(replicas: Replicas, length: int) -> None:
    store = await replicas.another()
    final = await upload_part(store, await store.begin(), sample(length))
    first = await (await store.resume(final.state)).seal()
    second = await (await (await replicas.another()).resume(final.state)).seal()
    assert first == second
    assert await content_of(store, second) == sample(length)


async def test_an_upload_whose_bytes_are_gone_is_unknown(store: ContentStore) -> None:
    progress = await upload_part(store, await store.begin(), sample(6 * MIB))
    for key in await listed(store):
        await store.delete(key)
    with pytest.raises(UploadUnknown):
        await (await store.resume(progress.state)).seal()


async def test_the_state_of_another_kind_of_store_is_unknown(store: ContentStore) -> None:
    with pytest.raises(UploadUnknown):
        await store.resume(UploadState(b"\x81\xa1x\x01"))


# Discarded


@pytest.mark.parametrize("length", [0, 100, 6 * MIB, 20 * MIB])
async def test_discarding_leaves_nothing(store: ContentStore, length: int) -> None:
    writer = await started(store)
    await writer.write(sample(length))
    await writer.discard()
    assert await listed(store) == {}


@pytest.mark.parametrize("length", [100, 6 * MIB])
async def test_discarding_what_was_suspended_leaves_nothing(store: ContentStore, length: int) -> None:
    progress = await upload_part(store, await store.begin(), sample(length))
    await (await store.resume(progress.state)).discard()
    assert await listed(store) == {}
    with pytest.raises(UploadUnknown):
        await (await store.resume(progress.state)).seal()


@pytest.mark.parametrize("length", [0, 100, 9 * MIB])
async def test_discarding_what_was_just_sealed_leaves_nothing(store: ContentStore, length: int) -> None:
    writer = await store.resume((await upload_part(store, await store.begin(), sample(length))).state)
    await writer.write(sample(length))
    await writer.seal()
    await writer.discard()
    assert await listed(store) == {}


async def test_discarding_bytes_that_are_gone_is_no_error(store: ContentStore) -> None:
    writer = await started(store)
    await writer.write(sample(6 * MIB))
    for key in await listed(store):
        await store.delete(key)
    await writer.discard()
    assert await listed(store) == {}


# Reading


@pytest.mark.parametrize(
    "span", [Span(0, 1), Span(0, 6 * MIB), Span(1, 2), Span(6 * MIB - 1, 1), Span(MIB - 1, 2), Span(2 * MIB + 3, 3 * MIB), Span(7, 5 * MIB)]
)
async def test_a_span(store: ContentStore, span: Span) -> None:
    content = sample(6 * MIB)
    sealed = await put(store, content)
    assert await read(await store.open(sealed.key, sealed.size, span)) == content[span.start : span.start + span.length]


async def test_without_leave_nobody_is_sent_elsewhere(store: ContentStore) -> None:
    sealed = await put(store, b"abc")
    assert not isinstance(await store.open(sealed.key, sealed.size), Elsewhere)


@pytest.mark.parametrize("key", ["0" * 32, "../../etc/passwd", "", "g" * 32, "/etc/passwd"])
async def test_a_key_that_is_not_there_is_damage(store: ContentStore, key: str) -> None:
    assert not await store.holds(key, 0)
    with pytest.raises(ContentDamaged):
        await store.open(key, 0)


async def test_short_content_is_damage_before_a_byte_is_answered(replicas: Replicas) -> None:
    store = await replicas.another()
    sealed = await put(store, sample(1000))
    await replicas.medium.cut(sealed.key, 999)
    assert not await store.holds(sealed.key, sealed.size)
    with pytest.raises(ContentDamaged):
        await store.open(sealed.key, sealed.size, Span(0, 10))


async def test_many_read_at_once(store: ContentStore) -> None:
    content = sample(3 * MIB)
    sealed = await put(store, content)
    opened = await asyncio.gather(*(store.open(sealed.key, sealed.size) for _ in range(10)))
    assert await asyncio.gather(*map(read, opened)) == [content] * 10


# Keys


async def test_keys_lists_finished_and_unfinished(store: ContentStore) -> None:
    sealed = await put(store, sample(10))
    await upload_part(store, await store.begin(), sample(6 * MIB))
    keys = await listed(store)
    assert keys.pop(sealed.key) == 10
    assert len(keys) >= 1


async def test_deleting_every_key_leaves_nothing(store: ContentStore) -> None:
    await put(store, sample(10))
    await upload_part(store, await store.begin(), sample(6 * MIB))
    for key in await listed(store):
        await store.delete(key)
        await store.delete(key)
    assert await listed(store) == {}


async def test_deleting_what_never_was_is_no_error(store: ContentStore) -> None:
    await store.delete("f" * 32)
    await store.delete("../sideways")


async def test_a_key_says_when_it_was_written(store: ContentStore) -> None:
    await put(store, b"now")
    [stored] = await stored_keys(store)
    assert stored.modified_at.tzinfo is not None


async def test_checking_leaves_nothing(store: ContentStore) -> None:
    await store.check()
    assert await listed(store) == {}


# Many at once


async def test_uploads_side_by_side_do_not_mix(store: ContentStore) -> None:
    async def upload(seed: int) -> None:
        content = sample(2 * MIB + seed, seed)
        writer = await started(store)
        for start in range(0, len(content), 100_003):
            await writer.write(content[start : start + 100_003])
        sealed = await writer.seal()
        assert_holds(sealed, content)
        assert await content_of(store, sealed) == content

    await asyncio.gather(*map(upload, range(40)))


async def test_a_cancelled_upload_can_be_suspended_and_goes_on(store: ContentStore) -> None:
    chunk = sample(MIB)
    writer, well_under_way = await started(store), asyncio.Event()

    async def send_for_ever() -> None:
        while True:
            await writer.write(chunk)
            await asyncio.sleep(0)
            if writer.offset > 9 * MIB:
                well_under_way.set()

    sender = asyncio.create_task(send_for_ever())
    await well_under_way.wait()
    sender.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sender
    progress = await writer.suspend()
    assert progress.offset == writer.offset
    sealed = await (await store.resume(progress.state)).seal()
    assert_holds(sealed, chunk * (progress.offset // MIB))


@pytest.mark.parametrize(("replicas", "bound"), [("filesystem", 6 * MIB), ("s3", 20 * MIB)], indirect=["replicas"])
async def test_a_large_upload_is_never_held_in_memory(store: ContentStore, bound: int) -> None:
    chunk, hashed = sample(256 << 10), hashlib.sha256()
    writer = await started(store)
    tracemalloc.start()
    try:
        for _ in range(800):
            await writer.write(chunk)
        sealed = await writer.seal()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for _ in range(800):
        hashed.update(chunk)
    assert sealed.digests["sha256"].encoded == hashed.hexdigest()
    assert peak < bound


@pytest.mark.parametrize("length", [0, 100, 6 * MIB])
async def test_what_is_unfinished_is_listed_under_the_key_of_its_state(store: ContentStore, length: int) -> None:
    progress = await store.begin()
    if length:
        progress = await upload_part(store, progress, sample(length))
    assert set(await listed(store)) == ({store.key(progress.state)} if length else set())
    assert (await (await store.resume(progress.state)).seal()).key == store.key(progress.state)


# Scratch files


@pytest.mark.parametrize("length", [0, 100, 20 * MIB])
async def test_what_a_scratch_file_holds_becomes_content(replicas: Replicas, length: int) -> None:
    store, content = await replicas.another(), sample(length)
    async with store.scratch() as file:
        assert await listed(store) == {}
        file.write(b"?" * len(content))
        file.seek(0)
        file.write(content)
        sealed = await store.take(file, {"sha512"})
    assert_holds(sealed, content, "sha512")
    assert await content_of(await replicas.another(), sealed) == content
    assert await listed(store) == {sealed.key: length}


async def test_what_another_process_wrote_is_taken(store: ContentStore) -> None:
    async with store.scratch() as file:
        child = await asyncio.create_subprocess_exec("sh", "-c", "echo hello", stdout=file.fileno())
        assert await child.wait() == 0
        sealed = await store.take(file)
    assert await content_of(store, sealed) == b"hello\n"


async def test_a_scratch_file_that_is_not_taken_leaves_nothing(store: ContentStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.scratch() as file:
            file.write(sample(3 * MIB))
            raise ZeroDivisionError
    assert await listed(store) == {}
    assert file.closed


async def test_scratch_files_do_not_mix(store: ContentStore) -> None:
    async def make(seed: int) -> tuple[Sealed, bytes]:
        async with store.scratch() as file:
            file.write(sample(MIB, seed))
            return await store.take(file), sample(MIB, seed)

    for sealed, content in await asyncio.gather(*map(make, range(10))):
        assert await content_of(store, sealed) == content


async def test_taking_with_an_unknown_algorithm_leaves_nothing(store: ContentStore) -> None:
    async with store.scratch() as file:
        file.write(b"abc")
        with pytest.raises(UnsupportedAlgorithm):
            await store.take(file, {"md5"})
    assert await listed(store) == {}
