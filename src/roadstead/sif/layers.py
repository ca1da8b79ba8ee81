"""The layers of an image merged into one tree, and the content of its files, without unpacking anything.

Each layer is read twice as a stream. The first reading takes the headers and makes one tree of them: whiteouts, opaque directories and hard
links are resolved across layers (image-spec v1.1, layer.md, "Applying Changesets"). The second hands on the content of the files
that are still there, in the order in which it comes. Inflating twice is cheaper than writing a temporary copy and reading that.

Where the standard leaves it open, what happens is what happens when Apptainer unpacks the layers (with umoci, which follows symbolic links
inside the image's own root): so both conversions of one image have the same files.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from roadstead.errors import DigestMismatch, ImageTooLarge, InvalidLayer
from roadstead.oci.digest import Digest
from roadstead.sif.limits import Limits
from roadstead.sif.streams import Stream, ahead, inflated
from roadstead.sif.tar import Archive, Found, Kind, Member, content_again
from roadstead.sif.tree import NONE, Attributes, Inode, Tree, parts_of, shown

WHITEOUT: Final = b".wh."
"""Before a name that lower layers have and this image has not."""
OPAQUE: Final = b".wh..wh..opq"
"""In a directory of which lower layers' content is not part of this image."""
_AUFS: Final = b".wh..wh."  # Before names that AUFS keeps for itself, the opaque marker aside.
_LONGEST_PATH: Final = 4096  # Linux' PATH_MAX.
_DIGEST_SIZE: Final = 32
_NAMESPACES: Final = (b"user.", b"trusted.", b"security.")
_LONGEST_ATTRIBUTE_NAME: Final = 255  # Linux' XATTR_NAME_MAX.
_LONGEST_ATTRIBUTE: Final = 65536  # Linux' XATTR_SIZE_MAX.
_LARGEST_DEVICE: Final = (0xFFF, 0xFFFFF)  # Linux' device numbers.


class Layer(msgspec.Struct, frozen=True):
    """One layer: `open` gives the bytes that are stored, from the first, each time it is called.

    `diff_id` is the digest of the uncompressed content, which the image's configuration states; it is compared where given.
    """

    open: Callable[[], Iterable[bytes]]
    diff_id: Digest | None = None


class Merged:
    """An image's files. `tree` is all there is; `original` gives for each inode the first one with the same content, often itself."""

    def __init__(self, layers: Sequence[Layer], limits: Limits, tree: Tree, files: Sequence[_Files], digests: bytearray) -> None:
        self.tree = tree
        self.links = tree.links()
        """For each inode how many names it has; 0 if it is gone."""
        self._layers = layers
        self._limits = limits
        self._files = files
        self.original = self._originals(digests)

    def contents(self, only: Collection[int] | None = None) -> Iterator[tuple[int, Iterator[memoryview]]]:
        """The second reading: each content that is needed, as (inode, pieces), which has to be consumed before the next is asked for.

        Of files with the same content only the first comes, empty ones do not come, and of the others `only` these, where that is given.
        Raises as `merge` does.
        """
        for layer, files in zip(self._layers, self._files, strict=True):
            wanted = [number for number, inode in enumerate(files.inodes) if self._is_wanted(inode) and (only is None or inode in only)]
            if wanted:
                yield from self._contents_of(layer, files, wanted)

    def _contents_of(self, layer: Layer, files: _Files, wanted: Sequence[int]) -> Iterator[tuple[int, Iterator[memoryview]]]:
        with ahead(inflated(layer.open(), self._limits)) as pieces:
            stream = Stream(pieces)
            for number in wanted:
                inode = files.inodes[number]
                yield inode, content_again(stream, files.found(number, self.tree.size[inode]))

    def _is_wanted(self, inode: int) -> bool:
        return inode != NONE and self.links[inode] > 0 and self.tree.size[inode] > 0 and self.original[inode] == inode

    def _originals(self, digests: bytearray) -> array[int]:
        """By the files' SHA-256, in the order of reading. All zeros stand for a file that is its own original whatever it holds."""
        original = array("I", range(len(self.links)))
        inodes = array("I")
        for files in self._files:
            inodes.extend(files.inodes)
        is_there = (n for n, inode in enumerate(inodes) if inode != NONE and self.links[inode] and any(_nth(digests, n)))
        for member, first in _first_of_each(digests, is_there):
            original[inodes[member]] = inodes[first]
        return original


