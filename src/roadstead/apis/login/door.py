"""The door at `/c/`: logging in and out with a browser, at the paths that Harbor has.

    POST     /c/login       form: principal, password [, redirect_url]
    GET POST /c/log_out     POST with the session's CSRF token, GET only from a page of this site
    GET      /c/oidc/SOURCE/login [?redirect_url=]      on to the provider, with a flow in a cookie
    POST     /c/oidc/SOURCE/link                        the same, to link an identity to the account that is logged in
    GET      /c/oidc/callback                           back from the provider; the one address to register there

The flow's cookie binds what comes back to the browser that left. Linking begins with the session's CSRF token: else another site could
log the browser in at the provider as somebody else, and have that identity linked. An answer to a login sets the session's cookie, always
with a new secret, and tells the CSRF token in X-Harbor-CSRF-Token.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import quote, unquote

from roadstead.access.access import Access
from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.sources import FLOW_LIFETIME
from roadstead.apis.login import errors
from roadstead.errors import NotFound, RoadsteadError, Unauthenticated
from roadstead.serving.errors import MethodNotAllowed
from roadstead.serving.redirects import local_path
from roadstead.serving.request import Request, parse_fields
from roadstead.serving.response import Headers, Response, json_response
from roadstead.serving.sessions import (
    CSRF_FIELD,
    SAFE,
    begin_session,
    ended_cookie,
    find_session,
    read_cookie,
    require_csrf,
    require_same_site,
    set_cookie,
)

_FORM_LIMIT: Final = 64 * 1024
_CALLBACK: Final = "/c/oidc/callback"
_FLOW: Final = "roadstead-login"
_NO_STORE: Final = (b"cache-control", b"no-store")


Handler = Callable[[Request, str], Awaitable[Response]]


class LoginDoor:
    """See the module's docstring."""

    def __init__(self, access: Access) -> None:
        self._access = access
        # Pattern of the path, whose group is the source → methods, handler.
        self._routes: tuple[tuple[re.Pattern[str], tuple[str, ...], Handler], ...] = (
            (re.compile("/c/login()"), ("POST",), self._log_in),
            (re.compile("/c/log_out()"), ("GET", "POST"), self._log_out),
            (re.compile("/c/oidc/callback()"), ("GET",), self._come_back),
            (re.compile("/c/oidc/([^/]+)/login"), ("GET",), self._leave_for_provider),
            (re.compile("/c/oidc/([^/]+)/link"), ("POST",), self._link),
        )

    async def handle(self, request: Request) -> Response:
        """Answer, or raise from the error tree."""
        request.route = "login"
        methods, handler, source = self._found(request)
        if request.method not in methods:
            raise MethodNotAllowed(methods=methods)
        return await handler(request, source)

    def _found(self, request: Request) -> tuple[tuple[str, ...], Handler, str]:
        for pattern, methods, handler in self._routes:
            if found := pattern.fullmatch(request.path):
                return methods, handler, found[1]
        raise NotFound("Log in at /c/login or /c/oidc/SOURCE/login, log out at /c/log_out.")

    async def _log_in(self, request: Request, _: str) -> Response:
        require_same_site(request)
        form = await _form(request)
        target = _target(form)
        name, password = form.get("principal", ""), form.get("password", "")
        if not name or not password:
            raise Unauthenticated("Give a user name and a password.")
        actor = await self._access.accounts.by_password(name, password, request.address)
        return _leave(target, await begin_session(self._access, request, actor))

    async def _log_out(self, request: Request, _: str) -> Response:
        require_same_site(request)
        session = await find_session(self._access, request)
        if session is not None:
            form = {} if request.method in SAFE else await _form(request)
            require_csrf(session, request, form.get(CSRF_FIELD, ""))
            await self._access.sessions.close(session.secret, request.address)
        return _leave(None, [ended_cookie(request)])

    async def _leave_for_provider(self, request: Request, source: str) -> Response:
        return await self._begin(request, source, _target(dict(request.query())), None)

    async def _link(self, request: Request, source: str) -> Response:
        session = await find_session(self._access, request)
        if session is None:
            raise Unauthenticated
        form = await _form(request)
        require_csrf(session, request, form.get(CSRF_FIELD, ""))
        return await self._begin(request, source, _target(form), session.actor)

    async def _begin(self, request: Request, source: str, target: str | None, linking: Actor | None) -> Response:
        url, flow = await self._access.sources.begin(source, f"{request.base_url}{_CALLBACK}", linking=linking)
        kept = f"{flow}~{quote(target or '/')}"
        return _leave(url, [set_cookie(request, _FLOW, kept, max_age=int(FLOW_LIFETIME.total_seconds()))])

    async def _come_back(self, request: Request, _: str) -> Response:
        flow, _separator, encoded = (read_cookie(request, _FLOW) or "").partition("~")
        if not flow:
            raise Unauthenticated("This login was not begun in this browser, or took too long; begin it again.")
        session = await find_session(self._access, request)
        present = ANONYMOUS if session is None else session.actor
        actor = await self._access.sources.finish(flow, dict(request.query()), present=present, address=request.address)
        target = local_path(unquote(encoded))
        if session is not None and actor is present:
            response = _leave(target, [])  # it was linked, and the session goes on
        else:
            response = _leave(target, await begin_session(self._access, request, actor))
        response.headers.append(set_cookie(request, _FLOW, "", max_age=0))
        return response

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """Harbor's form of an error."""
        response = errors.render(error, request.id)
        if isinstance(error, MethodNotAllowed):
            response.status = 405
            response.headers.append((b"allow", ", ".join(self._found(request)[0]).encode()))
        if request.path == _CALLBACK:
            response.headers.append(set_cookie(request, _FLOW, "", max_age=0))
        response.headers.append(_NO_STORE)
        return response


def _target(fields: Mapping[str, str]) -> str | None:
    """Where the browser wants to go afterwards. Raises InvalidInput for another site."""
    return local_path(fields["redirect_url"]) if fields.get("redirect_url") else None


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_fields(await request.whole_body(_FORM_LIMIT), "The form"))


def _leave(target: str | None, headers: Headers) -> Response:
    """200 for a script, or on to the page that was wanted."""
    if target is None:
        return json_response(200, {}, [*headers, _NO_STORE])
    return Response(303, [(b"location", target.encode()), *headers, _NO_STORE])
