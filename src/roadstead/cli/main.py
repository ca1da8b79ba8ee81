"""The program `roadstead`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from roadstead.cli import administration, logins, looking, moving, sources
from roadstead.cli.audit import audit
from roadstead.cli.clusters import clusters
from roadstead.cli.converting import convert_there, is_remote, refuse_file_options
from roadstead.cli.jobs import jobs
from roadstead.cli.keys import keys
from roadstead.cli.options import ConfigOption, DataOption, apply
from roadstead.cli.remote import Ca, Json, Plain, command, register
from roadstead.errors import RoadsteadError

app = typer.Typer(name="roadstead", help="Registry for Docker and Apptainer images.", no_args_is_help=True, pretty_exceptions_enable=False)
database = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(database, name="db")
app.add_typer(administration.user, name="user")
app.add_typer(administration.project, name="project")
app.add_typer(administration.token, name="token")
app.add_typer(administration.robot, name="robot")
app.add_typer(sources.source, name="source")
app.add_typer(sources.group, name="group")
app.add_typer(jobs, name="jobs")
app.add_typer(keys, name="key")
app.add_typer(clusters, name="cluster")
app.add_typer(audit, name="audit")
register(
    app,
    (
        ("login", logins.login),
        ("logout", logins.logout),
        ("ls", looking.list_repositories),
        ("tags", looking.tags),
        ("inspect", looking.inspect),
        ("search", looking.search),
        ("pull", moving.pull),
        ("push", moving.push),
        ("cp", moving.copy),
        ("tag", moving.tag),
        ("rm", moving.remove),
        ("open", looking.show_page),
    ),
)


@app.command()
def serve(
    data: DataOption = None,
    listen: Annotated[str | None, typer.Option(help="Host and port to listen on (default: 127.0.0.1:5000).")] = None,
    workers: Annotated[int | None, typer.Option(help="HTTP worker processes (default: one per core, at most 4).")] = None,
    config: ConfigOption = None,
) -> None:
    """Start the registry in the foreground: HTTP workers and one job worker. Makes what is missing."""
    from roadstead.cli.serve import run  # noqa: PLC0415 - each command pays only for what it uses

    run(apply(data=data, listen=listen, workers=workers, config=config))


@app.command()
def worker(data: DataOption = None, config: ConfigOption = None) -> None:
    """Run a job worker alone, beside servers that share the database and the store."""
    from roadstead.cli.worker import run  # noqa: PLC0415 - see serve

    run(apply(data=data, config=config))


@database.command()
def upgrade(as_json: Json = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Bring the database to this version's schema; `serve` does so by itself."""
    from roadstead.cli.upgrade import run  # noqa: PLC0415 - see serve

    run(apply(data=data, config=config), as_json=as_json)


@app.command()
def doctor(as_json: Json = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Check this installation: say what is missing and what that costs."""
    from roadstead.cli.doctor import doctor as examine  # noqa: PLC0415 - see serve

    settings = apply(data=data, config=config)
    raise typer.Exit(examine(settings.data, settings.database, settings.storage, as_json=as_json))


@app.command()
@command
def convert(
    source: Annotated[
        str, typer.Argument(help="A SIF, an OCI layout or an archive of docker save; or HOST/project/image:tag at a registry.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="What to write (default: named as the source, here).")] = None,
    platform: Annotated[str | None, typer.Option(help="os/architecture of an index (default: this machine's).")] = None,
    compression: Annotated[Literal["gzip", "zstd"], typer.Option(help="Of the SIF's file system; every kernel reads gzip.")] = "gzip",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that compress (default: one a core).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    ca: Ca = None,
    plain_http: Plain = False,
    as_json: Json = False,
) -> None:
    """Convert an image in files to a SIF, or a SIF to an OCI layout; or have a registry convert what it holds. The bytes are the same."""
    if is_remote(source):
        refuse_file_options(output, force)
        convert_there(source, plain_http=plain_http, ca=ca, as_json=as_json)
        return
    from roadstead.cli.convert import Asked  # noqa: PLC0415 - see serve
    from roadstead.cli.convert import convert as make  # noqa: PLC0415 - see serve

    make(Asked(source, output, platform, compression, threads, force), as_json=as_json)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - it costs more than all the rest of this

        typer.echo(f"roadstead {version('roadstead')}")
        raise typer.Exit


@app.callback()
def _options(
    _version_wanted: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the program; an error from the tree is one message and exit status 1."""
    try:
        app()
    except RoadsteadError as error:
        typer.secho(f"roadstead: {error.message}", fg="red", err=True)
        sys.exit(1)
