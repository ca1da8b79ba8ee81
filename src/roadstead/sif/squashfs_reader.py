"""A reader of squashfs 4.0, whoever wrote it: any compressor, any kind of inode, fragments, holes and extended attributes.

`tables` tells where the format is defined, `squashfs` draws how a file system lies in a file. What is read is not believed: every
position, length, count and number is held against the size of the file system, or against a limit, before anything is fetched or
allotted by it.

Memory: about 25 MiB of what was read last, the table of users and groups, and 8 bytes for each 512 blocks of fragments.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Generic, NoReturn, TypeVar

import msgspec

from roadstead.errors import ImageTooLarge, InvalidSif
from roadstead.sif.decompression import decompressor
from roadstead.sif.format import ReadAt
from roadstead.sif.limits import Limits
from roadstead.sif.tables import ABSENT, METADATA
from roadstead.sif.tar import LONGEST_HEADER, ZEROS, Kind
from roadstead.sif.tree import NONE, Attributes, shown

PAGE: Final = 1 << 20
"""Bytes that are fetched at once: the file may be far away."""
_PAGES: Final = 12
_METADATA_BLOCKS: Final = 512
_FRAGMENTS: Final = 8
_ATTRIBUTE_SETS: Final = 64
_BLOCK_SIZES: Final = 2048  # Sizes of a file's blocks that are looked at together.

_SUPERBLOCK: Final = struct.Struct("<IIIIIHHHHHHQQQQQQQQ")
_MAGIC: Final = 0x73717368
_SMALLEST_LOG, _LARGEST_LOG = 12, 20  # Of the block size.
_UNCOMPRESSED: Final = 0x8000
_UNCOMPRESSED_BLOCK: Final = 1 << 24
_LONGEST_TARGET: Final = 4095  # Linux' PATH_MAX, without the NUL.
_LONGEST_ATTRIBUTE: Final = 65536  # Linux' XATTR_SIZE_MAX.
_ELSEWHERE: Final = 0x100  # In the type of an attribute: instead of the value stands where it is.
_NAMESPACES: Final = {0: b"user.", 1: b"trusted.", 2: b"security."}

_HEADER: Final = struct.Struct("<HHHHII")
_DIRECTORY, _LONG_DIRECTORY = struct.Struct("<IIHHI"), struct.Struct("<IIIIHHI")
_FILE, _LONG_FILE = struct.Struct("<IIII"), struct.Struct("<QQQIIII")
_TWO, _ONE, _QUAD = struct.Struct("<II"), struct.Struct("<I"), struct.Struct("<Q")
_RUN, _ENTRY = struct.Struct("<III"), struct.Struct("<HhHH")
_FRAGMENT, _ATTRIBUTE_SET, _ATTRIBUTE = struct.Struct("<QII"), struct.Struct("<QII"), struct.Struct("<HH")
_LONG: Final = 7  # Added to the type of an inode in its long form.

_KINDS: Final = {
    1: Kind.DIRECTORY,
    2: Kind.FILE,
    3: Kind.SYMLINK,
    4: Kind.BLOCK_DEVICE,
    5: Kind.CHARACTER_DEVICE,
    6: Kind.FIFO,
}
"""A socket, which is 7, is no kind of a tar archive, and nothing that an image could mean."""
_SOCKET: Final = 7

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Node(msgspec.Struct, frozen=True, gc=False):
    """An inode. `kind` is None for a socket; `time` in seconds since 1970, `size` in bytes, `device` as Linux writes its number.

    `place` is where a directory's listing lies, a reference, and where a file's content begins, in bytes; `fragment` and `offset` tell
    where its last part lies if that is packed with others (NONE: it is not); `blocks` is where the sizes of its blocks are.
    """

    kind: Kind | None
    mode: int
    user: int
    group: int
    time: int
    number: int
    size: int = 0
    target: bytes = b""
    device: int = 0
    attributes: int = NONE
    place: int = 0
    fragment: int = NONE
    offset: int = 0
    blocks: tuple[int, int] = (0, 0)


class _Latest(Generic[_Key, _Value]):
    """The last `most` values that were made by `make`."""

    def __init__(self, most: int, make: Callable[[_Key], _Value]) -> None:
        self._most = most
        self._make = make
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()

    def __call__(self, key: _Key) -> _Value:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while len(self._kept) >= self._most:
            self._kept.popitem(last=False)
        made = self._kept[key] = self._make(key)
        return made


class _Cursor:
    """Exact reads of a metadata stream, from a position in the file and an offset in the block that is stored there."""

    def __init__(self, block_at: Callable[[int], tuple[bytes, int]], position: int, offset: int) -> None:
        self._block_at = block_at
        self._block, self._next = block_at(position)
        self._position = position
        self._at = offset
        if offset > len(self._block):
            _refuse(f"a reference leads behind the block at {position}")

    @property
    def place(self) -> tuple[int, int]:
        """Where the next byte is: position and offset."""
        return self._position, self._at

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        at = self._at
        found = self._block[at : at + size]
        self._at += len(found)
        while len(found) < size:
            self._position = self._next
            self._block, self._next = self._block_at(self._position)
            if not self._block:
                _refuse(f"the metadata at {self._position} is empty")
            self._at = min(size - len(found), len(self._block))
            found += self._block[: self._at]
        return found


class Squashfs:
    """A file system in a file of which `read_at` gives the bytes, and which has `size` of them.

    Everything raises InvalidSif with what is wrong where that is found, NotConvertible for a compressor that is not read, and
    ImageTooLarge where a limit is passed.
    """

    def __init__(self, read_at: ReadAt, size: int, limits: Limits) -> None:
        if size < _SUPERBLOCK.size:
            _refuse(f"it has {size} bytes, and its first block alone takes {_SUPERBLOCK.size}")
        self._read_at = read_at
        self._page = _Latest(_PAGES, self._fetch)
        self.size = size
        fields = _SUPERBLOCK.unpack(self._bytes(0, _SUPERBLOCK.size))
        magic, self.inodes, self.made, self.block_size, fragments, compressor, log, _, ids, major, minor, root, used = fields[:13]
        id_table, attribute_table, self._inode_table, self._directory_table, fragment_table, _ = fields[13:]
        self._check(magic, (major, minor), log, used)
        if self.inodes > limits.entries:
            raise ImageTooLarge(f"The image has more than {limits.entries} entries.")
        self.size = used
        self.root: Final[int] = root
        """The reference of the root directory's inode."""
        self._decompress = decompressor(compressor)
        self._metadata = _Latest(_METADATA_BLOCKS, self._metadata_block)
        self._fragment = _Latest(_FRAGMENTS, self._fragment_block)
        self._attribute_set = _Latest(_ATTRIBUTE_SETS, self._read_attributes)
        self._fragments = _Lookup(self, fragment_table, fragments, _FRAGMENT, self.inodes, "fragments")
        self._owners = self._read_owners(id_table, ids)
        self._attribute_start, self._attribute_sets = self._open_attributes(attribute_table)

    def _check(self, magic: int, version: tuple[int, int], log: int, used: int) -> None:
        if magic != _MAGIC:
            _refuse("it does not begin as one (the magic number is missing)")
        if version != (4, 0):
            _refuse(f"its version is {version[0]}.{version[1]}, and only 4.0 is known")
        if not _SMALLEST_LOG <= log <= _LARGEST_LOG or self.block_size != 1 << log:
            _refuse(f"its blocks have {self.block_size} bytes, and 2 to the power of {log} is told beside that")
        if used > self.size:
            _refuse(f"it would have {used} bytes where there are {self.size}")
        if not _SUPERBLOCK.size <= self._inode_table < self._directory_table < used:
            _refuse(f"its tables would lie at {self._inode_table} and {self._directory_table}, in {used} bytes")

    # Inodes.

    def node(self, reference: int) -> Node:
        """The inode that a reference leads to."""
        position = self._inode_table + (reference >> 16)
        if position >= self._directory_table:
            _refuse(f"a reference leads to {position}, behind the table of inodes")
        cursor = _Cursor(self._metadata, position, reference & 0xFFFF)
        kind, mode, user, group, time, number = _HEADER.unpack(cursor.read(_HEADER.size))
        if not 0 < number <= self.inodes:
            _refuse(f"an inode has the number {number}, and there are {self.inodes}")
        is_long = kind > _LONG
        basic = kind - _LONG if is_long else kind
        if basic != _SOCKET and basic not in _KINDS:
            _refuse(f"inode {number} is of the unknown type {kind}")
        common = (_KINDS.get(basic), mode & 0o7777, self._owner(user), self._owner(group), time, number)
        match basic:
            case 1:
                return self._directory(cursor, is_long, common)
            case 2:
                return self._file(cursor, is_long, common)
            case 3:
                return self._symlink(cursor, is_long, common)
            case 4 | 5:
                _, device = _TWO.unpack(cursor.read(_TWO.size))
                return Node(*common, device=device, attributes=_attributes_of(cursor, is_long))
        cursor.read(_ONE.size)
        return Node(*common, attributes=_attributes_of(cursor, is_long))

    def _owner(self, index: int) -> int:
        if index >= len(self._owners):
            _refuse(f"an inode belongs to user or group {index} of {len(self._owners)}")
        return self._owners[index]

    def _directory(self, cursor: _Cursor, is_long: bool, common: tuple[Kind | None, int, int, int, int, int]) -> Node:
        """Its size counts three bytes more than its listing, for the two entries that are in none."""
        attributes = NONE
        if is_long:
            _, size, block, _, _, offset, attributes = _LONG_DIRECTORY.unpack(cursor.read(_LONG_DIRECTORY.size))
        else:
            block, _, size, offset, _ = _DIRECTORY.unpack(cursor.read(_DIRECTORY.size))
        return Node(*common, size=max(size - 3, 0), attributes=attributes, place=block << 16 | offset)

    def _file(self, cursor: _Cursor, is_long: bool, common: tuple[Kind | None, int, int, int, int, int]) -> Node:
        attributes = NONE
        if is_long:
            start, size, _, _, fragment, offset, attributes = _LONG_FILE.unpack(cursor.read(_LONG_FILE.size))
        else:
            start, fragment, offset, size = _FILE.unpack(cursor.read(_FILE.size))
        if start > self.size or (fragment != NONE and offset >= self.block_size):
            _refuse(f"the content of inode {common[-1]} would lie at {start}, its end at {offset} of a fragment")
        return Node(*common, size=size, attributes=attributes, place=start, fragment=fragment, offset=offset, blocks=cursor.place)

    def _symlink(self, cursor: _Cursor, is_long: bool, common: tuple[Kind | None, int, int, int, int, int]) -> Node:
        _, size = _TWO.unpack(cursor.read(_TWO.size))
        if not 0 < size <= _LONGEST_TARGET:
            _refuse(f"a symbolic link leads to {size} bytes; it takes 1 to {_LONGEST_TARGET}")
        target = cursor.read(size)
        if b"\0" in target:
            _refuse("a symbolic link leads to a name with a NUL in it")
        return Node(*common, target=target, attributes=_attributes_of(cursor, is_long))

    # Directories.

    def listing(self, directory: Node) -> Iterator[tuple[bytes, Kind | None, int]]:
        """The entries of a directory by name, as bytes: name, kind, and reference of the inode."""
        left, before = directory.size, b""
        if not left:
            return
        position = self._directory_table + (directory.place >> 16)
        cursor = _Cursor(self._metadata, position, directory.place & 0xFFFF)
        while left > 0:
            count, block, _ = _RUN.unpack(cursor.read(_RUN.size))
            if count >= 256:
                _refuse(f"directory {directory.number} has {count + 1} entries in one run; 256 are possible")
            left -= _RUN.size
            for _ in range(count + 1):
                offset, _, kind, size = _ENTRY.unpack(cursor.read(_ENTRY.size))
                left -= _ENTRY.size + size + 1
                if left < 0 or size > 255:
                    _refuse(f"directory {directory.number} is not as long as it says")
                name = cursor.read(size + 1)
                _check_name(name, before)
                before = name
                yield name, _KINDS.get(kind), block << 16 | offset

    def find(self, path: str) -> Node | None:
        """What lies at this path from the root, where no part of it is a symbolic link; None if there is nothing."""
        node = self.node(self.root)
        for part in path.encode().split(b"/"):
            if node.kind is not Kind.DIRECTORY:
                return None
            reference = next((reference for name, _, reference in self.listing(node) if name == part), None)
            if reference is None:
                return None
            node = self.node(reference)
        return node

    # Content.

    def where(self, file: Node) -> int:
        """Where the content of a file begins, in bytes, times 2^20, and where in a block that it has in common with others.

        It orders reading, so a fragment that would lie behind the end, which reading refuses, comes last.
        """
        if file.fragment == NONE or file.size >= self.block_size:
            return file.place << 20
        return min(self._fragments[file.fragment][0], self.size) << 20 | file.offset

    def content(self, file: Node) -> Iterator[bytes | memoryview]:
        """What a file holds, holes as zeros, in pieces of at most a block."""
        has_fragment = file.fragment != NONE
        left = file.size - (file.size % self.block_size if has_fragment else 0)
        position = file.place
        for told in self._blocks_of(file, -(-left // self.block_size)):
            length = min(left, self.block_size)
            left -= length
            if told == 0:
                yield ZEROS[:length]
                continue
            stored = told & ~_UNCOMPRESSED_BLOCK
            yield self._block(position, told, length)
            position += stored
        if has_fragment and file.size % self.block_size:
            end = file.offset + file.size % self.block_size
            fragment = self._fragment(file.fragment)
            if end > len(fragment):
                _refuse(f"the end of inode {file.number} lies behind its fragment")
            yield memoryview(fragment)[file.offset : end]

    def _blocks_of(self, file: Node, count: int) -> Iterator[int]:
        """The sizes of a file's blocks, as they are told, a few at a time: a hostile file may have a billion."""
        if not count:
            return
        cursor = _Cursor(self._metadata, *file.blocks)
        while count:
            some = min(count, _BLOCK_SIZES)
            yield from struct.unpack(f"<{some}I", cursor.read(4 * some))
            count -= some

    def _block(self, position: int, told: int, length: int) -> bytes:
        """A block of data that unpacks to exactly `length` bytes."""
        block = self._unpacked(position, told)
        if len(block) != length:
            _refuse(f"the block at {position} has {len(block)} bytes, and {length} are told")
        return block

    def _unpacked(self, position: int, told: int) -> bytes:
        stored = told & ~_UNCOMPRESSED_BLOCK
        if stored > self.block_size:
            _refuse(f"the block at {position} takes {stored} bytes, and a block has {self.block_size}")
        data = self._bytes(position, stored)
        return data if told & _UNCOMPRESSED_BLOCK else self._decompress(data, self.block_size)

    def _fragment_block(self, number: int) -> bytes:
        position, told, _ = self._fragments[number]
        return self._unpacked(position, told)

    # Extended attributes.

    def attributes(self, node: Node) -> Attributes:
        """The extended attributes of an inode, sorted by name."""
        return () if node.attributes == NONE else self._attribute_set(node.attributes)

    def _open_attributes(self, table: int) -> tuple[int, _Lookup | None]:
        if table == ABSENT:
            return 0, None
        start, count, _ = _ATTRIBUTE_SET.unpack(self._bytes(table, _ATTRIBUTE_SET.size))
        return start, _Lookup(self, table + _ATTRIBUTE_SET.size, count, _ATTRIBUTE_SET, self.inodes, "sets of extended attributes")

    def _read_attributes(self, number: int) -> Attributes:
        if self._attribute_sets is None:
            _refuse("an inode has extended attributes, and there are none")
        reference, count, _ = self._attribute_sets[number]
        cursor = self._attribute_cursor(reference)
        found: list[tuple[bytes, bytes]] = []
        taken = 0
        for _ in range(count):
            found.append(self._read_attribute(cursor))
            taken += len(found[-1][0]) + len(found[-1][1])
            if taken > LONGEST_HEADER:
                raise ImageTooLarge(f"The extended attributes of one file take more than {LONGEST_HEADER} bytes.")
        return tuple(sorted(found))

    def _read_attribute(self, cursor: _Cursor) -> tuple[bytes, bytes]:
        kind, size = _ATTRIBUTE.unpack(cursor.read(_ATTRIBUTE.size))
        prefix = _NAMESPACES.get(kind & 0xFF)
        if prefix is None or size > 255:
            _refuse(f"an extended attribute is of the unknown type {kind}, or its name has {size} bytes")
        name = prefix + cursor.read(size)
        value_size = _ONE.unpack(cursor.read(_ONE.size))[0]
        if not kind & _ELSEWHERE:
            return name, self._attribute_value(cursor, value_size)
        other = self._attribute_cursor(_QUAD.unpack(cursor.read(_QUAD.size))[0])
        return name, self._attribute_value(other, _ONE.unpack(other.read(_ONE.size))[0])

    def _attribute_value(self, cursor: _Cursor, size: int) -> bytes:
        if size > _LONGEST_ATTRIBUTE:
            _refuse(f"an extended attribute has {size} bytes; at most {_LONGEST_ATTRIBUTE} are possible")
        return cursor.read(size)

    def _attribute_cursor(self, reference: int) -> _Cursor:
        return _Cursor(self._metadata, self._attribute_start + (reference >> 16), reference & 0xFFFF)

    # Tables.

    def _read_owners(self, table: int, count: int) -> tuple[int, ...]:
        found = _Lookup(self, table, count, _ONE, 65536, "users and groups")
        return tuple(found[number][0] for number in range(count))

    def _metadata_block(self, position: int) -> tuple[bytes, int]:
        """The block of metadata that is stored there, and where the next one is."""
        told = int.from_bytes(self._bytes(position, 2), "little")
        stored = told & ~_UNCOMPRESSED
        if stored > METADATA:
            _refuse(f"the metadata at {position} takes {stored} bytes, and a block has {METADATA}")
        data = self._bytes(position + 2, stored)
        return data if told & _UNCOMPRESSED else self._decompress(data, METADATA), position + 2 + stored

    def _bytes(self, position: int, length: int) -> bytes:
        if position + length > self.size:
            _refuse(f"{length} bytes would lie at {position}, and there are {self.size}")
        first, at = divmod(position, PAGE)
        if at + length <= PAGE:
            return self._page(first)[at : at + length]
        pages = (self._page(number) for number in range(first, (position + length - 1) // PAGE + 1))
        return b"".join(pages)[at : at + length]

    def _fetch(self, page: int) -> bytes:
        return self._read_at(page * PAGE, min(PAGE, self.size - page * PAGE))


class _Lookup:
    """A table of `count` records that are found by number: at `start` is the position of each block of metadata that holds them."""

    def __init__(self, within: Squashfs, start: int, count: int, record: struct.Struct, most: int, name: str) -> None:
        if count > most:
            _refuse(f"it counts {count} {name}, more than {most}")
        self._within = within
        self._count = count
        self._record = record
        self._name = name
        blocks = -(-count * record.size // METADATA)
        self._positions = struct.unpack(f"<{blocks}Q", within._bytes(start, 8 * blocks)) if blocks else ()

    def __getitem__(self, number: int) -> tuple[int, ...]:
        if number >= self._count:
            _refuse(f"there is no number {number} among {self._count} {self._name}")
        block, at = divmod(number * self._record.size, METADATA)
        data = self._within._metadata(self._positions[block])[0]
        if at + self._record.size > len(data):
            _refuse(f"the table of {self._name} ends before number {number}")
        return self._record.unpack_from(data, at)


def _attributes_of(cursor: _Cursor, is_long: bool) -> int:
    found: int = _ONE.unpack(cursor.read(_ONE.size))[0] if is_long else NONE
    return found


def _check_name(name: bytes, before: bytes) -> None:
    """A listing is sorted, because the kernel searches in it; so no name comes twice."""
    if name in (b".", b"..") or b"/" in name or b"\0" in name:
        _refuse(f"a directory has an entry {shown(name)}")
    if name <= before:
        _refuse(f"a directory has {shown(name)} behind {shown(before)}")


def _refuse(reason: str) -> NoReturn:
    raise InvalidSif(f"The squashfs is damaged: {reason}.")
