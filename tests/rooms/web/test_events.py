"""Streams of parts: what they tell, when they end, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.errors import TooManyRequests
from roadstead.registry.registry import Registry
from roadstead.registry.uploads import Body
from roadstead.serving.live import LiveStreams
from roadstead.serving.response import Live
from roadstead.web.assets import Assets
from roadstead.web.call import Call
from roadstead.web.events import Look, follow
from roadstead.web.rendering import Templates
from roadstead.web.rooms import Rooms
from tests.rooms.serving.test_request import part, request
from tests.rooms.web.conftest import Visit, told
from tests.support.factories import APP, chunks, image, push_image


@pytest.fixture
def call(rooms: Rooms) -> Call:
    """Of nobody."""
    return Call(request([part(b"", more=False)]), rooms, Templates(Assets(), rooms.clock), None)


def looks(*several: Look) -> Callable[[], Awaitable[Look]]:
    left: Iterator[Look] = iter(several)

    async def look() -> Look:
        return next(left)

    return look


async def test_a_stream_tells_only_what_is_new(call: Call) -> None:
    look = looks(Look("a\nb"), Look("a\nb"), Look("c"), Look("c", said="halfway"), Look("d", True, said="halfway"))
    events = await told(await follow(call, look, every=0))
    wanted = [("message", "a\nb"), ("message", "c"), ("said", "halfway"), ("message", "d"), ("rest", "")]
    assert [(one.event, one.data) for one in events] == wanted


async def test_what_is_added_has_a_mark(call: Call) -> None:
    events = await told(await follow(call, looks(Look("a", added="1", mark=7), Look("a", mark=7), Look("a", True, "2", 9)), every=0))
    assert [(one.data, one.id) for one in events if one.event == "added"] == [("1", "7"), ("2", "9")]


async def test_a_part_that_becomes_empty_is_told_so(call: Call) -> None:
    events = await told(await follow(call, looks(Look("a"), Look("", True)), every=0))
    assert [(one.event, one.data) for one in events] == [("message", "a"), ("message", ""), ("rest", "")]


async def test_a_stream_ends_when_what_it_follows_may_not_be_seen_any_more(call: Call, rooms: Rooms, admin: Actor) -> None:
    left = iter([Look("a")])

    async def look() -> Look:
        found = next(left, None)
        if found is None:
            await rooms.jobs.show(admin, 12345)
            raise AssertionError
        return found

    assert [one.event for one in await told(await follow(call, look, every=0))] == ["message", "rest"]


async def test_a_stream_does_not_last_for_ever(call: Call) -> None:
    async def look() -> Look:
        return Look("a")

    events = await told(await follow(call, look, every=0))
    assert [one.event for one in events] == ["message"]  # and no rest: the browser asks anew


async def test_the_process_that_stops_ends_its_streams(call: Call, rooms: Rooms) -> None:
    answer = await follow(call, looks(Look("a")), every=3600)
    reading = asyncio.create_task(told(answer))
    rooms.streams.end()
    assert [one.event for one in await reading] == ["message"]  # and no rest: another process goes on


# --- who is behind it


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow at once."""
    monkeypatch.setattr("roadstead.web.pages.repositories._EVERY", 0)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("how", ["logout", "disabled", "demoted", "session"])
async def test_who_is_nobody_any_more_follows_no_longer(
    visit: Visit, rooms: Rooms, access: Access, registry: Registry, admin: Actor, user: Actor, how: str
) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    await access.people.set_admin(admin, user.account_id or 0, True)
    changed = (await registry.repositories.get(admin, APP)).updated_at
    browser = visit(user)
    assert "data-live" in (await browser.get(f"/repositories/{APP}")).html
    upload = await registry.uploads.start(admin, APP)
    account = user.account_id or 0

    answer = await browser.stream(f"/repositories/{APP}/-/uploads?seen={changed:%Y%m%dT%H%M%S.%f}")
    await registry.uploads.write(admin, APP, upload.token, Body(chunks(b"x" * 2048)))
    if how == "logout":
        await browser.post("/logout")
    elif how == "disabled":
        await access.people.set_disabled(admin, account, True)
    elif how == "demoted":
        await access.people.set_admin(admin, account, False)
    else:
        await access.sessions.end_all(admin, account)
    events = await told(answer)
    assert events[-1].event == "rest"
    assert "2.0 KiB" not in "".join(one.text for one in events)  # what came after is not told


# --- how many


async def test_one_person_follows_so_many_pages(visit: Visit, rooms: Rooms, registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    address, browser = f"/repositories/{APP}:latest/-/conversions", visit(user)
    several = [await browser.stream(address) for _ in range(20)]
    refused = await browser.get(address)
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert "20 pages are followed live already" in refused.text
    for somebody in (visit(admin), visit()):  # others are not concerned
        await told(await somebody.stream(address))
    body = several[0].body
    assert isinstance(body, Live)
    body.left()
    body.left()  # counts once
    await browser.stream(address)
    assert (await browser.get(address)).status == 429


def test_all_together_follow_so_many() -> None:
    streams = LiveStreams(each=2, most=3)
    leave = [streams.enter("account 1"), streams.enter("account 1"), streams.enter("account 2")]
    for whose in ("account 1", "account 3"):
        with pytest.raises(TooManyRequests):
            streams.enter(whose)
    leave[0]()
    streams.enter("account 3")
