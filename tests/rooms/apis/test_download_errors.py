"""What went wrong, as a line of text."""

from __future__ import annotations

import pytest

from roadstead.apis.download.errors import TABLE, render
from roadstead.errors import ContentDamaged, NotReady, RoadsteadError, StorageFull
from tests.rooms.apis.test_distribution_errors import EVERY


def test_the_table_has_no_row_for_what_does_not_exist() -> None:
    assert set(TABLE) <= set(EVERY)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_is_told_in_a_line(cls: type[RoadsteadError]) -> None:
    response = render(cls(), "the-request")
    assert 400 <= response.status < 600
    assert isinstance(response.body, bytes)
    assert response.body.decode().startswith(cls().message)
    assert response.body.count(b"\n") == 1


@pytest.mark.parametrize("cls", [RoadsteadError, ContentDamaged, StorageFull])
def test_our_own_failures_name_the_request(cls: type[RoadsteadError]) -> None:
    response = render(cls(), "the-request")
    assert response.status >= 500
    assert isinstance(response.body, bytes)
    assert b"(request the-request)" in response.body


def test_it_says_when_to_come_back() -> None:
    assert (b"retry-after", b"7") in render(NotReady(retry_after=7), "the-request").headers
