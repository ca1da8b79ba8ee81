"""The pages of a large site: 10,000 repositories with 100,000 tags, of which one repository has 20,000.

Each page is asked for as a browser of the administrator, who sees everything, would; some by a member and by nobody, too. The figure is
that of the slowest.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from statistics import median
from typing import Final

from bench.client import Connection, expect
from bench.large_site import fill, session
from bench.results import Row
from bench.rounds import Arena, interleave, settle
from bench.servers import Server
from tests.support import many

_SECONDS: Final = 0.1
_ASKED: Final = 10
_PASSWORD: Final = "a keel of old oak"
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
    f"{_LARGE}/-/history",
    "/projects/project-002/audit",
    "/search?q=app-04",
    "/profile/tokens",
    "/help/apptainer",
    "/admin/jobs",
    "/admin/users",
    "/admin/users/1",
    "/admin/groups",
    "/admin/robots",
    "/admin/sources",
    "/admin/clusters",
    "/admin/storage",
    "/admin/audit",
    "/admin/audit?who=builder",
    "/admin/audit?who=nobody",
    "/admin/audit?what=push",
    "/admin/audit?what=delete",
    "/admin/audit?which=project-002/app-00001",
    "/admin/audit?which=project-0",
    "/admin/audit?page=200",
    "/admin/configuration",
    "/admin/health",
)
_OTHERS: Final = ("/", "/projects", "/search?q=app-04")
"""What is asked for by a member of every other project too, and by nobody."""


def measure(arena: Arena) -> list[Row]:
    """The slowest page of those that people open most."""
    arena.announce(f"  filling with {many.REPOSITORIES:,} repositories")
    fill(arena.directory / "subject" / "data")
    with arena.start_subject() as server:
        cookies = _log_in(server)
        settle(arena.directory)
        arena.announce("  " + ", ".join(f"{page} {seconds * 1000:.0f} ms" for page, seconds in _times(server, cookies).items()))
        found = interleave(arena, [lambda: {"page": max(_times(server, cookies).values())}])
    return [Row(f"slowest page over {many.REPOSITORIES:,} repositories", "s", found["page"], below=_SECONDS)]


def _log_in(server: Server) -> dict[str, str]:
    """The Cookie headers of browsers that have logged in by the form: the administrator's, and that of the member of many projects."""
    assert server.address.credentials is not None
    name, _, password = server.address.credentials.partition(":")
    with Connection(server.address) as connection:
        administrator = session(connection, name, password)
        # The member's account came without a password.
        basic = b64encode(server.address.credentials.encode()).decode()
        headers = ["Content-Type: application/json", f"Authorization: Basic {basic}"]
        change = json.dumps({"new_password": _PASSWORD}).encode()
        expect(connection.request("PUT", f"/api/v2.0/users/{many.MEMBER}/password", headers, change), 200, "password of the member")
        return {"administrator": administrator, "member": session(connection, "member", _PASSWORD), "nobody": "X-Nobody: 1"}


def _times(server: Server, cookies: dict[str, str]) -> dict[str, float]:
    asked = [(page, "administrator") for page in _PAGES] + [(page, who) for page in _OTHERS for who in ("member", "nobody")]
    with Connection(server.address) as connection:
        return {f"{page} of {who}": _seconds(connection, page, ["Accept: text/html", cookies[who]]) for page, who in asked}


def _seconds(connection: Connection, target: str, headers: list[str]) -> float:
    samples = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        expect(connection.request("GET", target, headers), 200, f"GET of {target}")
        samples.append(time.perf_counter() - begun)
    return median(samples)
