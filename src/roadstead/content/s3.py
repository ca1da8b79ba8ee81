"""Content in an S3 object store.

    <bucket>/<prefix>/
    └── content/
        ├── ab4f0c…                the content of one key: 32 random hexadecimal digits
        └── ab4f0c….5d01c9aa       a tail: the last bytes of a suspended upload to that key, too few for a part; 8 random digits

An upload goes to its final key by a multipart upload, so nothing is copied; its id, its parts, the name of its tail and the exported hashes
are in the UploadState, so that the next request may reach another replica. Content that fits into one part is one PUT when it is sealed.

Everything whose name begins with a key belongs to that key: `delete` removes its object, its tails and its multipart uploads, and `keys`
lists the key for each of them. A tail is deleted only when the state that no longer needs it has come back to us (then the
caller has surely saved it), or when the content is sealed. What a crash leaves beside a key that lives on stays as long as the key;
a lifecycle rule of the bucket that aborts incomplete multipart uploads removes most of it sooner.

Memory. A writer gathers one part while at most one other is being hashed and sent, and `write` waits when both are full: two parts and an
eighth (see `parts`: 16 MiB and an eighth for content up to 7.8 GiB, at most 128 MiB and an eighth). A download holds less than 1 MiB.

Each part and object is sent with its MD5, which the store compares; the requests' payloads are not hashed again for their signature.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import aiohttp
import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from roadstead.content.behind import Behind
from roadstead.content.hashing import Hashes, HashStates, wanted
from roadstead.content.keys import is_key, new_key
from roadstead.content.parts import check_room, is_part, part_size
from roadstead.content.scratch import copied, temporary
from roadstead.content.state import decode, progress
from roadstead.content.store import Elsewhere, Opened, Progress, Sealed, Span, StoredKey, Stream, UploadState
from roadstead.errors import ContentDamaged, Misconfigured, RoadsteadError, StorageFull, StoreFailed, UploadUnknown

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectOutputTypeDef

R = TypeVar("R")

CHUNK = 1 << 20
CONNECTIONS = 1000
"""Connections at most, for requests and for downloads that slow clients hold open."""

ERRORS: dict[str, type[RoadsteadError]] = {
    "NoSuchKey": ContentDamaged,
    "404": ContentDamaged,
    "InvalidRange": ContentDamaged,
    "416": ContentDamaged,
    "InvalidPart": ContentDamaged,
    "InvalidPartOrder": ContentDamaged,
    "NoSuchUpload": UploadUnknown,
    "QuotaExceeded": StorageFull,
    "InsufficientCapacity": StorageFull,
    "InsufficientStorage": StorageFull,
    "XMinioStorageFull": StorageFull,
    "507": StorageFull,
}
"""What the error codes of S3 (HEAD has only the status) mean here. Any other code, and any failure to get an answer, is StoreFailed."""

GONE = (ContentDamaged, UploadUnknown)


class S3Settings(msgspec.Struct, frozen=True):
    """Where the objects lie. Credentials come from where every AWS client looks: environment, profile, instance.

    `prefix` is "" or ends with "/". Without `endpoint` it is AWS itself. `redirect`: whether clients may be sent to the store, by URLs
    that are valid for `valid_seconds`; switch it off where they cannot reach it.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    redirect: bool = True
    valid_seconds: int = 900


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part that the store has. Its number is its place in the list, from 1."""

    etag: str
    size: int


class Tail(msgspec.Struct, frozen=True, array_like=True):
    """A tail object. `name` is its whole name in the bucket."""

    name: str
    size: int


class S3State(msgspec.Struct, frozen=True):
    """What an UploadState of this store says. The parts and the tail together have `offset` bytes, which `hashes` have seen.

    `forgotten` is the tail that the state before this one needed, and this one does not.
    """

    key: str
    offset: int
    algorithms: frozenset[str]
    hashes: HashStates = HashStates()
    upload_id: str = ""
    parts: tuple[Part, ...] = ()
    tail: Tail | None = None
    forgotten: str = ""


class S3Store:
    """A content store in one bucket. Any number of processes may use the same bucket and prefix at once."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._resources = AsyncExitStack()
        self._client: S3Client | None = None
        self.bucket = settings.bucket

    @property
    def name(self) -> str:
        """ "s3"."""
        return "s3"

    @property
    def client(self) -> S3Client:
        """The S3 client, between `prepare` and `close`."""
        if self._client is None:
            raise ValueError("the store is not prepared, or closed")
        return self._client

    def path(self, key: str) -> str:
        """The name of the object of `key`."""
        return f"{self._settings.prefix}content/{key}"

    async def prepare(self) -> None:
        """Make the client; call it once before anything else. Nothing is sent yet. Raises Misconfigured if there are no credentials."""
        session = get_session()
        with translated():
            if await session.get_credentials() is None:
                raise Misconfigured(NO_CREDENTIALS)
            self._client = await self._resources.enter_async_context(
                session.create_client(
                    "s3", region_name=self._settings.region, endpoint_url=self._settings.endpoint, config=client_config(self._settings)
                )
            )

    async def begin(self, algorithms: Collection[str] = ()) -> Progress:
        """Choose a key; nothing is sent yet."""
        return progress(S3State(new_key(), 0, wanted(algorithms)))

    def key(self, state: UploadState) -> str:
        """The key that the state names."""
        return decode(state, S3State).key

    async def resume(self, state: UploadState, expected: int | None = None) -> S3Writer:
        """Ask for the multipart upload and fetch the tail, if the state has them: one request each."""
        decoded = decode(state, S3State)
        try:
            _, tail = await asyncio.gather(self._check_upload(decoded), self._fetch_tail(decoded))
        except GONE:
            if decoded.offset and await self.holds(decoded.key, decoded.offset):
                return S3Writer(self, decoded, io.BytesIO(), expected, finished=True)
            raise UploadUnknown from None
        check_room(len(decoded.parts) + 1, len(tail), expected)
        return S3Writer(self, decoded, io.BytesIO(tail), expected)

    def scratch(self) -> AbstractAsyncContextManager[BinaryIO]:
        """A temporary file of the system."""
        return temporary()

    async def take(self, file: BinaryIO, algorithms: Collection[str] = ()) -> Sealed:
        """Upload the bytes."""
        return await copied(self, file, algorithms)

    async def open(self, key: str, size: int, span: Span | None = None, *, elsewhere: bool = False) -> Opened:
        """A presigned URL, unchecked, where the caller and the settings allow it; else a Stream whose answer has begun."""
        if not is_key(key):
            raise ContentDamaged(key=key)
        if elsewhere and self._settings.redirect:
            return await self._presign(key)
        if size == 0:
            return await self._open_empty(key)
        start, length = (0, size) if span is None else (span.start, span.length)
        answer = await self._get(self.path(key), start, length)
        if total_size(answer) != size or answer["ContentLength"] != length:
            answer["Body"].close()
            raise ContentDamaged(key=key)
        return Stream(Download(answer["Body"]), length)

    async def holds(self, key: str, size: int) -> bool:
        """Whether the object is there with `size` bytes."""
        if not is_key(key):
            return False
        try:
            with translated():
                return (await self.client.head_object(Bucket=self.bucket, Key=self.path(key)))["ContentLength"] == size
        except ContentDamaged:
            return False

    async def delete(self, key: str) -> None:
        """Delete the object and its tails, and abort its multipart uploads."""
        if not is_key(key):
            return
        with translated():
            async for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.path(key)):
                for upload in page.get("Uploads", []):
                    await self.abort(upload["Key"], upload["UploadId"])
        await self.delete_names(self.path(key))

    async def keys(self) -> AsyncIterator[StoredKey]:
        """Objects, then multipart uploads, which have size 0 here. 1,000 are in memory at a time."""
        prefix = self.path("")
        with translated():
            async for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    if is_key(key := key_of(entry["Key"], prefix)):
                        yield StoredKey(key, entry["Size"], entry["LastModified"])
            async for uploads in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix):
                for upload in uploads.get("Uploads", []):
                    if is_key(key := key_of(upload["Key"], prefix)):
                        yield StoredKey(key, 0, upload["Initiated"])

    async def check(self) -> None:
        """Put, get and delete a small object, named like any key: one that a crash leaves is collected like any other."""
        name, body = self.path(new_key()), io.BytesIO(b"roadstead")
        await self.put(name, body, feed(body, Hashes({}), 0))
        if await self.read(name, 9) != b"roadstead":
            raise StoreFailed
        await self.delete_names(name)

    async def close(self) -> None:
        """Close the connections."""
        self._client = None
        await self._resources.aclose()

    async def put(self, name: str, body: io.BytesIO, md5: str) -> None:
        """Put a whole object, whose MD5 the store compares."""
        with translated():
            await self.client.put_object(Bucket=self.bucket, Key=name, Body=body, ContentMD5=md5)

    async def read(self, name: str, size: int) -> bytes:
        """All of a small object. Raises ContentDamaged if it has not `size` bytes."""
        answer = await self._get(name, 0, size)
        with translated():
            async with answer["Body"] as body:
                content: bytes = await body.read()
        if len(content) != size or total_size(answer) != size:
            raise ContentDamaged
        return content

    async def delete_names(self, prefix: str) -> None:
        """Delete all objects whose names begin so."""
        with translated():
            async for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    await self.client.delete_object(Bucket=self.bucket, Key=entry["Key"])

    async def _get(self, name: str, start: int, length: int) -> GetObjectOutputTypeDef:
        with translated():
            return await self.client.get_object(Bucket=self.bucket, Key=name, Range=f"bytes={start}-{start + length - 1}")

    async def _presign(self, key: str) -> Elsewhere:
        valid = self._settings.valid_seconds
        with translated():
            url = await self.client.generate_presigned_url(
                "get_object", Params={"Bucket": self.bucket, "Key": self.path(key)}, ExpiresIn=valid
            )
        return Elsewhere(url, valid)

    async def _open_empty(self, key: str) -> Stream:
        """S3 has no range for no bytes."""
        if not await self.holds(key, 0):
            raise ContentDamaged(key=key)
        return Stream(no_chunks(), 0)

    async def _check_upload(self, state: S3State) -> None:
        if state.upload_id:
            with translated():
                await self.client.list_parts(Bucket=self.bucket, Key=self.path(state.key), UploadId=state.upload_id, MaxParts=1)

    async def _fetch_tail(self, state: S3State) -> bytes:
        return await self.read(state.tail.name, state.tail.size) if state.tail else b""

    async def abort(self, name: str, upload_id: str) -> None:
        """Abort a multipart upload, if it is still there."""
        with suppress(UploadUnknown), translated():
            await self.client.abort_multipart_upload(Bucket=self.bucket, Key=name, UploadId=upload_id)


