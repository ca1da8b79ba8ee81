"""`roadstead doctor`: what this installation lacks, and what that costs.

A check is a function from plain facts to a `Finding`; `examine` gathers the facts of this machine, `doctor` prints. Only what keeps the
server from running or puts acknowledged content at risk is `STOPS`; everything else runs, and costs something.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import resource
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from roadstead.content import hashing
from roadstead.content.opening import open_store
from roadstead.content.store import ContentStore
from roadstead.errors import RoadsteadError
from roadstead.metadata.database import Database, open_database, sqlite_path
from roadstead.metadata.location import NETWORK_FILE_SYSTEMS, file_system_type
from roadstead.sif.orders import Examine, Examined, Means
from roadstead.sif.process import run

OLDEST_PYTHON = (3, 11)
OLDEST_SQLITE = (3, 35, 0)
"""RETURNING, which the queries use, came with this version."""
LITTLE_SPACE = 10 << 30
"""Bytes. Less than this is soon gone: one image of a simulation environment takes as much."""
FEW_FILES = 4096
"""Each pull holds a socket and a file, so this is some two thousand at a time."""


class Verdict(Enum):
    """How much a finding matters."""

    FINE = "fine"
    COSTS = "costs"
    STOPS = "stops"


class Finding(msgspec.Struct, frozen=True):
    """What was found about one `subject`, and what it `costs` (empty when it is fine)."""

    subject: str
    verdict: Verdict
    found: str
    costs: str = ""


def judge(subject: str, found: str, *, fine: bool, costs: str, otherwise: Verdict = Verdict.COSTS) -> Finding:
    """A finding that is fine, or else costs what it says."""
    return Finding(subject, Verdict.FINE, found) if fine else Finding(subject, otherwise, found, costs)


def python_version(version: tuple[int, ...]) -> Finding:
    """The interpreter that runs this."""
    found = ".".join(map(str, version[:3]))
    return judge("Python", found, fine=version >= OLDEST_PYTHON, costs="needs 3.11 or newer", otherwise=Verdict.STOPS)


def sqlite_version(version: tuple[int, ...]) -> Finding:
    """The SQLite library that Python is linked to."""
    found, costs = ".".join(map(str, version)), "needs 3.35 or newer; with PostgreSQL this does not matter"
    return judge("SQLite", found, fine=version >= OLDEST_SQLITE, costs=costs, otherwise=Verdict.STOPS)


def resumable_hashes(marker: str) -> Finding:
    """Whether a hash can go on in another request, by `hashing.marker()`."""
    costs = "a blob pushed in several requests is read once more when it is complete: large pushes end later"
    return judge("Resumable hashes", marker or "no usable libcrypto", fine=bool(marker), costs=costs)


def event_loop(present: bool) -> Finding:
    """Whether uvloop is there."""
    return judge("uvloop", "installed" if present else "not installed", fine=present, costs="fewer requests per second on the same machine")


def ldap_library(present: bool) -> Finding:
    """Whether the optional library for LDAP is there."""
    costs = "login sources of kind LDAP do not answer, and their people cannot log in by a password; install it by make ldap"
    return judge("LDAP", "installed" if present else "not installed", fine=present, costs=costs)


def database_place(kind: str | None) -> Finding:
    """The type of the file system under an SQLite database (None: cannot be told)."""
    costs = "SQLite loses data on a network file system: use a local disk for the database, or PostgreSQL; blobs may stay"
    found = kind or "unknown type of file system"
    return judge("Place of the database", found, fine=kind not in NETWORK_FILE_SYSTEMS, costs=costs, otherwise=Verdict.STOPS)


def free_space(free: int, total: int) -> Finding:
    """The disk under the data, in bytes."""
    found = f"{free / (1 << 30):.1f} GiB of {total / (1 << 30):.1f} GiB free"
    costs = "pushes are refused when it is full; what is stored stays readable"
    return judge("Free space", found, fine=free >= LITTLE_SPACE, costs=costs)


def data_directory(data: Path, writable: bool) -> Finding:
    """Whether this account may make and change files where the data is, or is to be."""
    found = f"{data} {'can' if writable else 'cannot'} be written"
    return judge("Data", found, fine=writable, costs="the server cannot start as this account", otherwise=Verdict.STOPS)


def open_files(limit: int) -> Finding:
    """The limit of open files of this account (RLIM_INFINITY is negative in Python)."""
    unlimited = limit == resource.RLIM_INFINITY
    found, costs = "no limit" if unlimited else str(limit), f"about {limit // 2} pulls at a time; raise it with ulimit -n or LimitNOFILE="
    return judge("Open files", found, fine=unlimited or limit >= FEW_FILES, costs=costs)


def isolation(examined: Examined | None, failure: str = "") -> Finding:
    """What shuts a converter's process in here, by what it found out itself; None where it could not be started, because of `failure`."""
    if examined is None:
        return judge("Converter", failure, fine=False, costs="images are not converted between Docker's form and Singularity's")
    granted = {
        "frozen privileges": examined.isolation.no_new_privileges,
        "own network namespace": examined.isolation.network,
        "system call filter": examined.isolation.system_calls,
        "Landlock": examined.isolation.landlock > 0,
    }
    if all(granted.values()) and not examined.possible:
        return judge("Converter", ", ".join(granted), fine=True, costs="")
    missing = ", ".join(what for what, is_granted in granted.items() if not is_granted)
    possible = f"; it can {', '.join(examined.possible)}" if examined.possible else "; what remains keeps it in"
    return judge("Converter", f"without {missing}{possible}", fine=False, costs="an image that breaks a converter can do that much")


