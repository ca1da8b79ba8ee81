"""The login doors: their table of errors, where they let a browser go, and the way to a provider and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from roadstead.access.access import Access
from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.sessions import csrf_token
from roadstead.access.vault import Vault
from roadstead.apis.login.door import LoginDoor
from roadstead.apis.login.errors import TABLE, render
from roadstead.errors import Denied, InvalidInput, RoadsteadError, SourceFailed, TooManyRequests, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.serving.redirects import local_path
from roadstead.serving.request import Request
from roadstead.serving.response import Response
from tests.rooms.apis.test_distribution_errors import EVERY
from tests.rooms.serving.test_request import part, request
from tests.support.factories import ManualClock


def test_every_branch_of_the_error_tree_has_a_row() -> None:
    branches = {cls for cls in EVERY if cls.__base__ is RoadsteadError}
    assert branches <= set(TABLE) <= set(EVERY)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_has_harbors_form(cls: type[RoadsteadError]) -> None:
    response = render(cls(), "the-request")
    (error,) = msgspec.json.decode(response.body if isinstance(response.body, bytes) else b"")["errors"]
    assert error.keys() == {"code", "message"}
    assert 400 <= response.status <= 599
    assert ("the-request" in error["message"]) == (response.status >= 500)


def test_who_has_to_wait_is_told_how_long() -> None:
    assert (b"retry-after", b"7") in render(TooManyRequests(retry_after=7), "").headers


@pytest.mark.parametrize("path", ["/", "/projects", "/projects/1/repositories?q=a%2Fb#top", "/?x=y", "/a//b"])
def test_paths_of_this_registry(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "projects",
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "/a\r\nset-cookie: x=y",
        "javascript:alert(1)",
        "/a\\b",
        "/é",
        "/a b",
        "/" + "x" * 2000,
    ],
)
def test_everywhere_else_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        local_path(path)


# --- to a provider and back ---------------------------------------------------------------------------------------------------------


class Provider:
    """Stands for `Access.sources`: whoever comes back with the code "right" is `person`; a flow says what it was begun for."""

    def __init__(self, person: Actor) -> None:
        self.person = person
        self.failing = False

    async def begin(self, name: str, redirect_uri: str, *, linking: Actor | None = None) -> tuple[str, str]:
        if self.failing:
            raise SourceFailed
        return f"https://id.example/?back={redirect_uri}", f"flow-{name}-{'' if linking is None else linking.account_id}"

    async def finish(self, flow: str, query: Mapping[str, str], *, present: Actor = ANONYMOUS, address: str = "") -> Actor:
        linking = flow.rpartition("-")[2]
        if query.get("code") != "right":
            raise Unauthenticated
        if linking and linking != str(present.account_id):
            raise Denied
        return present if linking else msgspec.structs.replace(self.person, address=address)


class Browser:
    """Keeps cookies, as a browser does, and asks the door."""

    def __init__(self, access: Access) -> None:
        self.door = LoginDoor(access)
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Response:
        path, _, query = path.partition("?")
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = [("cookie", kept), *((name.replace("_", "-"), value) for name, value in headers.items())]
        scope: dict[str, Any] = {"method": method, "raw_path": path.encode(), "query_string": query.encode()}
        asked: Request = request([part(urlencode(form or {}).encode(), more=False)], sent, **scope)
        try:
            answer = await self.door.handle(asked)
        except RoadsteadError as error:
            answer = self.door.render(error, asked)
        for name, value in answer.headers:
            if name == b"set-cookie":
                cookie, _, content = value.decode().partition(";")[0].partition("=")
                self.cookies[cookie] = content
                if b"Max-Age=0" in value:
                    del self.cookies[cookie]
        return answer


def location(answer: Response) -> str:
    assert answer.status == 303, answer.body
    return dict(answer.headers)[b"location"].decode()


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    return Access(database, Vault([b"k" * 32]), clock=clock)


@pytest.fixture
def provider(access: Access, user: Actor) -> Provider:
    provider = Provider(user)
    access.sources = provider  # type: ignore[assignment]
    return provider


@pytest.fixture
def browser(access: Access, provider: Provider) -> Browser:
    return Browser(access)


async def who(access: Access, browser: Browser) -> int | None:
    return (await access.sessions.find(browser.cookies["roadstead-session"])).account_id


async def test_a_login_at_a_provider_comes_back_to_the_page_that_was_wanted(browser: Browser, access: Access, user: Actor) -> None:
    there = await browser.ask("GET", "/c/oidc/site/login?redirect_url=/projects%3Fq%3D%2525")
    assert location(there) == "https://id.example/?back=http://localhost/c/oidc/callback"
    back = await browser.ask("GET", "/c/oidc/callback?code=right&state=x")
    assert location(back) == "/projects?q=%25"
    assert await who(access, browser) == user.account_id
    assert set(browser.cookies) == {"roadstead-session"}, "the flow's cookie is gone"


async def test_who_was_logged_in_before_is_not_any_more(browser: Browser, access: Access, admin: Actor, user: Actor) -> None:
    browser.cookies["roadstead-session"] = before = await access.sessions.open(admin, "x")
    await browser.ask("GET", "/c/oidc/site/login")
    assert location(await browser.ask("GET", "/c/oidc/callback?code=right")) == "/"
    assert await who(access, browser) == user.account_id
    with pytest.raises(Unauthenticated):
        await access.sessions.find(before)


@pytest.mark.parametrize("case", ["another browser", "a wrong answer", "twice"])
async def test_what_comes_back_must_have_been_begun_here(case: str, browser: Browser, provider: Provider) -> None:
    await browser.ask("GET", "/c/oidc/site/login")
    if case == "another browser":
        browser.cookies.clear()
    if case == "twice":
        await browser.ask("GET", "/c/oidc/callback?code=right")
    browser.cookies.pop("roadstead-session", None)
    answer = await browser.ask("GET", f"/c/oidc/callback?code={'wrong' if case == 'a wrong answer' else 'right'}")
    assert (answer.status, browser.cookies) == (401, {})


async def test_linking_keeps_the_session_and_needs_its_csrf_token(browser: Browser, access: Access, admin: Actor) -> None:
    assert (await browser.ask("POST", "/c/oidc/site/link")).status == 401
    browser.cookies["roadstead-session"] = secret = await access.sessions.open(admin, "x")
    assert (await browser.ask("POST", "/c/oidc/site/link")).status == 403
    form = {"csrf_token": csrf_token(secret), "redirect_url": "/me"}
    assert location(await browser.ask("POST", "/c/oidc/site/link", form)).startswith("https://id.example/")
    assert location(await browser.ask("GET", "/c/oidc/callback?code=right")) == "/me"
    assert browser.cookies == {"roadstead-session": secret}
    assert await who(access, browser) == admin.account_id


async def test_linking_ends_if_somebody_else_is_logged_in_when_it_comes_back(
    browser: Browser, access: Access, admin: Actor, user: Actor
) -> None:
    browser.cookies["roadstead-session"] = secret = await access.sessions.open(admin, "x")
    await browser.ask("POST", "/c/oidc/site/link", {"csrf_token": csrf_token(secret)})
    browser.cookies["roadstead-session"] = await access.sessions.open(user, "x")
    assert (await browser.ask("GET", "/c/oidc/callback?code=right")).status == 403


async def test_a_provider_that_fails_and_a_page_of_another_site(browser: Browser, provider: Provider) -> None:
    assert (await browser.ask("GET", "/c/oidc/site/login?redirect_url=//evil.example")).status == 400
    provider.failing = True
    assert (await browser.ask("GET", "/c/oidc/site/login")).status == 503
    assert browser.cookies == {}


async def test_a_tampered_cookie_leads_nowhere(browser: Browser, provider: Provider) -> None:
    browser.cookies["roadstead-login"] = "flow-site-~//evil.example"
    assert (await browser.ask("GET", "/c/oidc/callback?code=right")).status == 400
    assert browser.cookies == {}


@pytest.mark.parametrize(("method", "path"), [("POST", "/c/oidc/site/login"), ("GET", "/c/oidc/site/link"), ("POST", "/c/oidc/callback")])
async def test_methods(method: str, path: str, browser: Browser) -> None:
    assert (await browser.ask(method, path)).status == 405
