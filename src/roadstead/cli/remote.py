"""The commands of users: they speak to a registry, from any machine, and need nothing of the server's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from roadstead.errors import InvalidInput, NotConvertible, NotFound, Refused, RoadsteadError, Unavailable

if TYPE_CHECKING:
    from roadstead.client.download import Tell
    from roadstead.client.session import Session

EXITS: Final = ((InvalidInput, 2), (NotFound, 3), (Refused, 4), (Unavailable, 5), (NotConvertible, 1), (RoadsteadError, 1))
"""What each kind of failure ends with; docs/reference/cli.md tells it."""

Where = Annotated[str, typer.Argument(help="HOST/project/image:tag or …@sha256:….")]
Host = Annotated[str, typer.Argument(help="The registry's host name, with its port where that is not 443.")]
Ca = Annotated[Path | None, typer.Option("--ca", exists=True, dir_okay=False, help="Certificates to trust besides the system's.")]
Plain = Annotated[bool, typer.Option("--plain-http", help="Speak without TLS: for tests on one machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and errors.")]


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


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for work in (login, logout, tags, inspect, pull, push, tag):
        app.command()(command(work))
    app.command("ls")(command(list_repositories))
    app.command("rm")(command(remove))
    app.command("cp")(command(copy))
    app.command("open")(command(show_page))


def login(
    host: Host,
    username: Annotated[str | None, typer.Option("--username", "-u", help="Your name (default: asked for).")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password or token from standard input.")] = False,
    ca: Ca = None,
    plain_http: Plain = False,
) -> None:
    """Log in: try the name and secret, and keep them where docker and apptainer look."""
    from roadstead.client.logins import Login, Logins  # noqa: PLC0415 - each command pays only for what it uses
    from roadstead.client.session import Session  # noqa: PLC0415 - see above

    name = username or typer.prompt("Username", err=True)
    secret = sys.stdin.readline().rstrip("\r\n") if password_stdin else typer.prompt("Password or token", hide_input=True, err=True)
    found = Login(name, secret)
    with Session(host, found, plain_http=plain_http, ca=ca) as session:
        session.request("GET", "/v2/")
    typer.echo(f"Logged in to {host} as {name}; kept in {Logins().keep(host, found)}", err=True)


def logout(host: Host) -> None:
    """Forget the login of a registry."""
    from roadstead.client.logins import Logins  # noqa: PLC0415 - see login

    if not Logins().forget(host):
        raise NotFound(f"There is no login for {host}.")


def list_repositories(
    where: Annotated[str, typer.Argument(help="HOST or HOST/project.")], ca: Ca = None, plain_http: Plain = False, as_json: Json = False
) -> None:
    """List the repositories that you may see."""
    from roadstead.client.locations import host_of  # noqa: PLC0415 - see login

    host, project = host_of(where)
    with _session(host, plain_http, ca) as session:
        names = session.repositories()
    _lines([name for name in names if not project or name.startswith(f"{project}/")], as_json)


def tags(where: Where, ca: Ca = None, plain_http: Plain = False, as_json: Json = False) -> None:
    """List the tags of a repository."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login

    place = parse_location(where)
    with _session(place.host, plain_http, ca) as session:
        names = [name for page in session.pages(f"/v2/{place.repository}/tags/list") for name in page.get("tags") or ()]
    _lines(names, as_json)


def inspect(where: Where, ca: Ca = None, plain_http: Plain = False, as_json: Json = False) -> None:
    """Show what a tag or digest names: its manifest, and its digest and size."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login

    place = parse_location(where)
    with _session(place.host, plain_http, ca) as session:
        found = session.manifest(place.repository, place.reference)
    size = sum(blob.size for blob in found.manifest.blobs())
    facts = {"digest": found.digest, "mediaType": found.manifest.media_type, "size": size, "manifest": json.loads(found.content)}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{place.text}\n  digest  {found.digest}\n  type    {found.manifest.media_type}\n  size    {size} bytes")
    for part in (*found.manifest.layers, *found.manifest.children):
        typer.echo(f"  {part.digest}  {part.size}  {part.media_type}")


def pull(
    where: Where,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write (default: image_tag.sif, here).")] = None,
    cache: Annotated[
        Path | None, typer.Option(envvar="ROADSTEAD_CACHE", help="Folder shared by machines: each file is fetched once.")
    ] = None,
    ca: Ca = None,
    plain_http: Plain = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fetch a SIF as a file. After a cut the same command goes on where it was."""
    from roadstead.client.download import download  # noqa: PLC0415 - see login
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login
    from roadstead.oci.sif_manifest import sif_layer  # noqa: PLC0415 - see login

    place = parse_location(where)
    with _session(place.host, plain_http, ca) as session:
        layer = sif_layer(session.manifest(place.repository, place.reference).manifest)
        if layer is None:
            raise NotConvertible(f"{place.text} holds no SIF; fetch it as one by: apptainer pull docker://{place.text}")
        name = f"{place.repository.rpartition('/')[2]}_{place.reference.removeprefix('sha256:')[:128]}.sif"
        target = (output or Path(name)).absolute()
        with _telling(target.name, layer.size, quiet) as tell:
            download(session, place.repository, layer, target, tell, cache)
    _made({"path": str(target), "size": layer.size, "digest": layer.digest}, as_json)


