"""Everything that a squashfs holds, as members of an archive: in flat arrays, because there may be a million.

Files come in the order in which their content lies in the file system, so that reading them is reading it once from its beginning to its
end; whatever they are found in comes before them, and what is only another name of something comes last.

Memory: 32 bytes and the name for each entry, 4 bytes for each inode, and while the files are sorted 80 bytes for each of them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NoReturn

from roadstead.errors import ImageTooLarge, InvalidSif, NotConvertible
from roadstead.sif.layers import WHITEOUT
from roadstead.sif.limits import Limits
from roadstead.sif.squashfs_reader import Node, Squashfs
from roadstead.sif.tar import Kind, Member
from roadstead.sif.tree import shown

ROOT: Final = 0
_LONGEST_PATH: Final = 4096  # Linux' PATH_MAX.


class Entries:
    """The entries of a file system, the root first and every other one behind its directory. Sockets are left out, as in any archive."""

    def __init__(self, within: Squashfs, limits: Limits) -> None:
        """Find them all. Raises InvalidSif, NotConvertible for a name that hides others in a layer, ImageTooLarge with the limit."""
        self._within = within
        self._limits = limits
        self._parent = array("I")
        self._name_at = array("I")
        self._name_size = array("H")
        self._path_size = array("H")
        self._reference = array("Q")
        self._kind = array("B")
        self._where = array("Q")
        """Of a file where its content lies, of another name which entry it is another name of."""
        self._names = bytearray()
        self._entry_of = array("I", [0]) * (within.inodes + 1)
        """For each inode, by number, the first entry that is it, plus one."""
        self.unpacked = 0
        """Bytes that the files have together."""
        self._walk()

    # Finding.

    def _walk(self) -> None:
        root = self._within.node(self._within.root)
        if root.kind is not Kind.DIRECTORY:
            _refuse("its root is no directory")
        self._add(ROOT, b"", self._within.root, root)
        waiting = [ROOT]
        while waiting:
            directory = waiting.pop()
            for name, kind, reference in self._within.listing(self._within.node(self._reference[directory])):
                node = self._within.node(reference)
                if node.kind is not kind:
                    _refuse(f"{shown(name)} is something else than its directory says")
                if node.kind is not None:
                    self._add(directory, name, reference, node)
                    if kind is Kind.DIRECTORY:
                        waiting.append(len(self._parent) - 1)

    def _add(self, directory: int, name: bytes, reference: int, node: Node) -> None:
        assert node.kind is not None, "sockets are left out"
        entry = len(self._parent)
        self._require_possible(entry, directory, name)
        kind, where = node.kind, 0
        first = self._entry_of[node.number]
        if first and self._reference[first - 1] == reference:
            if kind is Kind.DIRECTORY:
                _refuse(f"the directory {shown(name)} is found in two places")
            kind, where = Kind.LINK, first - 1
        elif not first:
            self._entry_of[node.number] = entry + 1
        if kind is Kind.FILE:
            where = self._within.where(node)
            self._count(node.size)
        elif kind is Kind.DIRECTORY and first:
            _refuse(f"two directories have the number {node.number}")
        self._parent.append(directory)
        self._name_at.append(len(self._names))
        self._name_size.append(len(name))
        self._reference.append(reference)
        self._kind.append(kind)
        self._where.append(where)
        self._names += name

    def _require_possible(self, entry: int, directory: int, name: bytes) -> None:
        if entry > self._limits.entries:
            raise ImageTooLarge(f"The image has more than {self._limits.entries} entries.")
        if len(self._names) + len(name) > self._limits.names:
            raise ImageTooLarge(f"The names in the image take more than {self._limits.names} bytes.")
        if name.startswith(WHITEOUT):
            raise NotConvertible(f"The image has a file {shown(name)}, and in a layer such a name hides another file.")
        size = self._path_size[directory] + 1 + len(name) if entry else 0
        if size > _LONGEST_PATH:
            _refuse(f"a path has more than {_LONGEST_PATH} bytes")
        self._path_size.append(size)

    def _count(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self._limits.unpacked:
            raise ImageTooLarge(f"The image unpacks to more than {self._limits.unpacked} bytes.")
        if self.unpacked > self._limits.ratio_from and self.unpacked > self._limits.ratio * self._within.size:
            raise ImageTooLarge(f"The image unpacks to more than {self._limits.ratio} times its size.")

    # Telling.

    def members(self) -> Iterator[tuple[Member, Iterator[bytes | memoryview]]]:
        """Each entry once with its content, which is empty for what is no file."""
        for entry, kind in enumerate(self._kind):
            if kind not in (Kind.FILE, Kind.LINK):
                yield self._member(entry), iter(())
        for entry in self._files():
            node = self._within.node(self._reference[entry])
            yield self._member(entry, node), self._within.content(node)
        for entry, kind in enumerate(self._kind):
            if kind == Kind.LINK:
                yield self._member(entry), iter(())

    def _files(self) -> array[int]:
        files = array("I", (entry for entry, kind in enumerate(self._kind) if kind == Kind.FILE))
        return array("I", sorted(files, key=self._where.__getitem__))

    def _member(self, entry: int, known: Node | None = None) -> Member:
        node = known or self._within.node(self._reference[entry])
        kind, path = Kind(self._kind[entry]), self._path(entry)
        is_link = kind is Kind.LINK
        return Member(
            name=path + b"/" if kind is Kind.DIRECTORY else path,
            kind=kind,
            mode=node.mode,
            user=node.user,
            group=node.group,
            time=node.time,
            size=node.size if kind is Kind.FILE else 0,
            target=self._path(self._where[entry]) if is_link else node.target,
            device=_device(node.device),
            attributes=() if is_link else self._attributes(node),
        )

    def _attributes(self, node: Node) -> tuple[tuple[bytes, bytes], ...]:
        """Without the label of SELinux, which belongs to the machine."""
        return tuple((name, value) for name, value in self._within.attributes(node) if name != b"security.selinux")

    def _path(self, entry: int) -> bytes:
        parts = [] if entry else [b"."]
        while entry != ROOT:
            start = self._name_at[entry]
            parts.append(bytes(self._names[start : start + self._name_size[entry]]))
            entry = self._parent[entry]
        return b"/".join(parts[::-1])


def _device(number: int) -> tuple[int, int]:
    """Major and minor of a device as Linux writes it into file systems (`new_decode_dev` of its `kdev_t.h`)."""
    return (number >> 8) & 0xFFF, (number & 0xFF) | (number >> 12) & 0xFFF00


def _refuse(reason: str) -> NoReturn:
    raise InvalidSif(f"The squashfs is damaged: {reason}.")
