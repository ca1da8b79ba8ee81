"""The one tree of files that the layers of an image make, held in a few flat arrays.

    entries   one for each name in a directory: its parent's entry, its name, its inode, and links among siblings
    inodes    one for each file, directory, link or device: several entries may have the same (hard links)
    names     every name and target of a symbolic link, one behind the other, in one bytearray
    slots     an open-addressing hash table from (parent, name) to entry

A million entries take about 110 MB so; as Python objects they would take ten times as much. Columns are public: the writer of the file
system walks them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

import msgspec

from roadstead.errors import ImageTooLarge, InvalidLayer
from roadstead.sif.limits import Limits
from roadstead.sif.tar import Kind

ROOT: Final = 0
"""The root directory's entry, and its inode as long as no layer describes the root."""
NONE: Final = 0xFFFFFFFF
"""No entry, no inode, no attributes."""
LATEST: Final = 0xFFFFFFFF
"""The last second that squashfs can tell (1970 plus 2^32 seconds). Later times are written as this one, earlier than 1970 as 0."""

_LONGEST_NAME: Final = 255  # Linux' NAME_MAX.
_LONGEST_TARGET: Final = 4095  # Linux' PATH_MAX, without the NUL.
_MOST_LINKS_FOLLOWED: Final = 40  # As Linux on the way to one file (path_resolution(7)).
_IMPLIED_MODE: Final = 0o755

Attributes = tuple[tuple[bytes, bytes], ...]


class Inode(msgspec.Struct, frozen=True):
    """What a layer says of one inode; `detail` is the number of a device."""

    kind: Kind
    mode: int
    user: int
    group: int
    time: int
    size: int = 0
    target: bytes = b""
    detail: int = 0
    attributes: Attributes = ()