def push(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A SIF.")],
    where: Where,
    ca: Ca = None,
    plain_http: Plain = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Push a SIF."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login
    from roadstead.client.upload import push_sif  # noqa: PLC0415 - see login

    place = parse_location(where)
    with _session(place.host, plain_http, ca) as session, _telling(file.name, file.stat().st_size, quiet) as tell:
        digest = push_sif(session, place, file, tell)
    _made({"path": place.text, "size": file.stat().st_size, "digest": digest}, as_json)


def copy(origin: Where, to: Where, ca: Ca = None, plain_http: Plain = False, as_json: Json = False) -> None:
    """Copy an image, artifact or SIF to another repository or registry; nothing is transferred within one registry."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login
    from roadstead.client.upload import copy as transfer  # noqa: PLC0415 - see login

    source, target = parse_location(origin), parse_location(to)
    with _session(source.host, plain_http, ca) as one, _session(target.host, plain_http, ca) as other:
        digest = transfer(one, source, other, target)
    _made({"path": target.text, "digest": digest}, as_json)


def tag(where: Where, name: Annotated[str, typer.Argument(help="The new tag.")], ca: Ca = None, plain_http: Plain = False) -> None:
    """Give what a tag or digest names one more tag."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login
    from roadstead.oci.reference import TagName  # noqa: PLC0415 - see login

    place, wanted = parse_location(where), TagName.parse(name)
    with _session(place.host, plain_http, ca) as session:
        found = session.manifest(place.repository, place.reference)
        session.put_manifest(place.repository, wanted, found.content, found.manifest.media_type)


def remove(where: Where, ca: Ca = None, plain_http: Plain = False) -> None:
    """Remove a tag; by digest, the manifest with all its tags."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login

    if not (":" in where.rpartition("/")[2] or "@" in where):
        raise InvalidInput(f"Say which tag goes: {where}:TAG")  # Not `latest` by silence.
    place = parse_location(where)
    with _session(place.host, plain_http, ca) as session:
        session.request("DELETE", f"/v2/{place.repository}/manifests/{place.reference}")


def show_page(where: Where, plain_http: Plain = False, quiet: Quiet = False) -> None:
    """Print the address of the page about it, and open that in a browser where there is a screen."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see login

    place = parse_location(where)
    url = f"{'http' if plain_http else 'https'}://{place.host}/repositories/{place.text.removeprefix(place.host + '/')}"
    typer.echo(url)
    if not quiet and sys.stdout.isatty() and os.environ.get("DISPLAY", os.environ.get("WAYLAND_DISPLAY")):
        typer.launch(url)


def _session(host: str, plain_http: bool, ca: Path | None) -> Session:
    from roadstead.client.logins import Logins  # noqa: PLC0415 - see login
    from roadstead.client.session import Session  # noqa: PLC0415 - see login

    return Session(host, Logins().find(host), plain_http=plain_http, ca=ca)


def _lines(names: list[str], as_json: bool) -> None:
    typer.echo(json.dumps(names) if as_json else "\n".join(names), nl=as_json or bool(names))


def _made(facts: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(facts) if as_json else f"{facts['path']}: {facts['digest']}")


@contextmanager
def _telling(name: str, size: int, quiet: bool) -> Iterator[Tell]:
    """A bar with rate and time left on standard error; nothing where that is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console  # noqa: PLC0415 - see login
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name, total=size)
        yield lambda done: progress.update(bar, completed=done)
