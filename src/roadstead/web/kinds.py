"""What artifacts are called in front of people. What doors answer (IMAGE, CHART, signature.cosign) are names for programs."""

from __future__ import annotations

from collections import Counter
from typing import Final

from roadstead.oci import media_type
from roadstead.oci.artifact_type import BY_ACCESSORY, CONVERTED_IMAGE, CONVERTED_SIF, OTHER_ACCESSORY, SIF, UNKNOWN
from roadstead.registry.artifacts import Artifact, Going
from roadstead.web.filters import count

_KINDS: Final = {"IMAGE": "Docker image", SIF: "SIF", "CHART": "Helm chart", "SBOM": "SBOM", "WASM": "WebAssembly", "CNAI": "AI model"}
_ACCESSORIES: Final = {"signature": "Signature", "sbom": "SBOM", "attestation": "Attestation"}
_CONVERTED: Final = {CONVERTED_SIF: "SIF", CONVERTED_IMAGE: "Docker image"}
_IMAGES: Final = frozenset({"IMAGE", SIF})
_NOUNS: Final = {
    "signature": ("signature", "signatures"),
    "sbom": ("SBOM", "SBOMs"),
    "attestation": ("attestation", "attestations"),
    "conversion": ("converted form", "converted forms"),
    "subject": ("artifact that belongs to it", "artifacts that belong to it"),
}
_PARTS: Final = ("image for one platform", "images for one platform each")
_OTHERS: Final = ("part", "parts")
_NOTHING: Final = frozenset(
    {"", media_type.OCI_EMPTY, media_type.OCI_CONFIG, media_type.DOCKER_CONFIG, "application/vnd.unknown.artifact.v1"}
)


def word(kind: str, artifact_type: str | None = None, accessory: str | None = None) -> str:
    """A kind of `oci.artifact_type`, of an artifact or of an accessory; of what is neither known nor told, its own type or "Other"."""
    known = accessory if accessory not in (None, OTHER_ACCESSORY) else BY_ACCESSORY.get(artifact_type or "")
    if known is not None:
        return _CONVERTED.get(known) or _ACCESSORIES.get(known.partition(".")[0], "Other")
    if kind in _KINDS:
        return _KINDS[kind]
    if kind != UNKNOWN and kind != OTHER_ACCESSORY:
        return kind.capitalize()
    return "Other" if artifact_type is None or artifact_type in _NOTHING else artifact_type


def of_artifact(artifact: Artifact) -> str:
    """What an artifact is called."""
    return word(artifact.kind, artifact.artifact_type, artifact.accessory)


def is_image(artifact: Artifact) -> bool:
    """Whether it can be run: an image or a SIF that is not there to say something about another."""
    return artifact.kind in _IMAGES and of_artifact(artifact) not in _ACCESSORIES.values()


def in_words(going: Going) -> list[str]:
    """What goes with an artifact, counted: `2 signatures`, `1 converted form`, `3 platform images`."""
    named: Counter[tuple[str, str]] = Counter()
    for kind, number in sorted(going.accessories.items(), key=lambda one: list(_NOUNS).index(one[0].partition(".")[0])):
        named[_NOUNS[kind.partition(".")[0]]] += number
    for kind, number in going.parts.items():
        named[_PARTS if kind in _IMAGES else _OTHERS] += number
    return [count(number, *nouns) for nouns, number in named.items()]
