"""Layers for tests: tar archives of members that are written down in one line each."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping

from roadstead.sif.layers import Layer, Merged, merge
from roadstead.sif.limits import Limits

MADE = 1_600_000_000
"""The time of what no layer describes."""


def entry(
    name: str | bytes,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    owner: tuple[int, int] = (0, 0),
    time: float = 1_500_000_000,
    target: str | bytes = "",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, bytes] | None = None,
    pax: Mapping[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One member. Bytes that are no UTF-8 go through Python's surrogates."""
    info = tarfile.TarInfo(text(name))
    info.type, info.mode, info.mtime, info.size = kind, mode, time, len(content)
    info.uid, info.gid = owner
    info.linkname = text(target)
    info.devmajor, info.devminor = device
    attributes = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in (xattrs or {}).items()}
    info.pax_headers = {**attributes, **(pax or {})}
    return info, content


def text(name: str | bytes) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


def folder(name: str | bytes, mode: int = 0o755, **more: object) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.DIRTYPE, mode=mode, **more)  # type: ignore[arg-type]


def symlink(name: str | bytes, target: str | bytes, **more: object) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.SYMTYPE, mode=0o777, target=target, **more)  # type: ignore[arg-type]


def hard_link(name: str | bytes, target: str | bytes) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.LNKTYPE, target=target)


def archive(members: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """The members as an uncompressed archive, PAX or GNU."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form, errors="surrogateescape", encoding="utf-8") as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return output.getvalue()


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> Layer:
    """A plain layer of these members."""
    return stored(archive(members))


def stored(data: bytes, chunk: int = 1000) -> Layer:
    """A layer of these bytes, which come in chunks."""
    return Layer(lambda: (data[offset : offset + chunk] for offset in range(0, len(data), chunk)))


def merged(*layers: Layer, limits: Limits | None = None) -> Merged:
    return merge(layers, limits or Limits(), MADE)


def paths(found: Merged) -> dict[str, int]:
    """Path → inode of everything that is there, the root aside."""
    tree, result = found.tree, dict[str, int]()
    waiting = [(0, "")]
    while waiting:
        directory, before = waiting.pop()
        for child in tree.children(directory):
            path = before + tree.name(child).decode("utf-8", "surrogateescape")
            result[path] = tree.inode[child]
            if tree.is_directory(child):
                waiting.append((child, path + "/"))
    return result


def contents(found: Merged) -> dict[str, bytes]:
    """Path → content of each regular file, as the second reading gives it."""
    read = {inode: b"".join(pieces) for inode, pieces in found.contents()}
    tree = found.tree
    return {path: read.get(found.original[inode], b"") for path, inode in paths(found).items() if tree.kind[inode] == 0}
