"""A SIF to an OCI image of one layer: the same SIF, settings and converter make the same bytes, on any machine, with any number of threads.

The layer is written as it is read, a tar archive cut into members of a gzip file (RFC 1952, 2.2) that are compressed by themselves,
several at a time. All that read gzip read such a file as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from types import TracebackType
from typing import BinaryIO, Final, Self

import deflate
import msgspec

from roadstead.errors import ImageTooLarge, InvalidSif, NotConvertible
from roadstead.oci.digest import Digest
from roadstead.sif import format as sif_format
from roadstead.sif import recovered
from roadstead.sif.archive import END, header
from roadstead.sif.compression import Ordered
from roadstead.sif.entries import Entries
from roadstead.sif.format import DataType, FileSystem, Partition, ReadAt, Sif
from roadstead.sif.limits import Limits
from roadstead.sif.recovered import Said
from roadstead.sif.squashfs_reader import Squashfs
from roadstead.sif.tar import BLOCK, Kind

CONVERTER: Final = "1"
"""The converter's version. It changes with everything that changes a byte of what is made; golden sums in the tests tell when."""
MEMBER: Final = 1 << 20
"""Bytes of the archive that are compressed together."""
_LARGEST_TOLD: Final = 128 << 10  # Bytes of a file or object that says how the image is run.
_LARGEST_CONFIGURATION: Final = 512 << 10
_CONFIGURATION: Final = "oci-config.json"


class Layering(msgspec.Struct, frozen=True):
    """How a SIF is converted. `level` is libdeflate's, 1 to 12."""

    level: int = 6
    threads: int = 1
    limits: Limits = Limits()

    def identity(self, source: Digest) -> str:
        """What decides the bytes: conversions of one identity are the same image. `source` is the digest of the SIF's manifest."""
        return f"roadstead-oci {CONVERTER} {source} gzip {self.level} {library()} {MEMBER}"


def library() -> str:
    """The library that decides the bytes, with its version."""
    return f"deflate {version('deflate')}"


class Image(msgspec.Struct, frozen=True):
    """What was made: the image's configuration, and its layer's `size` in bytes and digest when uncompressed."""

    configuration: bytes
    size: int
    diff_id: Digest


def to_oci(read_at: ReadAt, size: int, output: BinaryIO, how: Layering) -> Image:
    """Write the layer of the image that a SIF of `size` bytes holds to `output`, a file that is empty.

    Raises InvalidSif with what is wrong with it, NotConvertible if it is sound but holds nothing that could be an image, and ImageTooLarge
    with the limit that it passes.
    """
    sif = sif_format.read(read_at, size)
    root = open_root(sif, read_at, how.limits)
    said = _said(sif, root, read_at)
    with _Layer(output, how) as layer:
        for member, content in Entries(root, how.limits).members():
            layer.write(header(member))
            for piece in content:
                layer.write(piece)
            layer.write(bytes(-member.size % BLOCK))
        diff_id = layer.finish()
    configuration = recovered.configuration(said, diff_id, f"roadstead {CONVERTER}: made of the SIF {sif.identity}")
    if len(configuration) > _LARGEST_CONFIGURATION:
        raise NotConvertible(
            f"The labels and variables of the SIF take {len(configuration)} bytes; at most {_LARGEST_CONFIGURATION} can be told."
        )
    return Image(configuration, output.tell(), diff_id)


def open_root(sif: Sif, read_at: ReadAt, limits: Limits) -> Squashfs:
    """The file system that is the root. Raises NotConvertible where there is none that is read."""
    primary = sif.primary
    if primary is None or not isinstance(primary.object.detail, Partition):
        raise NotConvertible("The SIF holds no system that could be run: it has no primary partition.")
    kind = primary.object.detail.file_system
    if sif.encrypted:
        raise NotConvertible("The SIF is encrypted: without its key nobody can read what it holds, so it cannot be given as another image.")
    if kind != FileSystem.SQUASHFS:
        name = kind.name.lower() if isinstance(kind, FileSystem) else f"file system {kind}"
        raise NotConvertible(f"The SIF holds its files as {name}; only squashfs is read. Build it again with a newer Apptainer.")
    start = primary.offset
    return Squashfs(lambda offset, length: read_at(start + offset, length), primary.size, limits)


