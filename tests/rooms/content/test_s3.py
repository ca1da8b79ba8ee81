from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import botocore.exceptions
import msgspec
import pytest
from botocore.exceptions import ClientError

from roadstead.content.hashing import Hashes
from roadstead.content.opening import open_store
from roadstead.content.s3 import ERRORS, S3State, S3Store, Tail, translated
from roadstead.content.state import progress as progress_of
from roadstead.content.store import Elsewhere, Progress, Sealed, Span, Stream
from roadstead.errors import ContentDamaged, StorageFull, StoreFailed, TooLarge, UploadUnknown
from roadstead.oci.digest import Digest
from tests.support.seaweedfs import SeaweedFS
from tests.support.server import free_port

MIB = 1 << 20
CONTENT = random.Random(3).randbytes(11 * MIB)


class Bucket:
    """A bucket, seen from behind the store's back."""

    def __init__(self, server: SeaweedFS) -> None:
        self.server = server
        self.name = server.fresh_bucket()
        self.client = server.client()

    def url(self, more: str = "") -> str:
        return self.server.url(self.name) + more

    def objects(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def uploads(self) -> list[dict[str, Any]]:
        uploads: list[dict[str, Any]] = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return uploads

    def abort_all(self) -> None:
        for upload in self.uploads():
            self.client.abort_multipart_upload(Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"])


@pytest.fixture
def bucket(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    return Bucket(seaweedfs)


async def opened(url: str) -> S3Store:
    store = await open_store(url)
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
async def store(bucket: Bucket) -> AsyncIterator[S3Store]:
    store = await opened(bucket.url())
    yield store
    await store.close()


async def put(store: S3Store, content: bytes) -> Sealed:
    writer = await store.resume((await store.begin()).state)
    await writer.write(content)
    return await writer.seal()


async def content_of(store: S3Store, sealed: Sealed) -> bytes:
    answer = await store.open(sealed.key, sealed.size)
    assert isinstance(answer, Stream)
    return b"".join([chunk async for chunk in answer.chunks])


async def more(store: S3Store, progress: Progress, content: bytes) -> Progress:
    writer = await store.resume(progress.state)
    await writer.write(content)
    return await writer.suspend()


async def listed(store: S3Store) -> list[str]:
    keys = store.keys()
    return [stored.key async for stored in keys]


def state_of(progress: Progress) -> S3State:
    return msgspec.msgpack.decode(progress.state, type=S3State)


# Where clients are sent


async def test_a_presigned_url_gives_the_content_and_ranges_of_it(store: S3Store) -> None:
    sealed = await put(store, CONTENT)
    answer = await store.open(sealed.key, sealed.size, Span(5, 10), elsewhere=True)
    assert isinstance(answer, Elsewhere)
    assert answer.valid_seconds == 900
    async with aiohttp.ClientSession() as client:
        async with client.get(answer.url, headers={"Range": "bytes=5-14"}) as response:
            assert (response.status, await response.read()) == (206, CONTENT[5:15])
        async with client.get(answer.url) as response:
            assert await response.read() == CONTENT


async def test_the_validity_is_a_setting(bucket: Bucket) -> None:
    store = await opened(bucket.url("&valid=60"))
    answer = await store.open("0" * 32, 1, elsewhere=True)
    assert isinstance(answer, Elsewhere)
    assert answer.valid_seconds == 60
    assert "X-Amz-Expires=60" in answer.url
    await store.close()


async def test_clients_that_cannot_reach_the_store_get_the_bytes_through_us(bucket: Bucket) -> None:
    store = await opened(bucket.url("&redirect=false"))
    sealed = await put(store, CONTENT)
    assert isinstance(await store.open(sealed.key, sealed.size, elsewhere=True), Stream)
    await store.close()


async def test_a_download_that_is_given_up_frees_its_connection(store: S3Store) -> None:
    sealed = await put(store, CONTENT)
    for _ in range(20):
        answer = await store.open(sealed.key, sealed.size)
        assert isinstance(answer, Stream)
        assert await anext(aiter(answer.chunks))
        await answer.chunks.aclose()
    assert await store.holds(sealed.key, sealed.size)


# What lies in the bucket


async def test_small_content_is_one_object_and_no_multipart_upload(store: S3Store, bucket: Bucket) -> None:
    writer = await store.resume((await store.begin()).state)
    await writer.write(CONTENT[: 7 * MIB])
    assert bucket.objects() == []
    sealed = await writer.seal()
    assert bucket.objects() == [f"content/{sealed.key}"]


async def test_the_prefix_of_the_url_comes_first(bucket: Bucket) -> None:
    store = await opened(bucket.server.url(bucket.name, "one/two/"))
    sealed = await put(store, b"abc")
    assert bucket.objects() == [f"one/two/content/{sealed.key}"]
    assert await listed(store) == [sealed.key]
    await store.close()


async def test_of_many_tails_the_last_two_are_kept_and_in_the_end_none(store: S3Store, bucket: Bucket) -> None:
    progress, sent = await store.begin(), 0
    for end in range(400_000, 7 * MIB, 400_000):
        progress = await more(store, progress, CONTENT[sent:end])
        sent = end
        assert len(bucket.objects()) <= 2
    sealed = await (await store.resume(progress.state)).seal()
    assert sealed.digests["sha256"] == Digest.of(CONTENT[:sent])
    assert bucket.objects() == [f"content/{sealed.key}"]
    assert bucket.uploads() == []


async def test_the_tail_of_a_writer_that_died_goes_too(store: S3Store, bucket: Bucket) -> None:
    older = await more(store, await store.begin(), b"older")
    await more(store, older, b"never acknowledged")
    sealed = await (await store.resume(older.state)).seal()
    assert bucket.objects() == [f"content/{sealed.key}"]


async def test_an_abandoned_multipart_upload_is_listed_and_can_be_deleted(store: S3Store, bucket: Bucket) -> None:
    progress = await more(store, await store.begin(), CONTENT)
    assert len(bucket.uploads()) == 1
    assert set(await listed(store)) == {store.key(progress.state)}
    await store.delete(store.key(progress.state))
    assert await listed(store) == []


async def test_deleting_one_key_leaves_the_others(store: S3Store, bucket: Bucket) -> None:
    first, second = await more(store, await store.begin(), CONTENT), await more(store, await store.begin(), CONTENT)
    await store.delete(store.key(first.state))
    sealed = await (await store.resume(second.state)).seal()
    assert sealed.digests["sha256"] == Digest.of(CONTENT)


async def test_what_others_keep_in_the_bucket_is_not_listed(store: S3Store, bucket: Bucket) -> None:
    for name in ("readme", "content/notes", "content/" + "a" * 31, "contents/" + "a" * 32):
        bucket.client.put_object(Bucket=bucket.name, Key=name, Body=b"x")
    assert await listed(store) == []


# Answers that are lost, things that are gone


async def test_a_completion_whose_answer_was_lost(store: S3Store, bucket: Bucket) -> None:
    progress = await more(store, await store.begin(), CONTENT)
    writer = await store.resume(progress.state)
    bucket.client.put_object(Bucket=bucket.name, Key=f"content/{store.key(progress.state)}", Body=CONTENT)
    bucket.abort_all()
    sealed = await writer.seal()
    assert sealed.digests["sha256"] == Digest.of(CONTENT)


async def test_a_multipart_upload_that_is_gone_under_a_writer(store: S3Store, bucket: Bucket) -> None:
    progress = await more(store, await store.begin(), CONTENT)
    writer = await store.resume(progress.state)
    bucket.abort_all()
    with pytest.raises(ContentDamaged):
        await writer.seal()
    with pytest.raises(UploadUnknown):
        await store.resume(progress.state)


async def test_a_tail_that_is_gone(store: S3Store, bucket: Bucket) -> None:
    progress = await more(store, await store.begin(), b"abc")
    [tail] = bucket.objects()
    bucket.client.delete_object(Bucket=bucket.name, Key=tail)
    with pytest.raises(UploadUnknown):
        await store.resume(progress.state)


async def test_sealed_content_takes_no_more_bytes(store: S3Store) -> None:
    progress = await more(store, await store.begin(), CONTENT)
    await (await store.resume(progress.state)).seal()
    writer = await store.resume(progress.state)
    with pytest.raises(UploadUnknown):
        await writer.write(b"more")
    assert (await writer.suspend()).offset == len(CONTENT)


async def test_hashes_of_another_kind_of_process_make_the_content_be_read_again(store: S3Store) -> None:
    progress = await more(store, await store.begin({"sha512"}), CONTENT)
    state = state_of(progress)
    foreign = msgspec.structs.replace(state, hashes=msgspec.structs.replace(state.hashes, marker="another machine"))
    writer = await store.resume(progress_of(foreign).state)
    await writer.write(b"end")
    sealed = await writer.seal()
    assert sealed.digests == {name: Digest.of(CONTENT + b"end", name) for name in ("sha256", "sha512")}


async def test_a_fault_keeps_what_the_store_has(store: S3Store, bucket: Bucket) -> None:
    writer = await store.resume((await more(store, await store.begin(), CONTENT)).state)
    bucket.abort_all()
    with pytest.raises(UploadUnknown):
        for _ in range(3):
            await writer.write(CONTENT)
    assert (await writer.suspend()).offset == len(CONTENT)


async def test_a_multipart_upload_that_never_got_a_part_is_aborted_in_the_end(store: S3Store, bucket: Bucket) -> None:
    progress = await store.begin()
    name = f"content/{store.key(progress.state)}"
    upload_id = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=name)["UploadId"]
    progress = progress_of(msgspec.structs.replace(state_of(progress), upload_id=upload_id))
    writer = await store.resume(progress.state)
    await writer.write(b"abc")
    await writer.seal()
    assert (bucket.objects(), bucket.uploads()) == ([name], [])


# Sizes


async def test_more_than_ever_fits_is_refused_before_the_first_byte(store: S3Store) -> None:
    with pytest.raises(TooLarge):
        await store.resume((await store.begin()).state, expected=5 * 10**12)
    assert await listed(store) == []


async def test_an_announced_length_makes_the_parts_larger(store: S3Store) -> None:
    writer = await store.resume((await store.begin()).state, expected=10 * 10**9)
    await writer.write(bytes(20 * MIB))
    state = state_of(await writer.suspend())
    assert [part.size for part in state.parts] == [10 * MIB, 10 * MIB]
    await (await store.resume(progress_of(state).state)).discard()


async def test_a_tail_longer_than_a_part_of_the_next_request(store: S3Store, bucket: Bucket) -> None:
    tail = "content/" + "a" * 32 + ".00000000"
    bucket.client.put_object(Bucket=bucket.name, Key=tail, Body=CONTENT[: 10 * MIB])
    hashes = Hashes.begin({"sha256"})
    hashes.update(CONTENT[: 10 * MIB])
    state = S3State("a" * 32, 10 * MIB, frozenset({"sha256"}), hashes.export(), tail=Tail(tail, 10 * MIB))
    progress = await more(store, progress_of(state), CONTENT[10 * MIB :])
    assert [part.size for part in state_of(progress).parts] == [10 * MIB]
    sealed = await (await store.resume(progress.state)).seal()
    assert sealed.digests["sha256"] == Digest.of(CONTENT)
    assert await content_of(store, sealed) == CONTENT


# Stores that refuse


async def test_a_store_that_does_not_answer(bucket: Bucket) -> None:
    store = await opened(f"s3://{bucket.name}?endpoint=http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreFailed):
        await store.holds("0" * 32, 1)
    await store.close()


async def test_wrong_credentials(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = await opened(bucket.url())
    with pytest.raises(StoreFailed):
        await store.check()
    await store.close()


async def test_a_bucket_that_is_not_there(seaweedfs: SeaweedFS, bucket: Bucket) -> None:
    store = await opened(seaweedfs.url("no-such-bucket"))
    with pytest.raises(StoreFailed):
        await store.open("0" * 32, 1)
    await store.close()


def failing_with(error: Exception) -> type[Exception]:
    with pytest.raises(Exception) as caught, translated():
        raise error
    return caught.type


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("NoSuchKey", ContentDamaged),
        ("InvalidPart", ContentDamaged),
        ("NoSuchUpload", UploadUnknown),
        ("QuotaExceeded", StorageFull),
        ("AccessDenied", StoreFailed),
        ("SlowDown", StoreFailed),
        ("", StoreFailed),
    ],
)
def test_codes_of_the_store_are_translated(code: str, ours: type[Exception]) -> None:
    assert failing_with(ClientError({"Error": {"Code": code}}, "PutObject")) is ours
    assert ERRORS.get(code, StoreFailed) is ours


@pytest.mark.parametrize(
    "error",
    [
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1"),
        botocore.exceptions.ResponseStreamingError(error="cut"),
        botocore.exceptions.NoCredentialsError(),
        aiohttp.ClientPayloadError(),
        aiohttp.ServerTimeoutError(),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_no_answer_is_a_store_that_failed(error: Exception) -> None:
    assert failing_with(error) is StoreFailed
