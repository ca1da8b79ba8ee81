"""What a SIF says of itself: read from its header, its table and a few small objects, never from the files inside.

It is told to people and believed by nobody: whoever may push can write any labels, and that there is a signature does not say that it
holds. What is damaged is found out here, as far as that can be seen without reading the whole.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from roadstead.errors import InvalidSif
from roadstead.sif import format as sif_format
from roadstead.sif.format import DataType, Descriptor, FileSystem, Partition, PartitionType, Sif, Signature

READ_AHEAD: Final = 64 * 1024
"""The first bytes (64 KiB) are read at once: a file as it is usually made has header, table, definition and labels there."""

VERSION: Final = 1
"""Of what is kept: what an earlier program has read is read anew when the file is pushed again."""

TEXT_LIMIT: Final = 64 * 1024
"""The longest definition file, and the longest labels together, that are kept (bytes)."""

_OBJECT_LIMIT: Final = 1024 * 1024
_SHOWN: Final = 64
_LATEST: Final = 253402300800  # The year 10000.
_SUPERBLOCK: Final = struct.Struct("<4sIIIIHHHHHHQQ")  # Magic …, compression at index 5 …, bytes used last (squashfs_fs.h).
_COMPRESSIONS: Final = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_INSPECTION: Final = "inspect-metadata.json"

_T = TypeVar("_T")


class PartitionFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A partition: what it is formatted as and for, and `size` in bytes. `compression` is that of a squashfs."""

    file_system: str
    use: str
    architecture: str
    size: int
    compression: str | None = None


class SignatureFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """A signature that is there, whether it holds or not: its hash and the fingerprint of its OpenPGP key, if it is one, in hexadecimal.

    The rest comes from `sif.signatures`: its form ("pgp", "dsse"), the group of objects that it is about, what does not fit the bytes, and,
    where everything does, the signed message, to be judged by who has the keys; `primary` says that the root file system is in the group.
    """

    hash: str
    fingerprint: str | None = None
    kind: str | None = None
    group: int | None = None
    fault: str | None = None
    message: str | None = None
    primary: bool = False


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a SIF. `size` in bytes; `left_out` names what was too long, or too much, to be kept.

    Of a damaged one only `size` and `damaged`, the reason. `version` is VERSION of what is kept by this program.
    """

    size: int
    damaged: str | None = None
    architecture: str | None = None
    created: datetime | None = None
    identity: str | None = None
    launch_script: str | None = None
    encrypted: bool = False
    partitions: tuple[PartitionFacts, ...] = ()
    definition: str | None = None
    labels: dict[str, str] = {}
    signatures: tuple[SignatureFacts, ...] = ()
    left_out: tuple[str, ...] = ()
    version: int = 0


class _Attributes(msgspec.Struct, frozen=True):
    labels: dict[str, Any] | None = None


class _Data(msgspec.Struct, frozen=True):
    attributes: _Attributes = _Attributes()


class _Inspection(msgspec.Struct, frozen=True):
    """What Apptainer writes for `inspect`, as far as it is read here."""

    data: _Data = _Data()


Read = Callable[[int, int], Awaitable[bytes]]
"""`read(offset, length)` answers exactly `length` bytes of the file, which the caller knows to be there."""


class _Absent(Exception):
    """No error: it asks for bytes."""

    def __init__(self, offset: int, length: int) -> None:
        self.offset = offset
        self.length = length


class _Beginning:
    """Reads a file, and keeps its first bytes."""

    def __init__(self, read: Read, first: bytes) -> None:
        self._read = read
        self._first = first

    async def read(self, offset: int, length: int) -> bytes:
        """From memory where it can be."""
        known = self._first[offset : offset + length]
        return known if len(known) == length else await self._read(offset, length)

    def now(self, offset: int, length: int) -> bytes:
        """From memory. Raises _Absent for what is not there."""
        known = self._first[offset : offset + length]
        if len(known) < length:
            raise _Absent(offset, length)
        return known


async def read_facts(read: Read, size: int) -> Facts:
    """The facts of the SIF in a file of `size` bytes: a few reads, less than 20 MB of a hostile file.

    Raises InvalidSif with what is wrong.
    """
    file = _Beginning(read, await read(0, min(size, READ_AHEAD)) if size else b"")
    sif = await _container(file, size)
    left_out: list[str] = []
    partitions = [await _partition(file, found) for found in _some(sif.of_type(DataType.PARTITION), "partitions", left_out)]
    signatures = [_signature(found) for found in _some(sif.of_type(DataType.SIGNATURE), "signatures", left_out)]
    return Facts(
        size=size,
        architecture=sif.architecture,
        created=datetime.fromtimestamp(sif.created, UTC) if 0 < sif.created < _LATEST else None,
        identity=str(sif.identity),
        launch_script=sif.launch_script.strip() or None,
        encrypted=sif.encrypted,
        partitions=tuple(partitions),
        definition=await _definition(file, sif, left_out),
        labels=await _labels(file, sif, left_out),
        signatures=tuple(signatures),
        left_out=tuple(left_out),
    )


async def _container(file: _Beginning, size: int) -> Sif:
    """The container, whose table may lie anywhere. Raises InvalidSif."""
    try:
        return sif_format.read(file.now, size)
    except _Absent as absent:
        table = absent.offset, absent.length
    found = await file.read(*table)

    def read_at(offset: int, length: int) -> bytes:
        return found if (offset, length) == table else file.now(offset, length)

    return sif_format.read(read_at, size)


def _some(found: tuple[_T, ...], what: str, left_out: list[str]) -> Iterable[_T]:
    if len(found) > _SHOWN:
        left_out.append(what)
    return found[:_SHOWN]


def _name(value: FileSystem | PartitionType | sif_format.HashType | int) -> str:
    """SQUASHFS → "squashfs"; a number that is unknown here stays one."""
    return value.name.lower() if isinstance(value, FileSystem | PartitionType | sif_format.HashType) else str(value)


async def _partition(file: _Beginning, found: Descriptor) -> PartitionFacts:
    detail = found.object.detail
    assert isinstance(detail, Partition)
    squashfs = detail.file_system == FileSystem.SQUASHFS
    compression = await _compression(file, found) if squashfs else None
    return PartitionFacts(_name(detail.file_system), _name(detail.type), detail.architecture, found.size, compression)


async def _compression(file: _Beginning, found: Descriptor) -> str:
    """What compressed a squashfs, from its superblock. Raises InvalidSif if there is none or it goes beyond the partition."""
    start = await file.read(found.offset, min(found.size, _SUPERBLOCK.size))
    if not start.startswith(b"hsqs") or len(start) < _SUPERBLOCK.size:
        raise InvalidSif(f"This is not a sound SIF file: object {found.identifier} is said to be a squashfs, and does not begin as one.")
    fields = _SUPERBLOCK.unpack(start)
    compression, used = fields[5], fields[-1]
    if used > found.size:
        raise InvalidSif(
            f"This is not a sound SIF file: the squashfs in object {found.identifier} has {used} bytes, of which {found.size} are there."
        )
    return _COMPRESSIONS.get(compression, str(compression))


def _signature(found: Descriptor) -> SignatureFacts:
    detail = found.object.detail
    assert isinstance(detail, Signature)
    return SignatureFacts(_name(detail.hash), detail.fingerprint.hex().upper() or None)


async def _definition(file: _Beginning, sif: Sif, left_out: list[str]) -> str | None:
    """The text of the definition file: it has no format that could be wrong."""
    found = sif.of_type(DataType.DEFINITION)
    if not found:
        return None
    if found[0].size > TEXT_LIMIT:
        left_out.append("definition")
        return None
    return (await file.read(found[0].offset, found[0].size)).decode("utf-8", "replace").strip("\0\n")


async def _labels(file: _Beginning, sif: Sif, left_out: list[str]) -> dict[str, str]:
    """The labels: an object of that type in old files, a part of what `inspect` shows in newer ones, which wins."""
    inspection = tuple(found for found in sif.of_type(DataType.GENERIC_JSON) if found.object.name == _INSPECTION)
    labels: dict[str, str] = {}
    for found in (*sif.of_type(DataType.LABELS)[:1], *inspection[:1]):
        raw = b"" if found.size > _OBJECT_LIMIT else await file.read(found.offset, found.size)
        told = _told(raw, of_inspection=found in inspection) if raw else None
        if told is None and found.size:
            left_out.append("labels")
            return {}
        labels |= told or {}
    if sum(len(name) + len(value) for name, value in labels.items()) > TEXT_LIMIT:
        left_out.append("labels")
        return {}
    return labels


def _told(raw: bytes, *, of_inspection: bool) -> dict[str, str] | None:
    """The labels of an object of the container; None where they cannot be read. What is no text is passed over."""
    try:
        text = raw.rstrip(b"\0").decode()
        if of_inspection:
            found = msgspec.json.decode(text, type=_Inspection).data.attributes.labels or {}
        else:
            found = msgspec.json.decode(text, type=dict[str, Any])
        labels = {name: value for name, value in found.items() if isinstance(value, str)}
        msgspec.json.encode(labels)  # Fails for half of a surrogate pair, as it would when they are kept.
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return labels
