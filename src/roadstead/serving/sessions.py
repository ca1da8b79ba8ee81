"""Sessions by cookie: reading and setting the cookie, and refusing what another site's page makes a browser send.

The cookie is HttpOnly, SameSite=Lax, for this host alone; over https it is Secure and has the prefix `__Host-`, with which browsers let
nobody else set it (RFC 6265bis §4.1.3.2). A browser sends a cookie by itself, so a request that changes something must also carry the
session's CSRF token: in the header that Harbor's clients use, or in a form's field. Requests with an Authorization header need none: no
other site can make a browser send that.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.sessions import csrf_token, is_csrf_token
from roadstead.errors import Denied, Unauthenticated
from roadstead.serving.credentials import authenticate
from roadstead.serving.request import Request
from roadstead.serving.response import Headers

CSRF_HEADER: Final = b"x-harbor-csrf-token"
CSRF_FIELD: Final = "csrf_token"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110 §9.2.1)."""

_NAME: Final = "roadstead-session"


class Session(msgspec.Struct, frozen=True):
    """Who is logged in with this browser, and the session's secret."""

    actor: Actor
    secret: str

    def csrf_headers(self) -> Headers:
        """Tells the page, which other sites cannot read, the token that it is to send back."""
        return [(CSRF_HEADER, csrf_token(self.secret).encode())]


async def find_session(access: Access, request: Request) -> Session | None:
    """The browser's session; None without the cookie, or if the session has ended. Asks for no CSRF token: `require_csrf` does."""
    secret = read_cookie(request, _NAME)
    if secret is None:
        return None
    try:
        return Session(await access.sessions.find(secret, request.address), secret)
    except Unauthenticated:
        return None


async def authenticate_browser(access: Access, request: Request, form_token: str = "") -> tuple[Actor, Session | None]:
    """Who is asking, by the Authorization header or else by the cookie; for doors that serve tools and pages alike.

    `form_token` is a form's field `csrf_token`, where the door has read one. Raises Unauthenticated for a wrong header, and Denied where
    only a cookie speaks for a request that changes something and the session's CSRF token is not there.
    """
    if request.header(b"authorization") is None:
        session = await find_session(access, request)
        if session is not None:
            require_csrf(session, request, form_token)
            return session.actor, session
    return await authenticate(access.accounts, request), None


def require_csrf(session: Session, request: Request, form_token: str = "") -> None:
    """Return if the request changes nothing or carries the session's token. Raises Denied."""
    if request.method not in SAFE and not is_csrf_token(request.header(CSRF_HEADER) or form_token, session.secret):
        raise Denied("The request lacks the session's CSRF token: send back what the header X-Harbor-CSRF-Token said, or log in again.")


def require_same_site(request: Request) -> None:
    """Return unless a browser says that another site's page is behind this request: for logins, which have no session yet. Raises Denied.

    By Fetch Metadata where the browser sends it, by Origin where not; tools send neither, and no page can make them.
    """
    fetched = request.header(b"sec-fetch-site")
    if fetched is not None:
        foreign = fetched not in ("same-origin", "none")
    else:
        origin = request.header(b"origin")
        foreign = origin is not None and urlsplit(origin).netloc != urlsplit(request.base_url).netloc
    if foreign:
        raise Denied("This comes from a page of another site; go to the registry's own.")


async def begin_session(access: Access, request: Request, actor: Actor) -> Headers:
    """Begin a session in this browser, in place of the one that it may have had; the headers that tell it."""
    secret = await access.sessions.open(actor, request.header(b"user-agent") or "")
    old = session_secret(request)
    if old is not None:
        await access.sessions.close(old, request.address)
    return [session_cookie(request, secret), *Session(actor, secret).csrf_headers()]


def session_cookie(request: Request, secret: str) -> tuple[bytes, bytes]:
    """The header that gives the browser its session; the browser keeps it until it is closed."""
    return set_cookie(request, _NAME, secret)


def session_secret(request: Request) -> str | None:
    """What the cookie says, whatever it is worth."""
    return read_cookie(request, _NAME)


def ended_cookie(request: Request) -> tuple[bytes, bytes]:
    """The header that takes the cookie away."""
    return set_cookie(request, _NAME, "", max_age=0)


def set_cookie(request: Request, name: str, value: str, *, max_age: int | None = None) -> tuple[bytes, bytes]:
    """A Set-Cookie header; see the module's docstring. `max_age` is in seconds; without, until the browser is closed."""
    parts = [f"{_full_name(request, name)}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    parts += ["Secure"] if _secure(request) else []
    parts += [] if max_age is None else [f"Max-Age={max_age}"]
    return b"set-cookie", "; ".join(parts).encode()


def read_cookie(request: Request, name: str) -> str | None:
    """A cookie's value (RFC 6265 §5.4), or None. Several Cookie headers, as HTTP/2 has them, are joined by commas or semicolons."""
    wanted = _full_name(request, name)
    for part in (request.header(b"cookie") or "").replace(",", ";").split(";"):
        key, equals, value = part.strip().partition("=")
        if equals and key == wanted:
            return value
    return None


def _secure(request: Request) -> bool:
    return request.base_url.startswith("https:")


def _full_name(request: Request, name: str) -> str:
    return f"__Host-{name}" if _secure(request) else name
