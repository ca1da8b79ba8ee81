"""`roadstead source|group …`: login sources, and groups of accounts; on the database itself, as every administration command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from roadstead.access.actor import SYSTEM
from roadstead.cli.office import JsonOption, run_at_desk, say, show
from roadstead.cli.options import ConfigOption, DataOption
from roadstead.errors import InvalidAccount, Misconfigured

if TYPE_CHECKING:
    from roadstead.access.source_settings import SourceSettings
    from roadstead.cli.desk import Desk

source = typer.Typer(help="Login sources: LDAP directories and OpenID providers.", no_args_is_help=True)
group = typer.Typer(help="Groups of accounts.", no_args_is_help=True)

_SOURCE_COLUMNS = ("position", "name", "kind", "enabled", "where", "has_secret")
_GROUP_COLUMNS = ("id", "name", "source", "external_id")

AuthorityOption = Annotated[
    Path | None, typer.Option(help="PEM file of a private authority, which is kept with the source.  [default: the system's authorities]")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Any other setting, as in --set nesting=chain; may be repeated. See the guide.")
]
SecretOption = Annotated[
    str | None,
    typer.Option("--secret", help="Unsafe: others can see a command line. Without it, it is asked for, or read from standard input."),
]
PlainOption = Annotated[bool, typer.Option("--plain", help="Let passwords travel unencrypted.")]


@source.command("add-ldap")
def add_ldap(
    name: str,
    url: Annotated[str, typer.Option(help="ldaps://host, or ldap://host with --start-tls.")],
    base_dn: Annotated[str, typer.Option("--base", help="Where people are, as in ou=people,dc=example,dc=org.")],
    start_tls: Annotated[bool, typer.Option("--start-tls", help="Encrypt a connection to ldap://.")] = False,
    ca: AuthorityOption = None,
    bind_dn: Annotated[str, typer.Option("--bind", help="DN of the account that searches.  [default: anonymous]")] = "",
    group_base_dn: Annotated[str, typer.Option("--groups", help="Where groups are.  [default: no groups]")] = "",
    admin_group: Annotated[str, typer.Option(help="DN of the group whose people are administrators here.")] = "",
    more: SetOption = None,
    secret: SecretOption = None,
    plain: PlainOption = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a directory. The password of --bind is read from standard input."""
    given = {"url": url, "base_dn": base_dn, "start_tls": start_tls, "bind_dn": bind_dn, "group_base_dn": group_base_dn}
    settings = _settings("ldap", {**given, "admin_group": admin_group, "plain": plain}, ca, more)
    _add(name, settings, _secret(secret) if bind_dn else "", as_json=as_json, data=data, config=config)


