"""What the commands of users share: their options, how they reach a registry, how they print and how they end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from roadstead.errors import InvalidInput, NotFound, Refused, RoadsteadError, Unavailable

if TYPE_CHECKING:
    from roadstead.client.download import Tell
    from roadstead.client.session import Session

EXITS: Final = ((InvalidInput, 2), (NotFound, 3), (Refused, 4), (Unavailable, 5), (RoadsteadError, 1))
"""What each kind of failure ends with; docs/reference/cli.md tells it."""

Where = Annotated[str, typer.Argument(help="HOST/project/image:tag or …@sha256:….")]
Host = Annotated[str, typer.Argument(help="The registry's host name, with its port where that is not 443.")]
Ca = Annotated[Path | None, typer.Option("--ca", exists=True, dir_okay=False, help="Certificates to trust besides the system's.")]
Plain = Annotated[bool, typer.Option("--plain-http", help="Speak without TLS. This machine's own registry needs no such word.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and errors.")]
Platform = Annotated[str | None, typer.Option(help="os/architecture of an image for several (default: this machine's).")]


def command(work: Callable[..., None]) -> Callable[..., None]:
    """The command, ending with the status that its failure has."""

    @wraps(work)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            work(*arguments, **options)
        except RoadsteadError as error:
            typer.secho(f"roadstead: {error.message}", fg="red", err=True)
            raise typer.Exit(next(status for kind, status in EXITS if isinstance(error, kind))) from None

    return run


def register(app: typer.Typer, named: Sequence[tuple[str, Callable[..., None]]]) -> None:
    """Add commands by these names to the program."""
    for name, work in named:
        app.command(name)(command(work))


def session_at(host: str, plain_http: bool, ca: Path | None) -> Session:
    """The registry, with the login that is kept for it."""
    from roadstead.client.logins import Logins  # noqa: PLC0415 - each command pays only for what it uses
    from roadstead.client.session import Session, speaks_plain  # noqa: PLC0415 - see above

    return Session(host, Logins().find(host), plain_http=plain_http or speaks_plain(host), ca=ca)


def print_facts(facts: Any, text: str, as_json: bool) -> None:
    """The result, on standard output: the facts as JSON, or the text, if there is any."""
    typer.echo(json.dumps(facts) if as_json else text, nl=as_json or bool(text))


def print_done(facts: dict[str, Any], text: str, as_json: bool) -> None:
    """What has no result but that it is done: told on standard error, or as JSON."""
    typer.echo(json.dumps(facts) if as_json else text, err=not as_json)


def tell_aside(text: str, quiet: bool) -> None:
    """A line on standard error, beside the bar; nothing where that is no terminal."""
    if not quiet and sys.stderr.isatty():
        typer.echo(f"\r\033[K{text}", err=True)


@contextmanager
def telling(name: str, size: int | None, quiet: bool) -> Iterator[Tell]:
    """A bar with rate and time left on standard error; nothing where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console  # noqa: PLC0415 - see session_at
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name, total=size)
        yield lambda done: progress.update(bar, completed=done)
