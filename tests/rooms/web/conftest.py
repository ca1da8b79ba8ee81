"""The pages over a registry in this process, and browsers that look at them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.sessions import csrf_token
from roadstead.access.vault import Vault
from roadstead.content.memory import MemoryStore
from roadstead.errors import RoadsteadError
from roadstead.jobs.queue import Queue
from roadstead.metadata.database import Database
from roadstead.registry.registry import Registry
from roadstead.serving.front import PlainDoor
from roadstead.serving.response import Live, Response
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatible import Compatibility
from roadstead.sif.convert import Conversion
from roadstead.sif.makers import Stock
from roadstead.sif.orders import Means
from roadstead.sif.room import SifRoom, makers
from roadstead.sif.signed import ShownSignatures
from roadstead.sif.surveys import Surveys
from roadstead.upkeep.jobs import Jobs
from roadstead.web.door import WebDoor
from roadstead.web.rooms import Rooms
from tests.rooms.serving.test_request import part, request
from tests.support.factories import ManualClock

HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
HOST = "registry.example:5000"


class Shown:
    """An answer with its text, and what of it can be looked for."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers = {name.decode(): value.decode("latin-1") for name, value in response.headers}
        assert isinstance(response.body, bytes)
        self.html = response.body.decode()
        self.text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", self.html)))

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        assert self.status == 303, (self.status, self.text)
        return self.headers["location"]

    def links(self) -> list[str]:
        """Every address that the page links to."""
        return [unescape(found) for found in re.findall(r'href="([^"]*)"', self.html)]

    def commands(self) -> list[str]:
        """Every command that can be copied."""
        return [unescape(found) for found in re.findall(r"<code>(.*?)</code>", self.html, re.DOTALL)]


class Event:
    """One of a stream, with its text."""

    def __init__(self, block: str) -> None:
        fields = [line.partition(":") for line in block.splitlines()]
        self.event = next((value.strip() for name, _, value in fields if name == "event"), "message")
        self.id = next((value.strip() for name, _, value in fields if name == "id"), "")
        self.data = "\n".join(value.removeprefix(" ") for name, _, value in fields if name == "data")
        self.text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", self.data)))


async def told(response: Response) -> list[Event]:
    """What a stream told until it ended, without its comments."""
    assert isinstance(response.body, Live)
    assert (b"content-type", b"text/event-stream") in response.headers
    blocks = b"".join([chunk async for chunk in response.body.chunks]).decode().split("\n\n")
    response.body.left()
    return [Event(block) for block in blocks if "data:" in block]


class Browser:
    """Keeps cookies as a browser does. With an `actor` it has that account's session, begun at the first request."""

    def __init__(self, door: WebDoor, access: Access, actor: Actor | None = None, scheme: str = "http") -> None:
        self._scheme = scheme
        self._door = door
        self._access = access
        self._actor = actor
        self.cookies: dict[str, str] = {}

    @property
    def _session(self) -> str:
        return "__Host-roadstead-session" if self._scheme == "https" else "roadstead-session"

    async def get(self, path: str, **headers: str) -> Shown:
        """Ask for a page."""
        return await self.ask("GET", path, body=b"", **headers)

    async def follow(self, path: str, **headers: str) -> list[Event]:
        """Ask for a stream of events, and read it to its end."""
        return await told(await self.stream(path, **headers))

    async def stream(self, path: str, **headers: str) -> Response:
        """Ask for a stream of events, and do not read it yet."""
        await self._begin()
        return await self._send("GET", path, b"", **headers)

    async def post(self, path: str, form: Mapping[str, Any] | None = None, *, token: bool = True, **headers: str) -> Shown:
        """Send a form, with the session's CSRF token unless told otherwise. A list stands for a field that comes several times."""
        await self._begin()
        fields = dict(form or {})
        if token and (secret := self.cookies.get(self._session)):
            fields["csrf_token"] = csrf_token(secret)
        return await self.ask("POST", path, body=urlencode(fields, doseq=True).encode(), **headers)

    async def ask(self, method: str, path: str, *, body: bytes = b"", **headers: str) -> Shown:
        """One request, answered or refused as the front would have it."""
        await self._begin()
        return Shown(await self._send(method, path, body, **headers))

    async def _send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        path, _, query = path.partition("?")
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {"host": HOST, "accept": HTML, "cookie": kept, **{name.replace("_", "-"): value for name, value in headers.items()}}
        scope: dict[str, Any] = {"method": method, "raw_path": path.encode(), "query_string": query.encode(), "scheme": self._scheme}
        asked = request([part(body, more=False)], list(given.items()), **scope)
        try:
            answer = await self._door.handle(asked)
        except RoadsteadError as error:
            answer = self._door.render(error, asked)
        for name, value in answer.headers:
            if name == b"set-cookie":
                self._keep(value.decode())
        return answer

    async def _begin(self) -> None:
        if self._actor is not None:
            actor, self._actor = self._actor, None
            self.cookies[self._session] = await self._access.sessions.open(actor, "a test")

    def _keep(self, cookie: str) -> None:
        name, _, content = cookie.partition(";")[0].partition("=")
        if "Max-Age=0" in cookie:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = content


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    """Who may, over the test's database."""
    return Access(database, Vault([b"k" * 32]), clock=clock)


@pytest.fixture
def rooms(database: Database, store: MemoryStore, access: Access, registry: Registry, clock: ManualClock) -> Rooms:
    """Everything that pages may ask."""
    clusters = Clusters(database, clock)
    surveys = Surveys(database, Stock(database, store), Means(), Queue(database, clock), clock)
    compatibility = Compatibility(database, registry.repositories, surveys, clusters, clock)
    conversions = SifRoom(database, registry, Queue(database, clock), makers(database, store, Conversion(), Means()), clock).shown
    signatures = ShownSignatures(database, registry.repositories, registry.image_signatures, access.openpgp_keys, clock)
    return Rooms(access, registry, Jobs(database, clock), conversions, signatures, compatibility, clusters, clock=clock)


@pytest.fixture
def door(rooms: Rooms) -> WebDoor:
    """The pages."""
    return WebDoor(rooms, PlainDoor(rooms.access.accounts))


Visit = Callable[..., Browser]


@pytest.fixture
def visit(door: WebDoor, access: Access) -> Visit:
    """Makes a browser: of nobody, or of an account."""
    return lambda actor=None, scheme="http": Browser(door, access, actor, scheme)
