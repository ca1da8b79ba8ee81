"""Templates: Jinja2 that escapes everything, and takes a name that it does not know for a mistake."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from roadstead.access.clock import Clock
from roadstead.oci import platform
from roadstead.web import filters, kinds, markdown
from roadstead.web.assets import Assets


class Templates:
    """The templates of this room."""

    def __init__(self, assets: Assets, clock: Clock) -> None:
        loader = PackageLoader("roadstead.web", "templates")
        environment = Environment(
            loader=loader, autoescape=True, undefined=StrictUndefined, auto_reload=False, trim_blocks=True, lstrip_blocks=True
        )
        environment.globals["static"] = assets.address
        named = (filters.size, filters.number, filters.count, filters.short, filters.moment, filters.browser)
        environment.filters.update({one.__name__: one for one in named})
        environment.filters["first_line"] = markdown.first_line
        environment.filters["kind"] = kinds.word
        environment.filters["platform"] = platform.written
        environment.filters["age"] = filters.Age(clock)
        self._environment = environment

    def render(self, template: str, values: dict[str, Any]) -> bytes:
        """The page, as UTF-8."""
        return self._environment.get_template(template).render(values).encode()
