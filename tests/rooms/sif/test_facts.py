from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import InvalidSif
from roadstead.sif.facts import READ_AHEAD, TEXT_LIMIT, Facts, PartitionFacts, SignatureFacts, read_facts
from roadstead.sif.format import (
    DESCRIPTOR,
    HEADER,
    MOST_PLACES,
    TABLE_OFFSET,
    DataType,
    FileSystem,
    HashType,
    Object,
    Partition,
    PartitionType,
    Signature,
)
from tests.support.sifs import DEFINITION, FINGERPRINT, IDENTITY, LABELS, MADE, container, inspection, root, sif, squashfs


class File:
    """A file that counts what is read of it, and fails the test if that lies outside."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.reads: list[tuple[int, int]] = []

    async def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0 and length >= 0 and offset + length <= len(self.data)
        self.reads.append((offset, length))
        return self.data[offset : offset + length]

    async def facts(self) -> Facts:
        return await read_facts(self.read, len(self.data))


async def facts(data: bytes) -> Facts:
    return await File(data).facts()


async def test_everything_that_a_sif_says_is_told_after_one_read() -> None:
    file = File(sif())
    assert await file.facts() == Facts(
        size=len(file.data),
        architecture="amd64",
        created=datetime.fromtimestamp(MADE, UTC),
        identity=str(IDENTITY),
        launch_script="#!/usr/bin/env run-singularity",
        partitions=(PartitionFacts("squashfs", "primary_system", "amd64", 4096, "gzip"),),
        definition=DEFINITION,
        labels=dict(LABELS),
        signatures=(SignatureFacts("sha256", FINGERPRINT.hex().upper()),),
    )
    assert len(file.reads) == 1


async def test_what_lies_far_behind_is_read_by_itself() -> None:
    large = (Object(DataType.GENERIC), b"x" * READ_AHEAD)
    file = File(container([large, (root(), squashfs(6)), (Object(DataType.DEFINITION), DEFINITION.encode())]))
    found = await file.facts()
    assert (found.partitions[0].compression, found.definition) == ("zstd", DEFINITION)
    assert sum(length for _, length in file.reads) < READ_AHEAD + 4096


async def test_the_table_may_lie_anywhere() -> None:
    places = READ_AHEAD // DESCRIPTOR.size + 9
    many = [(Object(DataType.GENERIC, name=f"{number}"), b"") for number in range(places - 1)]
    assert (await facts(container([*many, (root("arm64"), squashfs())], places))).architecture == "arm64"


@pytest.mark.parametrize(("number", "name"), [(1, "gzip"), (2, "lzma"), (3, "lzo"), (4, "xz"), (5, "lz4"), (6, "zstd"), (77, "77")])
async def test_the_compression_is_that_of_the_superblock(number: int, name: str) -> None:
    (partition,) = (await facts(container([(root(), squashfs(number))]))).partitions
    assert partition.compression == name


@pytest.mark.parametrize("file_system", [FileSystem.ENCRYPTED_SQUASHFS, FileSystem.GOCRYPTFS_SQUASHFS])
async def test_an_encrypted_root_is_told_and_not_looked_into(file_system: FileSystem) -> None:
    found = await facts(container([(root(file_system=file_system), b"LUKS\xba\xbe" + b"?" * 100)]))
    assert found.encrypted
    assert found.partitions == (PartitionFacts(file_system.name.lower(), "primary_system", "amd64", 106),)


async def test_numbers_of_a_later_format_stay_numbers() -> None:
    data = Object(DataType.PARTITION, detail=Partition(77, 88, "riscv64"))
    signature = Object(DataType.SIGNATURE, detail=Signature(99))
    found = await facts(container([(data, b"?"), (signature, b"?")]))
    assert found.partitions == (PartitionFacts("77", "88", "riscv64", 1),)
    assert found.signatures == (SignatureFacts("99"),)


async def test_labels_of_old_files_are_told_and_those_of_inspect_win() -> None:
    old = (Object(DataType.LABELS), b'{"a": "old", "b": "old", "number": 1}\0\0')
    new = (Object(DataType.GENERIC_JSON, name="inspect-metadata.json"), inspection({"b": "new", "list": []}))
    other = (Object(DataType.GENERIC_JSON, name="oci-config.json"), inspection({"b": "other"}))
    assert (await facts(container([old]))).labels == {"a": "old", "b": "old"}
    assert (await facts(container([other, old, new]))).labels == {"a": "old", "b": "new"}


@pytest.mark.parametrize(
    "raw",
    [b"\xff\xfe", b"[1", b"[]", b"7", b"[" * 100_000, b'{"a": "\\ud800"}', b"{" + b'"a":{' * 5000, b'{"x": "' + b"y" * TEXT_LIMIT + b'"}'],
    ids=["not UTF-8", "not JSON", "a list", "a number", "deep", "half a character", "deep objects", "long"],
)
async def test_labels_that_cannot_be_kept_are_left_out(raw: bytes) -> None:
    found = await facts(container([(Object(DataType.LABELS), raw), (Object(DataType.DEFINITION), b"kept")]))
    assert (found.labels, found.left_out, found.definition) == ({}, ("labels",), "kept")
    msgspec.json.decode(msgspec.json.encode(found))


async def test_an_inspection_without_labels_says_nothing() -> None:
    for raw in (b'{"data": {"attributes": {"labels": null}}}', b"{}", b""):
        found = await facts(container([(Object(DataType.GENERIC_JSON, name="inspect-metadata.json"), raw)]))
        assert (found.labels, found.left_out) == ({}, ())


async def test_what_is_long_is_left_out_unread() -> None:
    file = File(
        container(
            [
                (Object(DataType.DEFINITION), b"d" * (TEXT_LIMIT + 1)),
                (Object(DataType.LABELS), b"[" * (2 << 20)),
                *[(Object(DataType.SIGNATURE, detail=Signature(HashType.SHA256)), b"s")] * 70,
            ],
            places=80,
        )
    )
    found = await file.facts()
    assert (found.definition, found.labels, len(found.signatures)) == (None, {}, 64)
    assert set(found.left_out) == {"definition", "labels", "signatures"}
    assert sum(length for _, length in file.reads) <= READ_AHEAD + 80 * DESCRIPTOR.size


async def test_the_largest_facts_are_small() -> None:
    partition = Object(DataType.PARTITION, detail=Partition(FileSystem.RAW, PartitionType.DATA, "amd64"))
    objects = [
        (Object(DataType.DEFINITION), b"\x01" * TEXT_LIMIT),
        (Object(DataType.LABELS), json.dumps({"a": "\x01" * (TEXT_LIMIT - 1)}).encode()),
        *[(partition, b"p")] * 200,
    ]
    assert len(msgspec.json.encode(await facts(container(objects, places=MOST_PLACES)))) < 1 << 20


@pytest.mark.parametrize("made", [-1, 0, 2**62])
async def test_a_time_that_is_none_is_not_told(made: int) -> None:
    data = bytearray(sif())
    data[HEADER.size - 64 : HEADER.size - 56] = made.to_bytes(8, "little", signed=True)
    assert (await facts(bytes(data))).created is None


async def test_a_file_without_objects_is_sound() -> None:
    assert (await facts(container([]))).architecture == "unknown"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the header alone"),
        (b"no SIF" * 100, "magic number"),
        (sif()[:4096], "in a file of 4096"),
        (sif()[:-1], "would lie at"),
        (container([(root(), b"no squashfs" * 20)]), "does not begin as one"),
        (container([(root(), squashfs()[:20])]), "does not begin as one"),
        (container([(root(), squashfs(used=4097))]), "has 4097 bytes, of which 4096 are there"),
    ],
    ids=["empty", "another file", "no table", "cut off", "no squashfs", "no superblock", "half a squashfs"],
)
async def test_a_damaged_file_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidSif, match=reason):
        await facts(data)


@given(st.data())
async def test_a_file_that_is_damaged_anywhere_is_told_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(sif())
    for _ in range(data.draw(st.integers(1, 4))):
        places = st.integers(0, HEADER.size) | st.integers(TABLE_OFFSET, TABLE_OFFSET + 5 * DESCRIPTOR.size) | st.integers(32176, 40960)
        damaged[min(data.draw(places), len(damaged) - 1)] = data.draw(st.integers(0, 255))
    try:
        found = await facts(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    except InvalidSif as reason:
        assert reason.message
    else:
        assert msgspec.json.decode(msgspec.json.encode(found), type=Facts) == found
