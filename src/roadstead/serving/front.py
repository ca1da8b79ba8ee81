"""The ASGI application: gives each request an id, finds its door, answers, and records what happened."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from roadstead.access.accounts import Accounts
from roadstead.errors import ClientFault, ContentDamaged, NotOffered, RoadsteadError, Unauthenticated
from roadstead.serving.credentials import authenticate
from roadstead.serving.observation import BYTES_IN, BYTES_OUT, DAMAGED, RequestIds, log, observe
from roadstead.serving.request import Receive, Request, Scope, Send, Site
from roadstead.serving.response import Response, send_response, text_error, text_response


class Door(Protocol):
    """One dialect of HTTP."""

    async def handle(self, request: Request) -> Response:
        """Answer, or raise from the error tree."""

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """An error in the door's own form. Must not raise."""


class Lifespan(Protocol):
    """What must be up before the first request."""

    async def start(self) -> Mapping[str, Door]:
        """Open everything and return the doors by the first component of the path ("" for the root)."""

    async def stop(self) -> None:
        """Close everything."""


Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Front:
    """See the module's docstring."""

    def __init__(self, lifespan: Lifespan, site: Site, failed: Callable[[RoadsteadError], None] = lambda _error: None) -> None:
        """`failed` is told of every error that a door answers, before it does."""
        self._lifespan = lifespan
        self._site = site
        self._failed = failed
        self._doors: Mapping[str, Door] = {}
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(Request(scope, receive, self._site, self._ids.next()), scope, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._doors = await self._lifespan.start()
        except Exception as error:
            log.exception("start failed")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._lifespan.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, request: Request, scope: Scope, send: Send) -> None:
        started = time.perf_counter()
        door = self._doors.get(request.path[1:].partition("/")[0]) or self._doors[""]
        response = await self._ask(door, request)
        response.headers = [*response.headers, (b"x-request-id", request.id.encode())]
        try:
            sent = await send_response(response, request.method, scope, send, request.gone)
        except RoadsteadError as error:
            _alarm(error)
            log.error("answer broken off", request_id=request.id, route=request.route, path=request.path, error=error.message)
            raise
        _record(request, response, sent, time.perf_counter() - started)

    async def _ask(self, door: Door, request: Request) -> Response:
        try:
            request.require_host()
            return await door.handle(request)
        except RoadsteadError as error:
            _alarm(error)
            self._failed(error)
            if isinstance(error, ClientFault):
                log.info("client failed", request_id=request.id, route=request.route, path=request.path, error=error.message)
            else:
                await request.discard_body()
            return self._rendered(door, error, request)
        except Exception:
            log.exception("unexpected failure", request_id=request.id, method=request.method, path=request.path)
            return self._rendered(door, RoadsteadError("The registry failed unexpectedly; its log says why."), request)

    def _rendered(self, door: Door, error: RoadsteadError, request: Request) -> Response:
        response = door.render(error, request)
        if response.status >= 500 and not isinstance(error, NotOffered):  # what is not offered is no failure of ours
            log.error("request failed", request_id=request.id, route=request.route, path=request.path, error=error.message)
        return response


def _alarm(error: RoadsteadError) -> None:
    if isinstance(error, ContentDamaged):
        DAMAGED.inc()


def _record(request: Request, response: Response, sent: int, seconds: float) -> None:
    observe(request.route, request.method, response.status, seconds)
    if request.received:
        BYTES_IN.inc(request.received)
    if sent:
        BYTES_OUT.inc(sent)
    # Pulls that went well, or found nothing, are counted and not logged: at tens of thousands a second the log would cost more than these.
    quiet = request.method in ("GET", "HEAD") and (response.status < 400 or response.status == 404)
    write = log.debug if quiet else log.info
    write(
        "request",
        request_id=request.id,
        method=request.method,
        path=request.path,
        route=request.route,
        status=response.status,
        received=request.received,
        sent=sent,
        seconds=round(seconds, 6),
    )


class BesideDoor:
    """Two doors behind one first component: what begins with `prefix` is asked of `door`, all else of `rest`."""

    def __init__(self, prefix: str, door: Door, rest: Door) -> None:
        self._prefix = prefix
        self._door = door
        self._rest = rest

    async def handle(self, request: Request) -> Response:
        """Answer by the door of the path."""
        return await self._of(request).handle(request)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """In the form of the same door."""
        return self._of(request).render(error, request)

    def _of(self, request: Request) -> Door:
        return self._door if request.path.startswith(self._prefix) else self._rest


class PlainDoor:
    """A door of fixed answers in plain text: the root, and whatever has no door."""

    def __init__(self, accounts: Accounts | None = None) -> None:
        """With `accounts`, credentials that are sent to `/` must be right: `apptainer keyserver login` tries them there."""
        self._accounts = accounts

    async def handle(self, request: Request) -> Response:
        """A greeting at `/`, 404 elsewhere. Raises Unauthenticated for wrong credentials."""
        if request.path in ("", "/"):
            request.route = "root"
            if self._accounts is not None:
                await authenticate(self._accounts, request)
            host = request.base_url.partition("://")[2]
            return text_response(
                200,
                "This is a Roadstead container registry.\n\n"
                f"  docker login {host}\n"
                f"  docker push {host}/PROJECT/IMAGE:TAG\n"
                f"  apptainer pull docker://{host}/PROJECT/IMAGE:TAG\n"
                f"  apptainer push IMAGE.sif oras://{host}/PROJECT/IMAGE:TAG",
            )
        return text_response(404, f"There is nothing at {request.path[:200]}.")

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A line of text."""
        if isinstance(error, Unauthenticated):
            return Response(401, [(b"www-authenticate", b'Basic realm="Roadstead", charset="UTF-8"')], f"{error.message}\n".encode())
        return text_error(error, request.id)
