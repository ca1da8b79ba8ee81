"""The pages of jobs: for whom they are, what can be done there, and that what is live follows what happens."""

from __future__ import annotations

import pytest

from roadstead.access.actor import Actor, Role
from roadstead.jobs.queue import Queue
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import NewJob, State
from roadstead.metadata.schema import job_log
from roadstead.registry.registry import Registry
from roadstead.web.rooms import Rooms
from tests.rooms.web.conftest import Visit
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
    assert f'data-live="{address}/live?after=0"' in shown.html
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


async def say(database: Database, job: int, *lines: str) -> None:
    """As its worker notes what it says."""
    said = [{"job_id": job, "attempt": 1, "at": BEGINNING, "line": line} for line in lines]
    await database.write(lambda connection: connection.execute(job_log.insert(), said))


async def test_a_stream_brings_only_new_lines(visit: Visit, database: Database, admin: Actor, job: int) -> None:
    await say(database, job, "one", HOSTILE)
    await database.write(lambda connection: jobs.cancel(connection, job, "enough", BEGINNING))
    events = [one for one in await visit(admin).follow(f"/admin/jobs/{job}/live") if one.event == "added"]
    assert ["one" in one.text and "alert(1)" in one.text and "<script>" not in one.data for one in events] == [True]
    mark = int(events[0].id)
    for asked in (f"?after={mark}", f"?after={mark - 1}"):
        seen = [one.text for one in await visit(admin).follow(f"/admin/jobs/{job}/live{asked}") if one.event == "added"]
        assert ("one" in "".join(seen), "alert" in "".join(seen)) == (False, asked.endswith(str(mark - 1)))
    again = await visit(admin).follow(f"/admin/jobs/{job}/live?after=0", last_event_id=str(mark))  # the browser has been cut off
    assert [one.event for one in again] == ["message", "rest"]
    for nonsense in ("x", "-1", "9" * 40):
        assert "added" in [one.event for one in await visit(admin).follow(f"/admin/jobs/{job}/live?after={nonsense}")]


async def test_a_long_log_has_pages_and_shows_the_last_one(visit: Visit, database: Database, admin: Actor, job: int) -> None:
    await say(database, job, *(f"line {number} of it" for number in range(250)))
    browser, address = visit(admin), f"/admin/jobs/{job}"
    last = await browser.get(address)
    assert "201–250 of 250 lines" in last.text
    assert ("line 249 of it" in last.text, "line 199 of it" in last.text) == (True, False)
    assert "data-added" in last.html
    first = await browser.get(f"{address}?page=1")
    assert "1–100 of 250 lines" in first.text
    assert "data-added" not in first.html  # what comes belongs to the end of the last page
    assert f"{address}?page=2" in first.links()
    assert "line 0 of it" not in (await browser.get(f"{address}?page=999999999999")).text
    assert (await browser.get(f"{address}?page=0")).status == 400


async def test_the_queue_is_followed_as_it_was_asked_for(visit: Visit, rooms: Rooms, admin: Actor, user: Actor, job: int) -> None:
    assert 'data-live="/admin/jobs/live?state=waiting"' in (await visit(admin).get("/admin/jobs?state=waiting")).html
    rooms.streams.end()
    (event,) = await visit(admin).follow("/admin/jobs/live?state=waiting")
    assert f'href="/admin/jobs/{job}"' in event.data
    (event,) = await visit(admin).follow("/admin/jobs/live?state=failed")
    assert event.data == ""
    (event,) = await visit(user).follow("/admin/jobs/live")
    assert event.data == ""  # those of one's own projects: there is none
    assert (await visit().get("/admin/jobs/live")).status == 303
    assert (await visit(admin).get("/admin/jobs/live?state=asleep")).status == 400


async def test_who_configures_a_project_finds_its_jobs(
    visit: Visit, registry: Registry, database: Database, clock: ManualClock, admin: Actor, user: Actor, job: int
) -> None:
    await registry.projects.add_member(admin, "vault", "ada", Role.PROJECT_ADMIN)
    vault = (await registry.projects.get(admin, "vault")).id
    own = (await Queue(database, clock).add(NewJob("convert", key="k", project_id=vault))).id
    browser, here = visit(user), f"/projects/vault/jobs/{own}"
    assert "/projects/vault/jobs" in (await browser.get("/projects/vault")).links()
    listed = await browser.get("/projects/vault/jobs?kind=convert")
    assert (here in listed.links(), f"/projects/vault/jobs/{job}" in listed.links()) == (True, False)
    shown = await browser.get(here)
    assert '<a href="/projects/vault/jobs" aria-current="page">' in shown.html
    assert (await browser.post(here, {"act": "cancel"}, token=False)).status == 403
    assert (await browser.post(here, {"act": "cancel"})).location == here
    assert "Cancelled by ada." in (await browser.get(here)).text
    assert [one.event for one in await browser.follow(f"{here}/live")] == ["message", "rest"]
    for other in (f"/projects/vault/jobs/{job}", f"/projects/library/jobs/{own}"):  # of the system; of another project
        assert (await visit(admin).get(other)).status == 404
        assert (await visit(admin).get(f"{other}/live")).status == 404
        assert (await visit(admin).post(other, {"act": "retry"})).status == 404
        assert (await browser.get(other)).status in (403, 404)


@pytest.mark.parametrize("role", [Role.MAINTAINER, Role.DEVELOPER, Role.GUEST, Role.LIMITED_GUEST])
async def test_jobs_of_a_project_are_for_who_configures_it(
    visit: Visit, registry: Registry, database: Database, clock: ManualClock, admin: Actor, user: Actor, role: Role
) -> None:
    await registry.projects.add_member(admin, "vault", "ada", role)
    vault = (await registry.projects.get(admin, "vault")).id
    own = (await Queue(database, clock).add(NewJob("convert", key="k", project_id=vault))).id
    browser, here = visit(user), "/projects/vault/jobs"
    assert here not in (await browser.get("/projects/vault")).links()
    for path in (here, f"{here}/live", f"{here}/{own}", f"{here}/{own}/live"):
        assert (await browser.get(path)).status == 403, path
    assert (await browser.post(f"{here}/{own}", {"act": "cancel"})).status in (403, 404)
    for path in (here, f"{here}/{own}"):
        assert (await visit().get(path)).location.startswith("/login")
