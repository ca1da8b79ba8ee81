"""The door of the pages: who gets them, what they are sent with, and what is refused."""

from __future__ import annotations

import base64
import re

import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.apis.login.door import LoginDoor
from roadstead.errors import RoadsteadError, Unauthenticated
from roadstead.registry.registry import Registry
from roadstead.web.door import PagesForErrors, WebDoor
from roadstead.web.errors import TABLE, status_of
from tests.rooms.apis.test_distribution_errors import EVERY
from tests.rooms.serving.test_request import request
from tests.rooms.web.conftest import HOST, HTML, Shown, Visit
from tests.support.factories import APP, BEGINNING, VAULT, image, push_image


def test_every_branch_of_the_error_tree_has_a_row() -> None:
    branches = {cls for cls in EVERY if cls.__base__ is RoadsteadError}
    assert branches <= set(TABLE) <= set(EVERY)
    assert all(400 <= status_of(cls())[0] <= 599 for cls in EVERY)


async def test_a_browser_is_shown_images_and_a_tool_is_greeted(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    shown = await visit().get("/")
    assert (shown.status, "library/app" in shown.text) == (200, True)
    assert "/repositories/library/app:latest" in shown.links()
    greeted = await visit().get("/", accept="*/*")
    assert greeted.headers["content-type"].startswith("text/plain")
    assert f"docker login {HOST}" in greeted.text


async def test_a_tool_with_wrong_credentials_is_refused_and_not_sent_to_the_login(visit: Visit) -> None:
    basic = "Basic " + base64.b64encode(b"nobody:wrong").decode()
    refused = await visit().get("/", accept="*/*", authorization=basic)
    assert (refused.status, refused.headers.get("location")) == (401, None)


async def test_apptainer_sends_its_users_to_their_tokens(visit: Visit) -> None:
    assert (await visit().get("/auth/tokens")).location == "/profile/tokens"


async def test_a_stranger_sees_nothing_of_a_private_project(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, VAULT, image("one"), "latest")
    assert "vault" not in (await visit().get("/")).html
    assert "/repositories/vault/app:latest" in (await visit(admin).get("/")).links()


async def test_pages_forbid_what_they_do_not_need(visit: Visit) -> None:
    shown = await visit().get("/")
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", shown.html)


async def test_what_is_not_there_is_told_by_a_page_and_to_tools_by_a_line(visit: Visit) -> None:
    page = await visit().get("/nothing/of/that")
    assert (page.status, "There is nothing here" in page.text) == (404, True)
    line = await visit().get("/nothing/of/that", accept="*/*")
    assert (line.status, line.headers["content-type"]) == (404, "text/plain; charset=utf-8")


async def test_files_keep_for_ever_by_a_name_of_their_bytes(visit: Visit) -> None:
    (address,) = [link for link in (await visit().get("/")).links() if link.endswith(".css")]
    assert re.fullmatch(r"/static/app\.[0-9a-f]{16}\.css", address)
    sent = await visit().get(address, accept="text/css")
    assert sent.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "--accent" in sent.html
    assert (await visit().get("/static/app.css")).status == 404


async def test_a_form_without_the_sessions_token_is_refused(visit: Visit, user: Actor) -> None:
    browser = visit(user)
    assert (await browser.post("/logout", token=False)).status == 403
    assert "ada" in (await browser.get("/")).text
    assert (await browser.post("/logout")).location == "/"
    after = await browser.get("/")
    assert "ada" not in after.text
    assert "You are logged out." in after.text
    assert "You are logged out." not in (await browser.get("/")).text


async def test_a_form_of_another_site_is_refused(visit: Visit, access: Access) -> None:
    await access.accounts.ensure_admin("right", BEGINNING)
    foreign = await visit().post("/login", {"name": "admin", "password": "right"}, sec_fetch_site="cross-site")
    assert (foreign.status, "another site" in foreign.text) == (403, True)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_what_no_form_sends_is_not_taken(visit: Visit, method: str) -> None:
    answer = await visit().ask(method, "/login")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST, HEAD")


async def test_a_failed_login_at_a_provider_is_a_page_for_browsers_and_json_for_tools(door: WebDoor, access: Access) -> None:
    login = PagesForErrors(LoginDoor(access), door)
    for accept, kind in ((HTML, "text/html; charset=utf-8"), ("*/*", "application/json")):
        asked = request([], [("host", HOST), ("accept", accept)], raw_path=b"/c/oidc/callback")
        with pytest.raises(Unauthenticated) as refused:
            await login.handle(asked)
        shown = Shown(login.render(refused.value, asked))
        assert (shown.status, shown.headers["content-type"]) == (401, kind)
        assert "This login was not begun in this browser" in shown.text
        assert "Max-Age=0" in shown.headers["set-cookie"]  # what was begun is over
        assert shown.headers["cache-control"] == "no-store"


async def test_a_refusal_offers_the_login_to_who_is_nobody(visit: Visit, user: Actor) -> None:
    refused = await visit(user).get("/admin/users")
    assert (refused.status, [link for link in refused.links() if "/login" in link]) == (403, [])
    nothing = await visit().get("/projects/nothing/at/all")
    assert "/login?next=/projects/nothing/at/all" in nothing.links()


LOGIN = "apptainer registry login --username 'admin' oras://{host}"


@pytest.mark.parametrize(
    ("scheme", "host", "logs_in"),
    [
        ("http", "registry.example:5000", False),
        ("https", "registry.example", True),
        ("http", "127.0.0.1:5000", True),
        ("http", "localhost:5000", True),
        ("http", "[::1]:5000", True),
        ("http", "localhost.example:5000", False),
        ("http", "127.0.0.1.example:5000", False),
    ],
)
async def test_apptainer_is_told_to_log_in_only_where_it_can(visit: Visit, admin: Actor, scheme: str, host: str, logs_in: bool) -> None:
    """`apptainer registry login` has no flag for plain HTTP, and tries it by itself on its own machine alone."""
    command, robot = LOGIN.format(host=host), LOGIN.format(host=host).replace("admin", "robot$vault+r")
    browser = visit(admin, scheme)
    pages = [
        await browser.post("/profile/secret", host=host),
        await browser.post("/profile/tokens", {"name": "t", "level": "read"}, host=host),
        await browser.post("/projects/vault/robots", {"name": "r", "pull": "true"}, host=host),
        await browser.get("/help/apptainer", host=host),
    ]
    for page in pages:
        shown = page.commands()
        assert (command in shown or robot in shown or command.replace("'", "") in shown) is logs_in, shown
        assert logs_in or any("_DOCKER_PASSWORD" in one for one in shown)
        assert any("apptainer registry login" in one and "oras://" in one for one in shown) is logs_in


POSTED = [
    ("/projects/library/robots/2", "/projects/library/robots"),
    ("/projects/library/members/1", "/projects/library/members"),
    ("/projects/library/policies/quota", "/projects/library/policies"),
    ("/projects/library/policies/keys/abc", "/projects/library/policies"),
    ("/projects/library/settings/delete", "/projects/library/settings"),
    ("/admin/robots/1", "/admin/robots"),
    ("/admin/clusters/kestrel", "/admin/clusters"),
    ("/profile/secret", "/profile"),
    ("/profile/tokens/1?page=2", "/profile/tokens"),
    ("/profile/sessions/1", "/profile/sessions"),
    ("/logout", "/"),
]


@pytest.mark.parametrize(("asked", "page"), POSTED)
async def test_the_address_of_a_form_leads_to_its_page(visit: Visit, admin: Actor, asked: str, page: str) -> None:
    """Who loads an answer to a form anew by its address, or has it in a bookmark."""
    browser = visit(admin)
    assert (await browser.get(asked)).location == page
    assert (await browser.get(page)).status == 200
    assert (await visit().get(asked, accept="*/*")).status == 405  # a tool is told what it did wrong


@pytest.mark.parametrize(
    ("asked", "page"),
    [
        ("/projects/", "/projects"),
        ("/projects/library//", "/projects/library"),
        ("/profile/tokens/?page=1", "/profile/tokens?page=1"),
        ("/help/", "/help"),
        ("/admin/", "/admin"),
        ("/admin", "/admin/jobs"),
        ("/repositories/library/app/", "/repositories/library/app"),
    ],
)
async def test_a_slash_at_the_end_is_taken_away(visit: Visit, admin: Actor, asked: str, page: str) -> None:
    assert (await visit(admin).get(asked)).location == page


@pytest.mark.parametrize("path", ["//example.org/", "/%5Cexample.org/", "/nothing/", "/repositories/"])
async def test_what_is_no_page_is_none_with_a_slash_either(visit: Visit, path: str) -> None:
    shown = await visit().get(path)
    assert (shown.status, shown.headers.get("location")) == (404, None)


async def test_pages_of_a_list_that_a_form_answered_are_pages(visit: Visit, admin: Actor) -> None:
    browser = visit(admin)
    for number in range(30):
        await browser.post("/projects/vault/robots", {"name": f"r{number:02}", "pull": "true"})
    listed = await browser.get("/projects/vault/robots")
    (robot, *_) = re.findall(r'action="(/projects/vault/robots/\d+)"', listed.html)
    shown = await browser.post(robot, {"act": "rotate"})
    (following,) = [link for link in shown.links() if "page=2" in link]
    assert following == "/projects/vault/robots?page=2"
    assert (await browser.get(following)).status == 200
    assert '<a href="/projects/vault/robots" aria-current="page">Robots</a>' in shown.html
