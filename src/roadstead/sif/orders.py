"""What a converter's process is asked to do, with what means, and what it answers. Plain values: both ends import this."""

from __future__ import annotations

import msgspec

from roadstead.oci.digest import Digest
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.convert import Conversion
from roadstead.sif.limits import Limits
from roadstead.sif.to_oci import Layering


class Means(msgspec.Struct, frozen=True):
    """What one order may cost: address space, seconds of all cores together and by the clock, bytes written, threads that compress.

    The address space bounds the memory from above; a conversion of a million entries stays below 300 MiB of real memory.
    """

    memory: int = 2 << 30
    cpu_seconds: int = 4 * 3600
    seconds: int = 2 * 3600
    output: int = 256 << 30
    threads: int = 1


class ToSif(msgspec.Struct, frozen=True, tag="to-sif"):
    """Convert the image whose manifest has this digest, whose configuration is this, and whose layers are the inputs, the lowest first.

    The number of threads is that of the means.
    """

    digest: Digest
    configuration: bytes
    how: Conversion = Conversion()


class ToOci(msgspec.Struct, frozen=True, tag="to-oci"):
    """Make an image of the SIF that is the only input; its layer is what is written. The number of threads is that of the means."""

    how: Layering = Layering()


class Survey(msgspec.Struct, frozen=True, tag="survey"):
    """Look what the image needs of a machine: of the SIF that is the only input, or of the layers, the lowest first.

    `configuration` is that of the layers' image; a SIF has none. Nothing is written.
    """

    is_sif: bool
    configuration: bytes = b""
    limits: Limits = Limits()


class Examine(msgspec.Struct, frozen=True, tag="examine"):
    """Convert nothing: shut the door as ever, and try what should not be possible behind it."""


Order = ToSif | ToOci | Survey | Examine


class SifMade(msgspec.Struct, frozen=True, tag="sif-made"):
    """A SIF of `size` bytes for this architecture (Go's name of it), with the time that the image says of itself (seconds since 1970)."""

    size: int
    architecture: str
    created: int


class ImageMade(msgspec.Struct, frozen=True, tag="image-made"):
    """An image of one layer: its configuration, and the layer's size in bytes and digest when uncompressed."""

    configuration: bytes
    size: int
    diff_id: Digest


class Surveyed(msgspec.Struct, frozen=True, tag="surveyed"):
    """What was found."""

    facts: ImageFacts


class Isolation(msgspec.Struct, frozen=True):
    """What keeps the process in: each is True where the kernel grants it. `landlock` is the version of its interface, 0 for none."""

    no_new_privileges: bool = False
    network: bool = False
    system_calls: bool = False
    landlock: int = 0


class Examined(msgspec.Struct, frozen=True, tag="examined"):
    """What the kernel granted, and which of the acts that were tried succeeded nevertheless, in words."""

    isolation: Isolation
    possible: tuple[str, ...]


Answer = SifMade | ImageMade | Surveyed | Examined
