"""What an artifact says of itself, as pages tell it. Whoever pushes may say anything: what has another shape than it should is not told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from roadstead.oci import platform
from roadstead.oci.artifact_type import SIF
from roadstead.oci.digest import Digest
from roadstead.registry.artifacts import Artifact, Child
from roadstead.registry.configs import Attributes
from roadstead.sif.facts import Facts

SHOWN: Final = 100
"""So many rows of each list that comes with an artifact are shown; the API has all."""

_IMAGE: Final = ("os", "architecture", "created", "author")
_CHART: Final = ("name", "version", "appVersion", "kubeVersion", "description", "type", "home")
_SETTINGS: Final = ("Entrypoint", "Cmd", "WorkingDir", "User", "Env")

_T = TypeVar("_T")


class First(msgspec.Struct, Generic[_T], frozen=True):
    """The first rows of a list, and how many `more` there are."""

    rows: Sequence[_T]
    more: int


class Step(msgspec.Struct, frozen=True):
    """One step in which an image was built: what it ran, what was remarked, and whether it made a layer."""

    made_by: str
    remark: str
    has_layer: bool


def first(rows: Sequence[_T], most: int = SHOWN) -> First[_T]:
    """The first of them."""
    return First(rows[:most], max(0, len(rows) - most))


def images_of(artifact: Artifact) -> list[Child]:
    """What an index names, without what BuildKit says about that."""
    return [child for child in artifact.children if not platform.is_attestation(child.platform, child.annotations)]


class Attestation(msgspec.Struct, frozen=True):
    """What BuildKit says about an image of an index: a manifest of the same index, and the platform of that image if it is known."""

    digest: Digest
    here: bool
    platform: str | None


def attestations_of(artifact: Artifact) -> list[Attestation]:
    """What an index names beside its images."""
    platforms = {str(child.digest): platform.written(child.platform) for child in images_of(artifact)}
    return [
        Attestation(child.digest, child.id is not None, platforms.get(child.annotations.get(platform.ABOUT, "")))
        for child in artifact.children
        if platform.is_attestation(child.platform, child.annotations)
    ]


def platforms_of(artifact: Artifact) -> list[str]:
    """What it is for: `amd64`, `arm64/v8`, each once."""
    if artifact.children:
        named = [platform.written(child.platform) for child in images_of(artifact)]
    else:
        named = [platform.written(artifact.attributes)]
    return [one for one in dict.fromkeys(named) if one]


def sif_of(artifact: Artifact) -> Facts | None:
    """What a SIF says of itself; None where that is not known, or is no such thing."""
    try:
        return msgspec.convert(artifact.attributes, Facts) if artifact.kind == SIF else None
    except msgspec.ValidationError:
        return None


def steps_of(history: Iterable[Attributes]) -> list[Step]:
    """How an image was built, as far as its configuration tells it."""
    return [
        Step(_line(step.get("created_by", "")), _line(step.get("comment", "")), step.get("empty_layer") is not True)
        for step in history
        if isinstance(step, dict)
    ]


def lines_of(artifact: Artifact) -> list[tuple[str, str]]:
    """What its configuration has, or a SIF's labels, each with its name."""
    said = artifact.attributes or {}
    config = said.get("config")
    lines = [(key, _line(said[key])) for key in (_CHART if artifact.kind == "CHART" else _IMAGE) if said.get(key)]
    if isinstance(config, dict):
        lines += [(key, _line(config[key])) for key in _SETTINGS if config.get(key)]
    return [*lines, *_labels(said.get("labels")), *_labels(config.get("Labels") if isinstance(config, dict) else None)]


def _labels(labels: Any) -> Iterator[tuple[str, str]]:
    if isinstance(labels, dict):
        yield from ((str(key), _line(value)) for key, value in labels.items())


def _line(value: object) -> str:
    """As text: of a list of texts its first lines."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join([*value[:SHOWN], *([f"… and {len(value) - SHOWN:,} more"] if len(value) > SHOWN else [])])
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
