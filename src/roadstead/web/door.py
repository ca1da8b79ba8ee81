"""The door of the pages: the root, and every path that has no other door. See the package's docstring for how pages plug in.

Who is no browser gets at `/`, and at paths that no page has, the plain text of `PlainDoor`, which also checks credentials there.
A session's cookie is all that logs in here. Whatever changes something comes from a form of this site with the session's CSRF token.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from roadstead.errors import NotFound, RoadsteadError, Unauthenticated
from roadstead.serving.errors import retry_after
from roadstead.serving.front import Door
from roadstead.serving.redirects import local_path
from roadstead.serving.request import Request
from roadstead.serving.response import Response
from roadstead.serving.sessions import SAFE, Session, find_session, require_csrf, require_same_site
from roadstead.web.assets import BASE, Assets
from roadstead.web.call import HEADERS, Call
from roadstead.web.errors import status_of
from roadstead.web.form import Form, read_form
from roadstead.web.pages import MODULES
from roadstead.web.paging import PageGone
from roadstead.web.rendering import Templates
from roadstead.web.rooms import Rooms
from roadstead.web.routes import Found, NotAnswered, RouteTable

_SESSION: Final = "roadstead.session"
"""Where the request keeps the session that was found for it."""


_OF_THE_PAGE: Final = frozenset({b"content-type", b"content-length", b"cache-control"})


class WebDoor:
    """See the module's docstring."""

    def __init__(self, rooms: Rooms, plain: Door) -> None:
        self._rooms = rooms
        self._plain = plain
        self._assets = Assets()
        self._templates = Templates(self._assets, rooms.clock)
        self._table = RouteTable(MODULES)

    async def handle(self, request: Request) -> Response:
        """Answer, or raise from the error tree."""
        if request.path.startswith(BASE):
            request.route = "static"
            return self._assets.answer(request)
        found = self._found(request)
        if found is None:
            return await self._plain.handle(request)
        request.route = found.route.template
        if (page := self._page_instead(request, found)) is not None:
            return _moved(request, page)
        handler = found.route.handler(request.method)
        session = request.scope[_SESSION] = await find_session(self._rooms.access, request)
        form = await _form(request, session)
        call = Call(request, self._rooms, self._templates, session, found.parameters, form)
        if self._rooms.access.limits.active:
            self._rooms.access.limits.request(call.actor)
        try:
            return await handler(call)
        except PageGone as gone:
            return call.redirect(gone.address)

    def _found(self, request: Request) -> Found | None:
        """The page; None where plain text answers. Raises NotFound for a browser that asks for what no page is."""
        if request.path in ("", "/") and not _is_browser(request):
            return None
        found = self._table.find(request.path or "/")
        if found is None and _looks(request):
            found = self._table.find(request.path.rstrip("/"))
        if found is None and _is_browser(request):
            raise NotFound("There is no such page.")
        return found

    def _page_instead(self, request: Request, found: Found) -> str | None:
        """Where the page is that a browser asks for by the address of a form or with a slash too many; None if it has the page's own."""
        path = request.path.rstrip("/") or "/"
        if not _looks(request):
            return None
        while "GET" not in found.route.handlers:
            path = path.rpartition("/")[0] or "/"
            found = self._table.find(path) or found
        return None if path == (request.path or "/") else path

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A page that tells it; on to the login where that is what is missing. Plain text for who is no browser."""
        if not _is_browser(request) and (request.path in ("", "/") or self._table.find(request.path) is None):
            return self._plain.render(error, request)
        if isinstance(error, Unauthenticated) and request.method in SAFE:
            return self._to_login(request)
        response = self.page_of(error, request)
        if isinstance(error, NotAnswered):
            response.status = 405
            response.headers.append((b"allow", ", ".join(error.methods).encode()))
        response.headers.extend(retry_after(error))
        return response

    def page_of(self, error: RoadsteadError, request: Request) -> Response:
        """The page that tells it."""
        status, title = status_of(error)
        # Who is logged in is not looked up again: what failed may be the database.
        call = Call(request, self._rooms, self._templates, request.scope.get(_SESSION))
        return call.page("error.html", status=status, title=title, message=error.message, request_id=request.id)

    def _to_login(self, request: Request) -> Response:
        call = Call(request, self._rooms, self._templates, None)
        query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
        target = f"/login?{urlencode({'next': request.path + query})}"
        if call.partial:
            return Response(204, [(b"hx-redirect", target.encode())])
        return call.redirect(target) if len(target) < 900 else call.redirect("/login")


async def _form(request: Request, session: Session | None) -> Form:
    """The form of a request that changes something, after it is known to come from a page of this site. Raises Denied."""
    if request.method in SAFE:
        return Form([])
    require_same_site(request)
    form = await read_form(request)
    if session is not None:
        require_csrf(session, request, form.text("csrf_token"))
    return form


def _moved(request: Request, path: str) -> Response:
    """On to a page; what was asked of it is asked again, unless the page is another."""
    query = b"?" + request.query_string if request.query_string and path == request.path.rstrip("/") else b""
    return Response(303, [(b"location", local_path(path).encode("latin-1") + query), *HEADERS])


class PagesForErrors:
    """Another door, whose refusals browsers see as pages, with the status and the headers that it gives them."""

    def __init__(self, door: Door, pages: WebDoor) -> None:
        self._door = door
        self._pages = pages

    async def handle(self, request: Request) -> Response:
        """As the other door."""
        return await self._door.handle(request)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A page for browsers that look at one; for all others as the other door has it."""
        plain = self._door.render(error, request)
        if not _is_browser(request):
            return plain
        page = self._pages.page_of(error, request)
        kept = [(name, value) for name, value in plain.headers if name not in _OF_THE_PAGE]
        return Response(plain.status, [*page.headers, *kept], page.body)


def _looks(request: Request) -> bool:
    """Whether a browser asks to be shown something."""
    return request.method in SAFE and _is_browser(request)


def _is_browser(request: Request) -> bool:
    return "text/html" in (request.header(b"accept") or "") or request.header(b"hx-request") is not None
