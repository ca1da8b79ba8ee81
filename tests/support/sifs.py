"""Small SIFs: a container with everything that is said of one, around a root that nobody mounts; and manifests that name them."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from roadstead.oci import media_type
from roadstead.sif.format import DataType, FileSystem, HashType, Object, Partition, PartitionType, Signature, Writer
from tests.support.factories import Blob, Image, blob

IDENTITY = UUID("b2659d4e-bd50-4ea5-bd17-eec5e54f918e")
MADE = 1_700_000_000
FINGERPRINT = bytes(range(20))
DEFINITION = "bootstrap: docker\nfrom: nowhere"
LABELS = {"maintainer": "somebody", "größe": "1"}


def squashfs(compression: int = 1, used: int = 4096, size: int = 4096) -> bytes:
    """The superblock of a squashfs of `used` bytes and nothing behind it, `size` bytes in all."""
    return struct.pack("<4sIIIIHHHHHHQQ", b"hsqs", 0, 0, 131072, 0, compression, 17, 0, 1, 4, 0, 0, used).ljust(size, b"\0")


def root(architecture: str = "amd64", file_system: FileSystem | int = FileSystem.SQUASHFS) -> Object:
    """The primary partition."""
    return Object(DataType.PARTITION, detail=Partition(file_system, PartitionType.PRIMARY_SYSTEM, architecture))


def inspection(labels: object) -> bytes:
    """What Apptainer writes for `inspect`."""
    return json.dumps({"data": {"attributes": {"labels": labels, "runscript": "x"}}, "type": "container"}).encode()


def container(objects: Sequence[tuple[Object, bytes]], places: int = 48) -> bytes:
    """A SIF of these objects."""
    output = io.BytesIO()
    writer = Writer(output, identity=IDENTITY, made=MADE, places=places)
    for entity, data in objects:
        writer.add(entity, [data])
    writer.finish()
    return output.getvalue()


def sif(architecture: str = "amd64", labels: Mapping[str, str] = LABELS) -> bytes:
    """A sound SIF with definition, labels, root and a signature, as Apptainer makes them."""
    return container(
        [
            (Object(DataType.DEFINITION), DEFINITION.encode()),
            (Object(DataType.GENERIC_JSON, name="inspect-metadata.json"), inspection(dict(labels))),
            (root(architecture), squashfs()),
            (Object(DataType.SIGNATURE, link=1, link_to_group=True, detail=Signature(HashType.SHA256, FINGERPRINT)), b"-----"),
        ]
    )


def sif_artifact(
    *sifs: bytes,
    layer_type: str = media_type.SIF_LAYER,
    config: Blob = Blob(b"{}"),  # noqa: B008 - frozen
    config_type: str = media_type.SIF_CONFIG,
    size: int | None = None,
) -> Image:
    """A manifest whose layers are these files; with `size` it says that the first has so many bytes."""
    blobs = (config, *map(Blob, sifs))
    layers: list[dict[str, Any]] = [one.descriptor(layer_type) for one in blobs[1:]]
    if size is not None:
        layers[0]["size"] = size
    body = {"schemaVersion": 2, "mediaType": media_type.OCI_MANIFEST, "config": config.descriptor(config_type), "layers": layers}
    return Image(json.dumps(body).encode(), media_type.OCI_MANIFEST, blobs)


OLD_CONFIG = blob("")
"""As old Singularity pushed it."""
