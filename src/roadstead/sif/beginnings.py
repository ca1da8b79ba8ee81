"""What a blob is by its first bytes, whatever its media type says: some clients do not look at that, and run what they are given."""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import Final

from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.sif.format import MAGIC

_READ: Final = 2048
"""Bytes that are looked at: as many as Apptainer looks at (`pkg/image`)."""
_REMEMBERED: Final = 10_000
_MAGIC_AT: Final = 32
_SQUASHFS: Final = (b"hsqs", b"sqsh")
_LAUNCHED: Final = b"#!/usr/bin/env run-singularity\n"
_EXT: Final = struct.Struct("<24xI28xH18xI")  # of a superblock: size of blocks, magic, revision (ext4/ext4.h)
_EXT_AT: Final = 1024
_EXT_MAGIC: Final = 0xEF53
_EXT_LARGEST: Final = 6

_OF_IMAGES: Final = frozenset(
    {
        *(types.OCI_CONFIG, types.OCI_LAYER, types.OCI_LAYER_GZIP, types.OCI_LAYER_ZSTD),
        *(types.DOCKER_CONFIG, types.DOCKER_LAYER, types.DOCKER_LAYER_GZIP),
        *types.NON_DISTRIBUTABLE,
    }
)


class Kind(StrEnum):
    """What Apptainer would run, and everything else."""

    SIF = "sif"
    FILE_SYSTEM = "file system"
    OTHER = "other"


def kind_of(beginning: bytes) -> Kind:
    """By the first 2048 bytes of a file, or all of a smaller one."""
    if beginning[_MAGIC_AT : _MAGIC_AT + len(MAGIC)] == MAGIC:
        return Kind.SIF
    # Singularity 2 wrote a line before the file system.
    start = len(_LAUNCHED) if beginning.startswith(_LAUNCHED) else 0
    if beginning.startswith(_SQUASHFS, start) or _is_ext(beginning[start + _EXT_AT :]):
        return Kind.FILE_SYSTEM
    return Kind.OTHER


def _is_ext(superblock: bytes) -> bool:
    if len(superblock) < _EXT.size:
        return False
    size, magic, revision = _EXT.unpack_from(superblock)
    return bool(magic == _EXT_MAGIC and size <= _EXT_LARGEST and revision <= 1)


class Beginnings:
    """Looks at blobs. What it has seen of a digest is remembered, as that never changes."""

    def __init__(self, images: ImageSignatures) -> None:
        self._images = images
        self._known: dict[Digest, Kind] = {}

    async def kind(self, repository_id: int, digest: Digest) -> Kind | None:
        """What a blob is; None of what the repository does not have."""
        known = self._known.get(digest)
        if known is not None:
            return known
        beginning = await self._images.beginning(repository_id, digest, _READ)
        if beginning is None:
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        found = self._known[digest] = kind_of(beginning)
        return found


def doubtful(manifest: Manifest) -> tuple[Descriptor, ...]:
    """The blobs of a manifest that may be run as they are, whatever they are called: not those that are called SIFs, and of an image for
    Docker neither its configuration nor its layers."""
    image = (
        manifest.media_type in types.IMAGE_TYPES
        and manifest.config is not None
        and manifest.config.media_type in (types.OCI_CONFIG, types.DOCKER_CONFIG)
    )
    known = types.SIF_LAYER_TYPES | _OF_IMAGES if image else types.SIF_LAYER_TYPES
    named = (*((manifest.config,) if manifest.config else ()), *manifest.layers)
    return tuple({blob.digest: blob for blob in named if blob.media_type not in known}.values())
