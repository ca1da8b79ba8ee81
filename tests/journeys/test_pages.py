"""Who has only a browser: logs in for the first time, makes a project, finds an image, sets up a client; on every kind of window."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Browser, Page, expect
from pysequoia import ArmorKind, armor

from roadstead.oci import media_type
from roadstead.web.pages import MODULES
from tests.protocols.http.exchange import push_blob
from tests.support.browser import WINDOWS, chromium, log_in, picture, require_accessible
from tests.support.factories import Image, image, index
from tests.support.image_signatures import cosign_old, cosign_tag
from tests.support.openpgp import HandMade
from tests.support.server import RoadsteadServer
from tests.support.sifs import sif, sif_artifact

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
    "tags": "/repositories/climate/wrf/-/tags",
    "sif": "/repositories/climate/tools/nco:5.2",
    "index": "/repositories/climate/cosmo:6.0",
    "signed": "/repositories/climate/icon:latest",
    "chart": "/repositories/climate/charts/dashboard:1.4.0",
    "deleting": "/repositories/climate/icon:latest?delete=tag",
    "profile": "/profile",
    "tokens": "/profile/tokens",
    "keys": "/profile/keys",
    "sessions": "/profile/sessions",
    "password": "/profile/password",
    # What a page looks like with something in it, or asked for otherwise.
    "members-of-paths": "/projects/climate/members?of=paths",
    "nothing-found": "/search?q=zzzz",
    "found-by-needs": "/search?q=cuda%3A12",
    "cluster-change": "/admin/clusters?change=kestrel",
    "running-jobs": "/admin/jobs?state=running",
    "project-jobs": "/projects/climate/jobs",
    "project-job": "/projects/climate/jobs/{job}",
    "group": "/admin/groups/1",
    "source": "/admin/sources/site",
    "credentials": "/admin/users/1/credentials",
    "long-log": "/admin/audit?who=admin",
    "trust": "/trust",
    "devcenter": "/devcenter",
    "not-so": "/logout",
}
UNSEEN = {"/admin", "/auth/tokens", "/login"}
"""Addresses that lead to another page, and the login, which is looked at before there is a session."""

PARTS = ("/live", "/-/uploads", "/-/conversions", "/-/needs")
"""How the addresses of parts of pages end."""


ROLES = {"project-admin": 1, "developer": 2, "guest": 3, "maintainer": 4, "limited-guest": 5}
"""Accounts, each of that role (as Harbor numbers them) in the project `climate`."""

MAY = {
    "limited-guest": set[str](),
    "guest": set[str](),
    "developer": {"Describe this repository"},
    "maintainer": {"Describe this repository", "Delete this repository"},
    "project-admin": {"Describe this repository", "Delete this repository"},
}
SEEN_BY_MEMBERS = ("home", "project", "repository", "tags", "artifact", "sif")
SEEN_BY_ALL = {
    "home": "/",
    "search": "/search?q=hello",
    "projects": "/projects",
    "project": "/projects/shared",
    "repository": "/repositories/shared/hello",
    "tags": "/repositories/shared/hello/-/tags",
    "history": "/repositories/shared/hello/-/history",
    "artifact": "/repositories/shared/hello:latest",
    "help": "/help/apptainer",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path_factory.mktemp("pages") / "data") as server:
        with server.http() as http:
            fill(http)
            furnish(http)
        grow(server)
        yield server


@pytest.fixture(scope="module")
def job(server: RoadsteadServer) -> int:
    """The number of one that runs."""
    return run_job(server)


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
    for role, number in ROLES.items():
        account = {"username": role, "email": f"{role}@lab.example", "realname": role, "password": "Analytical-Engine-1"}
        assert http.post("/api/v2.0/users", json=account).status_code == 201
        member = {"role_id": number, "member_user": {"username": role}}
        assert http.post("/api/v2.0/projects/climate/members", json=member).status_code == 201
    assert http.post("/api/v2.0/projects", json={"project_name": "shared", "metadata": {"public": "true"}}).status_code == 201
    for number, name in enumerate(("icon", "wrf", "tools/python", "tools/cdo", "post/plots")):
        push(http, f"climate/{name}", simple(number), *("2026.1", "latest")[number % 2 :])
    fill_kinds(http)


def simple(number: int) -> Image:
    return image("layer" * 40_000 * (number + 1), config='{"architecture": "amd64", "os": "linux"}')


def fill_kinds(http: httpx2.Client) -> None:
    """An artifact of every kind: a SIF, an index with what BuildKit attests, signatures and a bill of materials, a chart."""
    push(http, "climate/tools/nco", sif_artifact(sif("amd64", {"org.label-schema.license": "BSD-3-Clause", "maintainer": "Ada"})), "5.2")
    told = {"Entrypoint": ["/usr/bin/cosmo"], "Env": ["PATH=/usr/bin", "OMP_NUM_THREADS=8"], "Labels": {"maintainer": "Ada"}}
    steps = [{"created_by": "ADD rootfs.tar / # buildkit"}, {"created_by": "ENV OMP_NUM_THREADS=8", "empty_layer": True}]
    parts = []
    for architecture in ("amd64", "arm64"):
        config = {"architecture": architecture, "os": "linux", "config": told, "history": steps}
        parts.append((image(architecture * 9000, config=json.dumps(config)), {"os": "linux", "architecture": architecture}))
    said = image("{}", config='{"architecture": "unknown", "os": "unknown"}', layer_type="application/vnd.in-toto+json")
    whole = json.loads(index(*(one for one, _ in parts), said).content)
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": str(parts[0][0].digest)}
    for one, platform in zip(whole["manifests"], (*(platform for _, platform in parts), None), strict=True):
        one["platform"] = platform or {"os": "unknown", "architecture": "unknown"}
        one.update({} if platform else {"annotations": about})
    whole["annotations"] = {"org.opencontainers.image.source": "https://git.lab.example/climate/cosmo"}
    for one in (*(one for one, _ in parts), said):
        push(http, "climate/cosmo", one)
    push(http, "climate/cosmo", Image(json.dumps(whole).encode(), media_type.OCI_INDEX), "6.0")
    signed = simple(0)
    bill = image('{"spdxVersion": "SPDX-2.3"}', subject=signed, artifact_type="application/spdx+json", config_type=media_type.OCI_EMPTY)
    of_bill = image("signature", subject=bill, artifact_type="application/vnd.cncf.notary.signature", config_type=media_type.OCI_EMPTY)
    for one in (bill, of_bill):
        push(http, "climate/icon", one)
    push(http, "climate/icon", cosign_old(signed, ec.generate_private_key(ec.SECP256R1())), cosign_tag(signed))
    chart = json.dumps({"name": "dashboard", "version": "1.4.0", "appVersion": "9.2", "description": "What runs where"})
    push(http, "climate/charts/dashboard", image("chart", config=chart, config_type="application/vnd.cncf.helm.config.v1+json"), "1.4.0")
    push(http, "shared/hello", image("hello", config='{"architecture": "amd64", "os": "linux"}'), "latest")


def push(http: httpx2.Client, name: str, pushed: Image, *tags: str) -> None:
    """As a client does."""
    for one in pushed.blobs:
        push_blob(http, name, one.content)
    for reference in tags or (str(pushed.digest),):
        answer = http.put(f"/v2/{name}/manifests/{reference}", content=pushed.content, headers={"content-type": pushed.media_type})
        assert answer.status_code == 201, answer.text


def furnish(http: httpx2.Client) -> None:
    """A row for the lists that begin empty."""
    assert http.post("/api/v2.0/usergroups", json={"group_name": "modellers", "group_type": 2}).status_code in (201, 400)
    settings = {"kind": "ldap", "url": "ldaps://127.0.0.1:9", "base_dn": "dc=example,dc=org", "timeout_seconds": 1}
    assert http.post("/api/v2.0/sources", json={"name": "site", "settings": settings}).status_code == 201
    key = armor(HandMade().certificate("Releases <releases@lab.example>"), ArmorKind.PublicKey)
    assert http.post("/pks/add", data={"keytext": key}).status_code == 200
    path = {"role_id": 2, "member_user": {"username": "ada"}, "path": "tools/*"}
    http.post("/api/v2.0/projects/climate/members", json=path)


def run_job(server: RoadsteadServer) -> int:
    """One of the project that is half done, with a log; its number."""
    now = int(time.time() * 10**6)
    with closing(sqlite3.connect(server.data / "roadstead.sqlite", timeout=30)) as database:
        (project,) = database.execute("SELECT id FROM projects WHERE name = 'climate'").fetchone()
        row = {
            "kind": "rehearse",
            "project_id": project,
            "lane": project,
            "payload": "null",
            "priority": 0,
            "state": "running",
            "attempt": 1,
        }
        row |= {
            "failures": 0,
            "max_attempts": 3,
            "worker": "elsewhere",
            "lease_until": now + 3600 * 10**6,
            "fraction": 0.5,
            "doing": "halfway",
        }
        row |= {"run_after": now, "created_at": now, "started_at": now}
        places = ", ".join("?" * len(row))
        number = database.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES ({places})", tuple(row.values())).lastrowid
        lines = [(number, 1, now, f"line {one} of what it says") for one in range(130)]
        database.executemany("INSERT INTO job_log (job_id, attempt, at, line) VALUES (?, ?, ?, ?)", lines)
        database.commit()
    assert number is not None
    return number


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
def test_every_page_can_be_used_by_everybody(server: RoadsteadServer, browser: Browser, job: int, window: str) -> None:
    page = visitor(browser, server, window)
    page.goto("/login")
    picture(page, f"login-{window}")
    require_accessible(page)
    log_in(page, server.url, "admin", server.admin_password)
    for name, path in PAGES.items():
        page.goto(path.format(job=job))
        look(page, f"{name}-{window}")
        if name == "keys":
            expect(page.get_by_role("row", name="releases@lab.example")).to_be_visible()
        if name == "not-so":
            expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.goto("/admin/users")
    page.evaluate("document.querySelectorAll('form').forEach(form => { form.noValidate = true; })")
    page.locator("details.fold > summary").first.click()
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("alert")).to_be_visible()
    look(page, f"form-error-{window}")
    page.goto("/profile")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="secret", exact=False).last.click()
    expect(page.get_by_label("Secret", exact=True)).to_be_visible()
    look(page, f"cli-secret-{window}")
    page.goto("/profile/tokens")
    if not page.get_by_label("Name", exact=True).is_visible():
        page.get_by_text("New token").click()
    page.get_by_label("Name", exact=True).fill(f"laptop-{window}")
    page.get_by_label("Only in these").fill("climate")
    page.get_by_role("button", name="Make the token").click()
    look(page, f"token-secret-{window}")
    page.goto("/profile/tokens")
    expect(page.get_by_role("row", name=f"laptop-{window}")).to_contain_text("only in climate")
    look(page, f"tokens-with-rows-{window}")


def open_all(page: Page) -> None:
    """Open what can be opened."""
    closed = page.locator("details.fold:not([open]) > summary:visible")
    while closed.count():
        closed.first.click()


def look(page: Page, name: str) -> None:
    """Open what can be opened, keep a picture, and fail where not everybody could use it."""
    if page.url.endswith("/devcenter"):  # it is written by its script
        page.locator("#operations details > summary").first.click()
    open_all(page)
    picture(page, name)
    require_accessible(page)


def test_every_page_is_looked_at() -> None:
    """A new page comes with an entry in PAGES."""
    seen = [path.format(job=1).partition("?")[0] for path in PAGES.values()]
    routes = [route for module in MODULES for route in module.routes.values() if "GET" in route.handlers]
    pages = [route for route in routes if route.template not in UNSEEN and not route.template.endswith(PARTS)]
    assert [route.template for route in pages if not any(route.pattern.fullmatch(path) for path in seen)] == []


def test_every_page_is_read_without_scripts(server: RoadsteadServer, browser: Browser, job: int) -> None:
    page = visitor(browser, server, "light", scripts=False)
    log_in(page, server.url, "admin", server.admin_password)
    for name, path in PAGES.items():
        if name == "devcenter":
            continue  # it needs scripts, and says so
        page.goto(path.format(job=job))
        heading = page.get_by_role("main").get_by_role("heading", level=1)
        assert heading.count() == 1 or name == "home", name
        assert len(page.get_by_role("main").inner_text()) > 60, name


def test_all_is_done_by_the_keyboard(server: RoadsteadServer, browser: Browser) -> None:
    """From the login to a command that is copied; what has the focus can be seen."""
    page = visitor(browser, server, "light")
    page.goto("/login")
    page.keyboard.type("ada")  # the field has the focus
    page.keyboard.press("Tab")
    page.keyboard.type("Analytical-Engine-1")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{server.url}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    press_until(page, "Tab", "details.menu > summary", shift=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Access tokens")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Access tokens")).to_be_hidden()
    expect(page.locator("details.menu > summary")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("wrf")
    hit = 'a[href^="/repositories/climate/wrf"]'
    expect(page.get_by_role("list", name="What was found").locator(hit).first).to_be_visible()
    press_until(page, "Tab", hit)
    page.keyboard.press("Enter")
    page.wait_for_url("**/repositories/climate/wrf*")
    if page.url.endswith("/climate/wrf"):
        press_until(page, "Tab", 'a[href="/repositories/climate/wrf:latest"]')
        page.keyboard.press("Enter")
        page.wait_for_url("**/climate/wrf:latest")
    press_until(page, "Tab", "[data-copy]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").last).to_contain_text("Copied")
    assert "pull" in page.evaluate("navigator.clipboard.readText()")


def press_until(page: Page, key: str, selector: str, *, shift: bool = False) -> None:
    """Go on from one thing to the next until that has the focus."""
    for _ in range(80):
        page.keyboard.press(f"Shift+{key}" if shift else key)
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by {key}")


@pytest.mark.parametrize("role", ROLES)
def test_members_see_what_their_role_may_do(server: RoadsteadServer, browser: Browser, role: str) -> None:
    page = visitor(browser, server, "light")
    log_in(page, server.url, role, "Analytical-Engine-1")
    for name in SEEN_BY_MEMBERS:
        page.goto(PAGES[name])
        open_all(page)
        require_accessible(page)
    page.goto(PAGES["repository"])
    offered = {text for text in ("Describe this repository", "Delete this repository") if page.get_by_text(text, exact=True).count()}
    assert offered == MAY[role]
    page.goto(PAGES["artifact"])
    assert page.get_by_text("Delete this artifact", exact=True).count() == ("Delete this repository" in offered)
    page.goto(PAGES["tags"])
    assert page.get_by_role("link", name="Delete the tag latest").count() == ("Delete this repository" in offered)
    page.goto("/projects/climate/settings")
    expect(page.get_by_role("heading", level=1)).to_have_text("climate" if role == "project-admin" else "That is not allowed")


def test_who_is_nobody_sees_what_is_public(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light")
    for path in SEEN_BY_ALL.values():
        page.goto(path)
        open_all(page)
        require_accessible(page)
    page.goto(SEEN_BY_ALL["artifact"])
    expect(page.get_by_label("Docker", exact=True)).to_have_text(f"docker pull {server.host}/shared/hello:latest")
    expect(page.get_by_text("Delete this artifact", exact=True)).to_have_count(0)
    page.goto(PAGES["tags"])
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_one_tag_is_deleted_by_what_the_page_says(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light", scripts=False)
    log_in(page, server.url, "maintainer", "Analytical-Engine-1")
    page.goto("/repositories/climate/tools/cdo/-/tags")
    page.get_by_role("link", name="Delete the tag latest").click()
    expect(page.get_by_text("The tag latest goes")).to_be_visible()
    page.get_by_role("button", name="Delete the tag").click()
    expect(page.get_by_role("status").first).to_contain_text("The tag latest is deleted")
    expect(page.get_by_role("link", name="latest", exact=True)).to_have_count(0)


def test_what_is_being_typed_outlives_the_end_of_a_push(server: RoadsteadServer, browser: Browser) -> None:
    page = visitor(browser, server, "light")
    log_in(page, server.url, "admin", server.admin_password)
    with server.http() as http:
        upload = http.post("/v2/climate/wrf/blobs/uploads/").headers["location"]
        http.patch(upload, content=b"x" * 100).raise_for_status()
        page.goto(PAGES["repository"])
        expect(page.get_by_text("Being pushed now")).to_be_visible()
        page.get_by_text("Describe this repository").click()
        page.get_by_label("Description", exact=True).fill("Half a sen")
        push(http, "climate/wrf", simple(5), "2026.2")
        expect(page.get_by_text("Load the page anew")).to_be_visible()
    expect(page.get_by_label("Description", exact=True)).to_have_value("Half a sen")
