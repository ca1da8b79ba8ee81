"""The SIF container: a header, a table of descriptors, and the data objects that they describe.

The format is defined by the comments and structures of the reference implementation, github.com/apptainer/sif, version 2 (package
`pkg/sif`: `sif.go` for layout and constants, `descriptor.go`, `create.go`, `load.go` and `arch.go`). Every number is little-endian.

    0       header, 128 bytes             HEADER below
    4096    descriptors, 585 bytes each   DESCRIPTOR below; a fixed number of places, 48 by default, used or not
    32176   data objects                  a partition begins at a multiple of 4096, anything else right behind its predecessor

What is read is not believed: every offset, length and count is held against the size of the file before anything is fetched by it.
"""

from __future__ import annotations

import enum
import io
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import BinaryIO, Final, NoReturn, TypeVar
from uuid import UUID

import msgspec

from roadstead.errors import InvalidDigest, InvalidSif
from roadstead.oci.digest import Digest

HEADER: Final = struct.Struct("<32s10s3s3s16s8q")
"""Launch script, magic, version, architecture, identity; created, modified, free places, places, and offset and size of table and data."""
DESCRIPTOR: Final = struct.Struct("<i?IIIqqqqqqq128s384s")
"""Type, used, identifier, group, link, offset, size, size with padding, created, modified, user, group of the file, name, detail."""
MAGIC: Final = b"SIF_MAGIC\0"
VERSION: Final = b"01\0"
LAUNCH_SCRIPT: Final = "#!/usr/bin/env run-singularity\n"
TABLE_OFFSET: Final = 4096
PLACES: Final = 48
"""How many descriptors a new file has room for."""
MOST_PLACES: Final = 4096
"""The largest table that is read. The reference implementation sets no limit; this one keeps a hostile header from costing over 2.4 MB."""
PARTITION_ALIGNMENT: Final = 4096
_GROUP: Final = 0xF0000000  # Marks the number of a group, in a descriptor's group and in a link to one.

ARCHITECTURES: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "unknown": b"00\0",
        "386": b"01\0",
        "amd64": b"02\0",
        "arm": b"03\0",
        "arm64": b"04\0",
        "ppc64": b"05\0",
        "ppc64le": b"06\0",
        "mips": b"07\0",
        "mipsle": b"08\0",
        "mips64": b"09\0",
        "mips64le": b"10\0",
        "s390x": b"11\0",
        "riscv64": b"12\0",
        "loong64": b"13\0",
    }
)
"""Go's name of each architecture, which OCI uses too, and its code (`arch.go`)."""
_ARCHITECTURE_OF: Final = {code: name for name, code in ARCHITECTURES.items()}

_Kind = TypeVar("_Kind", bound=enum.IntEnum)


class DataType(enum.IntEnum):
    """What a data object is."""

    DEFINITION = 0x4001
    ENVIRONMENT = 0x4002
    LABELS = 0x4003
    PARTITION = 0x4004
    SIGNATURE = 0x4005
    GENERIC_JSON = 0x4006
    GENERIC = 0x4007
    CRYPT_MESSAGE = 0x4008
    SBOM = 0x4009
    OCI_ROOT_INDEX = 0x400A
    OCI_BLOB = 0x400B


class FileSystem(enum.IntEnum):
    """What a partition is formatted as."""

    SQUASHFS = 1
    EXT3 = 2
    ARCHIVE = 3
    RAW = 4
    ENCRYPTED_SQUASHFS = 5
    GOCRYPTFS_SQUASHFS = 6


class PartitionType(enum.IntEnum):
    """What a partition is for."""

    SYSTEM = 1
    PRIMARY_SYSTEM = 2
    DATA = 3
    OVERLAY = 4


class HashType(enum.IntEnum):
    """How a signature hashed what it signs."""

    SHA256 = 1
    SHA384 = 2
    SHA512 = 3
    BLAKE2S = 4
    BLAKE2B = 5


class CryptFormat(enum.IntEnum):
    """How a cryptographic message is written."""

    OPENPGP = 1
    PEM = 2


class CryptMessage(enum.IntEnum):
    """What a cryptographic message holds."""

    CLEAR_SIGNATURE = 0x100
    RSA_OAEP = 0x200


class SbomFormat(enum.IntEnum):
    """How a bill of materials is written."""

    CYCLONEDX_JSON = 1
    CYCLONEDX_XML = 2
    GITHUB_JSON = 3
    SPDX_JSON = 4
    SPDX_RDF = 5
    SPDX_TAG_VALUE = 6
    SPDX_YAML = 7
    SYFT_JSON = 8


