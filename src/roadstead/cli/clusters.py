"""`roadstead cluster …`: the machines of the site, as images are held against them; on the database itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from roadstead.access.actor import SYSTEM
from roadstead.cli.office import JsonOption, run_at_desk, say, show
from roadstead.cli.options import ConfigOption, DataOption
from roadstead.errors import NotFound

if TYPE_CHECKING:
    from roadstead.cli.desk import Desk

clusters = typer.Typer(help="The site's clusters, as images are held against them.", no_args_is_help=True)

_COLUMNS = ("name", "architecture", "level", "glibc", "driver", "rocm", "mpi")


@clusters.command("set")
def clusters_set(
    name: str,
    architecture: Annotated[str, typer.Option("--arch", help="As in amd64, arm64, ppc64le.")] = "amd64",
    level: Annotated[int | None, typer.Option(help="The x86-64 level of its oldest nodes, from 1 to 4.")] = None,
    glibc: Annotated[str | None, typer.Option(help="The version of its C library, as in 2.34.")] = None,
    driver: Annotated[str | None, typer.Option(help="The version of its NVIDIA driver, as in 550.54.14.")] = None,
    rocm: Annotated[str | None, typer.Option(help="The version of ROCm that its AMD driver belongs to, as in 6.1.")] = None,
    mpi: Annotated[
        str | None, typer.Option(help="The library of its MPI: libmpi.so.12 (MPICH and relatives), libmpi.so.40 (Open MPI).")
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
) -> None:
    """Describe a cluster, all of it: what is not given is not known, also if it was before."""
    from roadstead.sif.compatibility.verdict import Cluster  # noqa: PLC0415 - see run_at_desk

    cluster = Cluster(name, architecture, level, glibc, driver, rocm, mpi)

    async def act(desk: Desk) -> None:
        try:
            await desk.clusters.change(SYSTEM, cluster)
        except NotFound:
            await desk.clusters.add(SYSTEM, cluster)

    run_at_desk(data, config, act)
    show(cluster, as_json=as_json, columns=_COLUMNS)


@clusters.command("list")
def clusters_list(as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """List the clusters that are described."""
    show(run_at_desk(data, config, lambda desk: desk.clusters.all(SYSTEM)), as_json=as_json, columns=_COLUMNS)


@clusters.command("remove")
def clusters_remove(name: str, as_json: JsonOption = False, data: DataOption = None, config: ConfigOption = None) -> None:
    """Forget a cluster."""
    run_at_desk(data, config, lambda desk: desk.clusters.remove(SYSTEM, name))
    say({"name": name}, f"The cluster {name} is removed.", as_json=as_json)