class _Files:
    """The regular files of one layer in the order in which they stand there: the inode of each, and where it was found."""

    def __init__(self) -> None:
        self.inodes = array("I")
        self._at = array("Q")
        self._stamps = array("I")
        self._sparse: dict[int, Found] = {}

    def append(self, inode: int, found: Found) -> None:
        """Add the next one."""
        if found.skipped or found.extents is not None:
            self._sparse[len(self.inodes)] = found
        self.inodes.append(inode)
        self._at.append(found.at)
        self._stamps.append(found.stamp)

    def found(self, number: int, size: int) -> Found:
        """Where the file of this number and size (bytes) was found."""
        return self._sparse.get(number) or Found(self._at[number], self._stamps[number], size)


def merge(layers: Sequence[Layer], limits: Limits, made: int, last: Callable[[Tree], Layer] | None = None) -> Merged:
    """The first reading of all layers, the lowest first. `made` (seconds since 1970) is the time of directories that no layer describes.

    `last` makes one more layer, which is ours, of what the image's layers made.

    Raises InvalidLayer with the layer's number and what is wrong with it, DigestMismatch if its content is not that of its `diff_id`,
    ImageTooLarge with the limit that is passed.
    """
    merger = _Merger(Tree(limits, made), limits)
    for number, layer in enumerate(layers, 1):
        try:
            merger.read(layer)
        except InvalidLayer as reason:
            raise InvalidLayer(f"Layer {number} of {len(layers)}: {reason.message}") from reason
    if last is not None:
        layers = [*layers, last(merger.tree)]
        merger.read(layers[-1])
    return Merged(layers, limits, merger.tree, merger.files, merger.digests)


class _Merger:
    def __init__(self, tree: Tree, limits: Limits) -> None:
        self.tree = tree
        self.files: list[_Files] = []
        self.digests = bytearray()
        self._limits = limits
        self._unpacked = 0

    def read(self, layer: Layer) -> None:
        self.tree.begin_layer()
        self.files.append(_Files())
        with ahead(_verified(inflated(layer.open(), self._limits), layer.diff_id)) as pieces:
            stream = Stream(pieces)
            archive = Archive(stream)
            for member in archive:
                inode = self._apply(member)
                if member.kind is Kind.FILE:
                    self.files[-1].append(inode, archive.found())
                    self.digests += self._digest(member, archive) if inode != NONE else bytes(_DIGEST_SIZE)
            stream.drain()

    def _digest(self, member: Member, archive: Archive) -> bytes:
        """The SHA-256 of a file's content; zeros for one that has holes, because those may be larger than anyone wants to hash."""
        self._unpacked += member.size
        if self._unpacked > self._limits.unpacked:
            raise ImageTooLarge(f"The image unpacks to more than {self._limits.unpacked} bytes.")
        if member.extents is not None or not member.size:
            return bytes(_DIGEST_SIZE)
        digest = hashlib.sha256()
        for piece in archive.content():
            digest.update(piece)
        return digest.digest()

    def _apply(self, member: Member) -> int:
        """Do to the tree what the member says; the inode that it made, or NONE."""
        if len(member.name) > _LONGEST_PATH:
            raise InvalidLayer(f"The path {shown(member.name)} has {len(member.name)} bytes; at most {_LONGEST_PATH} are possible.")
        *above, name = parts_of(member.name) or [b""]
        directory = b"/".join(above)
        if not name:
            return self._describe_root(member)
        if name == OPAQUE or not any(part.startswith(_AUFS) for part in (*above, name)):
            if name.startswith(WHITEOUT):
                self._hide(directory, name)
            else:
                return self._put(directory, name, member)
        return NONE

    def _describe_root(self, member: Member) -> int:
        if member.kind is not Kind.DIRECTORY:
            raise InvalidLayer("The root would be something else than a directory.")
        inode = self.tree.add_inode(_inode(member))
        self.tree.describe_root(inode)
        return inode

    def _hide(self, directory: bytes, name: bytes) -> None:
        hidden = name.removeprefix(WHITEOUT)
        if name != OPAQUE and hidden in (b"", b".", b".."):
            raise InvalidLayer(f"The whiteout {shown(directory + b'/' + name)} names nothing that can be hidden.")
        found = self.tree.directory(directory, make=False)
        if found == NONE:
            return
        if name == OPAQUE:
            self.tree.hide_children(found)
        else:
            self.tree.hide(found, hidden)

    def _put(self, directory: bytes, name: bytes, member: Member) -> int:
        parent = self.tree.directory(directory, make=True)
        inode = self._linked(member) if member.kind is Kind.LINK else self.tree.add_inode(_inode(member))
        self.tree.put(parent, name, inode)
        return inode

    def _linked(self, member: Member) -> int:
        """The inode that a hard link leads to, which must be there by now."""
        *above, name = parts_of(member.target) or [b""]
        parent = self.tree.directory(b"/".join(above), make=False)
        entry = self.tree.child(parent, name) if parent != NONE else NONE
        if entry == NONE:
            raise InvalidLayer(f"The hard link {shown(member.name)} leads to {shown(member.target)}, which is not there.")
        if self.tree.is_directory(entry):
            raise InvalidLayer(f"The hard link {shown(member.name)} leads to {shown(member.target)}, which is a directory.")
        return self.tree.inode[entry]


