"""The pages of a large site: 10,000 repositories with 100,000 tags, of which one repository has 20,000.

Each page is asked for as a browser of the administrator, who sees everything, would; the figure is that of the slowest.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlencode

from bench.client import Connection, expect
from bench.results import Row
from bench.rounds import Arena, interleave, settle
from bench.servers import ROADSTEAD, Server
from roadstead.metadata.database import open_database
from tests.support import many

_SECONDS: Final = 0.1
_ASKED: Final = 10
_LARGE: Final = "/repositories/project-002/team-1/app-00001"
_PAGES: Final = (
    "/",
    "/projects",
    "/projects/project-002",
    "/projects/project-002?sort=pulls",
    "/projects/project-002/members",
    "/projects/project-002/policies",
    _LARGE,
    f"{_LARGE}?page=200",
    f"{_LARGE}:v1",
    "/search?q=app-04",
    "/profile/tokens",
    "/help/apptainer",
)


def measure(arena: Arena) -> list[Row]:
    """The slowest page of those that people open most."""
    arena.announce(f"  filling with {many.REPOSITORIES:,} repositories")
    _fill(arena.directory / "subject" / "data")
    with arena.start_subject() as server:
        cookie = _log_in(server)
        settle(arena.directory)
        arena.announce("  " + ", ".join(f"{page} {seconds * 1000:.0f} ms" for page, seconds in _times(server, cookie).items()))
        found = interleave(arena, [lambda: {"page": max(_times(server, cookie).values())}])
    return [Row(f"slowest page over {many.REPOSITORIES:,} repositories", "s", found["page"], below=_SECONDS)]


def _fill(data: Path) -> None:
    data.mkdir(parents=True)
    subprocess.run([ROADSTEAD, "db", "upgrade", "--data", str(data)], check=True, capture_output=True)
    asyncio.run(_write(f"sqlite:///{data / 'roadstead.sqlite'}"))


async def _write(url: str) -> None:
    database = await open_database(url)
    try:
        await database.write(many.fill)
    finally:
        await database.close()


def _log_in(server: Server) -> str:
    """The Cookie header of a browser that has logged in by the form."""
    assert server.address.credentials is not None
    name, _, password = server.address.credentials.partition(":")
    headers = ["Content-Type: application/x-www-form-urlencoded", "Accept: text/html", "Sec-Fetch-Site: same-origin"]
    with Connection(server.address) as connection:
        form = urlencode({"name": name, "password": password}).encode()
        answer = expect(connection.request("POST", "/login", headers, form), 303, "login by the form")
    return f"Cookie: {answer.headers['set-cookie'].partition(';')[0]}"


def _times(server: Server, cookie: str) -> dict[str, float]:
    with Connection(server.address) as connection:
        return {page: _seconds(connection, page, ["Accept: text/html", cookie]) for page in _PAGES}


def _seconds(connection: Connection, target: str, headers: list[str]) -> float:
    samples = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        expect(connection.request("GET", target, headers), 200, f"GET of {target}")
        samples.append(time.perf_counter() - begun)
    return median(samples)
