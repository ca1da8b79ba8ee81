"""An OCI layout written to a directory (image-spec v1.1, image-layout.md): one image of one layer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import image_of, index_of

_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'
_REFERENCE: Final = "org.opencontainers.image.ref.name"


class _Platform(msgspec.Struct, frozen=True, omit_defaults=True):
    """The fields of a configuration that an index repeats (image-spec v1.1, config.md, "Properties")."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


def write_layout(directory: Path, configuration: bytes, layer: BinaryIO, digest: Digest, tag: str) -> Digest:
    """Write an image of this configuration and gzip-compressed layer, whose digest this is, under the tag; the digest of its manifest.

    The directory is made. The same image makes the same bytes.
    """
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer.seek(0)
    with (blobs / digest.encoded).open("wb") as file:
        shutil.copyfileobj(layer, file, 1 << 20)
        size = file.tell()
    config = Descriptor(types.OCI_CONFIG, _write(blobs, configuration), len(configuration))
    manifest = image_of(config, [Descriptor(types.OCI_LAYER_GZIP, digest, size)])
    named = Descriptor(
        types.OCI_MANIFEST,
        _write(blobs, manifest),
        len(manifest),
        annotations={_REFERENCE: tag},
        platform=msgspec.to_builtins(msgspec.json.decode(configuration, type=_Platform)),
    )
    (directory / "index.json").write_bytes(index_of([named]))
    (directory / "oci-layout").write_bytes(_LAYOUT)
    return named.digest


def _write(blobs: Path, content: bytes) -> Digest:
    digest = Digest.of(content)
    (blobs / digest.encoded).write_bytes(content)
    return digest
