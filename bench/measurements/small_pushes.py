"""A thousand pushes of a small fresh image (config and layer of 1 KiB each, manifest, tag), by one client and by eight: pushes a second."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Final

from bench.client import Address, Connection
from bench.fleet import Work, together
from bench.images import fresh_image, push_image, push_scope
from bench.results import Row
from bench.rounds import Arena, Contender, interleave, settle
from bench.servers import Server

_PUSHES: Final = 1000
_CROWDS: Final = {1: "one client", 8: "eight clients"}


def measure(arena: Arena) -> list[Row]:
    """Each client pushes to a repository of its own, as the users of a site do."""
    rows: list[Row] = []
    with ExitStack() as stack:
        subject, rival = stack.enter_context(arena.start_subject()), stack.enter_context(arena.start_rival())
        for crowd, words in _CROWDS.items():
            arena.announce(f"  {words}")
            found = interleave(arena, [_contender(arena, "subject", subject, crowd), _contender(arena, "rival", rival, crowd)])
            title = f"{_PUSHES:,} small pushes, {words}"
            rows.append(Row(title, "pushes/s", found["subject"], rival.name, found["rival"], at_least=3.0))
    return rows


def _contender(arena: Arena, figure: str, server: Server, crowd: int) -> Contender:
    batches = count()

    def attempt() -> dict[str, float]:
        settle(arena.directory)
        batch, share = next(batches), _PUSHES // crowd
        seconds = together([partial(_prepare, server.address, f"crowd-{crowd}/client-{each}", batch, share) for each in range(crowd)])
        return {figure: crowd * share / seconds}

    return attempt


def _prepare(address: Address, name: str, batch: int, share: int) -> Work:
    repository = f"library/small-pushes/{name}"
    connection = Connection(address)
    connection.authorise([push_scope(repository)])
    images = [fresh_image() for _ in range(share)]

    def push() -> None:
        for number, image in enumerate(images):
            push_image(connection, repository, f"batch-{batch}-{number}", image)

    return push
