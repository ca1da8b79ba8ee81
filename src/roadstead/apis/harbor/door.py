"""The door at `/api/`: hands each request to a FastAPI application, and takes back its answer as a `Response` of ours.

So ids, logs, metrics, limits and the rendering of errors are those of every other door; FastAPI routes, reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from fastapi import FastAPI

from roadstead.access.access import Access
from roadstead.apis.harbor import errors
from roadstead.apis.harbor.app import build
from roadstead.apis.harbor.call import KEY, PREFIX, Call
from roadstead.apis.harbor.identity import identify
from roadstead.errors import RoadsteadError
from roadstead.registry.registry import Registry
from roadstead.serving.health import Check
from roadstead.serving.request import Message, Request
from roadstead.serving.response import Headers, Response
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatible import Compatibility
from roadstead.sif.shown import ShownConversions
from roadstead.sif.signed import ShownSignatures

_BODY_LIMIT: Final = 1 << 20
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD"})


class HarborDoor:
    """See the module's docstring. `checks` are the parts of the system that `/health` tries."""

    def __init__(
        self,
        access: Access,
        registry: Registry,
        conversions: ShownConversions,
        signatures: ShownSignatures,
        compatibility: Compatibility,
        clusters: Clusters,
        checks: Mapping[str, Check],
    ) -> None:
        self._access = access
        self._registry = registry
        self._conversions = conversions
        self._signatures = signatures
        self._compatibility = compatibility
        self._clusters = clusters
        self._checks = dict(checks)
        self._app: FastAPI = build()

    async def handle(self, request: Request) -> Response:
        """Answer one request of the management API."""
        actor, headers = await identify(self._access, request)
        body = b"" if request.method in _WITHOUT_BODY else await request.whole_body(_BODY_LIMIT)
        call = Call(
            self._access,
            self._registry,
            self._conversions,
            self._signatures,
            self._compatibility,
            self._clusters,
            self._checks,
            request,
            actor,
            {"cache-control": "no-store"},
        )
        response = await _pass(self._app, call, body)
        response.headers += headers
        return response

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """Harbor's error body."""
        return errors.render(error, request.id)


async def _pass(app: FastAPI, call: Call, body: bytes) -> Response:
    """The application's answer. What it raises passes through."""
    scope = _scope(call)
    answer = Response(500)
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    try:
        await app(scope, receive, send)
    finally:
        if (route := scope.get("route")) is not None:
            call.request.route = PREFIX + route.path
    answer.body = b"".join(parts)
    answer.headers = [*_kept(answer.headers), *((name.encode(), value.encode("latin-1")) for name, value in call.headers.items())]
    return answer


def _scope(call: Call) -> MutableMapping[str, Any]:
    """The request's scope, its path as it was sent: a decoded one would make several components of an encoded slash."""
    return {**call.request.scope, "path": call.request.path, "root_path": PREFIX, "state": {}, KEY: call}


def _kept(headers: Headers) -> Headers:
    """Without the length, which is counted anew."""
    return [(name, value) for name, value in headers if name.lower() != b"content-length"]
