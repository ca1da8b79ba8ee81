"""The table of routes: compiled once from what the page modules register."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias
from urllib.parse import unquote

import msgspec

from roadstead.serving.errors import MethodNotAllowed
from roadstead.serving.response import Response
from roadstead.web.call import Call

Handler: TypeAlias = Callable[[Call], Awaitable[Response]]

_PLACE: Final = re.compile(r"\{([a-z_]+)(:path)?\}")


class NotAnswered(MethodNotAllowed):
    """This address does not take that; go back to the page, and use what it offers."""

    def __init__(self, methods: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.methods = methods


class Route(msgspec.Struct, frozen=True):
    """One path with its handlers by method. `template` is as the module wrote it, and the label of metrics."""

    template: str
    pattern: re.Pattern[str]
    handlers: dict[str, Handler]

    def handler(self, method: str) -> Handler:
        """Who answers this method; HEAD is answered as GET. Raises NotAnswered."""
        found = self.handlers.get("GET" if method == "HEAD" else method)
        if found is None:
            raise NotAnswered((*self.handlers, *(["HEAD"] if "GET" in self.handlers else [])))
        return found


class Found(msgspec.Struct, frozen=True):
    """A route, and what stands in its places, decoded."""

    route: Route
    parameters: Mapping[str, str]


class Pages:
    """What one module registers."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}

    def get(self, template: str) -> Callable[[Handler], Handler]:
        """Registers who shows the page at this path."""
        return self._register("GET", template)

    def post(self, template: str) -> Callable[[Handler], Handler]:
        """Registers who does what the forms that are sent to this path ask."""
        return self._register("POST", template)

    def _register(self, method: str, template: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            route = self.routes.setdefault(template, Route(template, _compiled(template), {}))
            assert method not in route.handlers, f"{method} {template} is registered twice"
            route.handlers[method] = handler
            return handler

        return register


class RouteTable:
    """All routes, by the first component of their paths."""

    def __init__(self, modules: Iterable[Pages]) -> None:
        self._routes: dict[str, list[Route]] = {}
        for pages in modules:
            for route in pages.routes.values():
                self._routes.setdefault(_first(route.template), []).append(route)

    def find(self, path: str) -> Found | None:
        """The first route that the path, percent-encoded as it was sent, fits."""
        for route in self._routes.get(_first(path), ()):
            if found := route.pattern.fullmatch(path):
                return Found(route, {name: unquote(text) for name, text in found.groupdict().items()})
        return None


def _first(path: str) -> str:
    return path[1:].partition("/")[0]


def _compiled(template: str) -> re.Pattern[str]:
    """`{name}` stands for a component of the path, `{name:path}` for one or more."""
    parts, end = [], 0
    for place in _PLACE.finditer(template):
        parts += [re.escape(template[end : place.start()]), f"(?P<{place[1]}>{'.+?' if place[2] else '[^/]+'})"]
        end = place.end()
    return re.compile("".join([*parts, re.escape(template[end:])]))
