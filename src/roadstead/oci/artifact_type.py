"""What kind of artifact a manifest is, in the words that Harbor's users know: IMAGE, CHART, SIF."""

from __future__ import annotations

import re
from typing import Final

from roadstead.oci import media_type as types

UNKNOWN: Final = "UNKNOWN"
SIF: Final = "SIF"

BY_CONFIG: Final = {
    types.OCI_CONFIG: "IMAGE",
    types.DOCKER_CONFIG: "IMAGE",
    types.SIF_CONFIG: SIF,
    "application/vnd.cncf.helm.config.v1+json": "CHART",
    "application/vnd.wasm.config.v1+json": "WASM",
    "application/vnd.wasm.config.v0+json": "WASM",
    "application/vnd.cncf.model.config.v1+json": "CNAI",
    "application/vnd.goharbor.harbor.sbom.v1": "SBOM",
}
"""Media type of the config → kind."""

BY_ACCESSORY: Final = {
    "application/vnd.dev.cosign.artifact.sig.v1+json": "signature.cosign",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "signature.cosign",
    "application/vnd.cncf.notary.signature": "signature.notation",
    "application/vnd.goharbor.harbor.sbom.v1": "sbom.harbor",
}
"""Artifact type of what refers to another manifest → kind of accessory."""

_OWNED = re.compile(r"application/vnd\.[^.]+\.(?P<kind>.+)\.config\.[^.]+\+json")


def kind_of(manifest_type: str, config_type: str | None) -> str:
    """The kind of a manifest by its own media type and its config's (or its artifact type).

    A config of a type unknown here names the kind itself: application/vnd.<owner>.<kind>.config.<version>+json.
    """
    if manifest_type in types.INDEX_TYPES:
        return "IMAGE"
    known = BY_CONFIG.get(config_type or "")
    if known is not None:
        return known
    named = _OWNED.fullmatch(config_type or "")
    return named["kind"].upper() if named else UNKNOWN


def accessory_kind(artifact_type: str | None, *, by_tag: bool, derived: bool = False) -> str:
    """The kind of what refers to another manifest, by its subject or (`by_tag`) by the tag that cosign gives its signatures.

    What is `derived` this registry has made of the other.
    """
    if derived:
        return "conversion.sif" if artifact_type == types.SIF_CONFIG else "conversion.oci"
    if by_tag:
        return "signature.cosign"
    return BY_ACCESSORY.get(artifact_type or "", "subject.accessory")