class Partition(msgspec.Struct, frozen=True):
    """The detail of a partition. Numbers that the reference implementation does not know stay numbers."""

    file_system: FileSystem | int
    type: PartitionType | int
    architecture: str

    @property
    def encrypted(self) -> bool:
        """Whether the file system cannot be read without a key."""
        return self.file_system in {FileSystem.ENCRYPTED_SQUASHFS, FileSystem.GOCRYPTFS_SQUASHFS}


class Signature(msgspec.Struct, frozen=True):
    """The detail of a signature: `fingerprint` of the signing OpenPGP key, 20 bytes, or none where another kind of key signed."""

    hash: HashType | int
    fingerprint: bytes = b""


class Crypt(msgspec.Struct, frozen=True):
    """The detail of a cryptographic message."""

    format: CryptFormat | int
    message: CryptMessage | int


class Sbom(msgspec.Struct, frozen=True):
    """The detail of a bill of materials."""

    format: SbomFormat | int


class OciObject(msgspec.Struct, frozen=True):
    """The detail of an OCI blob or root index."""

    digest: Digest


Detail = Partition | Signature | Crypt | Sbom | OciObject


class Object(msgspec.Struct, frozen=True):
    """What is said of a data object beside where it lies. Times in seconds since 1970.

    `group` 0 is no group, `link` 0 no link; `link_to_group` tells a link to a group from one to an object. `name` has at most 128 bytes.
    `type` is a plain number where this version of the format does not know it. `user` and `owner_group` are historic.
    """

    type: DataType | int
    name: str = ""
    group: int = 1
    link: int = 0
    link_to_group: bool = False
    created: int = 0
    modified: int = 0
    detail: Detail | None = None
    user: int = 0
    owner_group: int = 0


class Descriptor(msgspec.Struct, frozen=True):
    """One used place of the table: the object, its identifier (from 1), and its bytes in the file."""

    identifier: int
    object: Object
    offset: int
    size: int
    size_with_padding: int

    @property
    def end(self) -> int:
        """The first byte behind the object."""
        return self.offset + self.size


class Sif(msgspec.Struct, frozen=True):
    """A whole container without its data. Times in seconds since 1970; descriptors in the table's order."""

    launch_script: str
    architecture: str
    identity: UUID
    created: int
    modified: int
    places: int
    data_offset: int
    data_size: int
    descriptors: tuple[Descriptor, ...]

    def of_type(self, kind: DataType) -> tuple[Descriptor, ...]:
        """The objects of this type."""
        return tuple(descriptor for descriptor in self.descriptors if descriptor.object.type == kind)

    @property
    def primary(self) -> Descriptor | None:
        """The partition that is mounted as the root of the container."""
        return next((found for found in self.of_type(DataType.PARTITION) if _is_primary(found.object)), None)

    @property
    def encrypted(self) -> bool:
        """Whether the root cannot be read without a key."""
        primary = self.primary
        return primary is not None and isinstance(primary.object.detail, Partition) and primary.object.detail.encrypted


ReadAt = Callable[[int, int], bytes]
"""`read_at(offset, length)` answers exactly `length` bytes of the file, which the caller knows to be there."""


def read(read_at: ReadAt, size: int) -> Sif:
    """Read the container in a file of `size` bytes: 128 bytes, then at most 2.4 MB of descriptors.

    Raises InvalidSif with what is wrong: it is no SIF, of another version, or a count, offset or length does not fit the file,
    or objects overlap each other or the tables.
    """
    if size < HEADER.size:
        _refuse(f"it has {size} bytes, and the header alone takes {HEADER.size}")
    launch, magic, version, architecture, identity, *numbers = HEADER.unpack(read_at(0, HEADER.size))
    if magic != MAGIC:
        _refuse("it does not begin as one (the magic number is missing)")
    if version != VERSION:
        _refuse(f"its version is {_text(version)!r}, and only '01' is known")
    created, modified, free, places, table_offset, table_size, data_offset, data_size = numbers
    _check_header(free, places, (table_offset, table_size), (data_offset, data_size), size)
    table = read_at(table_offset, places * DESCRIPTOR.size)
    descriptors = tuple(_descriptors(table))
    _check_descriptors(descriptors, table_offset + len(table), size)
    return Sif(
        launch_script=_text(launch),
        architecture=_ARCHITECTURE_OF.get(architecture, "unknown"),
        identity=UUID(bytes=identity),
        created=created,
        modified=modified,
        places=places,
        data_offset=data_offset,
        data_size=data_size,
        descriptors=descriptors,
    )


def content(read_at: ReadAt, descriptor: Descriptor, most: int) -> bytes:
    """The bytes of a data object. Raises InvalidSif if there are more than `most`."""
    if descriptor.size > most:
        _refuse(f"object {descriptor.identifier} has {descriptor.size} bytes, and at most {most} are looked at")
    return read_at(descriptor.offset, descriptor.size)


