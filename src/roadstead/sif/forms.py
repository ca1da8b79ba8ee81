"""The two forms that an image has here, Docker's and Singularity's, and the virtual tags by which the other one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.manifest import Manifest
from roadstead.oci.reference import TagName

_LAYERS: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
"""How the types of layers begin, with whatever is done to their bytes."""


class Form(StrEnum):
    """What an image is, or is to be made into."""

    SIF = "sif"
    OCI = "oci"

    @property
    def suffix(self) -> str:
        """What a tag has appended where the image is wanted in this form."""
        return f".{self.value}"


def virtual(tag: TagName) -> tuple[TagName, Form] | None:
    """The tag that a virtual tag was made of, and the form that it asks for; None for a tag that has no such suffix."""
    for form in Form:
        if tag.endswith(form.suffix) and len(tag) > len(form.suffix):
            return TagName(tag.removesuffix(form.suffix)), form
    return None


def form_of(manifest: Manifest) -> Form | None:
    """What an image manifest is; None for an index, and for what is no image at all."""
    if manifest.media_type not in types.IMAGE_TYPES or manifest.config is None:
        return None
    if any(layer.media_type in types.SIF_LAYER_TYPES for layer in manifest.layers):
        return Form.SIF
    if manifest.config.media_type not in (types.OCI_CONFIG, types.DOCKER_CONFIG):
        return None
    # Signatures of cosign's older form, and what BuildKit attests, have the configuration of an image, and nothing of one below it.
    there = not manifest.layers or any(layer.media_type.startswith(_LAYERS) for layer in manifest.layers)
    return Form.OCI if there else None


# --- platforms ------------------------------------------------------------------------------------------------------------------

_USUAL_VARIANTS: Final = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
"""What a platform without a variant means: as containerd normalises it."""


def written(platform: Mapping[str, Any]) -> str:
    """A platform object of an index as people write it: os/architecture or os/architecture/variant."""
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(str(part) for part in parts if part)


def fits(wanted: str, platform: Mapping[str, Any]) -> bool:
    """Whether a platform object is the platform that was written so; a variant that is left out is the usual one."""
    return _full(wanted) == _full(written(platform))


def _full(text: str) -> tuple[str, ...]:
    os, architecture, variant = (*text.split("/"), "", "")[:3]
    return os, architecture, variant or _USUAL_VARIANTS.get(architecture, "")


def parts_for(platforms: Sequence[str], children: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Of an index's children the first for each of the platforms that it has, in the order of the platforms."""
    there = [child for child in children if child.platform is not None and child.media_type in types.IMAGE_TYPES]
    found = {wanted: next((child for child in there if fits(wanted, child.platform or {})), None) for wanted in platforms}
    return tuple(child for child in found.values() if child is not None)
