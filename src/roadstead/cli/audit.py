"""`roadstead audit`: the audit log, read and purged on the database itself, without the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from roadstead.access.actor import SYSTEM
from roadstead.access.clock import system_clock
from roadstead.cli.office import JsonOption, run_at_desk, say, show
from roadstead.cli.options import ConfigOption, DataOption

if TYPE_CHECKING:
    from roadstead.cli.desk import Desk
    from roadstead.metadata.audit import AuditRow

audit = typer.Typer(help="The audit log.", invoke_without_command=True)

_COLUMNS = ("at", "actor", "address", "action", "resource_type", "resource", "result", "amount", "detail")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_AGE = re.compile(r"(\d{1,6})([mhdw])")


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if found is None:
        raise typer.BadParameter("write a number and m, h, d or w, as in 90d")
    return int(found[1]) * _UNITS[found[2]]


def _moment(text: str) -> datetime:
    """A time, or an age before now."""
    if _AGE.fullmatch(text):
        return system_clock() - _age(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a time as in 2026-01-31 or 2026-01-31T12:00:00+00:00, or an age as in 90d") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@audit.callback()
def audit_list(
    context: typer.Context,
    project: Annotated[str | None, typer.Option(help="What happened in this project.")] = None,
    actor: Annotated[str | None, typer.Option(help="What this account did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this: create, update, delete, push, pull, login …")] = None,
    result: Annotated[str | None, typer.Option(help="Only what ended so: success, denied or failed.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on, or for so long: '2026-01-31', '12h', '7d'.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many entries.")] = 100,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the newest entries of the audit log, the latest last."""
    if context.invoked_subcommand is not None:
        return
    wanted = {"actor": actor, "action": action, "result": result}
    begin = None if since is None else _moment(since)

    async def act(desk: Desk) -> Sequence[AuditRow]:
        return await desk.audited(project, {key: value for key, value in wanted.items() if value is not None}, begin, limit)

    show(run_at_desk(data, config, act), as_json=as_json, columns=_COLUMNS)


@audit.command("purge")
def audit_purge(
    older_than: Annotated[str, typer.Option(help="The age from which entries go: '90d', '52w'.")],
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove old entries of the audit log. The log says who did so, and how many went."""
    before = system_clock() - _age(older_than)
    removed = run_at_desk(data, config, lambda desk: desk.audit.purge(SYSTEM, before))
    say({"removed": removed}, f"{removed} entries are removed.", as_json=as_json)