def client(name: str, path: str | None) -> Finding:
    """A container client on this machine. The server never needs one."""
    return judge(name, path or "not installed", fine=path is not None, costs="nothing for the server; the tests that drive it are skipped")


def answer(subject: str, failure: str | None) -> Finding:
    """Whether a part that runs elsewhere answers; `failure` is what was said if not."""
    return judge(subject, failure or "answers", fine=failure is None, costs="nothing works without it", otherwise=Verdict.STOPS)


def examine(data: Path, database_url: str = "", storage_url: str = "") -> list[Finding]:
    """Every finding about this machine, for a server whose data is in `data`. Reads and asks.

    Empty URLs mean that database and content are in `data`. An object store is asked to keep and return a small object, as the server does.
    """
    standing = _nearest_existing(data)
    usage = shutil.disk_usage(standing)
    findings = [
        python_version(sys.version_info[:3]),
        sqlite_version(sqlite3.sqlite_version_info),
        resumable_hashes(hashing.marker()),
        event_loop(importlib.util.find_spec("uvloop") is not None),
        ldap_library(importlib.util.find_spec("bonsai") is not None),
        data_directory(data, os.access(standing, os.W_OK | os.X_OK)),
        free_space(usage.free, usage.total),
        open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        asyncio.run(_isolation()),
    ]
    if database_url.startswith("postgresql"):
        findings.append(answer("PostgreSQL", asyncio.run(_failure(open_database, database_url))))
    else:
        place = sqlite_path(database_url).parent if database_url else data
        findings.append(database_place(file_system_type(_nearest_existing(place))))
    if storage_url.startswith("s3:"):
        findings.append(answer("Object store", asyncio.run(_failure(open_store, storage_url))))
    return [*findings, *(client(name, shutil.which(name)) for name in ("apptainer", "docker"))]


def _nearest_existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that is there: where the server would make it."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


async def _isolation() -> Finding:
    """Have a converter try what it should not be able to do."""
    try:
        with tempfile.TemporaryFile() as output:
            return isolation(await run(Examine(), [], output, Means(seconds=60)))
    except (RoadsteadError, OSError) as error:
        return isolation(None, str(error))


async def _failure(opener: Callable[[str], Awaitable[Database | ContentStore]], url: str) -> str | None:
    """What is wrong with the database or store at `url`; None if it can be used now."""
    try:
        opened = await opener(url)
        try:
            await opened.check()
        finally:
            await opened.close()
    except RoadsteadError as error:
        return error.message
    return None


def doctor(data: Path, database_url: str = "", storage_url: str = "", *, as_json: bool = False) -> int:
    """Print what was found; 0 if the server can run here, 1 if something stops it."""
    findings = examine(data, database_url, storage_url)
    stopping = [finding.subject for finding in findings if finding.verdict is Verdict.STOPS]
    if as_json:
        sys.stdout.write(msgspec.json.encode(findings).decode() + "\n")
        return 1 if stopping else 0
    console = Console()
    console.print(render(findings))
    console.print(f"Roadstead cannot run here: {', '.join(stopping)}." if stopping else "Roadstead can run here.")
    return 1 if stopping else 0


def render(findings: Iterable[Finding]) -> Table:
    """The findings as a table; the verdict is written out, not only coloured."""
    colours = {Verdict.FINE: "green", Verdict.COSTS: "yellow", Verdict.STOPS: "bold red"}
    table = Table("", "", "found", "what it costs", title=f"Roadstead on {platform.node()}", box=None, title_justify="left")
    for finding in findings:
        table.add_row(f"[{colours[finding.verdict]}]{finding.verdict.value}[/]", finding.subject, finding.found, finding.costs)
    return table
