"""A content store whose calls are timed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from time import perf_counter
from typing import BinaryIO, Final

from prometheus_client import Histogram

from roadstead.content.store import ContentStore, Opened, Progress, Sealed, Span, StoredKey, UploadState, Writer

SECONDS: Final = Histogram(
    "roadstead_store_seconds",
    "Time of the content store's calls, by call.",
    ("call",),
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)


@contextmanager
def _timed(call: str) -> Iterator[None]:
    started = perf_counter()
    try:
        yield
    finally:
        SECONDS.labels(call).observe(perf_counter() - started)


class ObservedStore:
    """Passes everything on to another store; see `ContentStore`."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """The other store's."""
        return self._store.name

    async def begin(self, algorithms: Collection[str] = ()) -> Progress:
        """See `ContentStore`."""
        with _timed("begin"):
            return await self._store.begin(algorithms)

    def key(self, state: UploadState) -> str:
        """See `ContentStore`."""
        return self._store.key(state)

    async def resume(self, state: UploadState, expected: int | None = None) -> Writer:
        """See `ContentStore`."""
        with _timed("resume"):
            return _ObservedWriter(await self._store.resume(state, expected))

    def scratch(self) -> AbstractAsyncContextManager[BinaryIO]:
        """See `ContentStore`."""
        return self._store.scratch()

    async def take(self, file: BinaryIO, algorithms: Collection[str] = ()) -> Sealed:
        """See `ContentStore`."""
        with _timed("take"):
            return await self._store.take(file, algorithms)

    async def open(self, key: str, size: int, span: Span | None = None, *, elsewhere: bool = False) -> Opened:
        """See `ContentStore`."""
        with _timed("open"):
            return await self._store.open(key, size, span, elsewhere=elsewhere)

    async def holds(self, key: str, size: int) -> bool:
        """See `ContentStore`."""
        with _timed("holds"):
            return await self._store.holds(key, size)

    async def delete(self, key: str) -> None:
        """See `ContentStore`."""
        with _timed("delete"):
            await self._store.delete(key)

    def keys(self) -> AsyncIterator[StoredKey]:
        """See `ContentStore`."""
        return self._store.keys()

    async def check(self) -> None:
        """See `ContentStore`."""
        with _timed("check"):
            await self._store.check()

    async def close(self) -> None:
        """See `ContentStore`."""
        await self._store.close()


class _ObservedWriter:
    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.write = writer.write  # the hottest call goes straight through

    @property
    def offset(self) -> int:
        return self._writer.offset

    async def suspend(self) -> Progress:
        with _timed("suspend"):
            return await self._writer.suspend()

    async def seal(self, algorithms: Collection[str] = ()) -> Sealed:
        with _timed("seal"):
            return await self._writer.seal(algorithms)

    async def discard(self) -> None:
        with _timed("discard"):
            await self._writer.discard()
