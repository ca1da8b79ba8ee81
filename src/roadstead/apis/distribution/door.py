"""The door at `/v2/`: a raw ASGI-side handler with one pattern, as pulls are the hottest path of a registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from roadstead.access.accounts import Accounts
from roadstead.access.actor import Actor
from roadstead.access.limits import RateLimits
from roadstead.access.tokens import SERVICE
from roadstead.apis.distribution import blobs, errors, listings, manifests, uploads
from roadstead.apis.distribution.call import Call
from roadstead.apis.distribution.limits import limit_headers, pull
from roadstead.apis.distribution.routes import ACTIONS, Match, match, scope
from roadstead.errors import (
    InsufficientScope,
    OutOfOrder,
    RangeNotSatisfiable,
    RoadsteadError,
    TooManyRequests,
    Unauthenticated,
)
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.serving.credentials import authenticate
from roadstead.serving.errors import MethodNotAllowed
from roadstead.serving.request import Request
from roadstead.serving.response import Headers, Response, encoded, json_response

Handler = Callable[[Call], Awaitable[Response]]

HANDLERS: Final[dict[tuple[str, str], Handler]] = {
    ("manifest", "GET"): manifests.get,
    ("manifest", "HEAD"): manifests.get,
    ("manifest", "PUT"): manifests.put,
    ("manifest", "DELETE"): manifests.delete,
    ("blob", "GET"): blobs.get,
    ("blob", "HEAD"): blobs.head,
    ("blob", "DELETE"): blobs.delete,
    ("uploads", "POST"): uploads.start,
    ("upload", "GET"): uploads.status,
    ("upload", "PATCH"): uploads.write,
    ("upload", "PUT"): uploads.finish,
    ("upload", "DELETE"): uploads.cancel,
    ("tags", "GET"): listings.tags,
    ("referrers", "GET"): listings.referrers,
    ("catalog", "GET"): listings.catalog,
}

_NO_NAME: Final = RepositoryName("")
_API_VERSION: Final = (b"docker-distribution-api-version", b"registry/2.0")


class DistributionDoor:
    """See the module's docstring."""

    def __init__(self, registry: Registry, accounts: Accounts, limits: RateLimits) -> None:
        self._registry = registry
        self._accounts = accounts
        self._limits = limits

    async def handle(self, request: Request) -> Response:
        """Answer one request of the distribution API."""
        found = match(request.path)
        request.route = found.kind
        handler = HANDLERS.get((found.kind, request.method))
        if handler is None and (found.kind != "base" or request.method not in ACTIONS["base"]):
            raise MethodNotAllowed
        name = RepositoryName.parse(found.name) if found.name else _NO_NAME
        actor = await authenticate(self._accounts, request)
        if self._limits.active:
            self._limits.request(actor)
        if handler is None:
            return _base(actor)
        call = Call(self._registry, request, actor, found.name, name, found.value)
        if self._limits.active and handler is manifests.get:
            return await pull(self._limits, call, handler)
        return await handler(call)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """The specification's error body, with the headers that belong to the status."""
        response = errors.render(error, request.id)
        if isinstance(error, MethodNotAllowed):
            response.status = 405
            response.headers.append((b"allow", ", ".join(ACTIONS[request.route]).encode()))
        elif isinstance(error, TooManyRequests):
            response.headers += limit_headers(error.detail)
        elif isinstance(error, Unauthenticated):
            response.headers += _challenge(error, request)
        elif isinstance(error, RangeNotSatisfiable):
            response.headers += blobs.unsatisfiable(error)
        elif isinstance(error, OutOfOrder):
            offset = error.detail.get("offset", 0)
            response.headers.append((b"range", b"0-%d" % max(int(str(offset)) - 1, 0)))
        return response


def _base(actor: Actor) -> Response:
    """`/v2/`: whether one is logged in. Always a challenge to the anonymous, as clients learn from it where to ask for tokens."""
    if actor.anonymous and actor.scope is None:
        raise Unauthenticated
    return json_response(200, {}, [_API_VERSION])


def _challenge(error: Unauthenticated, request: Request) -> Headers:
    """Always Bearer: to a Basic challenge docker refuses anonymous pulls, and apptainer stores a wrong password unchecked (RFC 6750 §3)."""
    parts = [f'Bearer realm="{request.base_url}/service/token"', f'service="{SERVICE}"']
    found = _match_or_none(request)
    if found is not None and (wanted := scope(found, request.method)) is not None:
        parts.append(f'scope="{wanted}"')
    if isinstance(error, InsufficientScope):
        parts.append('error="insufficient_scope"')
    elif request.header(b"authorization") is not None:
        parts.append('error="invalid_token"')
    return [(b"www-authenticate", encoded(",".join(parts))), _API_VERSION]


def _match_or_none(request: Request) -> Match | None:
    try:
        return match(request.path)
    except RoadsteadError:
        return None
