"""What kind of artifact a manifest is, in the words that Harbor's users know: IMAGE, CHART, SIF."""

from __future__ import annotations

import re
from collections.abc import Collection
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
    "application/spdx+json": "sbom.spdx",
    "text/spdx": "sbom.spdx",
    "application/vnd.cyclonedx": "sbom.cyclonedx",
    "application/vnd.cyclonedx+json": "sbom.cyclonedx",
    "application/vnd.cyclonedx+xml": "sbom.cyclonedx",
    "application/vnd.syft+json": "sbom.syft",
    "application/vnd.dev.cosign.artifact.sbom.v1+json": "sbom.cosign",
    "application/vnd.in-toto+json": "attestation.in-toto",
    "application/vnd.docker.attestation.manifest.v1+json": "attestation.in-toto",
}
"""Artifact type of what refers to another manifest → kind of accessory."""

SCHEMES: Final = {"sig": "signature.cosign", "att": "attestation.cosign", "sbom": "sbom.cosign"}
"""How a tag ends by which cosign says of which manifest another speaks, where it does not use referrers → kind of accessory."""

OTHER_ACCESSORY: Final = "subject.accessory"
CONVERTED_SIF: Final = "conversion.sif"
CONVERTED_IMAGE: Final = "conversion.oci"

_IN_TOTO: Final = "application/vnd.in-toto+json"
_BY_TAG = re.compile(rf"sha256-[0-9a-f]{{64}}\.({'|'.join(SCHEMES)})")
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


def accessory_kind(artifact_type: str | None, *, scheme: str = "", derived: bool = False) -> str:
    """The kind of what refers to another manifest, by its subject or by a tag of that `scheme`.

    What is `derived` this registry has made of the other.
    """
    if derived:
        return CONVERTED_SIF if artifact_type == types.SIF_CONFIG else CONVERTED_IMAGE
    return SCHEMES.get(scheme) or BY_ACCESSORY.get(artifact_type or "", OTHER_ACCESSORY)


def scheme_of(tag: str) -> str:
    """How a tag of cosign's form ends; "" of any other tag."""
    found = _BY_TAG.fullmatch(tag)
    return found[1] if found else ""


def is_attestation(layer_types: Collection[str]) -> bool:
    """Whether a manifest with layers of these media types holds nothing but in-toto statements, as BuildKit's attestations do."""
    return bool(layer_types) and all(one == _IN_TOTO for one in layer_types)
