"""Paging by `n` and `last` (distribution-spec, "Listing Tags"), and Link headers (RFC 8288)."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import msgspec

from roadstead.errors import InvalidPaging
from roadstead.serving.response import Headers


class Page(msgspec.Struct, frozen=True):
    """What was asked for: at most `limit` entries after `last` ("" for the beginning)."""

    limit: int
    last: str


def parse_page(query: list[tuple[str, str]], *, default: int, most: int) -> Page:
    """Read `n` and `last`; without `n`, `default` entries; never more than `most`. Raises InvalidPaging."""
    limit, last = default, ""
    for key, value in query:
        if key == "n":
            if not value.isascii() or not value.isdigit():
                raise InvalidPaging
            limit = min(int(value[:18]), most)
        elif key == "last":
            last = value
    return Page(limit, last)


def next_link(path: str, **query: object) -> Headers:
    """The Link header to the next page."""
    url = f"{path}?{urlencode(query, quote_via=quote)}"
    return [(b"link", f'<{url}>; rel="next"'.encode("latin-1"))]
