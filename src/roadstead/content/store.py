"""The content store: where blobs' bytes lie, and nothing else about them.

A store knows keys, not digests or repositories. Each upload writes straight to its own random key, so two uploads never
share bytes, nothing is ever renamed or copied, and deleting one key can never take what somebody else pushed. Which digest lies under
which key is said by the database alone.

The order that makes a crash harmless, said once, here:

* adding: **bytes before rows.** `Writer.seal` and `ContentStore.take` return only when the bytes would survive a power cut
  (a file: fsync of the file, then of its directory); only then is the row that names the key committed, and only then is the client told.
* deleting: **rows before bytes.** The row is gone, committed, before `ContentStore.delete` is called.

So a crash at any moment leaves only keys that no row names: garbage, which `keys()` lists for the collector.

At most one writer is open on an upload at a time; the caller's claim on the upload sees to that, not the store.
Implementations: `memory`, `filesystem`, `s3`. One behaviour suite runs on all of them: tests/contracts/test_content_store.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NewType, Protocol

import msgspec

from roadstead.oci.digest import Digest

UploadState = NewType("UploadState", bytes)
"""What a store needs to continue an upload, on any replica. Opaque to everybody else; persisted by the caller between requests."""


class Span(msgspec.Struct, frozen=True):
    """A stretch of content: `start` (bytes from the beginning) and `length` (bytes, at least 1)."""

    start: int
    length: int


class LocalFile(msgspec.Struct, frozen=True):
    """Content that lies whole in a file that this process can read. `span` is None for all of it."""

    path: Path
    size: int
    span: Span | None


class Chunks(Protocol):
    """Bytes on their way: iterate over them once, with `async for`. An iteration that fails raises StoreFailed."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Itself."""

    async def aclose(self) -> None:
        """Free the connection behind it. Whoever stops before the end calls this; after the end it does nothing."""


class Stream(msgspec.Struct, frozen=True):
    """Content that must pass through this process: exactly `length` bytes in chunks of at most 1 MiB."""

    chunks: Chunks
    length: int


class Elsewhere(msgspec.Struct, frozen=True):
    """Content that the client can fetch by itself at `url`, which stays valid for `valid_seconds`."""

    url: str
    valid_seconds: int


Opened = LocalFile | Stream | Elsewhere


class Progress(msgspec.Struct, frozen=True):
    """How far an upload has come: the `state` to resume from, and the `offset` (bytes) that it stands at."""

    state: UploadState
    offset: int


class Sealed(msgspec.Struct, frozen=True):
    """Content that is complete and durable: its `key`, its `size` in bytes, and its digest by each algorithm computed (always sha256)."""

    key: str
    size: int
    digests: dict[str, Digest]


class StoredKey(msgspec.Struct, frozen=True):
    """One key that exists in the store, finished or not, as `keys()` lists it."""

    key: str
    size: int
    modified_at: datetime


class Writer(Protocol):
    """An open upload. Use it from one task; end it with exactly one of `suspend`, `seal` or `discard`.

    Errors of the medium surface from any call, as StorageFull or StoreFailed, also from `suspend`. After one, `write` and `seal`
    raise it again; calling `suspend` (again) saves what can be saved, its offset being what is really there, or raises if nothing can;
    `discard` always may be called. A call whose task is cancelled leaves the writer usable: end it by `suspend` or `discard`.
    """

    @property
    def offset(self) -> int:
        """Bytes accepted so far, over the upload's whole life."""

    async def write(self, chunk: bytes) -> None:
        """Append `chunk` (any length, also empty).

        Returns as soon as the writer can take more: hashing and writing go on meanwhile, and at most a few MiB are
        waiting in memory, so a slow medium slows the sender down.
        """

    async def suspend(self) -> Progress:
        """Stop for now. All that was written can be resumed from the returned state, by another process too.

        Survives the death of the process. After a power cut the newest bytes may be missing: `resume` and `seal` notice that and
        never seal content that differs from its digest.
        """

    async def seal(self, algorithms: Collection[str] = ()) -> Sealed:
        """Make the content permanent and durable; return its digests by sha256 and by each of `algorithms`.

        The bytes are read again where a digest was not computed on the way. Sealing the same final state twice (a crash or a lost
        answer lies between) succeeds with the same result. Raises ContentDamaged if bytes that were accepted are no longer there.
        """

    async def discard(self) -> None:
        """Drop the upload and its bytes. Never raises for bytes that are already gone."""


class ContentStore(Protocol):
    """See the module's docstring. Every method may be called at the same time from many tasks."""

    @property
    def name(self) -> str:
        """Which store this is, as recorded beside each key: "memory", "file" or "s3"."""

    async def begin(self, algorithms: Collection[str] = ()) -> Progress:
        """Start an upload at offset 0, hashing by sha256 and also by `algorithms` from the first byte on.

        Cheap: no bytes are touched yet. Raises UnsupportedAlgorithm.
        """

    def key(self, state: UploadState) -> str:
        """The key that this upload will have. Whatever `keys()` lists of the unfinished upload, it lists under this key.

        Raises UploadUnknown for what is no state of this store.
        """

    async def resume(self, state: UploadState, expected: int | None = None) -> Writer:
        """Open a writer where `state` stands; `expected` is how many bytes this request announced (None: unknown).

        Bytes beyond the state's offset, left by a writer that died, are cut off. Raises UploadUnknown if what the state speaks of is
        gone, and TooLarge if so many more bytes never fit into this store.
        """

    def scratch(self) -> AbstractAsyncContextManager[BinaryIO]:
        """An empty file to write and seek in, by this process or by one that inherits its descriptor; gone with its bytes at the end.

        It lies on the store's own medium where that has files, so that `take` need not copy it, else where the system has temporary files.
        A crash leaves nothing of it, or a key that no row names. Raises StorageFull or StoreFailed.
        """

    async def take(self, file: BinaryIO, algorithms: Collection[str] = ()) -> Sealed:
        """Make what a scratch file of this store holds content under a key of its own, permanent and durable as `Writer.seal` does.

        Call it once, before the scratch file's end, and write no more to it. Returns the digests by sha256 and by each of `algorithms`.
        """

    async def open(self, key: str, size: int, span: Span | None = None, *, elsewhere: bool = False) -> Opened:
        """Open content for reading: all of it, or `span`.

        Existence and size are checked before this returns: raises ContentDamaged if the key is missing or does not have `size`
        bytes, so that the caller can still answer with an error. `Elsewhere` is returned only if the caller allows it; for it the
        check may be left out.
        """

    async def holds(self, key: str, size: int) -> bool:
        """Whether `key` is there with exactly `size` bytes."""

    async def delete(self, key: str) -> None:
        """Remove a key and all its bytes, finished or not; repeating it is no error.

        Only ever called after the row that named the key is gone.
        """

    def keys(self) -> AsyncIterator[StoredKey]:
        """All keys, in no order, unfinished uploads included, in bounded memory.

        A key may come more than once (an object, and beside it leftovers of an upload). What appears meanwhile may be missing.
        """

    async def check(self) -> None:
        """Prove that the store can be written and read now. Raises StorageFull or StoreFailed."""

    async def close(self) -> None:
        """Let go of connections and threads."""
