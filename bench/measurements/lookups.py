"""What people look up while they type or verify: OpenPGP keys by their fingerprint, and search over 10,000 images.

A key lookup is what `apptainer verify` asks of its key server. A search is the whole page `/search?q=…`, by the slowest of several texts.
"""

from __future__ import annotations

import base64
import json
import os
import time
from statistics import median
from typing import Final
from urllib.parse import quote

from pysequoia import Tsk

from bench.client import Connection, expect
from bench.images import MANIFEST_TYPE, digest_of, fresh_image, push_blob, push_scope
from bench.load import WARM_UP_SECONDS, requests_a_second
from bench.results import Row
from bench.rounds import Arena, interleave, settle
from bench.servers import Server

_REPOSITORIES: Final = 100
_IMAGES_EACH: Final = 100
_LOOKUPS_A_CORE: Final = 1000.0
_SEARCH_SECONDS: Final = 0.05
_ASKED: Final = 20
_TEXTS: Final = ("app", "app-07", "library/team", "v1", "app-042:v42", "nowhere to be found", "sha256:abcdef")


def measure(arena: Arena) -> list[Row]:
    """Both from one server, which has the images."""
    with arena.start_subject() as server:
        arena.announce(f"  filling with {_REPOSITORIES * _IMAGES_EACH:,} images")
        _fill(server)
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
        Row(f"search over {_REPOSITORIES * _IMAGES_EACH:,} images", "s", found["search"], below=_SEARCH_SECONDS),
    ]


def _fill(server: Server) -> None:
    with Connection(server.address) as connection:
        for number in range(_REPOSITORIES):
            _fill_repository(connection, f"library/team-{number % 7}/app-{number:03}")


def _fill_repository(connection: Connection, repository: str) -> None:
    connection.authorise([push_scope(repository)])
    image = fresh_image()
    for content in (image.config, image.layer):
        push_blob(connection, repository, content)
    for number in range(_IMAGES_EACH):
        manifest = json.dumps({**json.loads(image.manifest), "annotations": {"number": str(number)}}).encode()
        target = f"/v2/{repository}/manifests/{digest_of(manifest)}?tag=v{number}"
        expect(connection.request("PUT", target, [f"Content-Type: {MANIFEST_TYPE}"], manifest), 201, "PUT of a manifest")


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
    with Connection(server.address) as connection:
        return max(_seconds(connection, f"/search?q={quote(text)}") for text in _TEXTS)


def _seconds(connection: Connection, target: str) -> float:
    samples = []
    for _ in range(_ASKED):
        begun = time.perf_counter()
        expect(connection.request("GET", target), 200, "GET of a search")
        samples.append(time.perf_counter() - begun)
    return median(samples)
