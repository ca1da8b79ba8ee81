"""`roadstead user|project|token|robot …`: administration on the database itself, without the server; for the first day and for rescue."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from roadstead.access.actor import SYSTEM, Level, Role
from roadstead.cli.office import JsonOption, run_at_desk, say, show
from roadstead.cli.options import ConfigOption, DataOption
from roadstead.registry.conversion import ConversionSettings, When, parse_platforms

if TYPE_CHECKING:
    from roadstead.cli.desk import Desk

user = typer.Typer(help="Accounts of people.", no_args_is_help=True)
project = typer.Typer(help="Projects and their members.", no_args_is_help=True)
token = typer.Typer(help="Personal access tokens.", no_args_is_help=True)
robot = typer.Typer(help="Robot accounts.", no_args_is_help=True)


def _password(given: str | None) -> str:
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


PasswordOption = Annotated[
    str | None,
    typer.Option(
        help="Unsafe: others can see a command line. Without it, it is asked for, or read from standard input.", show_default=False
    ),
]
_USER_COLUMNS = ("id", "name", "is_admin", "source", "email", "created_at", "disabled_at")


@user.command("add")
def user_add(
    name: str,
    password: PasswordOption = None,
    admin: Annotated[bool, typer.Option("--admin", help="Make it an administrator.")] = False,
    email: Annotated[str | None, typer.Option(help="The address that others see.")] = None,
    real_name: Annotated[str | None, typer.Option(help="What people call the person.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make an account."""
    chosen = _password(password)
    row = run_at_desk(data, config, lambda desk: desk.people.add(SYSTEM, name, chosen, is_admin=admin, email=email, real_name=real_name))
    show(row, as_json=as_json, columns=_USER_COLUMNS)


