"""What an index says of the manifests that it names (image-spec, image-index.md): for which platform each is, or that it is for none.

Whoever may push writes indexes: of what is no text nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_USUAL: Final = "linux"
_UNKNOWN: Final = "unknown"
_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
_ATTESTATION: Final = "attestation-manifest"
ABOUT: Final = "vnd.docker.reference.digest"
"""The annotation by which BuildKit says of which manifest of the index another speaks."""


def written(platform: Mapping[str, Any] | None) -> str | None:
    """A platform as people write it: `amd64`, `arm/v7`, and with its operating system where that is not Linux. None where none is said."""
    system, architecture, variant = (_text(platform, part) for part in ("os", "architecture", "variant"))
    if architecture in (None, _UNKNOWN) and system in (None, _UNKNOWN):
        return None
    named = [None if system == _USUAL and architecture else system, architecture, variant]
    return "/".join(part for part in named if part)


def _text(platform: Mapping[str, Any] | None, part: str) -> str | None:
    value = (platform or {}).get(part)
    return value if isinstance(value, str) and value else None


def is_attestation(platform: Mapping[str, Any] | None, annotations: Mapping[str, str]) -> bool:
    """Whether a manifest of an index is no image, but what BuildKit says of one (docs/attestations/attestation-storage.md)."""
    told = annotations.get(_REFERENCE_TYPE)
    return told == _ATTESTATION if told else platform is not None and _text(platform, "architecture") == _UNKNOWN
