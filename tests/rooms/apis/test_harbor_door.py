"""The door of the management API: what it makes of requests before and after the handlers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from roadstead.access.access import Access
from roadstead.access.actor import SYSTEM
from roadstead.access.vault import Vault
from roadstead.apis.harbor.devcenter import DevCenterDoor
from roadstead.apis.harbor.door import HarborDoor
from roadstead.content.memory import MemoryStore
from roadstead.errors import BodyTimeout, ClientGone, RoadsteadError, TooLarge
from roadstead.jobs.queue import Queue
from roadstead.metadata.database import Database
from roadstead.registry.registry import Registry
from roadstead.serving.health import Check
from roadstead.serving.request import Message, Request, Site
from roadstead.serving.response import Response
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatible import Compatibility
from roadstead.sif.makers import Stock
from roadstead.sif.orders import Means
from roadstead.sif.room import SifRoom
from roadstead.sif.shown import ShownConversions
from roadstead.sif.signed import ShownSignatures
from roadstead.sif.surveys import Surveys
from tests.support.factories import ManualClock


@pytest.fixture
def door(database: Database, registry: Registry) -> HarborDoor:
    async def broken() -> None:
        raise RoadsteadError("It is broken.")

    checks = {"database": database.check, "store": broken}
    access = Access(database, Vault([b"k" * 32]))
    return made(database, registry, access, checks)


def made(database: Database, registry: Registry, access: Access, checks: Mapping[str, Check]) -> HarborDoor:
    """The door over rooms that can convert nothing and look into nothing."""
    clock = ManualClock()
    surveys = Surveys(database, Stock(database, MemoryStore()), Means(), Queue(database, clock), clock)
    clusters = Clusters(database, clock)
    compatibility = Compatibility(database, registry.repositories, surveys, clusters, clock)
    return HarborDoor(access, registry, shown(database, registry), signed(database, registry, access), compatibility, clusters, checks)


def signed(database: Database, registry: Registry, access: Access) -> ShownSignatures:
    return ShownSignatures(database, registry.repositories, registry.image_signatures, access.openpgp_keys, ManualClock())


def shown(database: Database, registry: Registry) -> ShownConversions:
    """Conversions of a registry that can make nothing."""
    clock = ManualClock()
    return SifRoom(database, registry, Queue(database, clock), {}, clock).shown


def request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, ends: str = "http.request") -> Request:
    path, _, query = path.partition("?")
    lines = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(), "headers": lines}

    async def receive() -> Message:
        return {"type": ends, "body": body, "more_body": False}

    return Request({**scope, "scheme": "http", "http_version": "1.1"}, receive, Site(), "id1")


async def ask(door: HarborDoor, asked: Request) -> Response:
    """As the front asks a door."""
    try:
        return await door.handle(asked)
    except RoadsteadError as error:
        return door.render(error, asked)


def content(answer: Response) -> Any:
    assert isinstance(answer.body, bytes)
    return msgspec.json.decode(answer.body)


def code(answer: Response) -> str:
    return str(content(answer)["errors"][0]["code"])


async def test_an_answer_comes_through(door: HarborDoor) -> None:
    asked = request("GET", "/api/v2.0/ping")
    answer = await ask(door, asked)
    assert (answer.status, answer.body) == (200, b"Pong")
    assert b"content-length" not in dict(answer.headers)
    assert asked.route == "/api/v2.0/ping"


async def test_the_health_names_the_part_that_fails(door: HarborDoor) -> None:
    parts = {"database": {"name": "database", "status": "healthy"}}
    parts["store"] = {"name": "store", "status": "unhealthy", "error": "It is broken."}
    assert content(await ask(door, request("GET", "/api/v2.0/health"))) == {"status": "unhealthy", "components": list(parts.values())}


async def test_what_is_not_there(door: HarborDoor) -> None:
    asked = request("GET", "/api/v2.0/nothing/here")
    answer = await ask(door, asked)
    assert (answer.status, code(answer), asked.route) == (404, "NOT_FOUND", "unmatched")


async def test_a_method_without_meaning(door: HarborDoor) -> None:
    answer = await ask(door, request("DELETE", "/api/v2.0/ping"))
    assert (answer.status, code(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert (b"allow", b"GET") in answer.headers


@pytest.mark.parametrize("credentials", ["Basic !", "Bearer nonsense", "Digest x", "Basic " + base64.b64encode(b"ada:wrong").decode()])
async def test_wrong_credentials_are_never_nobodys(door: HarborDoor, credentials: str) -> None:
    answer = await ask(door, request("GET", "/api/v2.0/ping", headers={"authorization": credentials}))
    assert (answer.status, code(answer)) == (401, "UNAUTHORIZED")


async def test_a_large_body_is_refused_before_it_is_read(door: HarborDoor) -> None:
    with pytest.raises(TooLarge):
        await door.handle(request("POST", "/api/v2.0/ping", headers={"content-length": str(2 << 20)}))


async def test_a_client_that_goes_away_is_told_apart(door: HarborDoor) -> None:
    with pytest.raises(ClientGone):
        await door.handle(request("POST", "/api/v2.0/ping", ends="http.disconnect"))
    assert door.render(BodyTimeout(), request("POST", "/api/v2.0/ping")).status == 408


async def test_requests_are_limited_as_at_every_door(database: Database, registry: Registry) -> None:
    access = Access(database, Vault([b"k" * 32]), clock=ManualClock())
    await access.configuration.change(SYSTEM, {"requests_per_second_per_address": 2})
    await access.limits.share()
    limited = made(database, registry, access, {})
    assert [(await ask(limited, request("GET", "/api/v2.0/ping"))).status for _ in range(4)] == [200, 200, 429, 429]


async def test_the_page_of_the_description_loads_from_nowhere_else() -> None:
    page = DevCenterDoor()
    for path in ("/devcenter", "/devcenter/page.js", "/devcenter/page.css"):
        answer = await page.handle(request("GET", path))
        assert answer.status == 200
        assert b"default-src 'none'" in dict(answer.headers)[b"content-security-policy"]
        assert isinstance(answer.body, bytes)
        assert b"://" not in answer.body
    assert (await page.handle(request("GET", "/devcenter/other"))).status == 404
    assert (await page.handle(request("POST", "/devcenter"))).status == 405


async def test_the_description_speaks_of_what_is_answered(door: HarborDoor) -> None:
    described = content(await ask(door, request("GET", "/api/v2.0/openapi.json")))
    answers = described["paths"]["/health"]["get"]["responses"]
    assert described["servers"] == [{"url": "/api/v2.0"}]
    assert "422" not in answers
    assert answers["503"]["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/Problems"
    assert "HTTPValidationError" not in described["components"]["schemas"]
