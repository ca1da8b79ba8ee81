"""`python -m bench`: start the servers, measure them in turns, print the table and keep the results."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from rich.console import Console

from bench.failure import BenchError
from bench.machine import describe
from bench.measurements import MEASUREMENTS
from bench.packages import ensure_programs
from bench.report import print_table, write_page
from bench.results import Row, Run, newest, save
from bench.rounds import Arena
from bench.servers import ROADSTEAD, DockerRegistry, Roadstead, Starter

_ROOT: Final = Path(__file__).parent.parent
_NEEDED_BYTES: Final = 12 << 30
_OF_ROADSTEAD_ALONE: Final = ("start", "private-pulls", "conversion", "sif-pull", "library-pull", "pull", "lookups", "pages")
_SIDE_BY_SIDE: Final = [name for name in MEASUREMENTS if name not in _OF_ROADSTEAD_ALONE]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when everything asked for was measured, whatever the verdicts, 1 with one clear message otherwise."""
    options = _parser().parse_args(arguments)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _ended)
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        run = newest() if options.last else _run(options, console)
        print_table(run, console)
        if options.markdown:
            write_page(run)
    except BenchError as reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as reason:
        print(f"bench: a measurement broke off: {type(reason).__name__}: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; every server that it started has ended", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Roadstead beside docker-registry and nginx.")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS), help="measure only this; may be repeated")
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of each measurement (default 5)")
    parser.add_argument(
        "--directory", type=Path, default=_ROOT / ".cache/bench", help="where all servers keep their data: the disk measured"
    )
    parser.add_argument("--itself", action="store_true", help="measure docker-registry against itself: every ratio should be near 1")
    parser.add_argument("--last", action="store_true", help="do not measure: show the results saved last")
    parser.add_argument("--markdown", action="store_true", help="also write the table into docs/reference/performance.md")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("give a number of at least 1")
    return int(text)


def _ended(number: int, frame: FrameType | None) -> NoReturn:
    # An exception, also where the shell had us ignore SIGINT, so that every context on the way out ends its server.
    raise KeyboardInterrupt


def _run(options: argparse.Namespace, console: Console) -> Run:
    subject = _subject(options.itself)
    ensure_programs()
    names = options.only or (_SIDE_BY_SIDE if options.itself else list(MEASUREMENTS))
    whole = set(names) == set(MEASUREMENTS) and not options.itself
    if options.markdown and not whole:
        raise BenchError("--markdown takes whole runs only: leave out --only and --itself")
    with _directory(options.directory) as directory:
        rows = [row for name in names for row in _measure(name, subject, directory, options.rounds, console)]
        run = Run(datetime.now(UTC), options.rounds, subject.name, whole, describe(directory), rows)
    console.print(f"results: {save(run)}", highlight=False, soft_wrap=True)
    return run


def _subject(itself: bool) -> Starter:
    if itself:
        return DockerRegistry()
    if not os.access(ROADSTEAD, os.X_OK):
        raise BenchError(f"{ROADSTEAD} is missing: run `make setup` first")
    return Roadstead()


@contextmanager
def _directory(parent: Path) -> Iterator[Path]:
    """A fresh directory below `parent` for the data of one run, removed afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if free < _NEEDED_BYTES:
        raise BenchError(f"{parent} has {free >> 30} GiB free and {_NEEDED_BYTES >> 30} are needed: name another with --directory")
    with tempfile.TemporaryDirectory(dir=parent, prefix="run-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _measure(name: str, subject: Starter, directory: Path, rounds: int, console: Console) -> list[Row]:
    """Measure in a directory that is removed at once, so that the disk holds the data of one measurement at a time."""
    console.print(f"{name}", highlight=False)
    own = directory / name
    arena = Arena(subject, DockerRegistry(), own, rounds, lambda line: console.print(line, highlight=False, soft_wrap=True))
    own.mkdir()
    try:
        return MEASUREMENTS[name](arena)
    finally:
        shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
