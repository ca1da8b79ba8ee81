"""The pages of jobs: for whom they are, what can be done there, and that what is live follows what happens."""

from __future__ import annotations

import pytest

from roadstead.access.actor import Actor
from roadstead.jobs.queue import Queue
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import NewJob, State
from roadstead.web.events import Look, follow
from roadstead.web.rooms import Rooms
from tests.rooms.web.conftest import Visit, told
from tests.support.factories import BEGINNING, ManualClock

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def job(database: Database, clock: ManualClock) -> int:
    """One that waits."""
    return (await Queue(database, clock).add(NewJob("collect", key="collect"))).id


async def test_jobs_are_listed_and_filtered(visit: Visit, admin: Actor, job: int) -> None:
    browser = visit(admin)
    assert f"/admin/jobs/{job}" in (await browser.get("/admin/jobs")).links()
    assert f"/admin/jobs/{job}" in (await browser.get("/admin/jobs?state=waiting&kind=collect")).links()
    for nothing in ("state=failed", "kind=convert", "kind=%3Cscript%3E"):
        shown = await browser.get(f"/admin/jobs?{nothing}")
        assert f"/admin/jobs/{job}" not in shown.links()
        assert "<script>" not in shown.html.replace("<script src", "")
    assert (await browser.get("/admin/jobs?state=asleep")).status == 400


async def test_a_job_is_cancelled_and_begun_again(visit: Visit, rooms: Rooms, admin: Actor, job: int) -> None:
    browser, address = visit(admin), f"/admin/jobs/{job}"
    shown = await browser.get(address)
    assert f'data-live="{address}/live"' in shown.html
    assert (await browser.post(address, {"act": "cancel"}, token=False)).status == 403
    assert (await browser.post(address, {"act": "sleep"})).status == 400
    assert (await browser.post(address, {"act": "cancel"})).location == address
    ended = await browser.get(address)
    assert "Cancelled by admin." in ended.text
    assert "data-live" not in ended.html
    assert (await browser.post(address, {"act": "cancel"})).status == 409
    assert (await browser.post(address, {"act": "retry"})).location == address
    assert (await rooms.jobs.show(admin, job)).job.state == State.WAITING


@pytest.mark.parametrize("path", ["", "/1", "/1/live"])
async def test_jobs_are_not_for_everybody(visit: Visit, user: Actor, job: int, path: str) -> None:
    assert (await visit().get(f"/admin/jobs{path}")).location.startswith("/login")
    shown = await visit(user).get(f"/admin/jobs{path}")
    assert f"/admin/jobs/{job}" not in shown.links()
    assert shown.status == (404 if path else 200)  # those of one's own projects: there is none


@pytest.mark.parametrize("number", ["0", "x", "9" * 30, "-1"])
async def test_there_is_no_such_job(visit: Visit, admin: Actor, number: str) -> None:
    for path in (f"/admin/jobs/{number}", f"/admin/jobs/{number}/live"):
        assert (await visit(admin).get(path)).status == 404


async def test_a_stream_follows_a_job_to_its_end(visit: Visit, database: Database, admin: Actor, job: int) -> None:
    await database.write(lambda connection: jobs.cancel(connection, job, HOSTILE, BEGINNING))
    events = await visit(admin).follow(f"/admin/jobs/{job}/live")
    assert [one.event for one in events] == ["message", "rest"]
    assert "cancelled" in events[0].text
    assert HOSTILE not in events[0].data


async def test_a_stream_tells_only_what_is_new() -> None:
    looks = iter([Look("a\nb", False), Look("a\nb", False), Look("c", False), Look("d", True)])

    async def look() -> Look:
        return next(looks)

    events = await told(await follow(look, every=0))
    assert [(one.event, one.data) for one in events] == [("message", "a\nb"), ("message", "c"), ("message", "d"), ("rest", "")]


async def test_a_stream_ends_when_what_it_follows_may_not_be_seen_any_more(rooms: Rooms, admin: Actor) -> None:
    looks = iter([Look("a", False)])

    async def look() -> Look:
        found = next(looks, None)
        if found is None:
            await rooms.jobs.show(admin, 12345)
            raise AssertionError
        return found

    assert [one.event for one in await told(await follow(look, every=0))] == ["message", "rest"]


async def test_a_stream_does_not_last_for_ever() -> None:
    async def look() -> Look:
        return Look("a", False)

    events = await told(await follow(look, every=0))
    assert [one.event for one in events] == ["message"]  # and no rest: the browser asks anew
