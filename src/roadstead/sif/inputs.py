"""What a conversion reads, in stretches: files, and content of the store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from roadstead.content.store import ContentStore, LocalFile, Span, Stream
from roadstead.errors import ContentDamaged, StoreFailed


class Input(msgspec.Struct, frozen=True):
    """One input of `size` bytes, as it is stored. `read(offset, length)` answers exactly that many bytes, which lie within the size.

    It may be called again before an earlier call has ended.
    """

    size: int
    read: Callable[[int, int], Awaitable[bytes]]


def file_input(path: Path, start: int = 0, size: int | None = None) -> Input:
    """A file, or `size` bytes of it from `start`. Reading raises ContentDamaged if it became shorter, StoreFailed if it cannot be read."""
    length = path.stat().st_size - start if size is None else size

    async def read(offset: int, wanted: int) -> bytes:
        return await asyncio.to_thread(_read_file, path, start + offset, wanted)

    return Input(length, read)


def stored_input(store: ContentStore, key: str, size: int) -> Input:
    """Content of the store. Reading raises as the store does."""

    async def read(offset: int, length: int) -> bytes:
        opened = await store.open(key, size, Span(offset, length))
        if isinstance(opened, LocalFile):
            return await asyncio.to_thread(_read_file, opened.path, offset, length)
        assert isinstance(opened, Stream), "nothing allowed it to be elsewhere"
        try:
            return b"".join([chunk async for chunk in opened.chunks])
        finally:
            await opened.chunks.aclose()

    return Input(size, read)


def _read_file(path: Path, offset: int, length: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreFailed(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) != length:
        raise ContentDamaged
    return data