@user.command("list")
def user_list(as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List the accounts of people."""
    show(run_at_desk(data, config, lambda desk: desk.people.list(SYSTEM)), as_json=as_json, columns=_USER_COLUMNS)


@user.command("passwd")
def user_passwd(
    name: str,
    password: PasswordOption = None,
    end_sessions: Annotated[bool, typer.Option("--end-sessions", help="End the account's tokens and credentials too.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Set an account's password."""
    chosen = _password(password)

    async def act(desk: Desk) -> None:
        await desk.people.set_password(SYSTEM, (await desk.people.find(SYSTEM, name)).id, chosen, end_sessions=end_sessions)

    run_at_desk(data, config, act)
    say({"name": name}, f"The password of {name} is set.", as_json=as_json)


@user.command("disable")
def user_disable(
    name: str,
    enable: Annotated[bool, typer.Option("--undo", help="Enable it again.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Disable an account; it stops at its next request."""

    async def act(desk: Desk) -> None:
        await desk.people.set_disabled(SYSTEM, (await desk.people.find(SYSTEM, name)).id, not enable)

    run_at_desk(data, config, act)
    say({"name": name, "disabled": not enable}, f"{name} is {'enabled' if enable else 'disabled'}.", as_json=as_json)


@user.command("admin")
def user_admin(
    name: str,
    revoke: Annotated[bool, typer.Option("--undo", help="Make it an administrator no longer.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make an account an administrator."""

    async def act(desk: Desk) -> None:
        await desk.people.set_admin(SYSTEM, (await desk.people.find(SYSTEM, name)).id, not revoke)

    run_at_desk(data, config, act)
    say({"name": name, "admin": not revoke}, f"{name} is {'no longer an' if revoke else 'an'} administrator.", as_json=as_json)


@user.command("remove")
def user_remove(name: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """End an account with all its credentials; its name stays in the history."""

    async def act(desk: Desk) -> Any:
        row = await desk.people.find(SYSTEM, name)
        await desk.people.remove(SYSTEM, row.id)
        return row

    say(run_at_desk(data, config, act), f"{name} is removed.", as_json=as_json)


@user.command("secret")
def user_secret(name: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Give an account a new CLI secret, which takes its password's place in tools; the old one ends at once. It is printed once."""

    async def act(desk: Desk) -> tuple[Any, str]:
        account_id = (await desk.people.find(SYSTEM, name)).id
        secret = await desk.credentials.make_cli_secret(SYSTEM, account_id)
        return await desk.credentials.cli_secret(SYSTEM, account_id), secret

    row, secret = run_at_desk(data, config, act)
    _print_secret(row, secret, as_json=as_json)


_PROJECT_COLUMNS = ("id", "name", "public", "description", "created_at")


@project.command("add")
def project_add(
    name: str,
    public: Annotated[bool, typer.Option("--public", help="Let everybody pull.")] = False,
    description: Annotated[str, typer.Option(help="A sentence for those who wonder what it is.")] = "",
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a project."""
    row = run_at_desk(data, config, lambda desk: desk.projects.add(SYSTEM, name, public=public, description=description))
    show(row, as_json=as_json, columns=_PROJECT_COLUMNS)


@project.command("list")
def project_list(as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List the projects."""
    rows = run_at_desk(data, config, lambda desk: desk.projects.visible(SYSTEM))
    show(rows, as_json=as_json, columns=_PROJECT_COLUMNS)


@project.command("remove")
def project_remove(name: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Delete a project that holds no images any more, with its robots."""

    async def act(desk: Desk) -> Any:
        row = await desk.projects.get(SYSTEM, name)
        await desk.projects.remove(SYSTEM, name)
        return row

    say(run_at_desk(data, config, act), f"The project {name} is removed.", as_json=as_json)


@project.command("quota")
def project_quota(
    name: str,
    limit: Annotated[str | None, typer.Option(help="What it may use from now on: 100GiB, 1.5TB, bytes; or none.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show how much a project uses and may use, or set that. In JSON all sizes are bytes, and no limit is null."""
    from roadstead.registry.sizes import UNLIMITED, human_size, parse_size  # noqa: PLC0415 - see run_at_desk

    wanted = None if limit is None else UNLIMITED if limit.strip().lower() == "none" else parse_size(limit)

    async def act(desk: Desk) -> Any:
        if wanted is not None:
            await desk.quotas.set(SYSTEM, name, wanted)
        return await desk.quotas.get(SYSTEM, name)

    row = run_at_desk(data, config, act)
    if as_json:
        show(row, as_json=True)
        return
    sizes = {"limit": row.limit, "used": row.used, "stored": row.stored, "uploading": row.uploading}
    table = {"project": row.project, **{key: "none" if size is None else human_size(size) for key, size in sizes.items()}}
    show(table, as_json=False, columns=tuple(table))


@project.command("conversion")
def project_conversion(
    name: str,
    when: Annotated[When | None, typer.Option(help="Convert when an image is pushed, when somebody asks for it, or not at all.")] = None,
    anonymous: Annotated[bool | None, typer.Option(help="Whether requests without an account start conversions.")] = None,
    platforms: Annotated[str | None, typer.Option(help="For which platforms of an index: linux/amd64,linux/arm64.")] = None,
    sif_as_image: Annotated[
        bool | None, typer.Option(help="Whether clients that only run images get one when they ask for a tag that is a SIF.")
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show what a project converts, or set what is given of it."""
    wanted = ConversionSettings(when, anonymous, None if platforms is None else parse_platforms(platforms), sif_as_image)

    async def act(desk: Desk) -> Any:
        if wanted.columns():
            await desk.projects.change(SYSTEM, name, conversion=wanted)
        return await desk.projects.get(SYSTEM, name)

    row = run_at_desk(data, config, act)
    policy = row.conversion_policy
    said = {"when": policy.when, "anonymous": policy.anonymous, "sif_as_image": policy.sif_as_image}
    if as_json:
        show({"project": row.name, "platforms": policy.platforms, **said}, as_json=True)
        return
    table = {"project": row.name, "platforms": ", ".join(policy.platforms), **{key: str(value).lower() for key, value in said.items()}}
    show(table, as_json=False, columns=tuple(table))


def _key_or_fingerprint(said: str) -> str:
    """What a file of that name holds, a little more than may be read at most; else what was said."""
    from roadstead.access.public_keys import LARGEST  # noqa: PLC0415 - see run_at_desk

    path = Path(said)
    if not path.is_file():
        return said
    with path.open("rb") as file:
        return file.read(LARGEST + 1).decode(errors="replace")


@project.command("trust")
def project_trust(
    name: str,
    add: Annotated[str | None, typer.Option(help="Trust the key server's key of this fingerprint, or the PEM file's.")] = None,
    called: Annotated[str, typer.Option(help="What people call the key that is added. Default: its first user id.")] = "",
    remove: Annotated[str | None, typer.Option(help="Trust the key of this fingerprint no more.")] = None,
    only_signed_sifs: Annotated[bool | None, typer.Option(help="Give out only SIFs that one of these keys has signed.")] = None,
    only_signed_images: Annotated[bool | None, typer.Option(help="Give out only images that one of these keys has signed.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Show whose signatures a project trusts and what it asks them for, or change it."""

    async def act(desk: Desk) -> Any:
        if add is not None:
            await desk.trust.add(SYSTEM, name, _key_or_fingerprint(add), called)
        await desk.trust.require(SYSTEM, name, sifs=only_signed_sifs, images=only_signed_images)
        if remove is not None:
            await desk.trust.remove(SYSTEM, name, remove)
        return await desk.trust.of_project(SYSTEM, name)

    trusted = run_at_desk(data, config, act)
    if as_json:
        show(trusted, as_json=True)
        return
    print(f"only signed SIFs: {'yes' if trusted.only_signed_sifs else 'no'}")
    print(f"only signed images: {'yes' if trusted.only_signed_images else 'no'}")
    show(trusted.keys, as_json=False, columns=("fingerprint", "name", "added_by", "added_at"))


@project.command("member")
def project_member(
    name: str,
    account: Annotated[str | None, typer.Argument(help="Without it, the members are listed.")] = None,
    role: Annotated[Role, typer.Option(help="What the account may do there.")] = Role.DEVELOPER,
    path: Annotated[str, typer.Option(help="Only in this repository, or below this folder: 'team/*'.")] = "*",
    group: Annotated[str | None, typer.Option(help="A group, in place of an account.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="End the roles there.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """List, add or end members of a project."""
    columns = ("id", "holder", "role", "path", "path_prefix")

    async def act(desk: Desk) -> Any:
        if remove:
            for row in await desk.projects.members(SYSTEM, name):
                if row.holder == (account or group) and (row.group_id is not None) is (account is None):
                    await desk.projects.remove_member(SYSTEM, name, row.id)
        elif group is not None:
            await desk.projects.add_group(SYSTEM, name, group, role, path)
        elif account is not None:
            await desk.projects.add_member(SYSTEM, name, account, role, path)
        return await desk.projects.members(SYSTEM, name)

    show(run_at_desk(data, config, act), as_json=as_json, columns=columns)


_TOKEN_COLUMNS = ("id", "name", "hint", "level", "created_at", "expires_at", "last_used_at", "last_used_from")


@token.command("add")
def token_add(
    account: str,
    name: str,
    level: Annotated[Level, typer.Option(help="How much of what the account may do.")] = Level.READ,
    only: Annotated[list[str] | None, typer.Option("--project", help="Only in this project; may be repeated.")] = None,
    days: Annotated[int | None, typer.Option(help="Days that it lives.  [default: for ever]")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a personal access token. Its secret is printed once, on standard output."""
    lifetime = None if days is None else timedelta(days=days)

    async def act(desk: Desk) -> tuple[Any, str]:
        account_id = (await desk.people.find(SYSTEM, account)).id
        return await desk.credentials.add_token(SYSTEM, account_id, name, level, project_names=only, lifetime=lifetime)

    row, secret = run_at_desk(data, config, act)
    _print_secret(row, secret, as_json=as_json)


def _print_secret(row: Any, secret: str, *, as_json: bool) -> None:
    if as_json:
        show({**msgspec.to_builtins(row), "secret": secret}, as_json=True)
        return
    typer.echo(f"Made {row.name!r}. Its secret, which is not shown again:", err=True)
    typer.echo(secret)


@token.command("list")
def token_list(account: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List an account's personal access tokens."""

    async def act(desk: Desk) -> Any:
        account_id = (await desk.people.find(SYSTEM, account)).id
        return await desk.credentials.tokens(SYSTEM, account_id)

    show(run_at_desk(data, config, act), as_json=as_json, columns=_TOKEN_COLUMNS)


@token.command("revoke")
def token_revoke(account: str, token_id: int, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """End a personal access token at its next use."""

    async def act(desk: Desk) -> None:
        account_id = (await desk.people.find(SYSTEM, account)).id
        await desk.credentials.revoke(SYSTEM, account_id, token_id)

    run_at_desk(data, config, act)
    say({"account": account, "id": token_id}, f"Token {token_id} is revoked.", as_json=as_json)


_ROBOT_COLUMNS = ("id", "name", "project_name", "description", "expires_at", "disabled_at")


@robot.command("add")
def robot_add(
    name: str,
    project_name: Annotated[str | None, typer.Option("--project", help="Its project.  [default: of the system, for all]")] = None,
    may: Annotated[str, typer.Option(help="pull, push (and pull), or delete (and both).")] = "pull",
    days: Annotated[int, typer.Option(help="Days that it lives; -1 is for ever.")] = -1,
    description: Annotated[str, typer.Option(help="A sentence for those who wonder what it is.")] = "",
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a robot account. Its secret is printed once, on standard output."""
    row, secret = run_at_desk(data, config, lambda desk: desk.add_robot(name, project_name, may, description, days))
    _print_secret(row, secret, as_json=as_json)


@robot.command("list")
def robot_list(
    project_name: Annotated[str | None, typer.Option("--project", help="Of this project.  [default: of the system]")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """List robot accounts."""
    show(run_at_desk(data, config, lambda desk: desk.robots.list(SYSTEM, project_name)), as_json=as_json, columns=_ROBOT_COLUMNS)


@robot.command("rotate")
def robot_rotate(robot_id: int, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Give a robot a new secret; the old one ends at once."""

    async def act(desk: Desk) -> tuple[Any, str]:
        return await desk.robots.get(SYSTEM, robot_id), await desk.robots.rotate(SYSTEM, robot_id)

    row, secret = run_at_desk(data, config, act)
    _print_secret(row, secret, as_json=as_json)


@robot.command("disable")
def robot_disable(
    robot_id: int,
    enable: Annotated[bool, typer.Option("--undo", help="Enable it again.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Disable a robot account; it stops at its next request, and keeps its secret."""
    row = run_at_desk(data, config, lambda desk: desk.robots.set_disabled(SYSTEM, robot_id, not enable))
    say(row, f"Robot {row.name} is {'enabled' if enable else 'disabled'}.", as_json=as_json)


@robot.command("remove")
def robot_remove(robot_id: int, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """End a robot account and its secret."""
    run_at_desk(data, config, lambda desk: desk.robots.remove(SYSTEM, robot_id))
    say({"id": robot_id}, f"Robot {robot_id} is removed.", as_json=as_json)
