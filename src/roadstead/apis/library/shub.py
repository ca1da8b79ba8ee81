"""The door at `/api/container/`, which `shub://HOST/project/image:tag` asks: Singularity Hub's one request, for reading only.

Its client sends no credentials, so what it finds is public.
"""

from __future__ import annotations

from typing import Final

from roadstead.access.access import Access
from roadstead.access.actor import anonymous_from
from roadstead.apis.library import errors, images, names
from roadstead.apis.library.call import Call
from roadstead.errors import NotFound, NotOffered, RoadsteadError
from roadstead.registry.registry import Registry
from roadstead.serving.request import Request
from roadstead.serving.response import Response, json_response

PREFIX: Final = "/api/container/"


class ShubDoor:
    """See the module's docstring."""

    def __init__(self, access: Access, registry: Registry) -> None:
        self._access = access
        self._registry = registry

    async def handle(self, request: Request) -> Response:
        """GET: where the file is, and its hash, by which clients keep it."""
        request.route = "shub"
        if request.method != "GET":
            raise NotOffered("Images are only pulled by shub://; push them by oras:// or library://.")
        text = request.path.removeprefix(PREFIX)
        if "@" in text:
            raise NotFound("Singularity Hub's commits are not known here: name the image by its tag.")
        actor = anonymous_from(request.address)
        if self._access.limits.active:
            self._access.limits.request(actor)
        found, location = await images.pull(Call(self._registry, self._access, request, actor, text))
        tag = str(names.parse_image(text)[1])
        return json_response(
            200,
            {"image": location, "name": found.name, "tag": tag, "version": names.written_hash(found.file), "commit": found.file.encoded},
        )

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """The error in the library API's envelope, as the client reads it."""
        return errors.render(error, request.id)
