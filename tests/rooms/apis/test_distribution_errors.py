"""The table from what went wrong to how the distribution API says it is complete."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from roadstead.apis.distribution.errors import TABLE, render
from roadstead.errors import ContentDamaged, InvalidInput, ManifestTooLarge, NotFound, RoadsteadError, StorageFull
from roadstead.serving.errors import MethodNotAllowed

SPECIFIED = {  # distribution-spec, "Error Codes"
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
OUR_OWN = {"UNAVAILABLE", "UNKNOWN"}  # For what the specification has no code: it allows others.


def tree(root: type[RoadsteadError]) -> Iterator[type[RoadsteadError]]:
    """A class of errors.py and all below it."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == RoadsteadError.__module__:
            yield from tree(child)


EVERY = sorted(set(tree(RoadsteadError)), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_has_a_row_of_its_own(cls: type[RoadsteadError]) -> None:
    assert cls in TABLE


def test_the_table_has_no_row_for_what_does_not_exist() -> None:
    assert set(TABLE) == set(EVERY)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_every_error_becomes_the_body_of_the_specification(cls: type[RoadsteadError]) -> None:
    response = render(cls(), "the-request")
    status, code = TABLE[cls]
    assert 400 <= response.status <= 599
    assert code in SPECIFIED | OUR_OWN
    (error,) = msgspec.json.decode(response.body if isinstance(response.body, bytes) else b"")["errors"]
    assert (response.status, error["code"]) == (status, code)
    assert error.keys() == {"code", "message", "detail"}
    assert error["message"].startswith((cls.__doc__ or "").partition("\n")[0])
    assert ("the-request" in error["message"]) == (status >= 500)
    assert (b"content-type", b"application/json") in response.headers


def test_a_class_without_a_row_is_answered_as_its_nearest_ancestor() -> None:
    assert render(MethodNotAllowed(), "").status == TABLE[InvalidInput][0]

    class Surprise(ManifestTooLarge):
        """A surprise."""

    assert render(Surprise(), "").status == 413


def test_detail_is_told_and_anything_in_it_can_be_written() -> None:
    response = render(NotFound("Gone.", name="library/x", paths={1, 2}), "")
    assert isinstance(response.body, bytes)
    assert msgspec.json.decode(response.body)["errors"][0]["detail"]["name"] == "library/x"


@pytest.mark.parametrize("cls", [StorageFull, ContentDamaged])
def test_failures_of_ours_are_never_a_404(cls: type[RoadsteadError]) -> None:
    assert TABLE[cls][0] >= 500
