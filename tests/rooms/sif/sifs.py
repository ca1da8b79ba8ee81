"""SIF files for tests: any tree of members, with what is said of it beside it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from uuid import UUID

from roadstead.sif.format import DataType, FileSystem, Object, Partition, PartitionType, Writer
from roadstead.sif.squashfs import Settings
from tests.rooms.sif.archives import MADE, entry, folder, layer, merged
from tests.rooms.sif.test_squashfs import written

IDENTITY = UUID("8b6f6a52-5d0f-4c2c-9d8b-6b0b3c8a4f10")
Member = tuple[tarfile.TarInfo, bytes]


def squashfs(*members: Member) -> bytes:
    return written(merged(layer(*members)), Settings(MADE))


def files(several: Mapping[str, str]) -> list[Member]:
    """Files below `.singularity.d`, with the folders that they need."""
    folders = {f"{name.rpartition('/')[0]}" for name in several if "/" in name}
    below = [entry(f".singularity.d/{name}", text.encode(), mode=0o755) for name, text in several.items()]
    return [folder(".singularity.d"), *[folder(f".singularity.d/{name}") for name in sorted(folders)], *below]


def sif(
    root: bytes | None,
    *objects: tuple[Object, bytes],
    architecture: str = "amd64",
    system: FileSystem | int = FileSystem.SQUASHFS,
    made: int = MADE,
) -> bytes:
    """A SIF of this root and these objects."""
    output = io.BytesIO()
    writer = Writer(output, identity=IDENTITY, made=made)
    for one, data in objects:
        writer.add(one, [data])
    if root is not None:
        writer.add(Object(DataType.PARTITION, detail=Partition(system, PartitionType.PRIMARY_SYSTEM, architecture)), [root])
    writer.finish()
    return output.getvalue()


def oci_config(text: bytes) -> tuple[Object, bytes]:
    """The object in which Apptainer keeps an image's configuration."""
    return Object(DataType.GENERIC_JSON, name="oci-config.json"), text