class S3Writer:
    """An upload to one key. `_body` begins with the tail, whose bytes `_hashes` have seen already."""

    def __init__(self, store: S3Store, state: S3State, body: io.BytesIO, announced: int | None, *, finished: bool = False) -> None:
        self._store = store
        self._resumed = state
        self._state = state
        self._hashes = Hashes.restore(state.offset, state.algorithms, state.hashes)
        self._hashed = state.offset
        self._body = body
        self._body.seek(0, io.SEEK_END)
        self._announced = announced
        self._finished = finished
        self._number = len(state.parts) + 1
        self._accepted = state.offset
        self._behind = Behind()

    @property
    def offset(self) -> int:
        """Bytes accepted, whether or not they are sent yet."""
        return self._accepted

    async def write(self, chunk: bytes) -> None:
        """Fill the part; hand it over when it is full."""
        if not self._behind.busy:
            await self._behind.ready()
        if chunk and self._finished:
            raise UploadUnknown
        rest = memoryview(chunk)
        while rest:
            # Nothing is free where an earlier request announced more than this one and left a tail longer than a part is now.
            free = max(0, part_size(self._number, self._announced) - self._body.tell())
            self._body.write(rest[:free])
            self._accepted += min(free, len(rest))
            if free <= len(rest):
                await self._behind.ready()
                self._behind.start(self._job(self._send_part(self._take())))
            rest = rest[free:]

    async def suspend(self) -> Progress:
        """Send the rest as a part or a tail."""
        if not await self._behind.failed() and self._accepted > self._state.offset:
            await self._behind.finish(self._job(self._send_rest()))
        if self._resumed.forgotten:
            await self._tidy(self._resumed.forgotten)
        return progress(self._state)

    async def seal(self, algorithms: Collection[str] = ()) -> Sealed:
        """Complete the multipart upload, or put the one object; read again for the digests not computed on the way."""
        await self._behind.ready()
        return await self._behind.finish(self._job(self._seal(wanted({*self._state.algorithms, *algorithms}))))

    async def discard(self) -> None:
        """Remove all that there is of the key."""
        await self._behind.settle()
        if self._accepted or self._finished:
            await self._store.delete(self._state.key)

    def _job(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        return asyncio.create_task(work, name=f"content {self._state.key}")

    def _take(self) -> io.BytesIO:
        body, self._body = self._body, io.BytesIO()
        self._number += 1
        return body

    async def _digest(self, body: io.BytesIO) -> str:
        """Hash what of the body is not hashed yet; return its MD5. The body begins where the parts end."""
        begin = self._state.offset - (self._state.tail.size if self._state.tail else 0)
        skip, self._hashed = self._hashed - begin, begin + body.getbuffer().nbytes
        return await asyncio.to_thread(feed, body, self._hashes, skip)

    async def _send_part(self, body: io.BytesIO) -> None:
        """Send the next part. Only then the state knows it."""
        await self._ensure_upload()
        md5, size = await self._digest(body), body.getbuffer().nbytes
        with translated():
            answer = await self._store.client.upload_part(
                Bucket=self._store.bucket,
                Key=self._store.path(self._state.key),
                UploadId=self._state.upload_id,
                PartNumber=len(self._state.parts) + 1,
                Body=body,
                ContentMD5=md5,
            )
        self._advance(parts=(*self._state.parts, Part(answer["ETag"], size)), tail=None)

    async def _send_tail(self, body: io.BytesIO) -> None:
        tail = Tail(f"{self._store.path(self._state.key)}.{secrets.token_hex(4)}", body.getbuffer().nbytes)
        await self._store.put(tail.name, body, await self._digest(body))
        self._advance(tail=tail)

    async def _send_rest(self) -> None:
        size = self._body.tell()
        if size:
            send = self._send_part if is_part(self._number, size) else self._send_tail
            await send(self._take())

    def _advance(self, **changes: Any) -> None:
        forgotten = self._resumed.tail.name if self._resumed.tail else ""
        self._state = msgspec.structs.replace(
            self._state, **changes, offset=self._hashed, hashes=self._hashes.export(), forgotten=forgotten
        )

    async def _ensure_upload(self) -> None:
        """Known to the state at once, even if no part follows: nothing else could ever abort it."""
        if not self._state.upload_id:
            with translated():
                answer = await self._store.client.create_multipart_upload(Bucket=self._store.bucket, Key=self._store.path(self._state.key))
            self._state = msgspec.structs.replace(self._state, upload_id=answer["UploadId"])

    async def _seal(self, algorithms: frozenset[str]) -> Sealed:
        if not self._finished and not self._state.parts:
            await self._put_whole()
        elif not self._finished:
            await self._complete()
        self._finished = True
        digests = self._hashes.digests() | await self._read_digests(algorithms - self._hashes.algorithms)
        if self._resumed.offset:
            await self._tidy(f"{self._store.path(self._state.key)}.")
        return Sealed(self._state.key, self._accepted, {algorithm: digests[algorithm] for algorithm in algorithms})

    async def _put_whole(self) -> None:
        body, name = self._take(), self._store.path(self._state.key)
        await self._store.put(name, body, await self._digest(body))
        if self._state.upload_id:
            await self._store.abort(name, self._state.upload_id)

    async def _complete(self) -> None:
        """Send what is left and complete. If the upload is gone, an earlier completion whose answer was lost may have done it."""
        try:
            if self._body.tell():
                await self._send_part(self._take())
            parts = [{"PartNumber": number, "ETag": part.etag} for number, part in enumerate(self._state.parts, 1)]
            with translated():
                await self._store.client.complete_multipart_upload(
                    Bucket=self._store.bucket,
                    Key=self._store.path(self._state.key),
                    UploadId=self._state.upload_id,
                    MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
                )
        except UploadUnknown:
            if not await self._store.holds(self._state.key, self._accepted):
                raise ContentDamaged(key=self._state.key) from None

    async def _read_digests(self, algorithms: frozenset[str]) -> dict[str, Any]:
        hashes = Hashes.begin(algorithms)
        if not algorithms:
            return {}
        opened = await self._store.open(self._state.key, self._accepted)
        assert isinstance(opened, Stream)
        async for chunk in opened.chunks:
            await asyncio.to_thread(hashes.update, chunk)
        return hashes.digests()

    async def _tidy(self, prefix: str) -> None:
        """Remove tails that nobody needs. What cannot be removed now goes with the key."""
        with suppress(RoadsteadError):
            await self._store.delete_names(prefix)


class Download:
    """The chunks of an answer that has begun."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __aiter__(self) -> Download:
        return self

    async def __anext__(self) -> bytes:
        with translated():
            chunk: bytes = await self._body.read(CHUNK)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Give the connection up."""
        self._body.close()


async def no_chunks() -> AsyncGenerator[bytes, None]:
    """The chunks of empty content."""
    for nothing in tuple[bytes, ...]():
        yield nothing


def feed(body: io.BytesIO, hashes: Hashes, skip: int) -> str:
    """Feed `hashes` with `body` from `skip` on, and return the MD5 of all of it as Content-MD5 (RFC 1864) has it. Blocks. Rewinds."""
    md5 = hashlib.md5(usedforsecurity=False)
    body.seek(0)
    md5.update(body.read(skip))
    while piece := body.read(CHUNK):
        md5.update(piece)
        hashes.update(piece)
    body.seek(0)
    return base64.b64encode(md5.digest()).decode("ascii")


def total_size(answer: GetObjectOutputTypeDef) -> int:
    """The size of the object that an answer is a range of (RFC 9110, section 14.4: bytes 0-9/123)."""
    return int(answer["ContentRange"].rpartition("/")[2])


def key_of(name: str, prefix: str) -> str:
    """The key that an object of this name belongs to."""
    return name.removeprefix(prefix).partition(".")[0]


def client_config(settings: S3Settings) -> AioConfig:
    """Path-style addresses for any endpoint of one's own: not every one has a wildcard DNS name."""
    return AioConfig(
        signature_version="s3v4",
        max_pool_connections=CONNECTIONS,
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 3},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False, "addressing_style": "path" if settings.endpoint else "auto"},
    )


NO_CREDENTIALS = (
    "There are no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or name a profile of ~/.aws/credentials in AWS_PROFILE."
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of botocore and aiohttp into ours."""
    try:
        yield
    except ClientError as error:
        raise ERRORS.get(error.response.get("Error", {}).get("Code", ""), StoreFailed) from error
    except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise StoreFailed from error
