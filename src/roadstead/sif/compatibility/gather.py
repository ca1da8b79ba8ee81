"""The beginnings of a few files of an image, from a SIF's squashfs or from layers, symbolic links followed within the image.

A SIF is read where these files lie. Layers are merged as a conversion merges them, so that whiteouts and links count, and of their
content only what is wanted is kept. What is not there is left out, and of what is damaged in a SIF that file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

from roadstead.errors import RoadsteadError
from roadstead.sif.layers import Layer, merge
from roadstead.sif.limits import Limits
from roadstead.sif.squashfs_reader import Node, Squashfs
from roadstead.sif.tar import Kind
from roadstead.sif.tree import NONE, ROOT, Tree

_MOST_LINKS: Final = 40  # As Linux follows.
_MOST_ENTRIES: Final = 1 << 17  # Of a directory; larger ones are not searched to the end.
_DIRECTORIES: Final = 64

_Place = TypeVar("_Place", bound=Hashable)


def from_squashfs(root: Squashfs, wanted: Mapping[str, int]) -> dict[str, bytes]:
    """The first bytes (as many as `wanted` says) of the files at these paths."""
    files = _Searched(root)
    found: dict[str, bytes] = {}
    for path, most in wanted.items():
        try:
            node = follow(root.root, path, files.child, files.target)
            if node is not None and files.node(node).kind is Kind.FILE:
                found[path] = _first(root.content(files.node(node)), most)
        except RoadsteadError:
            continue
    return found


class _Searched:
    """A file system whose directories are read once, as far as they are kept."""

    def __init__(self, root: Squashfs) -> None:
        self._root = root
        self._listings: dict[int, dict[bytes, int]] = {}

    def node(self, reference: int) -> Node:
        return self._root.node(reference)

    def child(self, reference: int, name: bytes) -> int | None:
        return self._listing(reference).get(name)

    def target(self, reference: int) -> bytes | None:
        node = self.node(reference)
        return node.target if node.kind is Kind.SYMLINK else None

    def _listing(self, reference: int) -> dict[bytes, int]:
        if reference not in self._listings:
            node = self.node(reference)
            entries = self._root.listing(node) if node.kind is Kind.DIRECTORY else iter(())
            if len(self._listings) >= _DIRECTORIES:
                self._listings.clear()
            self._listings[reference] = {name: child for name, _, child in islice(entries, _MOST_ENTRIES)}
        return self._listings[reference]


def from_layers(layers: Sequence[Layer], wanted: Mapping[str, int], limits: Limits) -> dict[str, bytes]:
    """The same from an image's layers, the lowest first. Raises as `merge`, where a layer is damaged or a limit is passed."""
    merged = merge(layers, limits, 0)
    inodes = {path: inode for path in wanted if (inode := _inode(merged.tree, path)) != NONE}
    most: dict[int, int] = {}
    for path, inode in inodes.items():
        most[merged.original[inode]] = max(most.get(merged.original[inode], 0), wanted[path])
    contents = {inode: _first(pieces, most[inode]) for inode, pieces in merged.contents(most.keys())}
    return {path: contents.get(merged.original[inode], b"")[: wanted[path]] for path, inode in inodes.items()}


def _inode(tree: Tree, path: str) -> int:
    """The inode of a regular file, NONE where there is none."""

    def child(entry: int, name: bytes) -> int | None:
        found = tree.child(entry, name)
        return None if found == NONE else found

    def target(entry: int) -> bytes | None:
        inode = tree.inode[entry]
        return tree.target(inode) if tree.kind[inode] == Kind.SYMLINK else None

    entry = follow(ROOT, path, child, target)
    return tree.inode[entry] if entry is not None and tree.kind[tree.inode[entry]] == Kind.FILE else NONE


def follow(
    root: _Place, path: str, child: Callable[[_Place, bytes], _Place | None], target: Callable[[_Place], bytes | None]
) -> _Place | None:
    """What a path from the root leads to, links followed; None for nothing, and for links in a circle."""
    parts, above, links = _parts(path.encode()), [root], 0
    while parts:
        part = parts.pop()
        if part == b"..":
            above = above[:-1] or [root]
            continue
        found = child(above[-1], part)
        if found is None:
            return None
        linked = target(found)
        if linked is None:
            above.append(found)
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        above = [root] if linked.startswith(b"/") else above
        parts += _parts(linked)
    return above[-1]


def _parts(path: bytes) -> list[bytes]:
    """The components of a path, the last first."""
    return [part for part in path.split(b"/") if part not in (b"", b".")][::-1]


def _first(pieces: Iterable[bytes | memoryview], most: int) -> bytes:
    taken = bytearray()
    for piece in pieces:
        taken += piece[: most - len(taken)]
        if len(taken) >= most:
            break
    return bytes(taken)
