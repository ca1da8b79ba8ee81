"""From the start of the process until the server says that it is ready: seconds, on an empty directory and with 100,000 tags."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

from bench.client import Connection, expect
from bench.failure import BenchError
from bench.images import MANIFEST_TYPE, digest_of, fresh_image, push_image, push_scope
from bench.results import Row
from bench.rounds import Arena, Contender, interleave, settle
from bench.servers import Starter

_REPOSITORIES: Final = 100
_TAGS_EACH: Final = 1000
_TAGS_A_REQUEST: Final = 100
_LIMIT_SECONDS: Final = 2.0


def measure(arena: Arena) -> list[Row]:
    """An empty directory for every start; then one full directory for all starts."""
    empty = interleave(
        arena,
        [
            _contender(arena, "subject", arena.subject, _fresh(arena.directory / "empty-subject")),
            _contender(arena, "rival", arena.rival, _fresh(arena.directory / "empty-rival")),
        ],
    )
    arena.announce(f"  filling with {_REPOSITORIES * _TAGS_EACH:,} tags")
    full = arena.directory / "full"
    _fill(arena.subject, full)
    filled = interleave(arena, [_contender(arena, "subject", arena.subject, lambda: full)])
    return [
        Row("start to ready, empty directory", "s", empty["subject"], arena.rival.name, empty["rival"], below=_LIMIT_SECONDS),
        Row(f"start to ready, {_REPOSITORIES * _TAGS_EACH:,} tags", "s", filled["subject"], below=_LIMIT_SECONDS),
    ]


def _fresh(parent: Path) -> Callable[[], Path]:
    numbers = count()
    return lambda: parent / str(next(numbers))


def _contender(arena: Arena, figure: str, starter: Starter, directory: Callable[[], Path]) -> Contender:
    def attempt() -> dict[str, float]:
        settle(arena.directory)
        with starter(directory()) as server:
            return {figure: server.ready_after}

    return attempt


def _fill(starter: Starter, directory: Path) -> None:
    with starter(directory) as server, Connection(server.address) as connection:
        for number in range(_REPOSITORIES):
            _fill_repository(connection, f"library/start/repository-{number:03}")


def _fill_repository(connection: Connection, repository: str) -> None:
    connection.authorise([push_scope(repository)])
    image = fresh_image()
    push_image(connection, repository, "tag-0000", image)
    target = f"/v2/{repository}/manifests/{digest_of(image.manifest)}"
    for tags in _batches():
        query = "&".join(f"tag={tag}" for tag in tags)
        expect(connection.request("PUT", f"{target}?{query}", [f"Content-Type: {MANIFEST_TYPE}"], image.manifest), 201, "PUT with tags")
    _check(connection, repository)


def _batches() -> Iterator[list[str]]:
    for first in range(0, _TAGS_EACH, _TAGS_A_REQUEST):
        yield [f"tag-{number:04}" for number in range(first, first + _TAGS_A_REQUEST)]


def _check(connection: Connection, repository: str) -> None:
    listed = expect(connection.request("GET", f"/v2/{repository}/tags/list?n={_TAGS_EACH}"), 200, "GET of the tags")
    found = len(json.loads(listed.body)["tags"])
    if found != _TAGS_EACH:
        raise BenchError(f"{repository} has {found} tags after {_TAGS_EACH} were set: the server does not take several tags a PUT")
