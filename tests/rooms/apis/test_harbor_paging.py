"""Pages: what the headers of a listing say."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.access.actor import ANONYMOUS
from roadstead.apis.harbor.call import Call
from roadstead.apis.harbor.paging import Paging
from roadstead.registry.listing import Listing, Page
from roadstead.serving.request import Request, Site

NO_ROOM = cast("Any", None)


def call(query: str = "") -> Call:
    scope = {"method": "GET", "path": "", "raw_path": b"/api/v2.0/projects", "query_string": query.encode(), "headers": []}
    return Call(NO_ROOM, NO_ROOM, NO_ROOM, NO_ROOM, NO_ROOM, NO_ROOM, {}, Request(scope, NO_ROOM, Site(), "id1"), ANONYMOUS, {})


def test_the_first_page() -> None:
    asked = call("public=true")
    Paging().tell(asked, 11)
    assert asked.headers["x-total-count"] == "11"
    assert asked.headers["link"] == '</api/v2.0/projects?public=true&page=2&page_size=10>; rel="next"'


def test_a_page_in_the_middle_keeps_the_query() -> None:
    asked = call("page=2&page_size=1&q=name%3D~a%20b")
    Paging(2, 1, "name=~a b").tell(asked, 3)
    before, after = asked.headers["link"].split(", ")
    assert before == '</api/v2.0/projects?page=1&page_size=1&q=name%3D~a%20b>; rel="prev"'
    assert after.startswith("</api/v2.0/projects?page=3&")


def test_nothing_has_no_links() -> None:
    asked = call()
    assert Paging().nothing(asked) == []
    assert asked.headers == {"x-total-count": "0"}


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 12))
def test_following_next_gives_everything_once(count: int, size: int, start: int) -> None:
    seen: list[int] = []
    number = 1
    while True:
        asked = call()
        seen += Paging(number, size).cut(asked, range(count))
        links = asked.headers.get("link", "")
        assert ('rel="prev"' in links) == (number > 1)
        if 'rel="next"' not in links:
            break
        target = links.split(", ")[-1].partition("?")[2].partition(">")[0]
        number = int(parse_qs(target)["page"][0])
    assert seen == list(range(count))
    assert list(Paging(start, size).cut(call(), range(count))) == list(range(count))[(start - 1) * size : start * size]


@pytest.mark.parametrize(("number", "size"), [(1, 10), (7, 100)])
def test_the_room_is_given_the_page(number: int, size: int) -> None:
    assert Paging(number, size).listing() == Listing(page=Page(number, size))
