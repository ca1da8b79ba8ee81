"""The login doors: their table of errors, and where they let a browser go."""

from __future__ import annotations

import msgspec
import pytest

from roadstead.apis.login.errors import TABLE, render
from roadstead.apis.login.redirects import local_path
from roadstead.errors import InvalidInput, RoadsteadError, TooManyRequests
from tests.rooms.apis.test_distribution_errors import EVERY


def test_every_branch_of_the_error_tree_has_a_row() -> None:
    branches = {cls for cls in EVERY if cls.__base__ is RoadsteadError}
    assert branches <= set(TABLE) <= set(EVERY)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_has_harbors_form(cls: type[RoadsteadError]) -> None:
    response = render(cls(), "the-request")
    (error,) = msgspec.json.decode(response.body if isinstance(response.body, bytes) else b"")["errors"]
    assert error.keys() == {"code", "message"}
    assert 400 <= response.status <= 599
    assert ("the-request" in error["message"]) == (response.status >= 500)


def test_who_has_to_wait_is_told_how_long() -> None:
    assert (b"retry-after", b"7") in render(TooManyRequests(retry_after=7), "").headers


@pytest.mark.parametrize("path", ["/", "/projects", "/projects/1/repositories?q=a%2Fb#top", "/?x=y", "/a//b"])
def test_paths_of_this_registry(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "projects",
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "/a\r\nset-cookie: x=y",
        "javascript:alert(1)",
        "/a\\b",
        "/é",
        "/a b",
        "/" + "x" * 2000,
    ],
)
def test_everywhere_else_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        local_path(path)
