"""Pages of lists: which one a query asks for, and where the others are."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import msgspec

from roadstead.errors import InvalidInput
from roadstead.registry.listing import PAGE_LIMIT, Page

SIZE: Final = 25
"""Rows of a page where nothing is said."""


class Pager(msgspec.Struct, frozen=True):
    """What stands below a list: rows `first` to `last` of `total`, and the addresses of the pages before and after, if there are any."""

    first: int
    last: int
    total: int
    before: str | None
    after: str | None


class PageGone(Exception):
    """A list has rows, and none on the page that is asked for: it has become shorter. `address` is that of its last page."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


def parse_page(query: dict[str, str], size: int = SIZE) -> Page:
    """`?page=` from 1. Raises InvalidInput."""
    asked = query.get("page", "1")
    if not asked.isascii() or not asked.isdigit() or not int(asked[:12]) > 0 or len(asked) > 12:
        raise InvalidInput("There is no such page: pages are counted from 1.")
    return Page(int(asked), min(size, PAGE_LIMIT))


def pager_of(path: str, query: dict[str, str], page: Page, total: int) -> Pager:
    """The pager of a list of so many rows, whose addresses keep the rest of the query. Raises PageGone."""
    start = (page.number - 1) * page.size
    shown = max(0, min(page.size, total - start))

    def address(number: int) -> str:
        return f"{path}?{urlencode({**query, 'page': number})}"

    if total and not shown:
        raise PageGone(address(-(-total // page.size)))
    return Pager(
        first=start + 1 if shown else 0,
        last=start + shown,
        total=total,
        before=address(page.number - 1) if page.number > 1 else None,
        after=address(page.number + 1) if start + shown < total else None,
    )
