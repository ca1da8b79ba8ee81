"""An OCI image to a SIF: the same image, settings and converter make the same bytes, on any machine, with any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Final
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from roadstead.errors import InvalidManifest
from roadstead.oci.digest import Digest
from roadstead.sif.compression import Compression
from roadstead.sif.configuration import Configuration, Told, added_layer, parse_configuration, tell
from roadstead.sif.format import ARCHITECTURES, DataType, FileSystem, Object, Partition, PartitionType, Sif, Writer
from roadstead.sif.layers import Layer, Merged, merge
from roadstead.sif.limits import Limits
from roadstead.sif.squashfs import Settings
from roadstead.sif.squashfs import Writer as SquashfsWriter

CONVERTER: Final = "1"
"""The converter's version. It changes with everything that changes a byte of what is made; golden sums in the tests tell when."""

Open = Callable[[], Iterable[bytes]]


class Source(msgspec.Struct, frozen=True):
    """An image: the digest of its manifest (of one platform, not of an index), its configuration, and its layers, the lowest first.

    Each of `layers` gives the bytes that are stored, each time it is called.
    """

    digest: Digest
    configuration: bytes
    layers: Sequence[Open]


class Conversion(msgspec.Struct, frozen=True):
    """How an image is converted."""

    compression: Compression = Compression()
    block_size: int = 128 << 10
    threads: int = 1
    limits: Limits = Limits()

    def identity(self, source: Digest) -> str:
        """What decides the bytes: conversions of one identity are the same file. The platform is in the source's digest."""
        library = self.compression.library
        return f"roadstead {CONVERTER} {source} {self.compression.name} {self.compression.level} {library} {self.block_size}"


def convert(source: Source, output: BinaryIO, how: Conversion) -> Sif:
    """Write the image as a SIF to `output`, a seekable file that is empty; what it holds.

    Raises InvalidLayer, DigestMismatch or InvalidManifest with what is wrong with the image, ImageTooLarge with the limit that it passes.
    """
    configuration = parse_configuration(source.configuration)
    _check(configuration, source)
    told = tell(configuration, source.digest, CONVERTER)
    layers = [Layer(opened, diff_id) for opened, diff_id in zip(source.layers, configuration.diff_ids, strict=True)]
    merged = merge(layers, how.limits, configuration.created, lambda tree: added_layer(told, tree, configuration.created))
    writer = Writer(output, identity=_uuid(how, source), made=configuration.created)
    _write_told(writer, told)
    root = Partition(FileSystem.SQUASHFS, PartitionType.PRIMARY_SYSTEM, configuration.architecture)
    with writer.open(Object(DataType.PARTITION, detail=root)) as opened:
        _write_root(merged, opened, how, configuration.created)
    return writer.finish()


def _check(configuration: Configuration, source: Source) -> None:
    if configuration.architecture not in ARCHITECTURES or configuration.architecture == "unknown":
        raise InvalidManifest(f"The image is for {configuration.architecture[:40]!r}, which the SIF format does not know.")
    if len(configuration.diff_ids) != len(source.layers):
        raise InvalidManifest(f"The image has {len(source.layers)} layers, and its configuration tells of {len(configuration.diff_ids)}.")


def _uuid(how: Conversion, source: Source) -> UUID:
    return uuid5(NAMESPACE_URL, how.identity(source.digest))


def _write_told(writer: Writer, told: Told) -> None:
    writer.add(Object(DataType.DEFINITION), [told.definition.encode()])
    writer.add(Object(DataType.GENERIC_JSON, name="inspect-metadata.json"), [told.inspection])
    writer.add(Object(DataType.GENERIC_JSON, name="oci-config.json"), [told.configuration])


def _write_root(merged: Merged, output: BinaryIO, how: Conversion, made: int) -> None:
    settings = Settings(made, how.compression, how.block_size, how.threads)
    with SquashfsWriter(output, merged.tree, merged.links, merged.original, settings) as root:
        for inode, pieces in merged.contents():
            root.add(inode, pieces)
        root.finish()
