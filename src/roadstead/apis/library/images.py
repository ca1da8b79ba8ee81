"""Images: what there is, and its bytes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from roadstead.access.actor import Action
from roadstead.apis.library import names
from roadstead.apis.library.call import Call, data
from roadstead.errors import InvalidInput, NotFound, Refused
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.sifs import SifImage
from roadstead.serving.response import Response

_SHORTEST_SEARCH = 3
_NO_DESCRIPTION = "No description"  # what clients write where their user gave none


class Announced(msgspec.Struct, frozen=True):
    """An image that is to be pushed. Its `description` becomes the repository's, where that has none yet."""

    hash: str
    container: str
    description: str = ""


async def get(call: Call) -> Response:
    """GET: whether there is such an image, its hash and size. 404 means "push it"."""
    name, reference = names.parse_image(call.value)
    return data(written(await call.registry.sifs.look_up(call.actor, name, reference, call.asked("arch"))))


async def announce(call: Call) -> Response:
    """POST: what is going to be pushed; `uploaded` tells of an image that the caller may pull, and of no other."""
    announced = await call.body(Announced)
    name, file = names.parse_id(announced.container), names.parse_hash(announced.hash)
    present = await call.registry.sifs.announce(call.actor, name, file)
    if announced.description and announced.description != _NO_DESCRIPTION:
        await _introduce(call, name, announced.description)
    return data(_described(name, file, uploaded=False) if present is None else written(present))


async def _introduce(call: Call, name: RepositoryName, description: str) -> None:
    with suppress(Refused):  # who may push and not describe pushes all the same
        await call.registry.repositories.introduce(call.actor, name, description)


async def delete(call: Call) -> Response:
    """DELETE: by hash the image with all its tags, by tag what it has for the architecture."""
    name, reference = names.parse_image(call.value)
    await call.registry.sifs.delete(call.actor, name, reference, call.asked("arch"))
    return data({})


async def send(call: Call) -> Response:
    """GET: 303 to the bytes of exactly the file that was found, which a client then fetches by ranges, several at a time."""
    _, location = await pull(call)
    return Response(303, [(b"location", location.encode()), (b"cache-control", b"no-store")])


async def pull(call: Call) -> tuple[SifImage, str]:
    """The image that is named, counted as a pull, and the address of its bytes. Raises TooManyRequests, and what finding it raises."""
    name, reference = names.parse_image(call.value)
    limits = call.access.limits
    if limits.active:
        standing = await limits.standing(call.actor, name.project)
        if standing is not None and not standing.remaining:
            # Whether a project has been pulled from often is told only to those who may pull from it.
            await call.registry.repositories.locate(call.actor, name, Action.PULL)
            raise limits.refusal(standing)
    found = await call.registry.sifs.find(call.actor, name, reference, call.asked("arch"), count=True)
    if limits.active:
        limits.pulled(call.actor, name.project)
    return found, f"{call.request.base_url}/v2/{found.name}/blobs/{found.file}"


async def oci_redirect(_call: Call) -> Response:
    """GET: 404, by which clients stay with this API: the manifests that they write in their other mode are malformed."""
    raise NotFound("Images are not offered in the client's OCI mode; docker:// and oras:// are.")


async def search(call: Call) -> Response:
    """GET: images and containers by a part of their names."""
    text = call.asked("value") or ""
    if len(text) < _SHORTEST_SEARCH:
        raise InvalidInput(f"Search for at least {_SHORTEST_SEARCH} characters.")
    signed = (call.asked("signed") or "").lower() == "true"
    found = await call.registry.sifs.search(call.actor, text, architecture=call.asked("arch"), signed=signed)
    images = [written(image) for image in found]
    names_found = [image.name for image in found]
    if not signed:  # what is made of layers is signed by nobody
        layered: dict[RepositoryName, list[TagName]] = {}
        for name, tag in await call.registry.sifs.convertible(call.actor, text):
            layered.setdefault(name, []).append(tag)
        images += [_made_of_layers(name, tags) for name, tags in layered.items()]
        names_found += layered
    containers = [_described_container(name) for name in dict.fromkeys(names_found)]
    return data({"entity": [], "collection": [], "container": containers, "image": images})


class Named(msgspec.Struct, frozen=True):
    """A name that is to be used, and the id of what it belongs to."""

    name: str
    entity: str = ""
    collection: str = ""


async def add_entity(call: Call) -> Response:
    """POST: as GET, because nothing need be made."""
    named = await call.body(Named)
    return data({"id": named.name, "name": named.name})


async def add_collection(call: Call) -> Response:
    """POST: as GET, because nothing need be made."""
    named = await call.body(Named)
    return data({"id": names.written_id(f"{named.entity}/{named.name}"), "name": named.name, "entity": named.entity})


async def add_container(call: Call) -> Response:
    """POST: as GET, because nothing need be made. Raises InvalidName."""
    named = await call.body(Named)
    return data(_described_container(names.parse_id(f"{named.collection}/{named.name}")))


async def entity(call: Call) -> Response:
    """GET: a name is all that an entity is; who may push into it is asked when an image is."""
    return data({"id": call.value, "name": call.value})


async def collection(call: Call) -> Response:
    """GET: as `entity`."""
    owner, _, name = call.value.partition("/")
    return data({"id": names.written_id(call.value), "name": name, "entity": names.written_id(owner), "entityName": owner})


async def container(call: Call) -> Response:
    """GET: as `entity`."""
    return data(_described_container(names.parse_name(call.value)))


def written(image: SifImage) -> dict[str, Any]:
    """An image as this API describes it."""
    more = {"size": image.size, "tags": image.tags}
    if image.architecture is not None:
        more["architecture"] = image.architecture
    return {**_described(image.name, image.file, uploaded=True), **more}


def _described(name: RepositoryName, file: Digest, *, uploaded: bool) -> dict[str, Any]:
    return {**_placed(name), "id": names.image_id(name, file), "hash": names.written_hash(file), "uploaded": uploaded}


def _placed(name: RepositoryName) -> dict[str, Any]:
    entity_name, collection_name, container_name = names.parts(name)
    return {
        "container": names.written_id(name),
        "entityName": entity_name,
        "collectionName": collection_name,
        "containerName": container_name,
    }


def _made_of_layers(name: RepositoryName, tags: list[TagName]) -> dict[str, Any]:
    """Images of layers, by whose tags the SIFs are pulled that are made of them; those have no hash before they are made."""
    return {**_placed(name), "hash": "", "size": 0, "tags": tags, "uploaded": True}


def _described_container(name: RepositoryName) -> dict[str, Any]:
    entity_name, collection_name, container_name = names.parts(name)
    return {"id": names.written_id(name), "name": container_name, "entityName": entity_name, "collectionName": collection_name}
