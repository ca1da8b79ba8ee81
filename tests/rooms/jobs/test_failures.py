"""Which failures are tried again, and when."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from roadstead import errors
from roadstead.errors import (
    BlobUnknown,
    BodyTimeout,
    Denied,
    DigestMismatch,
    InvalidManifest,
    Misconfigured,
    NotOffered,
    QuotaExceeded,
    ReferenceMissing,
    RoadsteadError,
    SourceFailed,
    StorageFull,
    TooManyRequests,
    Unavailable,
)
from roadstead.jobs.failures import PASSING, BackOff, asked_pause, is_passing, plain, reason


@pytest.mark.parametrize(
    "error", [Unavailable(), StorageFull(), SourceFailed(), BodyTimeout(), TooManyRequests(), OSError(), KeyError("x")]
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "kind", [InvalidManifest, BlobUnknown, Denied, DigestMismatch, QuotaExceeded, ReferenceMissing, NotOffered, Misconfigured]
)
def test_what_will_not_pass_fails_at_once(kind: type[RoadsteadError]) -> None:
    assert not is_passing(kind())


def test_every_branch_of_the_tree_is_one_or_the_other() -> None:
    """Who adds a class at the top of the tree must think of jobs too."""
    tops = {found for _, found in inspect.getmembers(errors, inspect.isclass) if RoadsteadError in found.__bases__}
    lasting = {"InvalidInput", "TooLarge", "Conflict", "DigestMismatch", "SizeMismatch", "OutOfOrder", "RangeNotSatisfiable", "NotFound"}
    lasting |= {"ReferenceMissing", "Refused", "NotOffered", "NotConvertible", "Misconfigured"}
    assert {top.__name__ for top in tops if top not in PASSING} == lasting


def test_pauses_double_up_to_the_longest() -> None:
    back_off = BackOff(timedelta(seconds=5), timedelta(minutes=1))
    assert [back_off.after(failures, 0.5).total_seconds() for failures in range(1, 7)] == [5, 10, 20, 40, 60, 60]


@given(some.integers(1, 10_000), some.floats(0, 1))
def test_chance_spreads_a_pause_and_no_more(failures: int, chance: float) -> None:
    even = BackOff().after(failures, 0.5)
    assert even * 0.5 <= BackOff().after(failures, chance) <= even * 1.5
    assert even <= BackOff().longest


def test_an_error_may_ask_for_a_longer_pause() -> None:
    assert asked_pause(TooManyRequests(retry_after=90)) == timedelta(seconds=90)
    assert asked_pause(TooManyRequests()) == asked_pause(OSError()) == timedelta()


def test_a_reason_is_the_trees_sentence_and_never_a_strangers_text() -> None:
    assert reason(StorageFull("The disk is full.")) == "The disk is full."
    told = reason(RuntimeError("password=hunter2"))
    assert "RuntimeError" in told
    assert "hunter2" not in told


@given(some.text(some.characters(codec=None)))
def test_any_text_becomes_one_that_databases_take(text: str) -> None:
    told = plain(text)
    assert "\0" not in told
    assert told.encode().decode() == told
    assert len(told) <= 1000
