from __future__ import annotations

import io
import struct
from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import InvalidSif
from roadstead.oci.digest import Digest
from roadstead.sif import format as sif_format
from roadstead.sif.format import (
    ARCHITECTURES,
    DESCRIPTOR,
    HEADER,
    MOST_PLACES,
    PARTITION_ALIGNMENT,
    TABLE_OFFSET,
    Crypt,
    CryptFormat,
    CryptMessage,
    DataType,
    Detail,
    FileSystem,
    HashType,
    Object,
    OciObject,
    Partition,
    PartitionType,
    Sbom,
    SbomFormat,
    Sif,
    Signature,
    Writer,
)

IDENTITY = UUID("b2659d4e-bd50-4ea5-bd17-eec5e54f918e")
MADE = 1_700_000_000
ROOT = Partition(FileSystem.SQUASHFS, PartitionType.PRIMARY_SYSTEM, "arm64")
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=32)
numbers = st.integers(0, 2**31)


def details(kind: DataType) -> st.SearchStrategy[Detail | None]:
    """What may be said of an object of this type. No partition is a primary one, of which there may be one only."""
    uses = st.sampled_from([PartitionType.SYSTEM, PartitionType.DATA, PartitionType.OVERLAY, 99])
    fingerprints = st.just(b"") | st.binary(min_size=20, max_size=20).filter(any)
    table: dict[DataType, st.SearchStrategy[Detail | None]] = {
        DataType.PARTITION: st.builds(Partition, st.sampled_from([*FileSystem, 77]), uses, st.sampled_from(sorted(ARCHITECTURES))),
        DataType.SIGNATURE: st.builds(Signature, st.sampled_from([*HashType, 9]), fingerprints),
        DataType.CRYPT_MESSAGE: st.builds(Crypt, st.sampled_from([*CryptFormat, 9]), st.sampled_from([*CryptMessage, 9])),
        DataType.SBOM: st.builds(Sbom, st.sampled_from([*SbomFormat, 99])),
        DataType.OCI_BLOB: st.builds(OciObject, st.builds(Digest.of, st.binary(max_size=4))),
        DataType.OCI_ROOT_INDEX: st.builds(OciObject, st.builds(Digest.of, st.binary(max_size=4), st.just("sha512"))),
    }
    return table.get(kind, st.none())


@st.composite
def objects(draw: st.DrawFn) -> Object:
    kind = draw(st.sampled_from(DataType))
    return Object(
        type=kind,
        name=draw(names),
        group=draw(st.integers(0, 9)),
        link=draw(st.integers(0, 9)),
        link_to_group=draw(st.booleans()),
        created=draw(st.integers(1, 2**40)),
        modified=draw(st.integers(1, 2**40)),
        detail=draw(details(kind)),
        user=draw(numbers),
        owner_group=draw(numbers),
    )


def write(contents: list[tuple[Object, bytes]], places: int = 48, **options: str) -> tuple[Sif, bytes]:
    """A container of these objects: what the writer says of it, and its bytes."""
    output = io.BytesIO()
    writer = Writer(output, identity=IDENTITY, made=MADE, places=places, **options)
    for entity, data in contents:
        writer.add(entity, [data[:5], data[5:]])
    return writer.finish(), output.getvalue()


def reader(data: bytes) -> Callable[[int, int], bytes]:
    """`read_at` over these bytes. Fails the test if anything outside of them is asked for."""

    def read_at(offset: int, length: int) -> bytes:
        assert offset >= 0 and length >= 0 and offset + length <= len(data)
        return data[offset : offset + length]

    return read_at


def read(data: bytes) -> Sif:
    return sif_format.read(reader(data), len(data))


@pytest.fixture(scope="module")
def sound() -> bytes:
    """A container with one object of three kinds."""
    _, data = write(
        [
            (Object(DataType.DEFINITION), b"definition"),
            (Object(DataType.PARTITION, detail=ROOT), b"root" * 50),
            (Object(DataType.LABELS), b"{}"),
        ]
    )
    return data


def header_with(data: bytes, place: int, value: int) -> bytes:
    """`data` with another number at this place among the eight at the end of the header."""
    offset = HEADER.size - 64 + 8 * place
    return data[:offset] + struct.pack("<q", value) + data[offset + 8 :]


def descriptor_with(data: bytes, index: int, field: int, value: object) -> bytes:
    """`data` with another value in this field of a descriptor."""
    offset = TABLE_OFFSET + index * DESCRIPTOR.size
    fields = list(DESCRIPTOR.unpack_from(data, offset))
    fields[field] = value
    return data[:offset] + DESCRIPTOR.pack(*fields) + data[offset + DESCRIPTOR.size :]


TYPE, USED, IDENTIFIER, OFFSET, SIZE = 0, 1, 2, 5, 6


@given(st.lists(st.tuples(objects(), st.binary(max_size=40)), max_size=6))
def test_what_is_written_is_read_again(contents: list[tuple[Object, bytes]]) -> None:
    written, data = write(contents)
    found = read(data)
    assert found == written
    assert [descriptor.object for descriptor in found.descriptors] == [entity for entity, _ in contents]
    assert [sif_format.content(reader(data), descriptor, 40) for descriptor in found.descriptors] == [content for _, content in contents]


@given(st.lists(st.tuples(objects(), st.binary(max_size=40)), max_size=4))
def test_the_same_objects_make_the_same_bytes(contents: list[tuple[Object, bytes]]) -> None:
    assert write(contents) == write(contents)


