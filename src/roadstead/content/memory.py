"""Content in memory: for tests and trials. Nothing survives the process, everything else of the contract holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from roadstead.content.hashing import Hashes, wanted
from roadstead.content.keys import new_key
from roadstead.content.scratch import copied, temporary
from roadstead.content.state import decode, progress
from roadstead.content.store import Opened, Progress, Sealed, Span, StoredKey, Stream, UploadState
from roadstead.errors import ContentDamaged, UploadUnknown


class MemoryState(msgspec.Struct, frozen=True):
    """What an UploadState of this store says."""

    key: str
    offset: int
    algorithms: frozenset[str]


class MemoryContent:
    """The bytes of one key."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.modified_at = datetime.now(UTC)


class MemoryStore:
    """A content store in this process's memory. Two stores over the same `medium` act as two replicas."""

    def __init__(self, medium: dict[str, MemoryContent] | None = None) -> None:
        self.medium = {} if medium is None else medium

    @property
    def name(self) -> str:
        """ "memory"."""
        return "memory"

    async def begin(self, algorithms: Collection[str] = ()) -> Progress:
        """Choose a key; nothing is stored yet."""
        return progress(MemoryState(new_key(), 0, wanted(algorithms)))

    def key(self, state: UploadState) -> str:
        """The key that the state names."""
        return decode(state, MemoryState).key

    async def resume(self, state: UploadState, expected: int | None = None) -> MemoryWriter:
        """Cut the bytes to the state's offset."""
        decoded = decode(state, MemoryState)
        content = self.medium.setdefault(decoded.key, MemoryContent()) if decoded.offset == 0 else self.medium.get(decoded.key)
        if content is None or len(content.data) < decoded.offset:
            raise UploadUnknown
        del content.data[decoded.offset :]
        return MemoryWriter(self, decoded, content)

    def scratch(self) -> AbstractAsyncContextManager[BinaryIO]:
        """A temporary file of the system."""
        return temporary()

    async def take(self, file: BinaryIO, algorithms: Collection[str] = ()) -> Sealed:
        """Copy the bytes."""
        return await copied(self, file, algorithms)

    async def open(self, key: str, size: int, span: Span | None = None, *, elsewhere: bool = False) -> Opened:
        """Always a Stream, of the bytes as they are now."""
        if not await self.holds(key, size):
            raise ContentDamaged(key=key)
        start, length = (0, size) if span is None else (span.start, span.length)
        return Stream(pieces(bytes(self.medium[key].data[start : start + length])), length)

    async def holds(self, key: str, size: int) -> bool:
        """Whether the medium has `size` bytes under `key`."""
        return key in self.medium and len(self.medium[key].data) == size

    async def delete(self, key: str) -> None:
        """Forget a key."""
        self.medium.pop(key, None)

    async def keys(self) -> AsyncIterator[StoredKey]:
        """Those that are there at the first step."""
        for key, content in list(self.medium.items()):
            yield StoredKey(key, len(content.data), content.modified_at)

    async def check(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """There is nothing to let go of; the content stays with the medium."""


class MemoryWriter:
    """An upload into memory."""

    def __init__(self, store: MemoryStore, state: MemoryState, content: MemoryContent) -> None:
        self._store = store
        self._state = state
        self._content = content

    @property
    def offset(self) -> int:
        """The length of the bytes."""
        return len(self._content.data)

    async def write(self, chunk: bytes) -> None:
        """Append, at once."""
        self._content.data += chunk
        self._content.modified_at = datetime.now(UTC)

    async def suspend(self) -> Progress:
        """The bytes stay with the medium."""
        return progress(msgspec.structs.replace(self._state, offset=self.offset))

    async def seal(self, algorithms: Collection[str] = ()) -> Sealed:
        """Hash all bytes."""
        if self._store.medium.get(self._state.key) is not self._content:
            raise ContentDamaged(key=self._state.key)
        hashes = Hashes.begin(wanted({*self._state.algorithms, *algorithms}))
        hashes.update(bytes(self._content.data))
        return Sealed(self._state.key, self.offset, hashes.digests())

    async def discard(self) -> None:
        """Forget the key."""
        self._store.medium.pop(self._state.key, None)


async def pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    """`data` in chunks of at most 1 MiB."""
    for start in range(0, len(data), 1 << 20):
        yield data[start : start + (1 << 20)]
