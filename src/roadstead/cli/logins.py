"""`roadstead login` and `logout`: logins that docker and podman find as well."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from roadstead.cli.remote import Ca, Host, Json, Plain, print_done
from roadstead.errors import InvalidInput, NotFound, Unauthenticated


def login(
    host: Host,
    username: Annotated[str | None, typer.Option("--username", "-u", help="Your name (default: asked for).")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password or token from standard input.")] = False,
    ca: Ca = None,
    plain_http: Plain = False,
    as_json: Json = False,
) -> None:
    """Log in: try the name and secret, and keep them where docker does."""
    from roadstead.client.locations import bare_host  # noqa: PLC0415 - each command pays only for what it uses
    from roadstead.client.logins import Login, Logins  # noqa: PLC0415 - see above
    from roadstead.client.session import Session, speaks_plain  # noqa: PLC0415 - see above

    name = username or typer.prompt("Username", err=True)
    found = Login(name, _secret(password_stdin))
    place = bare_host(host)
    with Session(place, found, plain_http=plain_http or speaks_plain(place), ca=ca) as session:
        try:
            session.check()
        except Unauthenticated as error:
            raise Unauthenticated(f"{place} does not accept this name with this secret.") from error
    kept = Logins().keep(place, found)
    print_done({"host": place, "name": name, "kept": kept}, f"Logged in to {place} as {name}; kept in {kept}", as_json)


def logout(host: Host, as_json: Json = False) -> None:
    """Forget the login of a registry."""
    from roadstead.client.locations import bare_host  # noqa: PLC0415 - see login
    from roadstead.client.logins import Logins  # noqa: PLC0415 - see login

    place = bare_host(host)
    if not Logins().forget(place):
        raise NotFound(f"There is no login for {place}.")
    print_done({"host": place}, f"Logged out of {place}", as_json)


def _secret(from_input: bool) -> str:
    secret = sys.stdin.readline().rstrip("\r\n") if from_input else str(typer.prompt("Password or token", hide_input=True, err=True))
    if not secret:
        raise InvalidInput("No password came on standard input.")
    return secret