def test_a_partition_begins_at_a_page_and_its_architecture_is_the_containers() -> None:
    written, data = write(
        [(Object(DataType.DEFINITION), b"x" * 100), (Object(DataType.PARTITION, detail=ROOT), b"root"), (Object(DataType.GENERIC), b"tail")]
    )
    definition, partition, generic = written.descriptors
    assert partition.offset % PARTITION_ALIGNMENT == 0
    assert partition.size_with_padding == partition.end - definition.end
    assert generic.offset == partition.end
    assert (written.architecture, written.primary, written.encrypted) == ("arm64", partition, False)
    assert len(data) == generic.end == written.data_offset + written.data_size


@pytest.mark.parametrize("system", [FileSystem.ENCRYPTED_SQUASHFS, FileSystem.GOCRYPTFS_SQUASHFS])
def test_an_encrypted_root_is_told(system: FileSystem) -> None:
    encrypted = Partition(system, PartitionType.PRIMARY_SYSTEM, "amd64")
    assert read(write([(Object(DataType.PARTITION, detail=encrypted), b"?")])[1]).encrypted


def test_a_place_that_is_not_used_is_passed_over(sound: bytes) -> None:
    assert [found.identifier for found in read(descriptor_with(sound, 0, USED, False)).descriptors] == [2, 3]


def test_a_type_of_a_later_version_is_kept_as_its_number(sound: bytes) -> None:
    assert read(descriptor_with(sound, 2, TYPE, 0x4FFF)).descriptors[2].object.type == 0x4FFF


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "has 0 bytes"),
        (lambda data: data[:127], "has 127 bytes"),
        (lambda data: data.replace(b"SIF_MAGIC", b"SIF_MAGIX", 1), "magic number"),
        (lambda data: data[:42] + b"02\0" + data[45:], "version is '02'"),
        (lambda data: header_with(data, 3, -1), "counts -1 descriptors"),
        (lambda data: header_with(data, 3, MOST_PLACES + 1), f"counts {MOST_PLACES + 1} descriptors"),
        (lambda data: header_with(data, 3, 2**62), "descriptors; from 0"),
        (lambda data: header_with(data, 2, 49), "49 free descriptors of 48"),
        (lambda data: header_with(data, 3, 49), "49 descriptors do not fit"),
        (lambda data: header_with(data, 4, 2**62), "its descriptors would lie at"),
        (lambda data: header_with(data, 4, 0), "its descriptors would lie at 0"),
        (lambda data: header_with(data, 5, -5), "its descriptors would lie at 4096 with -5"),
        (lambda data: header_with(data, 6, -1), "its data would lie at -1"),
        (lambda data: header_with(data, 7, 2**62), "its data would lie at"),
        (lambda data: data[:-1], "its data would lie at"),
        (lambda data: data[:5000], "its descriptors would lie at"),
        (lambda data: descriptor_with(data, 1, OFFSET, 2**62), "object 2 would lie at"),
        (lambda data: descriptor_with(data, 1, OFFSET, -1), "object 2 would lie at -1"),
        (lambda data: descriptor_with(data, 1, SIZE, -1), "object 2 would lie at"),
        (lambda data: descriptor_with(data, 1, SIZE, 2**40), "object 2 would lie at"),
        (lambda data: descriptor_with(data, 1, OFFSET, 100), "object 2 overlaps the tables"),
        (lambda data: descriptor_with(data, 0, SIZE, 600), "object 2 overlaps object 1"),
        (lambda data: descriptor_with(data, 0, IDENTIFIER, 0), "the identifier 0 is not"),
        (lambda data: descriptor_with(data, 0, IDENTIFIER, 2), "the identifier 2 is not"),
        (lambda data: descriptor_with(data, 2, TYPE, DataType.OCI_BLOB), "object 3 has no digest"),
        (
            lambda data: descriptor_with(descriptor_with(data, 2, TYPE, DataType.PARTITION), 2, 13, struct.pack("<ii3s", 1, 2, b"02")),
            "more than one primary",
        ),
    ],
)
def test_a_damaged_container_is_refused_with_the_reason(sound: bytes, damage: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(InvalidSif) as refused:
        read(damage(sound))
    assert reason in refused.value.message


@given(st.data())
def test_any_damage_is_read_or_refused(sound: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sound[: data.draw(st.just(len(sound)) | st.integers(0, len(sound)))])
    for offset in data.draw(st.lists(st.integers(0, 127) | st.integers(TABLE_OFFSET, TABLE_OFFSET + 3 * DESCRIPTOR.size), max_size=8)):
        if offset < len(damaged):
            damaged[offset] = data.draw(st.sampled_from([0, 1, 2, 4, 0x7F, 0x80, 0xFF]))
    try:
        found = read(bytes(damaged))
    except InvalidSif as refused:
        assert refused.message.endswith(".")
    else:
        assert all(descriptor.end <= len(damaged) for descriptor in found.descriptors)


def test_an_object_larger_than_wanted_is_not_fetched(sound: bytes) -> None:
    with pytest.raises(InvalidSif, match="object 2 has 200 bytes"):
        sif_format.content(reader(sound), read(sound).descriptors[1], 199)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ([(Object(DataType.GENERIC), b"")] * 3, "2 places"),
        ([(Object(DataType.PARTITION, detail=ROOT), b"")] * 2, "primary partition"),
        ([(Object(DataType.GENERIC, name="x" * 129), b"")], "128 bytes"),
        ([(Object(DataType.GENERIC, name="a\0b"), b"")], "128 bytes"),
    ],
)
def test_what_cannot_be_described_is_not_written(contents: list[tuple[Object, bytes]], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        write(contents, places=2)


def test_a_launch_script_that_does_not_fit_is_not_cut() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        write([], launch_script="#" * 32)
