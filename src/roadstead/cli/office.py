"""What administration commands share: how they come to the rooms, and how they print."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from roadstead.cli.options import apply

if TYPE_CHECKING:
    from roadstead.cli.desk import Desk

T = TypeVar("T")

_PIPED_WIDTH = 500

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run_at_desk(data: Path | None, config: Path | None, act: Callable[[Desk], Awaitable[T]]) -> T:
    """Do something with the rooms, over the configured database."""
    from roadstead.cli.desk import open_desk  # noqa: PLC0415 - the rooms take half a second to load, which other commands do not pay

    settings = apply(data=data, config=config)

    async def run() -> T:
        async with open_desk(settings) as desk:
            return await act(desk)

    return asyncio.run(run())


def show(value: Any, *, as_json: bool, columns: Iterable[str] = ()) -> None:
    """Print a row or rows: these columns of them as a table, or all of them as JSON."""
    plain = msgspec.to_builtins(value)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(plain)).decode())
        return
    from rich.console import Console  # noqa: PLC0415 - see run_at_desk
    from rich.table import Table  # noqa: PLC0415 - see run_at_desk

    rows = plain if isinstance(plain, list) else [plain]
    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row, column) for column in columns))
    # What is piped into another program is not cut to a terminal's width.
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)


def say(row: Any, text: str, *, as_json: bool) -> None:
    """Print what was done: the row that it was done to, as JSON on standard output, or a sentence on standard error."""
    if as_json:
        show(row, as_json=True)
    else:
        typer.echo(text, err=True)


def _cell(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)
