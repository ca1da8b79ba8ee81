"""The door of the library API: `/library/…` in whole, and at the root the discovery and the reading half, whose paths nobody else has.

Clients find it by /assets/config/config.prod.json. What they are told to upload to has a token in its query: they send no other
credentials there. An empty `Bearer`, which they send where they have no token, is nobody.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

from roadstead.access.access import Access
from roadstead.access.actor import Actor, anonymous_from
from roadstead.apis.library import discovery, errors, images, tags, uploads
from roadstead.apis.library.call import BASE, Call
from roadstead.errors import InvalidName, NotFound, ProjectUnknown, RoadsteadError, Unauthenticated
from roadstead.registry.registry import Registry
from roadstead.serving.credentials import authenticate
from roadstead.serving.errors import MethodNotAllowed
from roadstead.serving.request import Request
from roadstead.serving.response import Response

Handler = Callable[[Call], Awaitable[Response]]

UPLOADED: Final = "library-bytes"

_ROUTES: Final[tuple[tuple[str, str, dict[str, Handler]], ...]] = (
    # What it is called in logs and metrics, the path with what varies as its one group, and the handlers by method.
    ("library-config", "/assets/config/config.prod.json()", {"GET": discovery.configuration}),
    ("library-version", "/version()", {"GET": discovery.version}),
    ("library-token", "/v1/token-status()", {"GET": discovery.token_status}),
    ("library-user", "/v1/rbac/users/current()", {"GET": discovery.current_user}),
    ("library-mode", "/v1/oci-redirect()", {"GET": images.oci_redirect}),
    ("library-search", "/v1/search()", {"GET": images.search}),
    ("library-entity", "/v1/entities()", {"POST": images.add_entity}),
    ("library-entity", "/v1/entities/(.+)", {"GET": images.entity}),
    ("library-collection", "/v1/collections()", {"POST": images.add_collection}),
    ("library-collection", "/v1/collections/(.+)", {"GET": images.collection}),
    ("library-container", "/v1/containers()", {"POST": images.add_container}),
    ("library-container", "/v1/containers/(.+)", {"GET": images.container}),
    ("library-images", "/v1/images()", {"POST": images.announce}),
    ("library-image", "/v1/images/(.+)", {"GET": images.get, "DELETE": images.delete}),
    ("library-file", "/v1/imagefile/(.+)", {"GET": images.send, "POST": uploads.push}),
    ("library-tags", "/v1/tags/([^/]+)", {"GET": tags.listed_of_any, "POST": tags.point}),
    ("library-tags", "/v2/tags/([^/]+)", {"GET": tags.listed, "POST": tags.point}),
    ("library-upload", "/v2/imagefile/([^/]+)", {"POST": uploads.offer}),
    (UPLOADED, "/v2/imagefile/([^/]+)/_content", {"PUT": uploads.put}),
    (UPLOADED, "/v2/imagefile/([^/]+)/_part", {"PUT": uploads.put_part}),
    ("library-upload", "/v2/imagefile/([^/]+)/_complete", {"PUT": uploads.complete}),
    ("library-upload", "/v2/imagefile/([^/]+)/_multipart", {"POST": uploads.start_parts, "PUT": uploads.offer_part}),
    ("library-upload", "/v2/imagefile/([^/]+)/_multipart_complete", {"PUT": uploads.complete_parts}),
    ("library-upload", "/v2/imagefile/([^/]+)/_multipart_abort", {"PUT": uploads.abort_parts}),
)
_COMPILED: Final = tuple((route, re.compile(pattern), handlers) for route, pattern, handlers in _ROUTES)


class LibraryDoor:
    """See the module's docstring."""

    def __init__(self, access: Access, registry: Registry) -> None:
        self._access = access
        self._registry = registry

    async def handle(self, request: Request) -> Response:
        """Answer, or raise from the error tree."""
        handlers, value = _found(request)
        handler = handlers.get(request.method)
        if handler is None:
            raise MethodNotAllowed(methods=tuple(handlers))
        actor = await self._actor(request)
        if self._access.limits.active:
            self._access.limits.request(actor)
        return await handler(Call(self._registry, self._access, request, actor, value))

    async def _actor(self, request: Request) -> Actor:
        if request.route == UPLOADED:
            return await self._access.accounts.by_token(dict(request.query()).get("token", ""), request.address)
        header = request.header(b"authorization")
        if header is not None and header.strip().lower() == "bearer":
            return anonymous_from(request.address)
        return await authenticate(self._access.accounts, request)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """The error in the API's envelope, with the headers that belong to the status."""
        response = errors.render(error, request.id, _status(error, request))
        if isinstance(error, MethodNotAllowed):
            methods = error.detail["methods"]
            assert isinstance(methods, tuple)
            response.headers.append((b"allow", ", ".join(methods).encode()))
        if response.status == 401:
            response.headers.append((b"www-authenticate", b"Bearer"))
        return response


def _status(error: RoadsteadError, request: Request) -> int | None:
    """The status where the client understands another than the table has."""
    if isinstance(error, MethodNotAllowed):
        return 405
    if isinstance(error, Unauthenticated) and request.route == "library-token":
        return 404  # by which it tells wrong credentials from a registry that fails
    if isinstance(error, ProjectUnknown) and request.method != "GET":
        return 403  # of a 404 it shows no message, and the message says what to do
    return None


def _found(request: Request) -> tuple[dict[str, Handler], str]:
    path = request.path.removeprefix(BASE)
    for route, pattern, handlers in _COMPILED:
        if found := pattern.fullmatch(path):
            request.route = route
            return handlers, _decoded(found[1])
    raise NotFound("The library API has no such path.")


def _decoded(value: str) -> str:
    if "\0" in (decoded := unquote(value)):
        # PostgreSQL would fail on it, where SQLite finds nothing.
        raise InvalidName("The path has the character U+0000, which no name holds.")
    return decoded
