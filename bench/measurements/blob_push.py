"""Blob push of 512 MiB of fresh random bytes (POST, PATCH, PUT), from memory to disk: MiB a second.

docker-registry syncs the files it writes, but not the directories that hold their names, so a power cut may still lose what it has
acknowledged. Therefore its push is also shown with a sync of the filesystem after it; dd of the same bytes shows the disk's own limit.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from typing import Final

from bench.client import Connection
from bench.content import Content, random_content
from bench.images import push_file, push_scope
from bench.results import Row
from bench.rounds import Arena, Contender, by_figure, play, settle
from bench.servers import Server

_REPOSITORY: Final = "library/blob-push"
_TITLE: Final = "blob push of 512 MiB"
_NOTE: Final = (
    "docker-registry syncs its files, not their directories, before it answers; "
    "the row with sync adds a sync of the whole filesystem to each of its pushes."
)


def measure(arena: Arena) -> list[Row]:
    """Each round has new bytes, the same for all contenders."""
    with ExitStack() as stack:
        subject, rival = stack.enter_context(arena.start_subject()), stack.enter_context(arena.start_rival())
        found = by_figure([_round(arena, number, subject, rival) for number in range(arena.rounds)])
    pushed = found["subject"]
    return [
        Row(_TITLE, "MiB/s", pushed, rival.name, found["rival"], at_least=3.0, either=_TITLE),
        Row(_TITLE, "MiB/s", pushed, "dd conv=fdatasync", found["dd"], at_least=0.8, either=_TITLE),
        Row(_TITLE, "MiB/s", pushed, f"{rival.name}, then sync", found["rival, synced"], note=_NOTE),
    ]


def _round(arena: Arena, number: int, subject: Server, rival: Server) -> dict[str, float]:
    with random_content() as content:
        contenders: list[Contender] = [
            lambda: {"subject": _push(arena, subject, content)[0]},
            lambda: dict(zip(("rival", "rival, synced"), _push(arena, rival, content), strict=True)),
            lambda: {"dd": _dd(arena, content)},
        ]
        return play(arena, number, contenders)


def _push(arena: Arena, server: Server, content: Content) -> tuple[float, float]:
    """The rate until the server's answer, and the rate until the filesystem is synced as well."""
    settle(arena.directory)
    with Connection(server.address) as connection:
        connection.authorise([push_scope(_REPOSITORY)])
        started = time.monotonic()
        push_file(connection, _REPOSITORY, content.file, content.size, content.digest)
        answered = time.monotonic()
        settle(arena.directory)
        synced = time.monotonic()
    return _rate(content, answered - started), _rate(content, synced - started)


def _dd(arena: Arena, content: Content) -> float:
    settle(arena.directory)
    copy = arena.directory / "dd-copy"
    started = time.monotonic()
    subprocess.run(["dd", f"if={content.path}", f"of={copy}", "bs=1M", "conv=fdatasync", "status=none"], check=True)
    seconds = time.monotonic() - started
    copy.unlink()
    return _rate(content, seconds)


def _rate(content: Content, seconds: float) -> float:
    return content.size / seconds / 2**20
