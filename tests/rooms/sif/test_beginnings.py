"""What files are by their first bytes, and which blobs of a manifest are doubtful."""

from __future__ import annotations

import json
import struct

import pytest

from roadstead.oci import media_type
from roadstead.oci.manifest import parse_manifest
from roadstead.sif.beginnings import Kind, doubtful, kind_of
from tests.support.factories import Blob
from tests.support.sifs import sif, squashfs

LAUNCHED = b"#!/usr/bin/env run-singularity\n"
EXT = bytes(1024) + struct.pack("<24xI28xH18xI", 2, 0xEF53, 1)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (sif(), Kind.SIF),
        (bytes(32) + b"SIF_MAGIC\0", Kind.SIF),  # whatever its launch script is
        (squashfs(), Kind.FILE_SYSTEM),
        (LAUNCHED + squashfs(), Kind.FILE_SYSTEM),
        (b"sqsh" + bytes(100), Kind.FILE_SYSTEM),
        (EXT, Kind.FILE_SYSTEM),
        (LAUNCHED + EXT, Kind.FILE_SYSTEM),
        (bytes(1024) + struct.pack("<24xI28xH18xI", 9, 0xEF53, 1), Kind.OTHER),
        (bytes(1024) + struct.pack("<24xI28xH18xI", 2, 0xEF53, 7), Kind.OTHER),
        (EXT[:-1], Kind.OTHER),
        (b"", Kind.OTHER),
        (b"{}", Kind.OTHER),
        (b" hsqs", Kind.OTHER),
        (b"\x1f\x8b" + bytes(2046), Kind.OTHER),
    ],
)
def test_what_a_file_is(data: bytes, kind: Kind) -> None:
    assert kind_of(data[:2048]) is kind


def _doubtful(config: str, *layers: str) -> list[str]:
    blobs = [Blob(f"{number}".encode()).descriptor(layer) for number, layer in enumerate(layers)]
    body = {"schemaVersion": 2, "mediaType": media_type.OCI_MANIFEST, "config": Blob(b"{}").descriptor(config), "layers": blobs}
    return [one.media_type for one in doubtful(parse_manifest(json.dumps(body).encode(), media_type.OCI_MANIFEST))]


def test_an_image_for_docker_is_not_looked_into_but_for_what_is_no_layer_of_one() -> None:
    assert _doubtful(media_type.OCI_CONFIG, media_type.OCI_LAYER_GZIP) == []
    assert _doubtful(media_type.DOCKER_CONFIG, media_type.DOCKER_LAYER_GZIP, "text/plain") == ["text/plain"]


def test_of_anything_else_everything_is_looked_into_but_what_is_called_a_sif() -> None:
    assert _doubtful("x/y", media_type.OCI_LAYER, media_type.SIF_LAYER) == ["x/y", media_type.OCI_LAYER]


def test_a_blob_that_has_two_names_is_looked_into() -> None:
    both = Blob(b"{}")
    layers = [both.descriptor("text/plain")]
    body = {"schemaVersion": 2, "mediaType": media_type.OCI_MANIFEST, "config": both.descriptor(media_type.OCI_CONFIG), "layers": layers}
    (one,) = doubtful(parse_manifest(json.dumps(body).encode(), media_type.OCI_MANIFEST))
    assert one.media_type == "text/plain"
