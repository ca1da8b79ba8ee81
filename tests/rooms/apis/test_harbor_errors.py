"""The table from what went wrong to how the management API says it is complete."""

from __future__ import annotations

import msgspec
import pytest

from roadstead.apis.harbor.errors import TABLE, render
from roadstead.errors import Denied, InUse, NotOffered, RoadsteadError, StoreFailed, TooManyRequests, Unauthenticated
from roadstead.serving.errors import MethodNotAllowed
from tests.rooms.apis.test_distribution_errors import EVERY

# src/lib/errors/const.go of Harbor, as far as its management API answers them.
KNOWN = {
    "NOT_FOUND",
    "CONFLICT",
    "UNAUTHORIZED",
    "BAD_REQUEST",
    "FORBIDDEN",
    "METHOD_NOT_ALLOWED",
    "TOO_MANY_REQUEST",
    "PRECONDITION",
    "UNKNOWN",
    "DENIED",
    "PROJECTPOLICYVIOLATION",
    "DIGEST_INVALID",
    "MANIFEST_INVALID",
    "UNSUPPORTED",
    "REQUEST_ENTITY_TOO_LARGE",
}


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_has_a_row_of_its_own(cls: type[RoadsteadError]) -> None:
    assert cls in TABLE


def test_the_table_has_no_row_for_what_does_not_exist() -> None:
    assert set(TABLE) == {*EVERY, MethodNotAllowed}


def test_every_code_is_one_of_harbors() -> None:
    assert {code for _, code in TABLE.values()} <= KNOWN


def test_the_body_is_harbors() -> None:
    answer = render(InUse("The project still holds images."), "id1")
    assert answer.status == 412
    assert isinstance(answer.body, bytes)
    assert msgspec.json.decode(answer.body) == {"errors": [{"code": "PRECONDITION", "message": "The project still holds images."}]}


def test_our_own_failures_name_the_request() -> None:
    assert b"(request id1)" in bytes(render(StoreFailed(), "id1").body)  # type: ignore[arg-type]
    for other in (Denied(), NotOffered()):
        assert b"id1" not in bytes(render(other, "id1").body)  # type: ignore[arg-type]


def test_a_refusal_says_when_to_come_back() -> None:
    assert (b"retry-after", b"7") in render(TooManyRequests(retry_after=7), "id1").headers


def test_a_401_has_a_challenge_that_no_browser_asks_a_password_for() -> None:
    headers = dict(render(Unauthenticated(), "id1").headers)
    assert headers[b"www-authenticate"].startswith(b"Bearer ")


def test_a_wrong_method_says_which_are_right() -> None:
    answer = render(MethodNotAllowed(allow="GET, POST"), "id1")
    assert answer.status == 405
    assert (b"allow", b"GET, POST") in answer.headers
