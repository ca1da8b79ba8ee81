"""What reads the blocks of a squashfs, whichever of its compressors wrote them. Each of these lets other threads work meanwhile."""

from __future__ import annotations

import lzma
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import deflate
import lz4.block
import lzallright

from roadstead.errors import InvalidSif, NotConvertible

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WINDOW_LOG: Final = 23
"""A zstd frame may make its reader remember 2^23 bytes. Blocks are never longer than 2^20."""
_XZ_MEMORY: Final = 96 << 20  # A dictionary is as long as a block, at most 1 MiB; xz's highest preset takes 65 MiB.

Decompress = Callable[[bytes, int], bytes]
"""`decompress(block, most)` answers the content, which should have at most so many bytes. Raises InvalidSif if the block is damaged."""


def _gzip(block: bytes, most: int) -> bytes:
    return bytes(deflate.zlib_decompress(block, most))


def _lzo(block: bytes, most: int) -> bytes:
    """A block that claims to be longer costs up to 255 times its stored size before that is seen."""
    return lzallright.LZOCompressor.decompress(block, most)


def _xz(block: bytes, most: int) -> bytes:
    return _whole(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), block, most)


def _lz4(block: bytes, most: int) -> bytes:
    return bytes(lz4.block.decompress(block, uncompressed_size=most))


def _zstd(block: bytes, most: int) -> bytes:
    return _whole(zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG}), block, most)


def _whole(decompressor: lzma.LZMADecompressor | zstd.ZstdDecompressor, block: bytes, most: int) -> bytes:
    """One stream or frame that ends where the block ends. One byte too many is asked for, so that a longer one is noticed."""
    content = decompressor.decompress(block, most + 1)
    if not decompressor.eof:
        raise EOFError("it is longer than it may be, or ends too early")
    return content


NAMES: Final[Mapping[int, str]] = MappingProxyType({1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"})
"""The compressors by their number in the superblock (the kernel's `fs/squashfs/squashfs_fs.h`)."""
_READERS: Final[Mapping[int, Decompress]] = MappingProxyType({1: _gzip, 3: _lzo, 4: _xz, 5: _lz4, 6: _zstd})
_DAMAGES: Final = (
    deflate.DeflateError,
    lzallright.LZOError,
    lzma.LZMAError,
    lz4.block.LZ4BlockError,
    zstd.ZstdError,
    EOFError,
    ValueError,
)


def decompressor(number: int) -> Decompress:
    """What reads blocks of this compressor. Raises NotConvertible for one that is not read here, InvalidSif for one that there is not."""
    name = NAMES.get(number)
    if name is None:
        raise InvalidSif(f"The squashfs is damaged: it names compressor {number}, which there is not.")
    read = _READERS.get(number)
    if read is None:
        raise NotConvertible(
            f"The squashfs is compressed with {name}, which is not read here. Build the image again with another compressor."
        )

    def decompress(block: bytes, most: int) -> bytes:
        try:
            content = read(block, most)
        except _DAMAGES as reason:
            raise InvalidSif(f"The squashfs is damaged: one of its {name} blocks cannot be unpacked ({reason}).") from reason
        if len(content) > most:
            raise InvalidSif(f"The squashfs is damaged: one of its {name} blocks unpacks to more than {most} bytes.")
        return content

    return decompress
