"""What a run found: rows of samples with the goal that each must reach, kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from bench.failure import BenchError

RESULTS: Final = Path(__file__).parent / "results"


class Spread(msgspec.Struct, frozen=True):
    """The least, the middle and the greatest of the rounds."""

    least: float
    middle: float
    greatest: float


class Row(msgspec.Struct, frozen=True):
    """One line of the table: the subject's samples, one a round, beside those of `other`, and the goal.

    `at_least` is a goal for the ratio subject/other; `below` is a goal for the subject's own figure; a row without either informs only.
    Rows with the same `either` share their goal: it is enough that one of them reaches it. A `note` is what the reader must know beside it.
    """

    title: str
    unit: str
    subject: list[float]
    other: str | None = None
    others: list[float] = []
    at_least: float | None = None
    below: float | None = None
    either: str | None = None
    note: str | None = None


class Run(msgspec.Struct, frozen=True):
    """All that one run of the bench found, where, and when; `whole` when nothing was left out."""

    at: datetime
    rounds: int
    subject: str
    whole: bool
    machine: dict[str, str]
    rows: list[Row]


def spread(samples: Sequence[float]) -> Spread:
    """Summarise one sample or more."""
    return Spread(min(samples), median(samples), max(samples))


def rounded(value: float) -> str:
    """A figure with the digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratios(row: Row) -> list[float]:
    """Subject over other, round by round; empty when the row compares with nobody."""
    return [mine / theirs for mine, theirs in zip(row.subject, row.others, strict=True)] if row.others else []


def reached(row: Row) -> bool | None:
    """Whether the row's median reaches its own goal; None when it has none."""
    if row.at_least is not None:
        return median(ratios(row)) >= row.at_least
    if row.below is not None:
        return median(row.subject) < row.below
    return None


def verdict(row: Row, rows: list[Row]) -> str:
    """The row's goal in one word or two: "met", "missed", "met otherwise" (by a row that shares the goal), or nothing."""
    own = reached(row)
    if own is None:
        return ""
    if own:
        return "met"
    shared = row.either is not None and any(reached(each) for each in rows if each.either == row.either)
    return "met otherwise" if shared else "missed"


def save(run: Run) -> Path:
    """Write `run` to a file of its own below `RESULTS` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{run.at.astimezone(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    return path


def newest() -> Run:
    """The run saved last; fails when there is none."""
    saved = sorted(RESULTS.glob("*.json"))
    if not saved:
        raise BenchError(f"there are no results in {RESULTS}: run `python -m bench` first")
    return msgspec.json.decode(saved[-1].read_bytes(), type=Run)
