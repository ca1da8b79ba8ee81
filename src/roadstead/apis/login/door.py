"""The door at `/c/`: logging in and out with a browser, at the paths that Harbor has.

    POST     /c/login       form: principal, password [, redirect_url]
    GET POST /c/log_out     POST with the session's CSRF token, GET only from a page of this site

An answer to a login sets the session's cookie, always with a new secret, and tells the CSRF token in X-Harbor-CSRF-Token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.apis.login import errors
from roadstead.apis.login.redirects import local_path
from roadstead.errors import InvalidInput, NotFound, RoadsteadError, Unauthenticated
from roadstead.serving.request import Request, parse_fields
from roadstead.serving.response import Headers, Response, json_response
from roadstead.serving.sessions import (
    CSRF_FIELD,
    SAFE,
    Session,
    ended_cookie,
    find_session,
    require_csrf,
    require_same_site,
    session_cookie,
    session_secret,
)

_FORM_LIMIT: Final = 64 * 1024
_NO_STORE: Final = (b"cache-control", b"no-store")


class MethodNotAllowed(InvalidInput):
    """This method has no meaning here."""


class LoginDoor:
    """See the module's docstring."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._handlers: dict[str, tuple[tuple[str, ...], Callable[[Request], Awaitable[Response]]]] = {
            "/c/login": (("POST",), self._log_in),
            "/c/log_out": (("GET", "POST"), self._log_out),
        }

    async def handle(self, request: Request) -> Response:
        """Answer, or raise from the error tree."""
        request.route = "login"
        methods, handler = self._found(request)
        if request.method not in methods:
            raise MethodNotAllowed(methods=methods)
        return await handler(request)

    def _found(self, request: Request) -> tuple[tuple[str, ...], Callable[[Request], Awaitable[Response]]]:
        if request.path not in self._handlers:
            raise NotFound("Log in at /c/login, log out at /c/log_out.")
        return self._handlers[request.path]

    async def _log_in(self, request: Request) -> Response:
        require_same_site(request)
        form = await _form(request)
        target = local_path(form["redirect_url"]) if form.get("redirect_url") else None
        name, password = form.get("principal", ""), form.get("password", "")
        if not name or not password:
            raise Unauthenticated("Give a user name and a password.")
        actor = await self._access.accounts.by_password(name, password, request.address)
        return await self._welcome(request, actor, target)

    async def _welcome(self, request: Request, actor: Actor, target: str | None) -> Response:
        """Begin a session in this browser, in place of the one that it may have had."""
        secret = await self._access.sessions.open(actor, request.header(b"user-agent") or "")
        old = session_secret(request)
        if old is not None:
            await self._access.sessions.close(old)
        return _leave(target, [session_cookie(request, secret), *Session(actor, secret).csrf_headers()])

    async def _log_out(self, request: Request) -> Response:
        require_same_site(request)
        session = await find_session(self._access, request)
        if session is not None:
            form = {} if request.method in SAFE else await _form(request)
            require_csrf(session, request, form.get(CSRF_FIELD, ""))
            await self._access.sessions.close(session.secret)
        return _leave(None, [ended_cookie(request)])

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """Harbor's form of an error."""
        response = errors.render(error, request.id)
        if isinstance(error, MethodNotAllowed):
            response.status = 405
            response.headers.append((b"allow", ", ".join(self._found(request)[0]).encode()))
        response.headers.append(_NO_STORE)
        return response


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_fields(await request.whole_body(_FORM_LIMIT), "The form"))


def _leave(target: str | None, headers: Headers) -> Response:
    """200 for a script, or on to the page that was wanted."""
    if target is None:
        return json_response(200, {}, [*headers, _NO_STORE])
    return Response(303, [(b"location", target.encode()), *headers, _NO_STORE])
