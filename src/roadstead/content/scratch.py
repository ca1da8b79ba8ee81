"""Scratch files of stores that have no medium of their own for them, and content that is taken from a file by copying it."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import BinaryIO, Final

from roadstead.content.store import ContentStore, Sealed
from roadstead.errors import StorageFull, StoreFailed

_CHUNK: Final = 1 << 20


@asynccontextmanager
async def temporary() -> AsyncIterator[BinaryIO]:
    """A file without a name in the system's directory for temporary files (TMPDIR)."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise StoreFailed(f"There is no room for temporary files in {tempfile.gettempdir()}: {error.strerror}.") from error
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)  # Which may take a while, since the bytes go with it.


async def copied(store: ContentStore, file: BinaryIO, algorithms: Collection[str]) -> Sealed:
    """The file's bytes, written to the store as an upload is."""
    size = await asyncio.to_thread(finished_size, file)
    writer = await store.resume((await store.begin(algorithms)).state, size)
    try:
        for offset in range(0, size, _CHUNK):
            await writer.write(await asyncio.to_thread(os.pread, file.fileno(), _CHUNK, offset))
        return await writer.seal(algorithms)
    except BaseException:
        await asyncio.shield(writer.discard())
        raise


def finished_size(file: BinaryIO) -> int:
    """How many bytes the file has, once all that was written to it is in it. Raises StorageFull or StoreFailed."""
    try:
        file.flush()
        return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise (StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreFailed) from error
