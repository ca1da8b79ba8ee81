"""The table of a run: on the terminal, and between the markers of docs/reference/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.failure import BenchError
from bench.results import Row, Run, ratios, rounded, spread, verdict

PAGE: Final = Path(__file__).parent.parent / "docs/reference/performance.md"
BEGIN: Final = "<!-- bench:begin: written by `python -m bench --markdown` -->"
END: Final = "<!-- bench:end -->"


def print_table(run: Run, console: Console) -> None:
    """Print the machine and the table; each figure is min / median / max of the rounds."""
    for name, value in run.machine.items():
        console.print(f"{name}: {value}", highlight=False)
    table = Table(*_columns(run), title=f"min / median / max of {run.rounds} rounds")
    for row in run.rows:
        table.add_row(*_cells(row, run.rows))
    console.print(table)
    for note in _notes(run):
        console.print(note, highlight=False, soft_wrap=True)


def write_page(run: Run) -> None:
    """Replace what stands between the markers of `PAGE`; fails when they are not there, or when the run left something out."""
    if not run.whole:
        raise BenchError("the page takes whole runs only: measure without --only and --itself")
    text = PAGE.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{PAGE} has no markers {BEGIN} … {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{_markdown(run)}\n{END}{after}")


def _markdown(run: Run) -> str:
    machine = "\n".join(f"- {name}: {value}" for name, value in run.machine.items())
    columns = _columns(run)
    lines = [columns, ["---"] * len(columns), *(_cells(row, run.rows) for row in run.rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n\n".join(_notes(run))
    return f"Measured {run.at:%Y-%m-%d}, min / median / max of {run.rounds} rounds, on this machine:\n\n{machine}\n\n{table}\n\n{notes}"


def _notes(run: Run) -> list[str]:
    return [row.note for row in run.rows if row.note is not None]


def _columns(run: Run) -> list[str]:
    return ["measurement", "unit", run.subject, "compared with", "its figure", "ratio", "goal", "verdict"]


def _cells(row: Row, rows: list[Row]) -> list[str]:
    ratio = [f"{each}×" for each in _figures(ratios(row))]
    return [
        row.title,
        row.unit,
        " / ".join(_figures(row.subject)),
        row.other or "",
        " / ".join(_figures(row.others)),
        " / ".join(ratio),
        _goal(row),
        verdict(row, rows),
    ]


def _figures(samples: Sequence[float]) -> list[str]:
    if not samples:
        return []
    found = spread(samples)
    return [rounded(each) for each in (found.least, found.middle, found.greatest)]


def _goal(row: Row) -> str:
    if row.at_least is not None:
        return f"≥ {row.at_least}×"
    return f"< {row.below:g} {row.unit}" if row.below is not None else ""