def _said(sif: Sif, root: Squashfs, read_at: ReadAt) -> Said:
    """What the SIF says of running it, from objects beside the root and from files in it."""
    environment = _scripts(root)
    paths = (recovered.RUN_SCRIPT, recovered.LABELS, recovered.ACTION, *(f"{recovered.ENVIRONMENT}/{name}" for name in environment))
    files = {path: text for path in paths if (text := _text(root, path)) is not None}
    carried = (found for found in sif.of_type(DataType.GENERIC_JSON) if found.object.name == _CONFIGURATION)
    source = next((sif_format.content(read_at, found, _LARGEST_TOLD) for found in carried), b"")
    return Said(_architecture(sif), min(max(sif.created, 0), 0xFFFFFFFF), files, environment, source)


def _architecture(sif: Sif) -> str:
    details = [sif.primary.object.detail] if sif.primary is not None else []
    told = [detail.architecture for detail in details if isinstance(detail, Partition)] + [sif.architecture]
    found = next((name for name in told if name != "unknown"), None)
    if found is None:
        raise NotConvertible("The SIF does not say which architecture it is for.")
    return found


def _scripts(root: Squashfs) -> tuple[str, ...]:
    """The names of the scripts that set the environment, in the order in which the shell finds them."""
    directory = root.find(recovered.ENVIRONMENT)
    if directory is None or directory.kind is not Kind.DIRECTORY:
        return ()
    names = [name for name, kind, _ in root.listing(directory) if kind is Kind.FILE and name.endswith(b".sh")][:100]
    return tuple(name.decode() for name in names if name.isascii())


def _text(root: Squashfs, path: str) -> str | None:
    """The text of a small file; None if there is none."""
    node = root.find(path)
    if node is None or node.kind is not Kind.FILE:
        return None
    if node.size > _LARGEST_TOLD:
        raise InvalidSif(f"The file /{path} in the SIF has {node.size} bytes; at most {_LARGEST_TOLD} are read.")
    return b"".join(root.content(node)).decode("utf-8", "replace")


class _Layer:
    """An archive that is compressed and hashed as it grows."""

    def __init__(self, output: BinaryIO, how: Layering) -> None:
        self._output = output
        self._limits = how.limits
        self._digest = hashlib.sha256()
        self._block = bytearray()
        self._written = 0
        self._members = Ordered(lambda block: deflate.gzip_compress(block, how.level), how.threads)
        self._hashing = Ordered(self._digest.update, 1)

    def write(self, piece: bytes | memoryview) -> None:
        """Add to the archive. Raises ImageTooLarge if it grows more than an image may."""
        self._block += piece
        while len(self._block) >= MEMBER:
            self._end_member(bytes(self._block[:MEMBER]))
            del self._block[:MEMBER]

    def finish(self) -> Digest:
        """End the archive; its digest."""
        self.write(END)
        self._end_member(bytes(self._block))
        self._members.finish()
        self._hashing.finish()
        return Digest.parse(f"sha256:{self._digest.hexdigest()}")

    def _end_member(self, block: bytes) -> None:
        self._written += len(block)
        if self._written > self._limits.unpacked:
            raise ImageTooLarge(f"The image unpacks to more than {self._limits.unpacked} bytes.")
        if block:
            self._hashing.submit(block, lambda _: None)
            self._members.submit(block, self._write_member)

    def _write_member(self, member: Iterable[int] | None) -> None:
        assert isinstance(member, bytearray), "no member is left out"
        self._output.write(member)

    def __enter__(self) -> Self:
        self._members.__enter__()
        self._hashing.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._members.__exit__(kind, error, trace)
        self._hashing.__exit__(kind, error, trace)
