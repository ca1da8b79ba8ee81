"""Manifest GET by tag, the request that every pull begins with: requests a second at 32 connections."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from bench.client import Connection
from bench.images import fresh_image, push_image, push_scope
from bench.load import WARM_UP_SECONDS, manifest_gets
from bench.results import Row
from bench.rounds import Arena, Contender, interleave
from bench.servers import Server

_REPOSITORY: Final = "library/manifest-get"


def measure(arena: Arena) -> list[Row]:
    """One image on each server, then wrk in turns."""
    with ExitStack() as stack:
        subject, rival = stack.enter_context(arena.start_subject()), stack.enter_context(arena.start_rival())
        image = fresh_image()
        for server in (subject, rival):
            with Connection(server.address) as connection:
                connection.authorise([push_scope(_REPOSITORY)])
                push_image(connection, _REPOSITORY, "latest", image)
            manifest_gets(server, _REPOSITORY, seconds=WARM_UP_SECONDS)
        found = interleave(arena, [_contender("subject", subject), _contender("rival", rival)])
    title = "manifest GET by tag, 32 connections"
    return [Row(title, "requests/s", found["subject"], rival.name, found["rival"], at_least=10.0)]


def _contender(figure: str, server: Server) -> Contender:
    return lambda: {figure: manifest_gets(server, _REPOSITORY)}
