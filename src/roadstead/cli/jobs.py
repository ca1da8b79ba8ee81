"""`roadstead jobs …`: what the job workers have to do, do and did, seen and changed on the database itself."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import typer

from roadstead.access.actor import SYSTEM
from roadstead.cli.office import JsonOption, run_at_desk, show
from roadstead.cli.options import ConfigOption, DataOption

jobs = typer.Typer(help="Jobs: conversions, upkeep, and other work in the background.", no_args_is_help=True)

StateWord = Literal["waiting", "running", "succeeded", "failed", "cancelled"]
"""`metadata.jobs.State`, without its half second of loading."""

_COLUMNS = ("id", "kind", "project", "state", "fraction", "doing", "failures", "created_at", "started_at", "finished_at", "reason")


@jobs.command("list")
def jobs_list(
    state: Annotated[StateWord | None, typer.Option(help="Only those that stand so.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of this kind.")] = None,
    project: Annotated[str | None, typer.Option(help="Only those of this project.")] = None,
    page: Annotated[int, typer.Option(min=1, help="Which page, of 100 jobs each.")] = 1,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """List jobs, the newest first."""
    from roadstead.metadata.listing import PAGE_LIMIT, Filter, Listing, Match, Page  # noqa: PLC0415 - see office.run_at_desk

    asked = {"state": state, "kind": kind, "project": project}
    filters = tuple(Filter(field, Match.EQUAL, (value,)) for field, value in asked.items() if value is not None)
    rows, total = run_at_desk(data, config, lambda desk: desk.jobs.list(SYSTEM, Listing(filters, page=Page(page, PAGE_LIMIT))))
    show(rows, as_json=as_json, columns=_COLUMNS)
    if total > len(rows) and not as_json:
        typer.echo(f"{total} jobs in all; --page shows others.", err=True)


@jobs.command("show")
def jobs_show(job_id: int, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Show a job with its log."""
    shown = run_at_desk(data, config, lambda desk: desk.jobs.show(SYSTEM, job_id))
    if as_json:
        show(shown, as_json=True)
        return
    for field, value in msgspec.to_builtins(shown.job).items():
        if value is not None:
            typer.echo(f"{field.replace('_', ' ')}: {value}")
    for line in shown.log:
        typer.echo(f"{line.at:%Y-%m-%d %H:%M:%S} ({line.attempt}) {line.line}")


@jobs.command("cancel")
def jobs_cancel(job_id: int, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """End a job; one that runs is ended within a second by the worker that runs it, wherever that is."""
    row = run_at_desk(data, config, lambda desk: desk.jobs.cancel(SYSTEM, job_id))
    if as_json:
        show(row, as_json=True)
    else:
        typer.echo(f"Job {job_id} is {'being ' if row.finished_at is None else ''}cancelled.", err=True)


@jobs.command("retry")
def jobs_retry(job_id: int, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Begin a job again that failed or was cancelled, or now one that waits for its next attempt."""
    row = run_at_desk(data, config, lambda desk: desk.jobs.retry(SYSTEM, job_id))
    if as_json:
        show(row, as_json=True)
    else:
        typer.echo(f"Job {job_id} begins again.", err=True)
