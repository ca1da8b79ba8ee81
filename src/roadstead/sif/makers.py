"""How an image of one form is made into one of the other: which bytes of the store are read, what reads them, what manifest comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from roadstead.content.store import ContentStore, Sealed
from roadstead.errors import InvalidManifest, NotConvertible
from roadstead.metadata.contents import BlobRow, BlobSelects
from roadstead.metadata.database import Database
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, image_of
from roadstead.oci.sif_manifest import EMPTY_CONFIG
from roadstead.oci.sif_manifest import TITLE as TITLE_ANNOTATION
from roadstead.registry.blobs import require_here
from roadstead.sif import process, to_oci
from roadstead.sif.convert import CONVERTER, Conversion
from roadstead.sif.inputs import Input, stored_input
from roadstead.sif.orders import Means, ToOci, ToSif
from roadstead.sif.to_oci import Layering

Tell = Callable[[float | None, str], object]
"""Takes how far it is (0 to 1, None where nobody knows) and a line for the log, which may be empty."""

SOURCE: Final = "org.roadstead.conversion.source"
CONVERTED_BY: Final = "org.roadstead.conversion.converter"
COMPRESSOR: Final = "org.roadstead.conversion.compressor"
"""Annotations of what is made."""

TITLE: Final = "image.sif"
"""What `oras pull` calls the file. The same in every repository, as the manifest is."""

_LARGEST_CONFIGURATION: Final = 8 << 20
_LAYERS: Final = types.NON_DISTRIBUTABLE | {
    types.OCI_LAYER,
    types.OCI_LAYER_GZIP,
    types.OCI_LAYER_ZSTD,
    types.DOCKER_LAYER,
    types.DOCKER_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
}


class Source(msgspec.Struct, frozen=True):
    """The image that is converted: its manifest, where it lies, and the descriptor that names it as a subject."""

    repository_id: int
    subject: Descriptor
    manifest: Manifest


class Made(msgspec.Struct, frozen=True):
    """What came of it: the bytes of a manifest, and the contents that it names."""

    manifest: bytes
    blobs: Sequence[Sealed | bytes]


class Maker(Protocol):
    """Makes one form of the other. The same source and identity make the same bytes."""

    def identity(self, source: Digest) -> str:
        """What decides the bytes."""

    async def make(self, source: Source, tell: Tell) -> Made:
        """Make it; the sealed contents are the caller's. Cancelling this leaves nothing behind.

        Raises what is wrong with the source (NotConvertible, InvalidInput, DigestMismatch, ImageTooLarge), and Unavailable.
        """


class Stock:
    """The contents that a repository sees, for reading."""

    def __init__(self, database: Database, store: ContentStore) -> None:
        self.store = store
        self._blobs = BlobSelects(database)

    async def input(self, repository_id: int, named: Descriptor) -> Input:
        """A blob that a manifest names. Raises NotConvertible if the repository does not see it, InvalidManifest if its size is another."""
        row = await self._blobs.find(repository_id, named.digest)
        if row is None:
            raise NotConvertible(f"The image cannot be converted: its content {named.digest} is not in this registry.")
        self._require_here(row, named)
        return stored_input(self.store, row.key, row.size)

    def _require_here(self, row: BlobRow, named: Descriptor) -> None:
        require_here(row, self.store, str(named.digest))
        if row.size != named.size:
            raise InvalidManifest(f"The manifest says that {named.digest} has {named.size} bytes, and it has {row.size}.")

    async def whole(self, repository_id: int, named: Descriptor) -> bytes:
        """All of a small blob. Raises as `input`, and NotConvertible if it is not small."""
        if named.size > _LARGEST_CONFIGURATION:
            raise NotConvertible(f"The image's configuration has {named.size} bytes; at most {_LARGEST_CONFIGURATION} are read.")
        found = await self.input(repository_id, named)
        return await found.read(0, found.size) if found.size else b""


class SifMaker:
    """Makes SIFs of images; see `Maker`."""

    def __init__(self, stock: Stock, how: Conversion, means: Means) -> None:
        self._stock = stock
        self._how = how
        self._means = means

    def identity(self, source: Digest) -> str:
        """See `Maker.identity`."""
        return self._how.identity(source)

    async def make(self, source: Source, tell: Tell) -> Made:
        """See `Maker.make`."""
        manifest = source.manifest
        assert manifest.config is not None, "an image has one"
        _require_layers(manifest.layers)
        configuration = await self._stock.whole(source.repository_id, manifest.config)
        _require_linux(configuration)
        layers = [await self._stock.input(source.repository_id, layer) for layer in manifest.layers]
        async with self._stock.store.scratch() as file:
            await process.run(ToSif(source.subject.digest, configuration, self._how), layers, file, self._means, tell)
            sealed = await self._stock.store.take(file)
        return Made(self._manifest(source.subject, sealed), (sealed, EMPTY_CONFIG))

    def _manifest(self, source: Descriptor, sealed: Sealed) -> bytes:
        """What apptainer pushes with a SIF, and where it came from."""
        config = Descriptor(types.SIF_CONFIG, Digest.of(EMPTY_CONFIG), len(EMPTY_CONFIG))
        layer = Descriptor(types.SIF_LAYER, sealed.digests["sha256"], sealed.size, {TITLE_ANNOTATION: TITLE})
        compression = self._how.compression
        annotations = {
            SOURCE: str(source.digest),
            CONVERTED_BY: f"roadstead {CONVERTER}",
            COMPRESSOR: f"{compression.name} {compression.level} {compression.library}",
        }
        return image_of(config, [layer], subject=source, annotations=annotations)


class OciMaker:
    """Makes images of SIFs; see `Maker`."""

    def __init__(self, stock: Stock, how: Layering, means: Means) -> None:
        self._stock = stock
        self._how = how
        self._means = means

    def identity(self, source: Digest) -> str:
        """See `Maker.identity`."""
        return self._how.identity(source)

    async def make(self, source: Source, tell: Tell) -> Made:
        """See `Maker.make`."""
        sif = await self._stock.input(source.repository_id, _only_sif(source.manifest.layers))
        async with self._stock.store.scratch() as file:
            image = await process.run(ToOci(self._how), [sif], file, self._means, tell)
            sealed = await self._stock.store.take(file)
        return Made(self._manifest(source.subject, image.configuration, sealed), (sealed, image.configuration))

    def _manifest(self, source: Descriptor, configuration: bytes, sealed: Sealed) -> bytes:
        config = Descriptor(types.OCI_CONFIG, Digest.of(configuration), len(configuration))
        layer = Descriptor(types.OCI_LAYER_GZIP, sealed.digests["sha256"], sealed.size)
        annotations = {
            SOURCE: str(source.digest),
            CONVERTED_BY: f"roadstead {to_oci.CONVERTER}",
            COMPRESSOR: f"gzip {self._how.level} {to_oci.library()}",
        }
        return image_of(config, [layer], subject=source, annotations=annotations)


def _only_sif(layers: Sequence[Descriptor]) -> Descriptor:
    found = [layer for layer in layers if layer.media_type in types.SIF_LAYER_TYPES]
    if len(found) != 1:
        raise NotConvertible(f"The artifact holds {len(found)} SIF files, and one alone can be an image.")
    return found[0]


def _require_layers(layers: Iterable[Descriptor]) -> None:
    for layer in layers:
        if layer.media_type not in _LAYERS:
            raise NotConvertible(f"The image cannot be converted: it has a layer of type {layer.media_type[:120]!r}.")


class _System(msgspec.Struct, frozen=True):
    os: Any = ""


def _require_linux(configuration: bytes) -> None:
    try:
        found = msgspec.json.decode(configuration, type=_System).os
    except (msgspec.MsgspecError, RecursionError) as reason:
        raise InvalidManifest(f"The image's configuration cannot be read: {reason}.") from reason
    if found not in ("", "linux"):
        raise NotConvertible(f"The image cannot be converted: it is for the system {str(found)[:40]!r}, and SIFs are for linux.")
