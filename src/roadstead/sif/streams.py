"""A layer as a stream: decompressed as it is read, bounded, and read in exact pieces.

What a layer is compressed with is told by its first bytes, not by its media type, which is wrong in enough images
(image-spec v1.1, layer.md, names gzip and zstd; plain tar has a media type too).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Final, Protocol, cast

from isal import igzip_lib

from roadstead.errors import ImageTooLarge, InvalidLayer
from roadstead.sif.limits import Limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE: Final = 256 << 10
"""Bytes of decompressed content that are handed on at once, at most."""
AHEAD: Final = 8
"""Pieces that are decompressed before they are asked for: 2 MiB at most."""
WINDOW_LOG: Final = 27
"""A zstd frame may make its reader remember 2^27 bytes: as much as zstd itself takes without being told to take more."""

_IsalError: Final = cast("type[Exception]", igzip_lib.IsalError)  # Its stub gives an instance.
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = tuple(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))


def inflated(compressed: Iterable[bytes], limits: Limits) -> Iterator[bytes]:
    """The content of a layer in pieces of at most `PIECE` bytes, none of them empty.

    Raises InvalidLayer if the compressed stream is damaged or ends too early, ImageTooLarge if it grows more than a layer may.
    """
    counted = _Counted(compressed)
    grown = 0
    for piece in _opened(counted):
        grown += len(piece)
        if grown > limits.ratio_from and grown > limits.ratio * counted.count:
            raise ImageTooLarge(f"The layer unpacks to more than {limits.ratio} times its size.")
        yield piece


class _Counted:
    """The chunks of `source` without the empty ones; `count` is how many bytes have been taken so far."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self._source = iter(source)
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(chunk for chunk in self._source if chunk)
        self.count += len(chunk)
        return chunk


def _opened(source: Iterator[bytes]) -> Iterator[bytes]:
    first = b""
    for chunk in source:
        first += chunk
        if len(first) >= 4:
            break
    whole = chain([first] if first else [], source)
    if first.startswith(_GZIP):
        return _decompressed(whole, "gzip", partial(igzip_lib.IgzipDecompressor, igzip_lib.DECOMP_GZIP))
    if first.startswith((_ZSTD, *_ZSTD_SKIPPABLE)):
        return _decompressed(
            whole, "zstd", partial(zstd.ZstdDecompressor, options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
        )
    return _cut(whole)


def _cut(source: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in source:
        for offset in range(0, len(chunk), PIECE):
            yield chunk[offset : offset + PIECE]


class _Decompressor(Protocol):
    """What isal and zstd have in common with the decompressors of the standard library."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _decompressed(source: Iterator[bytes], kind: str, begin: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """All members of a gzip file (RFC 1952, 2.2) or frames of a zstd file (RFC 8878, 3.1), one behind the other.

    Both libraries compare the checksum of each. Zeros behind the last one are padding.
    """
    rest = b""
    while rest := rest or next(source, b""):
        if rest.count(0) == len(rest):
            rest = b""
            continue
        part = begin()
        yield from _part(part, rest, source, kind)
        rest = part.unused_data


def _part(part: _Decompressor, rest: bytes, source: Iterator[bytes], kind: str) -> Iterator[bytes]:
    try:
        while not part.eof:
            if part.needs_input and not rest and not (rest := next(source, b"")):
                raise InvalidLayer(f"The layer's {kind} stream ends too early.")
            piece = part.decompress(rest, PIECE)
            rest = b""
            if piece:
                yield piece
    except (_IsalError, zstd.ZstdError) as reason:
        raise InvalidLayer(f"The layer's {kind} stream is damaged: {reason}.") from reason


@contextmanager
def ahead(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """The same pieces, made by a thread of their own while the caller works on earlier ones. What making one raises, taking it raises."""
    with ThreadPoolExecutor(1, "layer") as thread:
        futures: deque[Future[bytes]] = deque(thread.submit(next, pieces, b"") for _ in range(AHEAD))

        def taken() -> Iterator[bytes]:
            while piece := futures.popleft().result():
                futures.append(thread.submit(next, pieces, b""))
                yield piece

        try:
            yield taken()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


class Stream:
    """Exact reads of an iterator of pieces. `offset` is how many bytes have been read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")
        self.offset = 0

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes as they come, without a copy. Raises InvalidLayer if there are fewer."""
        while size:
            if not self._piece:
                self._piece = memoryview(next(self._pieces, b""))
                if not self._piece:
                    raise InvalidLayer(f"The layer ends too early, at byte {self.offset}.")
            taken, self._piece = self._piece[:size], self._piece[size:]
            size -= len(taken)
            self.offset += len(taken)
            yield taken

    def read(self, size: int) -> bytes:
        """The next `size` bytes. Raises InvalidLayer if there are fewer."""
        if len(self._piece) >= size:
            taken, self._piece = self._piece[:size], self._piece[size:]
            self.offset += size
            return bytes(taken)
        return b"".join(self.pieces(size))

    def skip(self, size: int) -> None:
        """Pass over `size` bytes. Raises InvalidLayer if there are fewer."""
        for _ in self.pieces(size):
            pass

    def at_end(self) -> bool:
        """Whether nothing is left."""
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        return not self._piece

    def drain(self) -> None:
        """Read to the end, so that checksums at the end are compared."""
        while not self.at_end():
            self.skip(len(self._piece))


Opener = Callable[[], Iterable[bytes]]
"""Opens a layer as it is stored, from its first byte, each time it is called."""