@source.command("add-oidc")
def add_oidc(
    name: str,
    issuer: Annotated[str, typer.Option(help="The provider's issuer, exactly as it calls itself.")],
    client_id: Annotated[str, typer.Option(help="What the provider knows this registry by.")],
    ca: AuthorityOption = None,
    admin_group: Annotated[str, typer.Option(help="The value of the group claim that makes administrators.")] = "",
    more: SetOption = None,
    secret: SecretOption = None,
    plain: PlainOption = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Add an OpenID provider. The client secret is read from standard input; an empty line means that there is none."""
    settings = _settings("oidc", {"issuer": issuer, "client_id": client_id, "admin_group": admin_group, "plain": plain}, ca, more)
    _add(name, settings, _secret(secret), as_json=as_json, data=data, config=config)


def _settings(kind: str, given: dict[str, Any], ca: Path | None, more: list[str] | None) -> SourceSettings:
    """The settings by the options that were given."""
    from roadstead.access import source_settings  # noqa: PLC0415 - see run_at_desk

    try:
        authority = {"ca": ca.read_text()} if ca else {}
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"The authority's file {ca} cannot be read: {error}.") from error
    return source_settings.decode(msgspec.json.encode({"kind": kind, **given, **authority, **_pairs(more or [])}))


def _pairs(texts: list[str]) -> dict[str, Any]:
    """`name=value` as settings: what reads as JSON is that, anything else is text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise InvalidAccount(f"A setting is written name=value, and not {text!r}.")
        try:
            found[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[name] = value
    return found


def _secret(given: str | None) -> str:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Secret", hide_input=True, default="", show_default=False))


def _add(name: str, settings: SourceSettings, secret: str, *, as_json: bool, data: Path | None, config: Path | None) -> None:
    row = run_at_desk(data, config, lambda desk: desk.sources.add(SYSTEM, name, settings, secret))
    show(_plain(row), as_json=as_json, columns=_SOURCE_COLUMNS)


def _plain(row: Any) -> dict[str, Any]:
    """A source as it is printed: where it is stands beside its other settings."""
    settings = row.settings
    return {**msgspec.to_builtins(row), "where": getattr(settings, "url", None) or settings.issuer}


@source.command("list")
def source_list(as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List the sources, in the order in which they are asked."""
    rows = run_at_desk(data, config, lambda desk: desk.sources.list(SYSTEM))
    show([_plain(row) for row in rows], as_json=as_json, columns=_SOURCE_COLUMNS)


@source.command("check")
def source_check(name: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Try a source, and say what fails; the exit status is 1 if anything does."""
    check = run_at_desk(data, config, lambda desk: desk.sources.check(SYSTEM, name))
    show(list(check.steps), as_json=as_json, columns=("what", "passed", "said"))
    raise typer.Exit(0 if check.passed else 1)


@source.command("move")
def source_move(name: str, position: int, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Put a source at a place in the order, from 1."""
    run_at_desk(data, config, lambda desk: desk.sources.move(SYSTEM, name, position))
    say({"name": name, "position": position}, f"{name} is asked at place {position}.", as_json=as_json)


@source.command("disable")
def source_disable(
    name: str,
    enable: Annotated[bool, typer.Option("--undo", help="Enable it again.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask a source no more."""
    run_at_desk(data, config, lambda desk: desk.sources.set_enabled(SYSTEM, name, enable))
    say({"name": name, "enabled": enable}, f"{name} is {'enabled' if enable else 'disabled'}.", as_json=as_json)


@source.command("remove")
def source_remove(name: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Remove a source with its groups. Its accounts stay, without a password."""
    run_at_desk(data, config, lambda desk: desk.sources.remove(SYSTEM, name))
    say({"name": name}, f"The login source {name} is removed.", as_json=as_json)


@group.command("add")
def group_add(
    name: str,
    of: Annotated[str, typer.Option("--source", help="The login source that says who is in it.  [default: you do]")] = "local",
    external_id: Annotated[str | None, typer.Option("--id", help="What the source calls it: a DN, or a value of the group claim.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a group."""
    row = run_at_desk(data, config, lambda desk: desk.groups.add(SYSTEM, name, source=of, external_id=external_id))
    show(row, as_json=as_json, columns=_GROUP_COLUMNS)


@group.command("list")
def group_list(as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List the groups."""
    rows = run_at_desk(data, config, lambda desk: desk.groups.list(SYSTEM))
    show(list(rows), as_json=as_json, columns=_GROUP_COLUMNS)


@group.command("member")
def group_member(
    name: str,
    account: Annotated[str | None, typer.Argument(help="Without it, those who are in the group are listed.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the account out.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """List who is in a group, put an account in, or take it out."""

    async def act(desk: Desk) -> list[dict[str, Any]]:
        group_id = (await desk.groups.find(SYSTEM, name)).id
        if account is not None:
            change = desk.groups.remove_member if remove else desk.groups.add_member
            await change(SYSTEM, group_id, (await desk.people.find(SYSTEM, account)).id)
        return [{"id": one, "name": called} for one, called in await desk.groups.members(SYSTEM, group_id)]

    show(run_at_desk(data, config, act), as_json=as_json, columns=("id", "name"))


@group.command("remove")
def group_remove(name: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Remove a group with the roles it has."""

    async def act(desk: Desk) -> None:
        await desk.groups.remove(SYSTEM, (await desk.groups.find(SYSTEM, name)).id)

    run_at_desk(data, config, act)
    say({"name": name}, f"The group {name} is removed.", as_json=as_json)
