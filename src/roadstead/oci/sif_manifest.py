"""SIFs in OCI manifests, as `apptainer push oras://` writes them: an empty object as config, the file as the one layer."""

from __future__ import annotations

import msgspec

from roadstead.oci import media_type
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest

EMPTY_CONFIG = b"{}"
"""The bytes of every such config."""

TITLE = "org.opencontainers.image.title"
"""The annotation with the name of the file (image-spec, annotations.md)."""


def sif_layer(manifest: Manifest) -> Descriptor | None:
    """The layer that is a SIF, if the manifest is an image of that one layer."""
    if len(manifest.layers) == 1 and manifest.layers[0].media_type in media_type.SIF_LAYER_TYPES:
        return manifest.layers[0]
    return None


def sif_manifest(file: Digest, size: int, title: str) -> bytes:
    """The manifest of a SIF of `size` bytes. The members stand in the client's order, so that the same file has the same manifest."""
    config = {"mediaType": media_type.SIF_CONFIG, "size": len(EMPTY_CONFIG), "digest": str(Digest.of(EMPTY_CONFIG))}
    layer = {"mediaType": media_type.SIF_LAYER, "size": size, "digest": str(file), "annotations": {TITLE: title}}
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": media_type.OCI_MANIFEST, "config": config, "layers": [layer]})
