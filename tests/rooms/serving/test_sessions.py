"""Sessions by cookie: flags, names, and which requests of other sites' pages are refused."""

from __future__ import annotations

import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.sessions import csrf_token
from roadstead.access.vault import Vault
from roadstead.errors import Denied, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.serving.request import Request, Site
from roadstead.serving.sessions import (
    authenticate_browser,
    ended_cookie,
    find_session,
    read_cookie,
    require_same_site,
    session_cookie,
)
from tests.rooms.serving.test_request import request
from tests.support.factories import ManualClock

SECURE = Site("https://registry.example.org")


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    return Access(database, Vault([b"k" * 32]), clock=clock)


def flags(header: tuple[bytes, bytes]) -> tuple[str, set[str]]:
    """Name and value, and the attributes, of a Set-Cookie header."""
    assert header[0] == b"set-cookie"
    first, *rest = header[1].decode().split("; ")
    return first, set(rest)


def test_the_cookie_is_for_this_host_and_no_script() -> None:
    assert flags(session_cookie(request(), "s")) == ("roadstead-session=s", {"Path=/", "HttpOnly", "SameSite=Lax"})
    secure = {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}
    for https in (request(site=SECURE), request(scheme="https")):
        assert flags(session_cookie(https, "s")) == ("__Host-roadstead-session=s", secure)
    assert flags(ended_cookie(request(site=SECURE))) == ("__Host-roadstead-session=", secure | {"Max-Age=0"})


def test_over_https_only_the_protected_name_is_read() -> None:
    """A page of another port, or plain http in between, can set the plain name."""
    cookies = [("cookie", "roadstead-session=planted; __Host-roadstead-session=mine")]
    assert read_cookie(request(headers=cookies, site=SECURE), "roadstead-session") == "mine"
    assert read_cookie(request(headers=[("cookie", "roadstead-session=planted")], site=SECURE), "roadstead-session") is None


@pytest.mark.parametrize("sent", ["", "x", "=", "roadstead-session", "xroadstead-session=1", ";;;", "a=b; roadstead-sessionx=1"])
def test_what_is_not_the_cookie(sent: str) -> None:
    assert read_cookie(request(headers=[("cookie", sent)]), "roadstead-session") is None


def test_a_cookie_among_others_and_on_several_lines() -> None:
    for headers in ([("cookie", "a=1; roadstead-session=mine; b=2")], [("cookie", "a=1"), ("cookie", "roadstead-session=mine")]):
        assert read_cookie(request(headers=headers), "roadstead-session") == "mine"


# --- who is asking ------------------------------------------------------------------------------------------------------------------


def with_cookie(secret: str, method: str = "GET", **headers: str) -> Request:
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return request(headers=[("cookie", f"roadstead-session={secret}"), *more], method=method)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_cookie_alone_reads(method: str, access: Access, user: Actor) -> None:
    secret = await access.sessions.open(user, "x")
    actor, session = await authenticate_browser(access, with_cookie(secret, method))
    assert (actor.account_id, actor.address) == (user.account_id, "192.0.2.7")
    assert session is not None
    assert session.csrf_headers() == [(b"x-harbor-csrf-token", csrf_token(secret).encode())]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "INVENTED"])
async def test_a_change_needs_the_sessions_own_csrf_token(method: str, access: Access, user: Actor) -> None:
    secret, other = await access.sessions.open(user, "x"), await access.sessions.open(user, "y")
    for wrong in ("", "x", csrf_token(other), secret):
        with pytest.raises(Denied, match="CSRF"):
            await authenticate_browser(access, with_cookie(secret, method, x_harbor_csrf_token=wrong))
        with pytest.raises(Denied, match="CSRF"):
            await authenticate_browser(access, with_cookie(secret, method), wrong)
    for asked in (
        (with_cookie(secret, method, x_harbor_csrf_token=csrf_token(secret)), ""),
        (with_cookie(secret, method), csrf_token(secret)),
    ):
        actor, _ = await authenticate_browser(access, *asked)
        assert actor.account_id == user.account_id


async def test_a_header_of_credentials_needs_no_csrf_token_and_wins_over_the_cookie(access: Access, user: Actor) -> None:
    secret = await access.sessions.open(user, "x")
    own = await access.credentials.make_cli_secret(user, user.account_id or 0)
    actor, session = await authenticate_browser(access, with_cookie(secret, "POST", authorization=f"Bearer {own}"))
    assert (actor.account_id, session) == (user.account_id, None)
    with pytest.raises(Unauthenticated):
        await authenticate_browser(access, with_cookie(secret, "POST", authorization="Bearer wrong"))


async def test_an_ended_session_is_nobody(access: Access, user: Actor) -> None:
    secret = await access.sessions.open(user, "x")
    await access.sessions.close(secret)
    for method in ("GET", "POST"):
        actor, session = await authenticate_browser(access, with_cookie(secret, method))
        assert (actor.anonymous, session) == (True, None)
    assert await find_session(access, request()) is None


# --- logins from other sites --------------------------------------------------------------------------------------------------------

# What the browser says of the page behind the request → whether that is one of another site
PAGES = {
    "a tool says nothing": ({}, False),
    "our own page": ({"sec-fetch-site": "same-origin"}, False),
    "typed by the user": ({"sec-fetch-site": "none"}, False),
    "another site": ({"sec-fetch-site": "cross-site"}, True),
    "a neighbour's page": ({"sec-fetch-site": "same-site"}, True),
    "not to be argued away": ({"sec-fetch-site": "cross-site", "origin": "https://registry.example.org"}, True),
    "an older browser, our own": ({"origin": "https://registry.example.org"}, False),
    "an older browser, another": ({"origin": "https://evil.example.org"}, True),
    "no origin that can be named": ({"origin": "null"}, True),
    "a name that only begins so": ({"origin": "https://registry.example.org.evil.example"}, True),
}


@pytest.mark.parametrize("case", PAGES)
def test_a_page_of_another_site_logs_nobody_in(case: str) -> None:
    headers, foreign = PAGES[case]
    asked = request(headers=list(headers.items()), method="POST", site=SECURE)
    if foreign:
        with pytest.raises(Denied):
            require_same_site(asked)
    else:
        require_same_site(asked)