class Tree:
    """The tree, which begins as a root directory. `made` (seconds since 1970) is the time of directories that no layer describes.

    Every change is made in the name of a layer, and layers come in order: `begin_layer` before the first change of each.
    """

    def __init__(self, limits: Limits, made: int) -> None:
        self._limits = limits
        self._made = made
        self._layer = 0
        self._cleared: set[int] = set()
        # Of entries.
        self.parent = array("I")
        self.inode = array("I")
        self.first_child = array("I")
        self.next_sibling = array("I")
        self._layer_of = array("H")
        self._name_at = array("I")
        self._name_size = array("H")
        # Of inodes.
        self.kind = array("B")
        self.mode = array("H")
        self.user = array("I")
        self.group = array("I")
        self.time = array("I")
        self.size = array("Q")
        self.detail = array("Q")
        """Of a device its number, of a symbolic link where its target begins among the names."""
        self.attributes = array("I")
        """Which of `attribute_sets`, or NONE."""
        self.attribute_sets: list[Attributes] = []
        self._attribute_numbers: dict[Attributes, int] = {}
        self._attribute_bytes = 0
        self._names = bytearray()
        self._slots = array("I", [NONE]) * 1024
        self._used = 0
        self._found = (b"", NONE)  # The directory looked for last, as the next is often the same.
        root = self.add_inode(Inode(Kind.DIRECTORY, _IMPLIED_MODE, 0, 0, made))
        self._append_entry(ROOT, b"", root)

    def begin_layer(self) -> None:
        """From now on, what is there already is of lower layers."""
        if self._layer == self._limits.layers:
            raise ImageTooLarge(f"The image has more than {self._limits.layers} layers.")
        self._layer += 1
        self._cleared.clear()

    # What is there.

    def name(self, entry: int) -> bytes:
        """The name of an entry within its directory."""
        start = self._name_at[entry]
        return bytes(self._names[start : start + self._name_size[entry]])

    def target(self, inode: int) -> bytes:
        """Where a symbolic link leads."""
        start = self.detail[inode]
        return bytes(self._names[start : start + self.size[inode]])

    def is_directory(self, entry: int) -> bool:
        """Whether the entry is a directory."""
        return self.kind[self.inode[entry]] == Kind.DIRECTORY

    def children(self, directory: int) -> Iterator[int]:
        """The entries of a directory that are still there, in no order."""
        entry = self.first_child[directory]
        while entry != NONE:
            if self.inode[entry] != NONE:
                yield entry
            entry = self.next_sibling[entry]

    def child(self, directory: int, name: bytes) -> int:
        """The entry of this name in the directory, or NONE."""
        entry = self._slots[self._slot(directory, name)]
        return entry if entry != NONE and self.inode[entry] != NONE else NONE

    def directory(self, path: bytes, *, make: bool) -> int:
        """The directory at `path`, symbolic links on the way followed within this tree, as extracting into it would.

        If `make`, what is missing is made, and what is no directory is replaced by one; NONE is answered otherwise.
        Raises InvalidLayer if links go in circles.
        """
        if path == self._found[0] and self._found[1] != NONE:
            return self._found[1]
        parts = parts_of(path)[::-1]
        entry, followed = ROOT, 0
        while parts:
            part = parts.pop()
            if part == b"..":
                entry = self.parent[entry]
                continue
            found = self.child(entry, part)
            if found != NONE and self.kind[self.inode[found]] == Kind.SYMLINK:
                followed += 1
                if followed > _MOST_LINKS_FOLLOWED:
                    raise InvalidLayer(f"The path {shown(path)} leads through symbolic links in a circle.")
                target = self.target(self.inode[found])
                entry = ROOT if target.startswith(b"/") else entry
                parts += [part for part in target.split(b"/") if part not in (b"", b".")][::-1]
            elif found != NONE and self.is_directory(found):
                entry = found
            elif make:
                entry = self.put(entry, part, self.add_inode(Inode(Kind.DIRECTORY, _IMPLIED_MODE, 0, 0, self._made)))
            else:
                return NONE
        self._found = (path, entry)
        return entry

    def links(self) -> array[int]:
        """For each inode the number of entries that lead to it from the root: 0 for those that are gone."""
        found = array("I", [0]) * len(self.kind)
        found[self.inode[ROOT]] = 1
        waiting = [ROOT]
        while waiting:
            for entry in self.children(waiting.pop()):
                found[self.inode[entry]] += 1
                if self.is_directory(entry):
                    waiting.append(entry)
        return found

    # What layers change.

    def add_inode(self, made: Inode) -> int:
        """A new inode, which has no entry yet. Raises InvalidLayer or ImageTooLarge if it cannot be had."""
        number = len(self.kind)
        if number > self._limits.entries:
            raise ImageTooLarge(f"The image has more than {self._limits.entries} entries.")
        size, detail = made.size, made.detail
        if made.kind is Kind.SYMLINK:
            if not 0 < len(made.target) <= _LONGEST_TARGET or b"\0" in made.target:
                raise InvalidLayer(f"A symbolic link leads to {len(made.target)} bytes: it takes 1 to {_LONGEST_TARGET}, without NUL.")
            size, detail = len(made.target), self._remember(made.target)
        self.kind.append(made.kind)
        self.mode.append(made.mode)
        self.user.append(made.user)
        self.group.append(made.group)
        self.time.append(min(max(made.time, 0), LATEST))
        self.size.append(size)
        self.detail.append(detail)
        self.attributes.append(self._attribute_set(made.attributes))
        return number

    def put(self, directory: int, name: bytes, inode: int) -> int:
        """Give an inode this name, in the present layer; the entry. A directory stays where there is one, anything else is replaced."""
        slot = self._slot(directory, name)
        entry = self._slots[slot]
        if entry != NONE and self.inode[entry] != NONE:
            self._found = (b"", NONE)
            if self.kind[inode] == Kind.DIRECTORY or not self.is_directory(entry):
                self.inode[entry] = inode
                self._touch(entry)
                return entry
            self.inode[entry] = NONE
        return self._insert(slot, directory, name, inode)

    def describe_root(self, inode: int) -> None:
        """The root is this directory."""
        self.inode[ROOT] = inode
        self._touch(ROOT)

    def hide(self, directory: int, name: bytes) -> None:
        """Take what lower layers have under this name away (image-spec v1.1, layer.md, "Whiteouts")."""
        entry = self.child(directory, name)
        if entry == NONE:
            return
        self._found = (b"", NONE)
        if self._layer_of[entry] != self._layer:
            self.inode[entry] = NONE
        elif self.is_directory(entry):
            self.hide_children(entry)

    def hide_children(self, directory: int) -> None:
        """Take everything that lower layers have below the directory away (image-spec v1.1, layer.md, "Opaque Whiteout").

        What the present layer put there stays, before or after this. A directory is gone through once a layer, however often it is asked.
        """
        self._found = (b"", NONE)
        waiting = [directory]
        while waiting:
            at = waiting.pop()
            if at in self._cleared:
                continue
            self._cleared.add(at)
            children = list(self.children(at))
            self.first_child[at] = NONE
            for entry in children:
                if self._layer_of[entry] != self._layer:
                    self.inode[entry] = NONE
                    continue
                self.next_sibling[entry], self.first_child[at] = self.first_child[at], entry
                if self.is_directory(entry):
                    waiting.append(entry)

    # The arrays.

    def _insert(self, slot: int, directory: int, name: bytes, inode: int) -> int:
        if len(name) > _LONGEST_NAME or b"\0" in name:
            raise InvalidLayer(f"The name {shown(name)} has {len(name)} bytes: it takes 1 to {_LONGEST_NAME}, without NUL.")
        if self._slots[slot] == NONE:
            self._used += 1
        entry = self._append_entry(directory, name, inode)
        self._slots[slot] = entry
        self.next_sibling[entry], self.first_child[directory] = self.first_child[directory], entry
        self._touch(entry)
        if self._used * 3 > len(self._slots) * 2:
            self._grow()
        return entry

    def _append_entry(self, directory: int, name: bytes, inode: int) -> int:
        entry = len(self.parent)
        if entry > self._limits.entries:
            raise ImageTooLarge(f"The image has more than {self._limits.entries} entries.")
        self.parent.append(directory)
        self.inode.append(inode)
        self.first_child.append(NONE)
        self.next_sibling.append(NONE)
        self._layer_of.append(0)
        self._name_at.append(self._remember(name))
        self._name_size.append(len(name))
        return entry

    def _touch(self, entry: int) -> None:
        """The entry and the directories above it are of the present layer."""
        while self._layer_of[entry] != self._layer:
            self._layer_of[entry] = self._layer
            entry = self.parent[entry]

    def _remember(self, text: bytes) -> int:
        start = len(self._names)
        if start + len(text) > self._limits.names:
            raise ImageTooLarge(f"The names in the image take more than {self._limits.names} bytes.")
        self._names += text
        return start

    def _attribute_set(self, attributes: Attributes) -> int:
        if not attributes:
            return NONE
        if (known := self._attribute_numbers.get(attributes)) is not None:
            return known
        self._attribute_bytes += sum(len(name) + len(value) for name, value in attributes)
        if self._attribute_bytes > self._limits.attributes:
            raise ImageTooLarge(f"The extended attributes in the image take more than {self._limits.attributes} bytes.")
        self.attribute_sets.append(attributes)
        return self._attribute_numbers.setdefault(attributes, len(self.attribute_sets) - 1)

    def _slot(self, directory: int, name: bytes) -> int:
        """Where the entry is found, or where it belongs. Python's hash is salted, so no layer can choose names that collide."""
        slots, mask = self._slots, len(self._slots) - 1
        at = hash((directory, name)) & mask
        while (entry := slots[at]) != NONE and not (self.parent[entry] == directory and self._is_named(entry, name)):
            at = (at + 1) & mask
        return at

    def _is_named(self, entry: int, name: bytes) -> bool:
        size = self._name_size[entry]
        start = self._name_at[entry]
        return size == len(name) and self._names[start : start + size] == name

    def _grow(self) -> None:
        old, self._slots = self._slots, array("I", [NONE]) * (2 * len(self._slots))
        for entry in old:
            if entry != NONE:
                self._slots[self._slot(self.parent[entry], self.name(entry))] = entry


def parts_of(path: bytes) -> list[bytes]:
    """The components of a path from the root, ``..`` resolved by the letter and never above the root."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return parts


def shown(path: bytes) -> str:
    """A path for a message: its end, quoted."""
    return repr(path[-100:])[1:]
