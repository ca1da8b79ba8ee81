"""A writer of squashfs 4.0: the same tree and content make the same bytes, on any machine, with any number of threads.

    0                superblock, 96 bytes
    96               data: blocks of files and of fragments, as they come
    inode table      metadata stream (see `tables`)
    directory table  metadata stream
    fragment table, export table, table of users and groups, table of extended attributes
    end              filled up with zeros to a multiple of 4096 bytes, because that is what a loop device shows whole

Files shorter than a block are packed together into blocks of fragments; the last block of a longer file stands by itself, shortened.
Blocks of zeros are not stored. Files with the same content share it.

Memory: the tree's arrays, 32 bytes more for each inode, 4 for each block of data, the directory table (about 8 bytes an entry), and four
blocks a thread with what they are compressed to.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from roadstead.sif.compression import Compression, Packed, Packers
from roadstead.sif.tables import ABSENT, METADATA, Ids, MetadataStream, write_attributes, write_lookup
from roadstead.sif.tar import Kind
from roadstead.sif.tree import NONE, ROOT, Tree

SMALLEST_BLOCK: Final = 4 << 10
LARGEST_BLOCK: Final = 1 << 20
_SUPERBLOCK: Final = struct.Struct("<IIIIIHHHHHHQQQQQQQQ")
_MAGIC: Final = 0x73717368
_DUPLICATES, _EXPORTABLE, _NO_ATTRIBUTES = 0x40, 0x80, 0x200
_UNCOMPRESSED_BLOCK: Final = 1 << 24
_PAGE: Final = 4096
_SMALL: Final = 1 << 32  # What a short inode can tell: a position or size below this.
_MOST_IN_RUN: Final = 256

_DIRECTORY, _FILE, _SYMLINK, _BLOCK_DEVICE, _CHARACTER_DEVICE, _FIFO = 1, 2, 3, 4, 5, 6
_TYPES: Final = {
    Kind.DIRECTORY: _DIRECTORY,
    Kind.FILE: _FILE,
    Kind.SYMLINK: _SYMLINK,
    Kind.BLOCK_DEVICE: _BLOCK_DEVICE,
    Kind.CHARACTER_DEVICE: _CHARACTER_DEVICE,
    Kind.FIFO: _FIFO,
}
_EXTENDED: Final = 7  # Added to the type of an inode in its long form.


class Settings(msgspec.Struct, frozen=True):
    """How a file system is written. `made` is its own time (seconds since 1970); `block_size` is a power of 2 from 4 KiB to 1 MiB."""

    made: int = 0
    compression: Compression = Compression()
    block_size: int = 128 << 10
    threads: int = 1


class Writer:
    """Writes a tree as a squashfs that begins where `output` stands.

    Give the content of files, one after another, by `add`; then call `finish`. As a context manager it ends its threads.
    """

    def __init__(self, output: BinaryIO, tree: Tree, links: Sequence[int], original: Sequence[int], settings: Settings) -> None:
        """`links` and `original` are those of the merged layers: for each inode its number of names, and which inode's content it has."""
        size = settings.block_size
        if not SMALLEST_BLOCK <= size <= LARGEST_BLOCK or size & (size - 1):
            raise ValueError("the block size is a power of 2 from 4 KiB to 1 MiB")
        self._output = output
        self._base = output.tell()
        self._tree = tree
        self._links = links
        self._original = original
        self._settings = settings
        self._compress = settings.compression.compressor()
        self._packers = Packers(settings.compression, settings.threads)
        self._zeros = bytes(size)
        # Of inodes.
        count = len(tree.kind)
        self._data_start = array("Q", [0]) * count
        self._first_block = array("I", [0]) * count
        self._fragment = array("I", [NONE]) * count
        self._fragment_offset = array("I", [0]) * count
        self._holes: dict[int, int] = {}
        self._references = array("Q", [0]) * count
        self._numbers = array("I", [0]) * count
        # Of blocks, in the order of writing.
        self._block_sizes = array("I")
        self._blocks_begun = 0
        self._fragments = array("Q")
        self._tail = bytearray()
        self._fragments_begun = 0
        self._numbered = 0
        self._ids = Ids()
        output.write(bytes(_SUPERBLOCK.size))

    def __enter__(self) -> Self:
        self._packers.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._packers.__exit__(kind, error, trace)

    # Data.

    def add(self, inode: int, pieces: Iterable[bytes | memoryview]) -> None:
        """Write the content of a file, which is as long as the tree says."""
        if self._tree.size[inode] < self._settings.block_size:
            self._add_fragment(inode, b"".join(pieces))
        else:
            self._add_blocks(inode, pieces)

    def _add_fragment(self, inode: int, content: bytes) -> None:
        if len(self._tail) + len(content) > self._settings.block_size:
            self._end_fragment()
        self._fragment[inode] = self._fragments_begun
        self._fragment_offset[inode] = len(self._tail)
        self._tail += content

    def _end_fragment(self) -> None:
        if self._tail:
            self._fragments_begun += 1
            self._packers.submit(bytes(self._tail), self._write_fragment)
            self._tail.clear()

    def _write_fragment(self, packed: Packed | None) -> None:
        assert packed is not None, "only blocks of files are left out"
        self._fragments.append(self._output.tell() - self._base)
        self._fragments.append(self._write_packed(packed))

    def _add_blocks(self, inode: int, pieces: Iterable[bytes | memoryview]) -> None:
        self._first_block[inode] = self._blocks_begun
        size = self._settings.block_size
        block = bytearray()
        for piece in pieces:
            rest = memoryview(piece)
            while len(block) + len(rest) >= size:
                missing = size - len(block)
                self._add_block(inode, bytes(rest[:missing]) if not block else bytes(block + rest[:missing]))
                rest = rest[missing:]
                block.clear()
            block += rest
        if block:
            self._add_block(inode, bytes(block))

    def _add_block(self, inode: int, block: bytes) -> None:
        is_first = self._blocks_begun == self._first_block[inode]
        self._blocks_begun += 1
        is_hole = block == (self._zeros if len(block) == len(self._zeros) else self._zeros[: len(block)])
        if is_hole:
            self._holes[inode] = self._holes.get(inode, 0) + len(block)

        def write(packed: Packed | None) -> None:
            if is_first:
                self._data_start[inode] = self._output.tell() - self._base
            self._block_sizes.append(self._write_packed(packed) if packed else 0)

        self._packers.submit(None if is_hole else block, write)

    def _write_packed(self, packed: Packed) -> int:
        """Write a block of data; its size as inodes and the fragment table tell it."""
        self._output.write(packed.data)
        return len(packed.data) | (0 if packed.compressed else _UNCOMPRESSED_BLOCK)

    # Metadata.

    def finish(self) -> int:
        """Write everything but the data, and the superblock at the beginning; the size in bytes. `output` stands at the end then."""
        self._end_fragment()
        self._packers.finish()
        inode_table = self._position()
        directories = bytearray()
        inodes = MetadataStream(self._compress, self._output.write)
        listings = MetadataStream(self._compress, directories.extend)
        self._write_tree(inodes, listings)
        inodes.finish()
        listings.finish()
        directory_table = self._position()
        self._output.write(directories)
        fragment_table = self._write_fragments()
        export_table = write_lookup(self._output, self._base, self._compress, self._by_number())
        id_table = self._ids.write(self._output, self._base, self._compress)
        sets = self._tree.attribute_sets
        attribute_table = write_attributes(self._output, self._base, self._compress, sets) if sets else ABSENT
        used = self._position()
        self._output.write(bytes(-used % _PAGE))
        end = self._output.tell()
        self._output.seek(self._base)
        root = self._references[self._tree.inode[ROOT]]
        self._output.write(
            self._superblock(root, used, id_table, attribute_table, inode_table, directory_table, fragment_table, export_table)
        )
        self._output.seek(end)
        return end - self._base

    def _position(self) -> int:
        return self._output.tell() - self._base

    def _superblock(self, root: int, used: int, *tables: int) -> bytes:
        flags = _DUPLICATES | _EXPORTABLE | (0 if self._tree.attribute_sets else _NO_ATTRIBUTES)
        size = self._settings.block_size
        return _SUPERBLOCK.pack(
            _MAGIC,
            self._numbered,
            self._settings.made,
            size,
            len(self._fragments) // 2,
            self._settings.compression.number,
            size.bit_length() - 1,
            flags,
            len(self._ids),
            4,
            0,
            root,
            used,
            *tables,
        )

    def _write_fragments(self) -> int:
        if not self._fragments:
            return ABSENT
        pairs = zip(self._fragments[::2], self._fragments[1::2], strict=True)
        return write_lookup(self._output, self._base, self._compress, (struct.pack("<QII", start, size, 0) for start, size in pairs))

    def _by_number(self) -> Iterable[bytes]:
        """The export table: the reference of each inode, by its number."""
        ordered = array("Q", [0]) * self._numbered
        for inode, number in enumerate(self._numbers):
            if number:
                ordered[number - 1] = self._references[inode] & ~_WRITTEN
        return (struct.pack("<Q", reference) for reference in ordered)

    def _write_tree(self, inodes: MetadataStream, listings: MetadataStream) -> None:
        """Write every directory after those inside of it, because a listing tells where the inodes are.

        A directory's children are numbered together, so that a listing can tell most of them by a small difference.
        """
        self._number(self._tree.inode[ROOT])
        waiting = [_Directory(self._tree, ROOT)]
        self._number_children(waiting[-1])
        while waiting:
            directory = waiting[-1]
            child = next(directory.inner, None)
            if child is not None:
                waiting.append(_Directory(self._tree, child))
                self._number_children(waiting[-1])
            else:
                self._write_directory(waiting.pop(), inodes, listings)

    def _number(self, inode: int) -> None:
        if not self._numbers[inode]:
            self._numbered += 1
            self._numbers[inode] = self._numbered

    def _number_children(self, directory: _Directory) -> None:
        for entry in directory.children:
            self._number(self._tree.inode[entry])

    def _write_directory(self, directory: _Directory, inodes: MetadataStream, listings: MetadataStream) -> None:
        tree = self._tree
        for entry in directory.children:
            inode = tree.inode[entry]
            if not tree.is_directory(entry) and not self._references[inode]:
                self._references[inode] = inodes.reference | _WRITTEN
                inodes.append(self._inode(inode))
        listing = _Listing()
        for entry in directory.children:
            inode = tree.inode[entry]
            listing.add(tree.name(entry), _TYPES[Kind(tree.kind[inode])], self._numbers[inode], self._references[inode] & ~_WRITTEN)
        content = listing.finish()
        place = listings.reference
        blocks = listings.append_with_blocks(content, (offset for offset, _ in listing.index))
        inode = tree.inode[directory.entry]
        self._references[inode] = inodes.reference
        inodes.append(self._directory_inode(directory, len(content), place, listing, blocks))

    def _header(self, inode: int, kind: int) -> bytes:
        tree = self._tree
        user, group = self._ids.number(tree.user[inode]), self._ids.number(tree.group[inode])
        return struct.pack("<HHHHII", kind, tree.mode[inode], user, group, tree.time[inode], self._numbers[inode])

    def _directory_inode(self, directory: _Directory, size: int, place: int, listing: _Listing, blocks: Sequence[int]) -> bytes:
        """A directory. Its size counts three bytes more than its listing, for the two entries that are in none."""
        tree = self._tree
        inode = tree.inode[directory.entry]
        attributes = tree.attributes[inode]
        block, offset = place >> 16, place & 0xFFFF
        links = 2 + directory.directories
        parent = self._numbered + 1 if directory.entry == ROOT else self._numbers[tree.inode[tree.parent[directory.entry]]]
        if size + 3 < 1 << 16 and attributes == NONE and not listing.index:
            return self._header(inode, _DIRECTORY) + struct.pack("<IIHHI", block, links, size + 3, offset, parent)
        index = (struct.pack("<III", at, where, len(name) - 1) + name for (at, name), where in zip(listing.index, blocks, strict=True))
        fixed = struct.pack("<IIIIHHI", links, size + 3, block, parent, len(blocks), offset, attributes)
        return self._header(inode, _DIRECTORY + _EXTENDED) + fixed + b"".join(index)

    def _inode(self, inode: int) -> bytes:
        """Anything but a directory."""
        tree = self._tree
        kind, links, attributes = Kind(tree.kind[inode]), self._links[inode], tree.attributes[inode]
        if kind is Kind.FILE:
            return self._file_inode(inode, links, attributes)
        if kind is Kind.SYMLINK:
            rest = struct.pack("<II", links, tree.size[inode]) + tree.target(inode)
        elif kind is Kind.FIFO:
            rest = struct.pack("<I", links)
        else:
            rest = struct.pack("<II", links, tree.detail[inode])
        if attributes == NONE:
            return self._header(inode, _TYPES[kind]) + rest
        return self._header(inode, _TYPES[kind] + _EXTENDED) + rest + struct.pack("<I", attributes)

    def _file_inode(self, inode: int, links: int, attributes: int) -> bytes:
        """A file: where its content lies, which may be where that of another file lies."""
        size = self._tree.size[inode]
        origin = self._original[inode]
        fragment, offset = self._fragment[origin], self._fragment_offset[origin]
        start = self._data_start[origin]
        count = -(-size // self._settings.block_size) if fragment == NONE else 0
        first = self._first_block[origin]
        blocks = struct.pack(f"<{count}I", *self._block_sizes[first : first + count])
        holes = min(self._holes.get(origin, 0), max(size - 1, 0))
        if links == 1 and attributes == NONE and not holes and start < _SMALL and size < _SMALL:
            return self._header(inode, _FILE) + struct.pack("<IIII", start, fragment, offset, size) + blocks
        fixed = struct.pack("<QQQIIII", start, size, holes, links, fragment, offset, attributes)
        return self._header(inode, _FILE + _EXTENDED) + fixed + blocks


_WRITTEN: Final = 1 << 63  # In a reference: there is one, though it may be 0.


class _Directory:
    """A directory on the way down: its entries by name, as bytes, and those of them that are still to be gone into."""

    def __init__(self, tree: Tree, entry: int) -> None:
        self.entry = entry
        self.children = array("I", sorted(tree.children(entry), key=tree.name))
        inner = [child for child in self.children if tree.is_directory(child)]
        self.directories = len(inner)
        self.inner = iter(inner)


class _Listing:
    """The listing of a directory: runs of up to 256 entries whose inodes begin in the same block and have near numbers.

    `index` has an (offset, name) for about every 8 KiB of it, where a run begins: a search in a long directory need not read it whole.
    """

    def __init__(self) -> None:
        self.index: list[tuple[int, bytes]] = []
        self._content = bytearray()
        self._run = bytearray()
        self._count = 0
        self._block = 0
        self._number = 0
        self._indexed = 0

    def add(self, name: bytes, kind: int, number: int, reference: int) -> None:
        """The next entry by name."""
        block, offset = reference >> 16, reference & 0xFFFF
        end = len(self._content) + 12 + len(self._run) + 8 + len(name)
        is_far = end - self._indexed > METADATA
        if self._count and (self._count == _MOST_IN_RUN or block != self._block or not -32768 <= number - self._number <= 32767 or is_far):
            self._end_run()
            if is_far:
                self._indexed = len(self._content)
                self.index.append((self._indexed, name))
        if not self._count:
            self._block, self._number = block, number
        self._run += struct.pack("<HhHH", offset, number - self._number, kind, len(name) - 1) + name
        self._count += 1

    def finish(self) -> bytes:
        """The whole listing."""
        if self._count:
            self._end_run()
        return bytes(self._content)

    def _end_run(self) -> None:
        self._content += struct.pack("<III", self._count - 1, self._block, self._number) + self._run
        self._run.clear()
        self._count = 0
