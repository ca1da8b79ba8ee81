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


def sif_layers(manifest: Manifest) -> tuple[Descriptor, ...]:
    """The layers that are said to be SIFs, each once; of an artifact manifest they are its blobs. What has one is a SIF to a policy."""
    found = {layer.digest: layer for layer in reversed(manifest.layers) if layer.media_type in media_type.SIF_LAYER_TYPES}
    return tuple(reversed(found.values()))


def sif_layer(manifest: Manifest) -> Descriptor | None:
    """The layer that is a SIF, if the manifest has that one layer and no other."""
    found = sif_layers(manifest)
    return found[0] if len(found) == len(manifest.layers) == 1 else None


def sif_manifest(file: Digest, size: int, title: str) -> bytes:
    """The manifest of a SIF of `size` bytes. The members stand in the client's order, so that the same file has the same manifest."""
    config = {"mediaType": media_type.SIF_CONFIG, "size": len(EMPTY_CONFIG), "digest": str(Digest.of(EMPTY_CONFIG))}
    layer = {"mediaType": media_type.SIF_LAYER, "size": size, "digest": str(file), "annotations": {TITLE: title}}
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": media_type.OCI_MANIFEST, "config": config, "layers": [layer]})
