"""Media types that a registry meets (image-spec, media-types.md; Docker image manifest v2 schema 2; Sylabs' SIF in OCI)."""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_LAYER_NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_LAYER_NONDISTRIBUTABLE_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_LAYER_NONDISTRIBUTABLE_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

OCI_ARTIFACT_MANIFEST = "application/vnd.oci.artifact.manifest.v1+json"
"""Of image-spec v1.1 release candidates only, and still pushed by the tools of that time."""

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_LAYER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"

SIF_LAYER_MISSPELT = "appliciation/vnd.sylabs.sif.layer.tar"
"""As early Singularity 3 wrote it; images in the field carry it, so it is not to be corrected."""

MANIFEST_TYPES = frozenset({OCI_MANIFEST, OCI_INDEX, OCI_ARTIFACT_MANIFEST, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST})
"""The manifests that can be stored."""

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_MANIFEST_LIST})
"""The manifests whose children are manifests."""

IMAGE_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
"""The manifests that have a config and layers."""

SCHEMA1_TYPES = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
"""Obsolete manifests that cannot be stored: their digest is not that of their bytes."""

SIF_LAYER_TYPES = frozenset({SIF_LAYER, SIF_LAYER_MISSPELT})
"""A SIF image as the single layer of a manifest."""

NON_DISTRIBUTABLE = frozenset(
    {
        OCI_LAYER_NONDISTRIBUTABLE,
        OCI_LAYER_NONDISTRIBUTABLE_GZIP,
        OCI_LAYER_NONDISTRIBUTABLE_ZSTD,
        DOCKER_LAYER_FOREIGN,
        DOCKER_LAYER_FOREIGN_GZIP,
    }
)
"""Layers that clients need not push (image-spec, layer.md, "Non-Distributable Layers"): they are fetched from their `urls`."""

GENERIC_TYPES = frozenset({"", "application/json", "application/octet-stream"})
"""Content-Types that do not say which manifest it is."""


def normalise_content_type(header: str) -> str:
    """The media type of a Content-Type header: lower case, without parameters.

    Registries ignore parameters: distribution-spec, "Pushing Manifests".
    """
    return header.partition(";")[0].strip().lower()
