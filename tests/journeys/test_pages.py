"""Who has only a browser: logs in for the first time, makes a project, finds an image, sets up a client; on every kind of window."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.protocols.http.exchange import push_blob
from tests.support.browser import WINDOWS, chromium, log_in, picture, require_accessible
from tests.support.factories import image
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.slow

PAGES = {
    "home": "/",
    "search": "/search?q=clim",
    "projects": "/projects",
    "project": "/projects/climate",
    "members": "/projects/climate/members",
    "robots": "/projects/climate/robots",
    "policies": "/projects/climate/policies",
    "audit": "/projects/climate/audit",
    "settings": "/projects/climate/settings",
    "empty": "/projects/library",
    "help": "/help",
    "help-docker": "/help/docker",
    "help-podman": "/help/podman",
    "help-containerd": "/help/containerd",
    "help-apptainer": "/help/apptainer",
    "nothing": "/projects/nothing",
    "repository": "/repositories/climate/wrf",
    "artifact": "/repositories/climate/wrf:latest",
    "jobs": "/admin/jobs",
    "job": "/admin/jobs/1",
    "users": "/admin/users",
    "user": "/admin/users/2",
    "groups": "/admin/groups",
    "system-robots": "/admin/robots",
    "sources": "/admin/sources",
    "clusters": "/admin/clusters",
    "storage": "/admin/storage",
    "system-audit": "/admin/audit",
    "configuration": "/admin/configuration",
    "health": "/admin/health",
    "history": "/repositories/climate/wrf/-/history",
    "profile": "/profile",
    "tokens": "/profile/tokens",
    "keys": "/profile/keys",
    "sessions": "/profile/sessions",
    "password": "/profile/password",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path_factory.mktemp("pages") / "data") as server:
        with server.http() as http:
            fill(http)
        grow(server)
        yield server


def fill(http: httpx2.Client) -> None:
    """A project with images, a member and a robot, so that every page has something to show."""
    made = {"project_name": "climate", "description": "Models and tools of the climate group", "storage_limit": 50 << 20}
    assert http.post("/api/v2.0/projects", json=made).status_code == 201
    person = {"username": "ada", "email": "ada@lab.example", "realname": "Ada", "password": "Analytical-Engine-1"}
    assert http.post("/api/v2.0/users", json=person).status_code == 201
    member = {"role_id": 2, "member_user": {"username": "ada"}}
    assert http.post("/api/v2.0/projects/climate/members", json=member).status_code == 201
    may = [{"resource": "repository", "action": "push"}, {"resource": "repository", "action": "pull"}]
    permission = {"kind": "project", "namespace": "climate", "access": may}
    robot = {"name": "builder", "level": "project", "duration": 90, "description": "Nightly builds", "permissions": [permission]}
    assert http.post("/api/v2.0/robots", json=robot).status_code == 201
    for cluster in ({"level": 4, "driver": "550.54.14"}, {"glibc": "2.17", "level": 2}):
        described = {"name": "kestrel" if "driver" in cluster else "osprey", "architecture": "amd64", "mpi": "libmpi.so.12", **cluster}
        assert http.post("/api/v2.0/clusters", json=described).status_code == 201
    for number, name in enumerate(("icon", "wrf", "tools/python", "tools/cdo", "post/plots")):
        pushed = image("layer" * 40_000 * (number + 1), config='{"architecture": "amd64", "os": "linux"}')
        for one in pushed.blobs:
            push_blob(http, f"climate/{name}", one.content)
        for tag in ("2026.1", "latest")[number % 2 :]:
            answer = http.put(f"/v2/climate/{name}/manifests/{tag}", content=pushed.content, headers={"content-type": pushed.media_type})
            assert answer.status_code == 201, answer.text


def grow(server: RoadsteadServer) -> None:
    """Half a year of samples of what is stored, as the job of every day takes them."""
    day, now = 86400 * 10**6, int(time.time() * 10**6)
    samples = [(now - (180 - number) * day, number**2 << 28, 5 + number // 9) for number in range(180)]
    with closing(sqlite3.connect(server.data / "roadstead.sqlite", timeout=30)) as database:
        database.executemany("INSERT INTO storage_samples (at, stored, repositories) VALUES (?, ?, ?)", samples)
        database.commit()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def visitor(browser: Browser, server: RoadsteadServer, window: str, *, scripts: bool = True) -> Page:
    """A fresh window, with the clipboard at its disposal."""
    context = browser.new_context(**WINDOWS[window], java_script_enabled=scripts, base_url=server.url)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    return context.new_page()


def test_a_first_login_a_project_and_what_to_type(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light")
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    page.goto("/projects/mine")  # who is nobody is asked to log in first, and comes back to where they wanted
    expect(page).to_have_url(f"{server.url}/login?next=%2Fprojects%2Fmine")
    page.goto("/")
    log_in(page, server.url, "admin", server.admin_password)
    page.get_by_role("link", name="Projects", exact=True).first.click()
    page.get_by_text("New project").click()
    page.get_by_label("Name", exact=True).fill("library")
    page.get_by_role("button", name="Create the project").click()
    expect(page.get_by_role("alert")).to_contain_text("already")
    page.get_by_label("Name", exact=True).fill("oceans")
    page.get_by_role("button", name="Create the project").click()
    expect(page.get_by_role("heading", name="oceans")).to_be_visible()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"docker login {server.host}"
    assert not [one for one in refused if "409" not in one], refused


def test_what_one_types_is_found_without_another_page(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light")
    log_in(page, server.url, "ada", "Analytical-Engine-1")
    page.keyboard.press("/")
    page.keyboard.type("python")
    found = page.get_by_role("list", name="What was found").get_by_role("link", name="climate/tools/python", exact=True)
    expect(found).to_have_attribute("href", "/repositories/climate/tools/python")
    picture(page, "search-as-one-types")
    require_accessible(page)


def test_the_theme_is_chosen_and_kept(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light")
    page.goto("/")
    page.get_by_role("button", name="Light or dark").click()
    page.goto("/help")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_everything_is_read_without_scripts(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light", scripts=False)
    log_in(page, server.url, "ada", "Analytical-Engine-1")
    page.goto("/")
    page.get_by_label("Search names").fill("plots")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name="climate/post/plots", exact=True)).to_be_visible()
    page.goto("/projects/climate/members")
    expect(page.get_by_role("row", name="ada")).to_contain_text("Developer")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)


def test_a_robots_secret_is_shown_in_the_window_that_made_it(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light")
    log_in(page, server.url, "admin", server.admin_password)
    page.goto("/projects/climate/robots")
    page.get_by_text("New robot").click()
    page.get_by_label("Name", exact=True).fill("runner")
    page.get_by_role("button", name="Make the robot").click()
    secret = page.get_by_label("Secret", exact=True).inner_text()
    picture(page, "robot-secret")
    require_accessible(page)
    answer = httpx2.get(f"{server.url}/v2/climate/icon/tags/list", auth=("robot$climate+runner", secret), trust_env=False)
    assert answer.json()["tags"]


@pytest.mark.parametrize("window", WINDOWS)
def test_every_page_can_be_used_by_everybody(server: RoadsteadServer, browser: Browser, window: str, tmp_path: Path) -> None:
    page = visitor(browser, server, window)
    page.goto("/login")
    picture(page, f"login-{window}")
    require_accessible(page)
    log_in(page, server.url, "admin", server.admin_password)
    for name, path in PAGES.items():
        page.goto(path)
        closed = page.locator("details.fold:not([open]) > summary")
        while closed.count():
            closed.first.click()
        picture(page, f"{name}-{window}")
        require_accessible(page)
