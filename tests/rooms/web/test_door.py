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
