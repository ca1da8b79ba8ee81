"""Tar archives as container images have them: ustar with GNU's and PAX's extensions, read as a stream.

The format is that of POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block", and of the GNU tar manual, "Basic Tar Format"
and "Storing Sparse Files". Where readers differ, this one does as Go's archive/tar, because the tools that make and unpack images are
written in Go: global PAX headers change nothing, and links, directories and devices have no data whatever their size says.

The standard library's tarfile is not used: it takes several times as long, remembers every member, and passes over in silence
what is refused here.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn
from zlib import crc32

import msgspec

from roadstead.errors import InvalidLayer
from roadstead.sif.streams import Stream

BLOCK: Final = 512
LONGEST_HEADER: Final = 1 << 20
"""Bytes that one extended header may have, as in Go's archive/tar."""
LARGEST_FILE: Final = 1 << 50
"""Bytes that one file may claim to have: more than any limit, and little enough for sums that do not overflow anything."""
ZEROS: Final = memoryview(bytes(1 << 20))
"""What holes are made of."""

HEADER: Final = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
"""The fields of a header (POSIX.1 pax, "ustar Interchange Format")."""
XATTR: Final = b"SCHILY.xattr."
"""What star and Go's archive/tar put before the name of an extended attribute."""

_GNU_MAGIC: Final = b"ustar  \0"
_EMPTY: Final = bytes(BLOCK)
_CHECKSUM: Final = slice(148, 156)
_OCTAL: Final = re.compile(rb" *([0-7]+)[ \0]*")
_RECORD: Final = re.compile(rb"([0-9]{1,20}) ")


