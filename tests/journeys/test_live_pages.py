"""Pages that follow what happens: pushes that begin later, jobs as they run; and what the reader holds stays where it is."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.test_pages import fill, visitor
from tests.protocols.http.exchange import accepted, digest_of, metric
from tests.support.browser import chromium, log_in, picture, require_accessible
from tests.support.factories import image
from tests.support.server import RoadsteadServer, poll

pytestmark = pytest.mark.slow

PASSWORD = "Analytical-Engine-1"
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path_factory.mktemp("live") / "data") as server:
        with server.http() as http:
            fill(http)
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def streams(server: RoadsteadServer) -> float:
    with server.http() as http:
        return metric(http, "roadstead_live_streams")


def test_a_push_that_begins_later_is_seen_and_its_image_too(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light")
    log_in(page, server.url, "ada", PASSWORD)
    page.goto("/repositories/climate/wrf")
    assert poll(lambda: streams(server) == 1)
    expect(page.get_by_text("Being pushed now")).to_have_count(0)
    pushed = image("what comes later" * 1000)
    with server.http() as http:
        layer = next(one for one in pushed.blobs if len(one.content) > 1000)
        begun = accepted(http.post("/v2/climate/wrf/blobs/uploads/"), 202).headers["location"]
        half = accepted(http.patch(begun, content=layer.content[:5000]), 202).headers["location"]
        expect(page.get_by_label("Being pushed")).to_contain_text("4.9 KiB by admin")
        picture(page, "being-pushed")
        require_accessible(page)
        accepted(http.put(half, params={"digest": digest_of(layer.content)}, content=layer.content[5000:]), 201)
        _push(http, pushed.content, pushed.media_type, [one.content for one in pushed.blobs])
    expect(page.get_by_role("link", name="later", exact=True)).to_be_visible()
    expect(page.get_by_text("Being pushed now")).to_have_count(0)
    page.close()
    assert poll(lambda: streams(server) == 0)


def _push(http: httpx2.Client, manifest: bytes, media_type: str, blobs: list[bytes]) -> None:
    for content in blobs:
        begun = accepted(http.post("/v2/climate/wrf/blobs/uploads/"), 202).headers["location"]
        accepted(http.put(begun, params={"digest": digest_of(content)}, content=content), 201)
    accepted(http.put("/v2/climate/wrf/manifests/later", content=manifest, headers={"content-type": media_type}), 201)


def test_who_may_not_push_follows_nothing(server: RoadsteadServer, browser: Browser) -> None:
    with server.http() as http:
        accepted(http.put("/api/v2.0/projects/climate", json={"metadata": {"public": "true"}}), 200)
    page = visitor(browser, server, "light")
    page.goto("/repositories/climate/wrf")
    expect(page.locator("[data-live]")).to_have_count(0)


class Job:
    """One that runs, as some worker would tell of it."""

    def __init__(self, server: RoadsteadServer) -> None:
        self._file = server.data / "roadstead.sqlite"
        now = int(time.time() * 10**6)
        fixed = {"lane": 0, "payload": "null", "priority": 0, "attempt": 1, "failures": 0, "max_attempts": 3}
        running = {
            "state": "running",
            "worker": "elsewhere",
            "lease_until": now + 3600 * 10**6,
            "fraction": 0.25,
            "doing": "reading layers",
        }
        times = {"run_after": now, "created_at": now, "started_at": now}
        self.number = self._insert("jobs", {"kind": "rehearse", **fixed, **running, **times})

    def say(self, line: str) -> None:
        self._insert("job_log", {"job_id": self.number, "attempt": 1, "at": int(time.time() * 10**6), "line": line})

    def stand(self, **values: object) -> None:
        with closing(sqlite3.connect(self._file, timeout=30)) as database:
            database.execute(f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in values)} WHERE id = ?", (*values.values(), self.number))
            database.commit()

    def end(self) -> None:
        self.stand(state="succeeded", worker=None, lease_until=None, finished_at=int(time.time() * 10**6))

    def _insert(self, table: str, row: dict[str, object]) -> int:
        with closing(sqlite3.connect(self._file, timeout=30)) as database:
            places = ", ".join("?" * len(row))
            found = database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", tuple(row.values())).lastrowid
            database.commit()
        assert found is not None
        return found


@pytest.fixture
def job(server: RoadsteadServer) -> Iterator[Job]:
    job = Job(server)
    yield job
    job.end()


def admins(server: RoadsteadServer, browser: Browser) -> Page:
    page = visitor(browser, server, "light")
    log_in(page, server.url, "admin", server.admin_password)
    return page


def test_a_job_is_followed_with_its_log(server: RoadsteadServer, browser: Browser, job: Job) -> None:
    for number in range(60):
        job.say(f"line {number}")
    page = admins(server, browser)
    page.goto(f"/admin/jobs/{job.number}")
    expect(page.get_by_text("25 %")).to_be_visible()
    log = page.get_by_role("region", name="Log")
    assert log.evaluate("log => log.scrollTop + log.clientHeight >= log.scrollHeight - 4")
    log.focus()
    job.say("the newest line")
    job.stand(fraction=0.75, doing="writing the image")
    expect(page.get_by_text("75 %")).to_be_visible()
    expect(page.get_by_role("status").last).to_have_text(f"Job {job.number} is running, 70 % done.")
    expect(log.get_by_text("the newest line")).to_be_in_viewport()
    expect(log).to_be_focused()
    assert log.get_by_role("row").count() == 62
    require_accessible(page)
    picture(page, "job-running")
    log.evaluate("log => { log.scrollTop = 0; }")  # who reads what was is left there
    job.say("a line that comes meanwhile")
    expect(log.get_by_text("a line that comes meanwhile")).to_have_count(1)
    assert log.evaluate("log => log.scrollTop") == 0
    job.end()
    expect(page.get_by_role("button", name="Cancel the job")).to_have_count(0)
    assert log.get_by_role("row").count() == 63


def test_the_queue_is_followed(server: RoadsteadServer, browser: Browser, job: Job) -> None:
    page = admins(server, browser)
    page.goto("/admin/jobs?kind=rehearse")
    bar = page.get_by_label(f"Progress of job {job.number}")
    expect(bar).to_have_attribute("value", "0.25")
    link = page.get_by_role("link", name=str(job.number), exact=True)
    link.focus()
    job.stand(fraction=0.5)
    expect(bar).to_have_attribute("value", "0.5")
    expect(link).to_be_focused()  # it is another element, with the same address
    picture(page, "jobs-running")
    require_accessible(page)
    other = Job(server)
    expect(page.get_by_label(f"Progress of job {other.number}")).to_be_visible()
    other.end()
    expect(page.get_by_role("row", name=f"{other.number} rehearse succeeded")).to_be_visible()
    page.close()


def test_a_hidden_window_follows_nothing(server: RoadsteadServer, browser: Browser, job: Job) -> None:
    page = admins(server, browser)
    assert poll(lambda: streams(server) == 0)
    page.goto(f"/admin/jobs/{job.number}")
    assert poll(lambda: streams(server) == 1)
    page.evaluate(HIDE, True)
    assert poll(lambda: streams(server) == 0)
    job.say("while nobody looked")
    page.evaluate(HIDE, False)
    expect(page.get_by_role("region", name="Log").get_by_text("while nobody looked")).to_have_count(1)
    page.close()
    assert poll(lambda: streams(server) == 0)


def test_who_logs_out_elsewhere_is_led_to_the_login(server: RoadsteadServer, browser: Browser, job: Job) -> None:
    page = admins(server, browser)
    page.goto(f"/admin/jobs/{job.number}")
    assert poll(lambda: streams(server) == 1)
    other = page.context.new_page()
    other.goto(f"{server.url}/profile")
    other.locator("details.menu > summary").click()
    other.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("User name")).to_be_visible()