def _inode(member: Member) -> Inode:
    return Inode(
        kind=member.kind,
        mode=0o777 if member.kind is Kind.SYMLINK else member.mode,  # As every Linux file system shows it.
        user=member.user,
        group=member.group,
        time=member.time,
        size=member.size if member.kind is Kind.FILE else 0,
        target=member.target,
        detail=_device(member),
        attributes=_attributes(member),
    )


def _device(member: Member) -> int:
    """The number of a device as Linux writes it into file systems (`new_encode_dev` of its `kdev_t.h`)."""
    major, minor = member.device
    if not 0 <= major <= _LARGEST_DEVICE[0] or not 0 <= minor <= _LARGEST_DEVICE[1]:
        raise InvalidLayer(f"The device {shown(member.name)} has the number {major}:{minor}, which Linux has not.")
    return (major << 8) | (minor & 0xFF) | ((minor & ~0xFF) << 12)


def _attributes(member: Member) -> Attributes:
    """The extended attributes that can be kept: squashfs has three namespaces, and a label of SELinux belongs to the machine.

    Linux shows attributes of users on files and directories only (xattr(7)).
    """
    may_have_users = member.kind in (Kind.FILE, Kind.DIRECTORY)
    kept = tuple(
        (name, value)
        for name, value in member.attributes
        if name.startswith(_NAMESPACES) and name != b"security.selinux" and (may_have_users or not name.startswith(b"user."))
    )
    for name, value in kept:
        if len(name) > _LONGEST_ATTRIBUTE_NAME or len(value) > _LONGEST_ATTRIBUTE or b"\0" in name:
            raise InvalidLayer(f"The extended attribute {shown(name)} of {shown(member.name)} is longer than Linux allows.")
    return kept


def _verified(pieces: Iterator[bytes], diff_id: Digest | None) -> Iterator[bytes]:
    """The same pieces. Raises DigestMismatch at the end if they do not have this digest."""
    if diff_id is None:
        yield from pieces
        return
    running = hashlib.new(diff_id.algorithm, usedforsecurity=False)
    for piece in pieces:
        running.update(piece)
        yield piece
    if running.hexdigest() != diff_id.encoded:
        raise DigestMismatch(f"The layer's content is not {diff_id}, which the image's configuration states.")


def _nth(digests: bytearray, number: int) -> bytearray:
    return digests[_DIGEST_SIZE * number : _DIGEST_SIZE * (number + 1)]


def _first_of_each(digests: bytearray, members: Iterable[int]) -> Iterator[tuple[int, int]]:
    """For each member itself and the first one, it or another before it, that has the same digest. Takes at most 12 bytes a member."""
    size = 1 << (len(digests) // _DIGEST_SIZE * 3 // 2 + 2).bit_length()
    slots, mask = array("I", [NONE]) * size, size - 1
    for member in members:
        digest = _nth(digests, member)
        at = hash(bytes(digest)) & mask
        while (found := slots[at]) != NONE and _nth(digests, found) != digest:
            at = (at + 1) & mask
        if found == NONE:
            slots[at] = found = member
        yield member, found
