"""Tags of a container."""

from __future__ import annotations

import msgspec

from roadstead.apis.library import names
from roadstead.apis.library.call import Call, data
from roadstead.errors import InvalidInput
from roadstead.oci.reference import TagName
from roadstead.serving.response import Response


class Tagged(msgspec.Struct, frozen=True):
    """A tag that is to stand for an image, with v2 for one architecture."""

    Tag: str
    ImageID: str
    Arch: str | None = None


async def listed(call: Call) -> Response:
    """GET /v2/tags/ID: by architecture and tag, the ids of images."""
    name = names.parse_id(call.value)
    found = await call.registry.sifs.tags(call.actor, name)
    return data({arch: {tag: names.image_id(name, file) for tag, file in tags.items()} for arch, tags in found.items()})


async def listed_of_any(call: Call) -> Response:
    """GET /v1/tags/ID: by tag, without architectures."""
    name = names.parse_id(call.value)
    found = await call.registry.sifs.tags(call.actor, name)
    return data({tag: names.image_id(name, file) for tags in found.values() for tag, file in tags.items()})


async def point(call: Call) -> Response:
    """POST: let a tag stand for an image of the same container; without an architecture it replaces all that the tag had."""
    name, tagged = names.parse_id(call.value), await call.body(Tagged)
    holder, file = names.parse_image_id(tagged.ImageID)
    if holder != name:
        raise InvalidInput("The image belongs to another container than the tag.")
    await call.registry.sifs.tag(call.actor, name, TagName.parse(tagged.Tag), file, tagged.Arch or None)
    return data({})
