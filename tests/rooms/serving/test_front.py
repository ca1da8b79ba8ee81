"""The application around the doors: life, ids, and that nothing which goes wrong inside gets out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from roadstead.access.accounts import Accounts
from roadstead.errors import ClientGone, ContentDamaged, RoadsteadError, Unauthenticated
from roadstead.serving.front import Door, Front, PlainDoor
from roadstead.serving.health import HealthDoor
from roadstead.serving.observation import DAMAGED
from roadstead.serving.request import Message, Request, Site
from roadstead.serving.response import Response, text_response
from tests.rooms.serving.test_request import request


class Failing:
    """A door behind which something goes wrong."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def handle(self, request: Request) -> Response:
        """Fail."""
        raise self._error

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """Say so."""
        return text_response(503, error.message)


class Life:
    """A lifespan that may fail to start."""

    def __init__(self, doors: Mapping[str, Door], error: Exception | None = None) -> None:
        self._doors, self._error = doors, error
        self.stopped = False

    async def start(self) -> Mapping[str, Door]:
        """The doors."""
        if self._error:
            raise self._error
        return self._doors

    async def stop(self) -> None:
        """Remember it."""
        self.stopped = True


async def _live(front: Front) -> tuple[list[Message], asyncio.Queue[Message], asyncio.Task[None]]:
    """Start an application; what it said, how to tell it more, and its life."""
    said: list[Message] = []
    told = asyncio.Queue[Message]()
    started = asyncio.Event()

    async def send(message: Message) -> None:
        said.append(message)
        started.set()

    await told.put({"type": "lifespan.startup"})
    life = asyncio.create_task(front({"type": "lifespan"}, told.get, send))
    await started.wait()
    return said, told, life


async def ask(
    doors: Mapping[str, Door], path: str, failed: Callable[[RoadsteadError], None] = lambda _error: None
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of a GET."""
    front = Front(Life({"": PlainDoor(), **doors}), Site(), failed)
    _, told, life = await _live(front)
    answer: list[Message] = []

    async def send(message: Message) -> None:
        answer.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"host", b"here")], "scheme": "http"}
    await front(scope, receive, send)
    await told.put({"type": "lifespan.shutdown"})
    await life
    return answer[0]["status"], dict(answer[0]["headers"]), answer[1]["body"]


async def test_an_application_lives_and_ends() -> None:
    parts = Life({})
    said, told, life = await _live(Front(parts, Site()))
    await told.put({"type": "lifespan.shutdown"})
    await life
    assert [message["type"] for message in said] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert parts.stopped


async def test_a_start_that_fails_says_why() -> None:
    said, _, life = await _live(Front(Life({}, RoadsteadError("No database.")), Site()))
    await life
    assert said == [{"type": "lifespan.startup.failed", "message": "No database."}]


async def test_the_first_component_finds_the_door() -> None:
    doors = {"health": HealthDoor({})}
    assert (await ask(doors, "/health/live"))[0] == 200
    assert (await ask(doors, "/"))[0] == 200
    assert (await ask(doors, "/healthy/live"))[0] == 404
    assert (await ask(doors, ""))[0] == 200


@pytest.mark.parametrize("error", [ClientGone(), ContentDamaged("Broken."), RoadsteadError("Odd.")])
async def test_an_error_is_rendered_by_its_door(error: RoadsteadError) -> None:
    status, headers, body = await ask({"v2": Failing(error)}, "/v2/")
    assert (status, body.decode().strip()) == (503, error.message)
    assert headers[b"x-request-id"]


async def test_who_wants_to_know_of_errors_is_told() -> None:
    told: list[RoadsteadError] = []
    error = ContentDamaged("Broken.")
    await ask({"v2": Failing(error)}, "/v2/", told.append)
    assert told == [error]


async def test_what_nobody_foresaw_is_told_without_its_inside() -> None:
    status, headers, body = await ask({"v2": Failing(ZeroDivisionError("secret detail"))}, "/v2/")
    assert status == 503
    assert b"failed unexpectedly" in body
    assert b"secret detail" not in body
    assert headers[b"x-request-id"]


async def test_damaged_content_raises_the_alarm() -> None:
    def count() -> float:
        return sum(sample.value for metric in DAMAGED.collect() for sample in metric.samples if sample.name.endswith("_total"))

    before = count()
    await ask({"v2": Failing(ContentDamaged())}, "/v2/")
    await ask({"v2": Failing(ClientGone())}, "/v2/")
    assert count() == before + 1


async def test_readiness_names_each_part() -> None:
    async def fine() -> None:
        pass

    async def broken() -> None:
        raise RoadsteadError("It is broken.")

    async def silent() -> None:
        await asyncio.Event().wait()

    status, _, body = await ask({"health": HealthDoor({"one": fine, "two": broken, "three": silent}, timeout=0.05)}, "/health/ready")
    assert status == 503
    assert body == b'{"status":"not ready","parts":{"one":"ok","two":"It is broken.","three":"no answer within 0.05 seconds"}}'
    assert (await ask({"health": HealthDoor({"one": fine})}, "/health/ready"))[0] == 200


async def test_credentials_that_are_sent_to_the_root_must_be_right(accounts: Accounts) -> None:
    door = PlainDoor(accounts)
    assert (await door.handle(request(path="/", raw_path=b"/"))).status == 200
    wrong = request(headers=[("authorization", "Bearer wrong")], path="/", raw_path=b"/")
    with pytest.raises(Unauthenticated) as caught:
        await door.handle(wrong)
    response = door.render(caught.value, wrong)
    assert (response.status, dict(response.headers)[b"www-authenticate"][:5]) == (401, b"Basic")
