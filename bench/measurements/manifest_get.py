"""Manifest GET by tag, the request that every pull begins with: requests a second at 32 connections."""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack
from typing import Final

from bench.client import Connection
from bench.failure import BenchError
from bench.images import MANIFEST_TYPE, fresh_image, push_image, push_scope
from bench.results import Row
from bench.rounds import Arena, Contender, interleave
from bench.servers import Server

_REPOSITORY: Final = "library/manifest-get"
_SECONDS: Final = 5
_WARM_UP_SECONDS: Final = 1
_RATE: Final = re.compile(r"Requests/sec:\s+([\d.]+)")
_FAULT: Final = re.compile(r"Non-2xx or 3xx responses.*|Socket errors.*")


def measure(arena: Arena) -> list[Row]:
    """One image on each server, then wrk in turns."""
    with ExitStack() as stack:
        subject, rival = stack.enter_context(arena.start_subject()), stack.enter_context(arena.start_rival())
        image = fresh_image()
        for server in (subject, rival):
            with Connection(server.address) as connection:
                connection.authorise([push_scope(_REPOSITORY)])
                push_image(connection, _REPOSITORY, "latest", image)
            _requests_a_second(server, _WARM_UP_SECONDS)
        found = interleave(arena, [_contender("subject", subject), _contender("rival", rival)])
    title = "manifest GET by tag, 32 connections"
    return [Row(title, "requests/s", found["subject"], rival.name, found["rival"], at_least=10.0)]


def _contender(figure: str, server: Server) -> Contender:
    return lambda: {figure: _requests_a_second(server, _SECONDS)}


def _requests_a_second(server: Server, seconds: int) -> float:
    url = f"http://{server.address.host}:{server.address.port}/v2/{_REPOSITORY}/manifests/latest"
    command = ["wrk", "-t2", "-c32", f"-d{seconds}s", "-H", f"Accept: {MANIFEST_TYPE}", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    fault, rate = _FAULT.search(output), _RATE.search(output)
    if fault or not rate:
        raise BenchError(f"wrk against {server.name}: {fault.group() if fault else output}")
    return float(rate.group(1))
