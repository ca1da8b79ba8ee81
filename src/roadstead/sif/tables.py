"""The metadata of a squashfs 4.0: blocks of 8 KiB, and the tables that are made of them.

The format has no standard; it is defined by the kernel's `fs/squashfs/squashfs_fs.h` and described in its
`Documentation/filesystems/squashfs.rst`. Every number is little-endian. A *metadata stream* is cut into blocks of 8192 bytes; each is
compressed by itself and stored behind two bytes with its stored length, whose highest bit tells that it is not compressed. A *reference*
into a stream is the position of the stored block, from the stream's start, times 65536, plus the offset inside the unpacked block.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import BinaryIO, Final

from roadstead.errors import ImageTooLarge
from roadstead.sif.compression import pack
from roadstead.sif.tree import Attributes

METADATA: Final = 8192
ABSENT: Final = 0xFFFFFFFFFFFFFFFF
"""In the superblock: this table does not exist."""
MOST_IDS: Final = 65535

_UNCOMPRESSED: Final = 0x8000
_ID_TABLE: Final = struct.Struct("<QII")
_XATTR_ID: Final = struct.Struct("<QII")
_PREFIXES: Final = ((b"user.", 0), (b"trusted.", 1), (b"security.", 2))

Compress = Callable[[bytes], bytes]


class MetadataStream:
    """A stream of metadata that is compressed as it grows; `write` takes each block as it is stored."""

    def __init__(self, compress: Compress, write: Callable[[bytes], object]) -> None:
        self._compress = compress
        self._write = write
        self._block = bytearray()
        self._stored = 0

    @property
    def reference(self) -> int:
        """Where the next byte will be."""
        return self._stored << 16 | len(self._block)

    @property
    def stored(self) -> int:
        """Bytes written, which is all of it after `finish`."""
        return self._stored

    def append(self, data: bytes) -> None:
        """Add to the stream."""
        self._block += data
        while len(self._block) >= METADATA:
            self._store(bytes(self._block[:METADATA]))
            del self._block[:METADATA]

    def append_with_blocks(self, data: bytes, offsets: Iterable[int]) -> list[int]:
        """Add to the stream; for each of these ascending offsets into `data`, where the block that holds it is stored."""
        found: list[int] = []
        begun = len(self._block)
        wanted = list(offsets)
        self._block += data
        passed = 0
        while True:
            while len(found) < len(wanted) and begun + wanted[len(found)] < passed + METADATA:
                found.append(self._stored)
            if len(self._block) < METADATA:
                return found
            self._store(bytes(self._block[:METADATA]))
            del self._block[:METADATA]
            passed += METADATA

    def finish(self) -> None:
        """Store what is left."""
        if self._block:
            self._store(bytes(self._block))
            self._block.clear()

    def _store(self, block: bytes) -> None:
        packed = pack(self._compress, block)
        header = len(packed.data) | (0 if packed.compressed else _UNCOMPRESSED)
        self._write(struct.pack("<H", header) + packed.data)
        self._stored += 2 + len(packed.data)


def write_lookup(output: BinaryIO, base: int, compress: Compress, records: Iterable[bytes], head: bytes = b"") -> int:
    """Write records that are found by number: metadata blocks of them, then `head`, then the position of each block.

    Returns where `head`, or the list of positions, begins. Positions count from `base` in `output`. A record may not cross blocks, so its
    length divides 8192.
    """
    positions: list[int] = []

    def store(block: bytes) -> None:
        positions.append(output.tell() - base)
        output.write(block)

    stream = MetadataStream(compress, store)
    for record in records:
        stream.append(record)
    stream.finish()
    start = output.tell() - base
    output.write(head + struct.pack(f"<{len(positions)}Q", *positions))
    return start


class Ids:
    """The table of users and groups, numbered as they appear."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, owner: int) -> int:
        """The place of this user or group in the table. Raises ImageTooLarge if the table is full."""
        found = self._numbers.setdefault(owner, len(self._numbers))
        if found >= MOST_IDS:
            raise ImageTooLarge(f"The files of the image belong to more than {MOST_IDS} users and groups, which squashfs cannot hold.")
        return found

    def write(self, output: BinaryIO, base: int, compress: Compress) -> int:
        """Write the table; where it is found."""
        return write_lookup(output, base, compress, (struct.pack("<I", owner) for owner in self._numbers))


def write_attributes(output: BinaryIO, base: int, compress: Compress, sets: Iterable[Attributes]) -> int:
    """Write the table of these sets of extended attributes, found by number; where it is found."""
    start = output.tell() - base
    stream = MetadataStream(compress, output.write)
    records: list[bytes] = []
    for attributes in sets:
        reference = stream.reference
        for name, value in attributes:
            stream.append(_attribute(name, value))
        records.append(_XATTR_ID.pack(reference, len(attributes), sum(len(name) + 1 + len(value) for name, value in attributes)))
    stream.finish()
    return write_lookup(output, base, compress, records, head=_ID_TABLE.pack(start, len(records), 0))


def _attribute(name: bytes, value: bytes) -> bytes:
    """One attribute: its namespace, the rest of its name, and its value right there."""
    prefix, number = next(found for found in _PREFIXES if name.startswith(found[0]))
    rest = name.removeprefix(prefix)
    return struct.pack("<HH", number, len(rest)) + rest + struct.pack("<I", len(value)) + value
