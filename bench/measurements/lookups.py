"""What people look up while they type or verify: OpenPGP keys by their fingerprint, and search over 10,000 images with 100,000 tags.

A key lookup is what `apptainer verify` asks of its key server. A search is the page `/search?q=…`, and what a browser asks for at each
letter that is typed, by the administrator, who sees everything, and by nobody; the figure is that of the slowest of several texts.
"""

from __future__ import annotations

import base64
import os
import time
from statistics import median
from typing import Final
from urllib.parse import quote

from pysequoia import Tsk

from bench.client import Connection, expect
from bench.large_site import fill, session
from bench.load import WARM_UP_SECONDS, requests_a_second
from bench.results import Row
from bench.rounds import Arena, interleave, settle
from bench.servers import Server
from tests.support import many

_LOOKUPS_A_CORE: Final = 1000.0
_SEARCH_SECONDS: Final = 0.05
_ASKED: Final = 20
_TEXTS: Final = ("app", "app-07", "project-002/team", "v1", "app-00042:v1", "nowhere to be found", "sha256:abcdef", "cuda:12")
_HOW: Final = (["Accept: text/html"], ["Accept: text/html", "HX-Request: true"])
"""The whole page, and what htmx asks for while somebody types."""


def measure(arena: Arena) -> list[Row]:
    """Both from one server, which has the images."""
    arena.announce(f"  filling with {many.REPOSITORIES:,} repositories")
    fill(arena.directory / "subject" / "data")
    with arena.start_subject() as server:
        target = _push_key(server)
        settle(arena.directory)
        requests_a_second(server, target, seconds=WARM_UP_SECONDS)
        _slowest(server)
        cores = len(os.sched_getaffinity(0))
        found = interleave(
            arena,
            [lambda: {"keys": requests_a_second(server, target) / cores}, lambda: {"search": _slowest(server)}],
        )
    goal = [_LOOKUPS_A_CORE] * arena.rounds
    return [
        Row("key lookups, a core", "lookups/s", found["keys"], "the goal", goal, at_least=1.0),
        Row(f"search over {many.REPOSITORIES:,} images", "s", found["search"], below=_SEARCH_SECONDS),
    ]


def _push_key(server: Server) -> str:
    """Push a new key; where it is looked up."""
    certificate = Tsk.generate(user_ids=["Reader <reader@example.org>"]).extract_certificate()
    assert server.address.credentials is not None
    basic = base64.b64encode(server.address.credentials.encode()).decode()
    headers = [f"Authorization: Basic {basic}", "Content-Type: application/x-www-form-urlencoded"]
    body = f"keytext={quote(str(certificate), safe='')}".encode()
    with Connection(server.address) as connection:
        expect(connection.request("POST", "/pks/add", headers, body), 200, "POST of the key")
    return f"/pks/lookup?op=get&exact=on&search=0x{certificate.fingerprint}"


def _slowest(server: Server) -> float:
    """Seconds of the text that takes longest, each by the median of several times."""
    assert server.address.credentials is not None
    name, _, password = server.address.credentials.partition(":")
    with Connection(server.address) as connection:
        people: tuple[list[str], ...] = ([session(connection, name, password)], [])
        asked = [(text, [*who, *how]) for text in _TEXTS for who in people for how in _HOW]
        return max(_seconds(connection, f"/search?q={quote(text)}", headers) for text, headers in asked)


def _seconds(connection: Connection, target: str, headers: list[str]) -> float:
    samples = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        expect(connection.request("GET", target, headers), 200, "GET of a search")
        samples.append(time.perf_counter() - begun)
    return median(samples)