def _check_header(free: int, places: int, table: tuple[int, int], data: tuple[int, int], size: int) -> None:
    if not 0 <= places <= MOST_PLACES:
        _refuse(f"its header counts {places} descriptors; from 0 to {MOST_PLACES} are read")
    if not 0 <= free <= places:
        _refuse(f"its header counts {free} free descriptors of {places}")
    for name, (offset, length) in (("descriptors", table), ("data", data)):
        if offset < HEADER.size or length < 0 or offset + length > size:
            _refuse(f"its {name} would lie at {offset} with {length} bytes, in a file of {size}")
    if table[1] < places * DESCRIPTOR.size:
        _refuse(f"{places} descriptors do not fit into {table[1]} bytes")


def _descriptors(table: bytes) -> Iterator[Descriptor]:
    for kind, used, identifier, group, link, offset, size, padded, created, modified, user, owner, name, detail in DESCRIPTOR.iter_unpack(
        table
    ):
        if used:
            entity = Object(
                type=_known(DataType, kind),
                name=_text(name),
                group=group & ~_GROUP,
                link=link & ~_GROUP,
                link_to_group=link & _GROUP == _GROUP,
                created=created,
                modified=modified,
                detail=_detail(identifier, kind, detail),
                user=user,
                owner_group=owner,
            )
            yield Descriptor(identifier, entity, offset, size, padded)


def _check_descriptors(descriptors: tuple[Descriptor, ...], tables_end: int, size: int) -> None:
    seen: set[int] = set()
    for found in descriptors:
        if found.identifier == 0 or found.identifier in seen:
            _refuse(f"the identifier {found.identifier} is not one object's own")
        seen.add(found.identifier)
        if found.offset < 0 or found.size < 0 or found.end > size:
            _refuse(f"object {found.identifier} would lie at {found.offset} with {found.size} bytes, in a file of {size}")
    if sum(_is_primary(found.object) for found in descriptors) > 1:
        _refuse("it has more than one primary system partition")
    _check_overlaps(descriptors, tables_end)


def _check_overlaps(descriptors: tuple[Descriptor, ...], tables_end: int) -> None:
    end, before = tables_end, "the tables"
    for found in sorted((found for found in descriptors if found.size), key=lambda found: found.offset):
        if found.offset < end:
            _refuse(f"object {found.identifier} overlaps {before}")
        end, before = found.end, f"object {found.identifier}"


def _is_primary(entity: Object) -> bool:
    return isinstance(entity.detail, Partition) and entity.detail.type == PartitionType.PRIMARY_SYSTEM


def _detail(identifier: int, kind: int, raw: bytes) -> Detail | None:
    """The last 384 bytes of a descriptor, which mean something else for each type (`descriptor.go`)."""
    match kind:
        case DataType.PARTITION:
            system, use, architecture = struct.unpack_from("<ii3s", raw)
            return Partition(_known(FileSystem, system), _known(PartitionType, use), _ARCHITECTURE_OF.get(architecture, "unknown"))
        case DataType.SIGNATURE:
            hashed, fingerprint = struct.unpack_from("<i20s", raw)
            return Signature(_known(HashType, hashed), fingerprint if any(fingerprint) else b"")
        case DataType.CRYPT_MESSAGE:
            written, message = struct.unpack_from("<ii", raw)
            return Crypt(_known(CryptFormat, written), _known(CryptMessage, message))
        case DataType.SBOM:
            return Sbom(_known(SbomFormat, struct.unpack_from("<i", raw)[0]))
        case DataType.OCI_BLOB | DataType.OCI_ROOT_INDEX:
            return OciObject(_digest(identifier, raw))
    return None


def _digest(identifier: int, raw: bytes) -> Digest:
    try:
        return Digest.parse(_text(raw))
    except InvalidDigest as reason:
        raise InvalidSif(f"This is not a sound SIF file: object {identifier} has no digest. {reason.message}") from reason


def _known(kinds: type[_Kind], number: int) -> _Kind | int:
    try:
        return kinds(number)
    except ValueError:
        return number


def _text(raw: bytes) -> str:
    """A field of fixed length: what lies before the first NUL. Bytes that are no UTF-8 are replaced, since this is for reading only."""
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _refuse(reason: str) -> NoReturn:
    raise InvalidSif(f"This is not a sound SIF file: {reason}.")