class Kind(enum.IntEnum):
    """What a member is."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    LINK = 3
    CHARACTER_DEVICE = 4
    BLOCK_DEVICE = 5
    FIFO = 6


_KINDS: Final[Mapping[bytes, Kind]] = {
    b"\0": Kind.FILE,
    b"0": Kind.FILE,
    b"1": Kind.LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
    b"7": Kind.FILE,  # "Contiguous", which is to be read as a regular file.
    b"S": Kind.FILE,  # GNU's old sparse file.
}


class Member(msgspec.Struct, frozen=True):
    """One member. `name` and `target` are bytes as they stand there, `mode` the twelve permission bits, `time` whole seconds since 1970.

    `size` is what the file has when unpacked. `device` is major and minor number. `extents` are offset and length of what a sparse file
    stores, in order and without overlaps; None where a file stores all of itself. `attributes` are sorted by name.
    """

    name: bytes
    kind: Kind
    mode: int
    user: int
    group: int
    time: int
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    extents: tuple[tuple[int, int], ...] | None = None


class Found(msgspec.Struct, frozen=True):
    """Where a member's content was found: `at` the offset of its header, `stamp` that header's checksum, `skipped` what stands between that
    and the content, and the size and extents of `Member`.
    """

    at: int
    stamp: int
    size: int
    skipped: int = 0
    extents: tuple[tuple[int, int], ...] | None = None


def content_again(stream: Stream, found: Found) -> Iterator[memoryview]:
    """The content of a member of an archive that was read before, as `Archive.content`; the stream is not behind it yet.

    Raises InvalidLayer if the archive is another one by now.
    """
    try:
        stream.skip(found.at - stream.offset)
        if crc32(stream.read(BLOCK)) != found.stamp:
            raise InvalidLayer  # noqa: TRY301 - what reading raises means the same here
        stream.skip(found.skipped)
        yield from _unpacked(stream, found.size, found.extents)
    except InvalidLayer:
        raise InvalidLayer("The layer changed between two readings.") from None


class Archive:
    """The members of a tar archive, in order. Whoever wants a member's content reads it before the next member; the rest is passed over."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0  # Bytes of the present member that have not been read.
        self._padding = 0
        self._sparse: tuple[tuple[int, int], ...] | None = None
        self._size = 0
        self._at = self._stamp = 0  # Of the present member's header.

    def __iter__(self) -> Iterator[Member]:
        """Each member once. Raises InvalidLayer where the archive is damaged or ends within a member."""
        while (member := self._next()) is not None:
            yield member

    def content(self) -> Iterator[memoryview]:
        """The present member's content, holes as zeros, in pieces of at most 1 MiB. Raises InvalidLayer if the archive ends too early."""
        end = self._stream.offset + self._left
        for piece in _unpacked(self._stream, self._size, self._sparse):
            self._left = end - self._stream.offset
            yield piece

    def found(self) -> Found:
        """Where the present member's content begins, before any of it was read."""
        return Found(self._at, self._stamp, self._size, self._stream.offset - self._at - BLOCK, self._sparse)

    def _next(self) -> Member | None:
        """The next member; None at the end of the archive, which is two empty blocks or simply the end of the file."""
        extended: dict[bytes, bytes] = {}
        attributes: dict[bytes, bytes] = {}
        while True:
            self._stream.skip(self._left + self._padding)
            self._left = self._padding = 0
            if self._stream.at_end():
                break
            block = self._stream.read(BLOCK)
            if block == _EMPTY:
                if not self._stream.at_end() and self._stream.read(BLOCK) != _EMPTY:
                    self._refuse("an empty block stands in the middle")
                break
            fields = self._fields(block)
            flag, size = fields[7], self._number(fields[4])
            if flag in b"xgLK":
                self._extend(flag, self._extension(size), extended, attributes)
            else:
                self._at, self._stamp = self._stream.offset - BLOCK, crc32(block)
                return self._member(block, fields, size, extended, attributes)
        if extended:
            self._refuse("an extended header stands at the end")
        return None

    def _fields(self, block: bytes) -> tuple[bytes, ...]:
        """The fields of a header block whose checksum is right. Old writers added signed bytes (GNU tar manual, "Basic Tar Format")."""
        fields: tuple[bytes, ...] = HEADER.unpack(block)
        found = _OCTAL.fullmatch(fields[6])
        written = int(found[1], 8) if found else -1
        unsigned = sum(block) - sum(block[_CHECKSUM]) + 8 * 0x20
        if written != unsigned:
            above = [byte for position, byte in enumerate(block) if byte > 127 and not 148 <= position < 156]
            if written != unsigned - 256 * len(above):
                self._refuse("this is no tar header")
        return fields

    def _number(self, field: bytes) -> int:
        """An octal number, or GNU's and star's base-256 where the first bit is set."""
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
            return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
        digits = field.strip(b" \0").partition(b"\0")[0].strip()
        try:
            return int(digits or b"0", 8) if digits.isdigit() or not digits else self._refuse("a number is not octal")
        except ValueError:
            return self._refuse("a number is not octal")

    def _extension(self, size: int) -> bytes:
        """The content of an extended header."""
        if not 0 <= size <= LONGEST_HEADER:
            self._refuse(f"an extended header has {size} bytes")
        content = self._stream.read(size)
        self._padding = -size % BLOCK
        return content

    def _extend(self, flag: bytes, content: bytes, extended: dict[bytes, bytes], attributes: dict[bytes, bytes]) -> None:
        if flag == b"L":
            extended[b"path"] = content.partition(b"\0")[0]
        elif flag == b"K":
            extended[b"linkpath"] = content.partition(b"\0")[0]
        elif flag == b"x":
            self._records(content, extended, attributes)

    def _records(self, content: bytes, extended: dict[bytes, bytes], attributes: dict[bytes, bytes]) -> None:
        """The records ``length keyword=value\\n`` of a PAX header. An empty value takes an earlier one back."""
        at = 0
        sparse: list[bytes] = []
        while at < len(content):
            length = _RECORD.match(content, at)
            end = at + int(length[1]) if length else 0
            if length is None or end > len(content) or end <= length.end() or content[end - 1 : end] != b"\n":
                self._refuse("a PAX header is malformed")
            key, equals, value = content[length.end() : end - 1].partition(b"=")
            if not equals or not key:
                self._refuse("a PAX header is malformed")
            at = end
            if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                sparse.append(value)  # Version 0.0 repeats these two.
                continue
            place, name = (attributes, key.removeprefix(XATTR)) if key.startswith(XATTR) else (extended, key)
            if value:
                place[name] = value
            else:
                place.pop(name, None)
        if sparse:
            extended[b"GNU.sparse.map"] = b",".join(sparse)

    def _member(
        self, block: bytes, fields: tuple[bytes, ...], size: int, extended: Mapping[bytes, bytes], attributes: Mapping[bytes, bytes]
    ) -> Member:
        kind = _KINDS.get(fields[7])
        if kind is None:
            self._refuse(f"a member is of the unknown type {fields[7]!r}")
        name = extended.get(b"path", _ustar_name(block, fields))
        if fields[7] == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY  # How archives before ustar wrote one.
        size = self._decimal(extended, b"size", size)
        if not 0 <= size <= LARGEST_FILE:
            self._refuse(f"a member has {size} bytes")
        self._begin(size if kind is Kind.FILE else 0)
        if kind is Kind.FILE:
            self._begin_sparse(block, fields, extended)
        return Member(
            name=extended.get(b"GNU.sparse.name", name),
            kind=kind,
            mode=self._number(fields[1]) & 0o7777,
            user=self._owner(extended, b"uid", fields[2]),
            group=self._owner(extended, b"gid", fields[3]),
            time=self._time(extended, fields[5]),
            size=self._size,
            target=extended.get(b"linkpath", fields[8].partition(b"\0")[0]),
            device=(self._number(fields[12]), self._number(fields[13])) if kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE) else (0, 0),
            attributes=tuple(sorted(attributes.items())),
            extents=self._sparse,
        )

    def _begin(self, size: int) -> None:
        self._left = self._size = size
        self._padding = -size % BLOCK
        self._sparse = None

    def _begin_sparse(self, block: bytes, fields: tuple[bytes, ...], extended: Mapping[bytes, bytes]) -> None:
        """Read the map of a sparse file, of whichever of the four formats (GNU tar manual, "Storing Sparse Files")."""
        if fields[7] == b"S":
            self._sparse_map(self._old_sparse_map(block), self._number(block[483:495]))
        elif extended.get(b"GNU.sparse.major") == b"1":
            self._sparse_map(self._stored_sparse_map(), self._decimal(extended, b"GNU.sparse.realsize", 0))
        elif b"GNU.sparse.map" in extended:
            numbers = [self._plain_number(text) for text in extended[b"GNU.sparse.map"].split(b",")]
            self._sparse_map(numbers, self._decimal(extended, b"GNU.sparse.size", 0))

    def _old_sparse_map(self, block: bytes) -> list[int]:
        """Four pairs in the header itself, then blocks of 21 pairs before the data."""
        pairs, more = block[386:482], block[482]
        while more:
            further = self._stream.read(BLOCK)
            pairs, more = pairs + further[:504], further[504]
            if len(pairs) > LONGEST_HEADER:
                self._refuse("a sparse file has too many pieces")
        numbers = [pairs[offset : offset + 12] for offset in range(0, len(pairs), 12)]
        used = next((index for index in range(0, len(numbers), 2) if not numbers[index].strip(b"\0")), len(numbers))
        return [self._number(field) for field in numbers[:used]]

    def _stored_sparse_map(self) -> list[int]:
        """Version 1.0: decimal lines in front of the data, the first of them the number of pairs, filled up to a whole block."""
        text, lines = bytearray(), 0
        wanted = 1
        while lines < wanted:
            if len(text) > LONGEST_HEADER or self._left < BLOCK:
                self._refuse("the map of a sparse file is malformed")
            block = self._stream.read(BLOCK)
            self._left -= BLOCK
            text += block
            if not lines and b"\n" in block:
                wanted = 1 + 2 * self._plain_number(bytes(text).partition(b"\n")[0])
            lines += block.count(b"\n")
        return [self._plain_number(line) for line in bytes(text).split(b"\n")[1:wanted]]

    def _sparse_map(self, numbers: list[int], size: int) -> None:
        """Take these offsets and lengths as the map of a file of `size` bytes, whose stored bytes are what is left of the member."""
        extents = tuple(zip(numbers[::2], numbers[1::2], strict=False))
        end = 0
        for offset, length in extents:
            if offset < end or length < 0:
                self._refuse("the map of a sparse file is not in order")
            end = offset + length
        if len(numbers) % 2 or not end <= size <= LARGEST_FILE or sum(length for _, length in extents) != self._left:
            self._refuse("the map of a sparse file does not fit the file")
        self._sparse, self._size = extents, size

    def _decimal(self, extended: Mapping[bytes, bytes], key: bytes, otherwise: int) -> int:
        return self._plain_number(extended[key]) if key in extended else otherwise

    def _plain_number(self, text: bytes) -> int:
        if not text.isdigit() or len(text) > 20:
            self._refuse("a number is not decimal")
        return int(text)

    def _owner(self, extended: Mapping[bytes, bytes], key: bytes, field: bytes) -> int:
        number = self._decimal(extended, key, -1) if key in extended else self._number(field)
        if not 0 <= number < (1 << 32) - 1:  # The last one means "nobody in particular" to Linux (chown(2)).
            self._refuse(f"a member belongs to the user or group {number}")
        return number

    def _time(self, extended: Mapping[bytes, bytes], field: bytes) -> int:
        """Whole seconds, rounded down as the kernel does where a file system has no finer ones."""
        if b"mtime" not in extended:
            return self._number(field)
        found = re.fullmatch(rb"(-?[0-9]{1,18})(?:\.([0-9]*))?", extended[b"mtime"])
        if found is None:
            self._refuse("a time is malformed")
        whole, fraction = int(found[1]), (found[2] or b"").strip(b"0")
        return whole - 1 if fraction and found[1].startswith(b"-") else whole

    def _refuse(self, reason: str) -> NoReturn:
        raise InvalidLayer(f"The layer is not a sound tar archive: {reason}, before byte {self._stream.offset}.")


def _unpacked(stream: Stream, size: int, extents: tuple[tuple[int, int], ...] | None) -> Iterator[memoryview]:
    if extents is None:
        yield from stream.pieces(size)
        return
    at = 0
    for offset, length in extents:
        yield from _holes(offset - at)
        yield from stream.pieces(length)
        at = offset + length
    yield from _holes(size - at)


def _holes(size: int) -> Iterator[memoryview]:
    while size > 0:
        yield ZEROS[:size]
        size -= len(ZEROS)


def _ustar_name(block: bytes, fields: tuple[bytes, ...]) -> bytes:
    """The name, behind its prefix where ustar has one: GNU uses that place for other things."""
    name = fields[0].partition(b"\0")[0]
    prefix = fields[14].partition(b"\0")[0]
    if prefix and block[257:265] != _GNU_MAGIC and block[257:262] == b"ustar":
        return prefix + b"/" + name
    return name
