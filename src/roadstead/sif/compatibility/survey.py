"""Looking into an image, in the process that converts: the files that tell what it needs, and what they tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from roadstead.errors import RoadsteadError
from roadstead.sif import format as sif_format
from roadstead.sif.compatibility.gather import from_layers, from_squashfs
from roadstead.sif.compatibility.image_facts import WANTED, ImageFacts, facts_of
from roadstead.sif.format import DataType, ReadAt, Sif
from roadstead.sif.layers import Layer
from roadstead.sif.limits import Limits
from roadstead.sif.to_oci import open_root

_CONFIGURATION: Final = "oci-config.json"
_LARGEST_CONFIGURATION: Final = 1 << 20


def survey_sif(read_at: ReadAt, size: int, limits: Limits) -> ImageFacts:
    """The facts of the SIF in a file of `size` bytes; with the problem where its files cannot be read. Raises InvalidSif if it is none."""
    sif = sif_format.read(read_at, size)
    architecture = None if sif.architecture == "unknown" else sif.architecture
    try:
        files = from_squashfs(open_root(sif, read_at, limits), WANTED)
    except RoadsteadError as reason:
        return ImageFacts(architecture, problem=reason.message)
    return facts_of(files, _configuration(sif, read_at), architecture)


def _configuration(sif: Sif, read_at: ReadAt) -> bytes:
    """What a converted SIF carries of the image that it was made of."""
    carried = (found for found in sif.of_type(DataType.GENERIC_JSON) if found.object.name == _CONFIGURATION)
    return next(
        (sif_format.content(read_at, found, _LARGEST_CONFIGURATION) for found in carried if found.size <= _LARGEST_CONFIGURATION), b""
    )


def survey_layers(configuration: bytes, layers: Sequence[Callable[[], Iterable[bytes]]], limits: Limits) -> ImageFacts:
    """The facts of an image with these layers, the lowest first; with the problem where they cannot be read."""
    try:
        files = from_layers([Layer(opened) for opened in layers], WANTED, limits)
    except RoadsteadError as reason:
        told = facts_of({}, configuration)
        return ImageFacts(told.architecture, cuda=told.cuda, driver=told.driver, problem=reason.message)
    return facts_of(files, configuration)