class Writer:
    """Writes a container into a seekable file, the objects one after another and the tables at the end.

    Nothing of the moment or the machine enters: `identity` and `made` (seconds since 1970) are the caller's. The header's architecture
    is that of the primary partition. Until `finish` returns the file is no SIF.
    """

    def __init__(self, output: BinaryIO, *, identity: UUID, made: int, launch_script: str = LAUNCH_SCRIPT, places: int = PLACES) -> None:
        """Begin a container at the start of `output`. Raises ValueError if the launch script is longer than 31 bytes."""
        if len(launch_script.encode()) >= 32:
            raise ValueError("a launch script has at most 31 bytes")
        self._output = output
        self._identity = identity
        self._made = made
        self._launch_script = launch_script
        self._places = places
        self._data_offset = TABLE_OFFSET + places * DESCRIPTOR.size
        self._end = self._data_offset
        self._descriptors: list[Descriptor] = []

    def add(self, entity: Object, data: Iterable[bytes]) -> Descriptor:
        """Write one object. Raises as `open` does."""
        with self.open(entity) as output:
            for piece in data:
                output.write(piece)
        return self._descriptors[-1]

    @contextmanager
    def open(self, entity: Object) -> Iterator[BinaryIO]:
        """The file, standing where the object begins; it must stand behind the object's last byte at the end of the block.

        Raises ValueError if the table is full, or if the object is a second primary partition or cannot be described.
        """
        if len(self._descriptors) == self._places:
            raise ValueError(f"the table has {self._places} places only")
        if _is_primary(entity) and any(_is_primary(other.object) for other in self._descriptors):
            raise ValueError("there is a primary partition already")
        identifier = len(self._descriptors) + 1
        described = msgspec.structs.replace(entity, created=entity.created or self._made, modified=entity.modified or self._made)
        _pack(Descriptor(identifier, described, 0, 0, 0))  # Raises before anything is written.
        offset = self._end + (-self._end % PARTITION_ALIGNMENT if entity.type == DataType.PARTITION else 0)
        self._output.seek(offset)
        yield self._output
        end = self._output.tell()
        self._descriptors.append(Descriptor(identifier, described, offset, end - offset, end - self._end))
        self._end = end

    def finish(self) -> Sif:
        """Write header and table; what they say."""
        sif = Sif(
            launch_script=self._launch_script,
            architecture=self._architecture(),
            identity=self._identity,
            created=self._made,
            modified=self._made,
            places=self._places,
            data_offset=self._data_offset,
            data_size=self._end - self._data_offset,
            descriptors=tuple(self._descriptors),
        )
        table = b"".join(map(_pack, self._descriptors)).ljust(self._places * DESCRIPTOR.size, b"\0")
        self._output.seek(0)
        self._output.write(_pack_header(sif).ljust(TABLE_OFFSET, b"\0") + table)
        written = self._output.seek(0, io.SEEK_END)
        self._output.write(b"\0" * (self._end - written))  # Only where the last object is empty and aligned.
        return sif

    def _architecture(self) -> str:
        details = (found.object.detail for found in self._descriptors if _is_primary(found.object))
        return next((detail.architecture for detail in details if isinstance(detail, Partition)), "unknown")


def _pack_header(sif: Sif) -> bytes:
    return HEADER.pack(
        sif.launch_script.encode(),
        MAGIC,
        VERSION,
        ARCHITECTURES[sif.architecture],
        sif.identity.bytes,
        sif.created,
        sif.modified,
        sif.places - len(sif.descriptors),
        sif.places,
        TABLE_OFFSET,
        sif.places * DESCRIPTOR.size,
        sif.data_offset,
        sif.data_size,
    )


def _pack(descriptor: Descriptor) -> bytes:
    entity = descriptor.object
    name = entity.name.encode()
    if len(name) > 128 or b"\0" in name:
        raise ValueError("the name of an object has at most 128 bytes, none of them NUL")
    return DESCRIPTOR.pack(
        entity.type,
        True,
        descriptor.identifier,
        entity.group | _GROUP,
        entity.link | (_GROUP if entity.link_to_group else 0),
        descriptor.offset,
        descriptor.size,
        descriptor.size_with_padding,
        entity.created,
        entity.modified,
        entity.user,
        entity.owner_group,
        name,
        _pack_detail(entity.detail),
    )


def _pack_detail(detail: Detail | None) -> bytes:
    match detail:
        case Partition():
            return struct.pack("<ii3s", detail.file_system, detail.type, ARCHITECTURES[detail.architecture])
        case Signature():
            return struct.pack("<i256s", detail.hash, detail.fingerprint)
        case Crypt():
            return struct.pack("<ii", detail.format, detail.message)
        case Sbom():
            return struct.pack("<i", detail.format)
        case OciObject():
            return detail.digest.encode()
        case None:
            return b""
