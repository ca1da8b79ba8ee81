"""What the blocks of a squashfs are compressed with, and the threads that do it without changing the order."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from types import TracebackType
from typing import Final, Generic, Literal, Self, TypeVar

import deflate
import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP: Final = 1
ZSTD: Final = 6
"""The compressors' numbers in the superblock."""

Result = TypeVar("Result")

_DEFLATE: Final = f"deflate {version('deflate')}"  # Read now: a converter that has shut its door may open no file.


class Compression(msgspec.Struct, frozen=True):
    """A compressor and its level: libdeflate's 1 to 12 for gzip, 1 to 22 for zstd.

    gzip is read by every kernel and every Apptainer. libdeflate's level 6 makes blocks as small as zlib's 9, several times as fast.
    """

    name: Literal["gzip", "zstd"] = "gzip"
    level: int = 6

    @property
    def number(self) -> int:
        """What the superblock calls it."""
        return GZIP if self.name == "gzip" else ZSTD

    @property
    def library(self) -> str:
        """The library that decides the bytes, with its version: part of what identifies a conversion."""
        return _DEFLATE if self.name == "gzip" else f"zstd {zstd.zstd_version}"

    def compressor(self) -> Callable[[bytes], bytes]:
        """A function that compresses one block, without the interpreter lock, in whichever thread calls it."""
        return self._gzip if self.name == "gzip" else _Zstd(self.level)

    def _gzip(self, block: bytes) -> bytes:
        return bytes(deflate.zlib_compress(block, self.level))


def usual(name: Literal["gzip", "zstd"]) -> Compression:
    """The compressor at the level that is used where nobody asks for another."""
    return Compression(name, 6 if name == "gzip" else 3)


class _Zstd:
    """A compressor for each thread: making one costs more than a block."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._own = threading.local()

    def __call__(self, block: bytes) -> bytes:
        compressor = getattr(self._own, "compressor", None)
        if compressor is None:
            # The frame says its length, as a kernel that allots the memory wants it to.
            compressor = self._own.compressor = zstd.ZstdCompressor(level=self._level)
        compressor.set_pledged_input_size(len(block))
        return bytes(compressor.compress(block, zstd.ZstdCompressor.FLUSH_FRAME))


class Packed(msgspec.Struct, frozen=True):
    """A block as it is written: compressed unless that makes it no smaller."""

    data: bytes
    compressed: bool


def pack(compress: Callable[[bytes], bytes], block: bytes) -> Packed:
    """Compress a block if that makes it smaller."""
    data = compress(block)
    return Packed(data, True) if len(data) < len(block) else Packed(block, False)


class Ordered(Generic[Result]):
    """Threads that do a piece of work on blocks; what comes out comes out in the order in which it went in, however many threads there are.

    `write` is called in the thread that submits, once for each block. At most ``4 * threads`` blocks wait.
    """

    def __init__(self, work: Callable[[bytes], Result], threads: int) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(threads, "pack")
        self._most = 4 * threads
        self._waiting: deque[tuple[Future[Result] | None, Callable[[Result | None], object]]] = deque()

    def submit(self, block: bytes | None, write: Callable[[Result | None], object]) -> None:
        """Work on `block` and hand the result to `write` when its turn comes; None takes its turn as None."""
        future = self._pool.submit(self._work, block) if block is not None else None
        self._waiting.append((future, write))
        while len(self._waiting) > self._most or (self._waiting and self._is_ready(self._waiting[0][0])):
            self._write_next()

    def finish(self) -> None:
        """Write everything that waits."""
        while self._waiting:
            self._write_next()

    def _write_next(self) -> None:
        future, write = self._waiting.popleft()
        write(future.result() if future else None)

    @staticmethod
    def _is_ready(future: Future[Result] | None) -> bool:
        return future is None or future.done()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class Packers(Ordered[Packed]):
    """Threads that pack blocks."""

    def __init__(self, compression: Compression, threads: int) -> None:
        super().__init__(partial(pack, compression.compressor()), threads)
