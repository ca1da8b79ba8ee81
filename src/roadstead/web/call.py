"""What a handler is given: who asks for what, and how to answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from markupsafe import Markup

from roadstead.access.actor import Actor, anonymous_from
from roadstead.access.sessions import csrf_token
from roadstead.errors import Conflict, Denied, InvalidInput, NotFound, RoadsteadError, Unauthenticated
from roadstead.registry.listing import Filter, Listing, Page, Sort
from roadstead.serving.redirects import local_path
from roadstead.serving.request import Request
from roadstead.serving.response import Headers, Response
from roadstead.serving.sessions import CSRF_FIELD, Session, find_session
from roadstead.web import flash
from roadstead.web.errors import status_of
from roadstead.web.form import Form
from roadstead.web.paging import SIZE, Pager, pager_of, parse_page
from roadstead.web.rendering import Templates
from roadstead.web.rooms import Rooms

MISTAKES: Final = (InvalidInput, Conflict, NotFound)
"""What the person at a form can mend. A refusal is not among them: it is raised, so that the audit log tells it."""

HEADERS: Final[Headers] = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
        b"frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    # What a page shows is for who is logged in: nothing of it may be left behind, not even in this browser.
    (b"cache-control", b"no-store"),
]
"""What every page is sent with."""


_LOOPBACK: Final = re.compile(r"localhost|127\.[0-9.]+|::1")


class Call:
    """One request for a page. `session` is None where nobody is logged in; `form` is empty where nothing was sent."""

    def __init__(
        self,
        request: Request,
        rooms: Rooms,
        templates: Templates,
        session: Session | None,
        parameters: Mapping[str, str] | None = None,
        form: Form | None = None,
    ) -> None:
        self.request = request
        self.rooms = rooms
        self.session = session
        self.parameters = parameters or {}
        self.form = form or Form([])
        self.actor: Actor = session.actor if session else anonymous_from(request.address)
        self._templates = templates

    async def renew(self) -> None:
        """Look the session up again, for what outlives one answer. Raises Unauthenticated if it has ended."""
        if self.session is None:
            return
        self.session = await find_session(self.rooms.access, self.request)
        if self.session is None:
            raise Unauthenticated
        self.actor = self.session.actor

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's fields, the last of each name. Raises InvalidInput."""
        return dict(self.request.query())

    @property
    def partial(self) -> bool:
        """Whether htmx asks for a part of a page, and not a browser for the whole."""
        return self.request.header(b"hx-request") == "true"

    @property
    def host(self) -> str:
        """The name, with its port, that clients type for this registry."""
        return self.request.base_url.partition("://")[2]

    @property
    def registry_login(self) -> bool:
        """Whether `apptainer registry login` reaches this server as the reader does: it can be told of no plain HTTP, but for its own
        machine it tries that by itself."""
        address = urlsplit(self.request.base_url)
        return address.scheme == "https" or _LOOPBACK.fullmatch(address.hostname or "") is not None

    @property
    def account_id(self) -> int:
        """The account of the person who is logged in. Raises Unauthenticated, and Denied for who is no person."""
        if self.actor.anonymous:
            raise Unauthenticated
        if self.actor.account_id is None or self.actor.robot is not None:
            raise Denied("A robot has no profile: it has its own secret and nothing else.")
        return self.actor.account_id

    def paging(self, size: int = SIZE) -> Page:
        """Which page of a list is asked for. Raises InvalidInput."""
        return parse_page(self.query, size)

    def listing(self, *filters: Filter, sort: tuple[Sort, ...] = (), size: int = SIZE) -> Listing:
        """That page, as rooms are asked for it."""
        return Listing(filters, sort, self.paging(size))

    def pager(self, total: int, size: int = SIZE, *, at: str | None = None, number: int | None = None) -> Pager:
        """What stands below a list of so many rows. `at` is the list's own address, where a form that was sent elsewhere may show it;
        `number` is the page, where it is another than what was asked for."""
        page = self.paging(size) if number is None else Page(number, size)
        return pager_of(at or self.request.path, self.query, page, total)

    def page(self, template: str, *, status: int = 200, headers: Headers | None = None, **values: Any) -> Response:
        """The template, filled with these values and with those that every page has."""
        said = flash.kept(self.request)
        body = self._templates.render(template, {**self._common(said), **values})
        taken = [flash.forget(self.request)] if said and not self.partial else []
        return Response(status, [(b"content-type", b"text/html; charset=utf-8"), *HEADERS, *taken, *(headers or [])], body)

    def part(self, template: str, **values: Any) -> str:
        """A part of a page, as HTML."""
        return self._templates.render(template, {**self._common(None), **values}).decode()

    def again(self, template: str, error: RoadsteadError | None, **values: Any) -> Response:
        """The page of a form: again, with what was wrong as `error` (a sentence), or for the first time (None)."""
        if error is None:
            return self.page(template, **values)
        return self.page(template, status=status_of(error)[0], error=error.message, **values)

    def redirect(self, target: str, sentence: str | None = None, headers: Headers | None = None) -> Response:
        """On to a path of this registry, whose page shows the sentence. Raises InvalidInput for another site."""
        said = [flash.keep(self.request, sentence)] if sentence else []
        return Response(303, [(b"location", local_path(target).encode()), *HEADERS, *said, *(headers or [])])

    def _common(self, said: str | None) -> dict[str, Any]:
        token = csrf_token(self.session.secret) if self.session else ""
        return {
            "viewer": self.actor,
            "viewer_name": None if self.session is None else self.actor.name,
            "is_admin": self.actor.is_admin,
            "host": self.host,
            "base_url": self.request.base_url,
            "registry_login": self.registry_login,
            "path": self.request.path,
            "partial": self.partial,
            "csrf_token": token,
            "csrf_field": Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, token),
            "flash": said,
            "now": self.rooms.clock(),
            "error": None,
        }
