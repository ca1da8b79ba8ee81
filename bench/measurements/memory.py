"""Resident memory of the whole server while 500 pulls of a 512 MiB blob stand still: MiB, each shared page counted once."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.client import Connection
from bench.content import random_content
from bench.failure import BenchError
from bench.measurements.blob_get import publish_blob
from bench.results import Row
from bench.rounds import Arena, Contender, interleave
from bench.servers import Server

_REPOSITORY: Final = "library/memory"
_PULLS: Final = 500
_RECEIVE_BYTES: Final = 64 << 10
_READ_SECONDS: Final = 0.5
_CALM_READINGS: Final = 6
_CALM_SHARE: Final = 0.01
_CALM_SECONDS: Final = 30.0


def measure(arena: Arena) -> list[Row]:
    """The greatest reading of each round, from the first stalled pull until the memory has stood still for three seconds."""
    _allow_descriptors(_PULLS + 100)
    with ExitStack() as stack:
        subject, rival = stack.enter_context(arena.start_subject()), stack.enter_context(arena.start_rival())
        with random_content() as content:
            targets = [publish_blob(server, _REPOSITORY, content) for server in (subject, rival)]
        found = interleave(arena, [_contender("subject", subject, targets[0]), _contender("rival", rival, targets[1])])
    return [Row(f"memory under {_PULLS} stalled pulls", "MiB", found["subject"], rival.name, found["rival"], below=400.0)]


def _allow_descriptors(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(f"{needed} open files are needed, and the limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))


def _contender(figure: str, server: Server, target: str) -> Contender:
    def attempt() -> dict[str, float]:
        with _stalled(server, target):
            return {figure: _peak(server.pid) / 2**20}

    return attempt


@contextmanager
def _stalled(server: Server, target: str) -> Iterator[None]:
    """Hold the pulls open, each with its answer begun and its body unread."""
    with ExitStack() as stack:
        for _ in range(_PULLS):
            connection = stack.enter_context(Connection(server.address, _RECEIVE_BYTES))
            head = connection.begin(target)
            if head.status != 200:
                raise BenchError(f"a stalled pull from {server.name} was answered {head.status}")
        yield


def _peak(pid: int) -> int:
    readings: list[int] = []
    deadline = time.monotonic() + _CALM_SECONDS
    while not _calm(readings[-_CALM_READINGS:]) and time.monotonic() < deadline:
        readings.append(proportional_set_size(pid))
        time.sleep(_READ_SECONDS)
    return max(readings)


def _calm(readings: list[int]) -> bool:
    return len(readings) == _CALM_READINGS and max(readings) - min(readings) <= _CALM_SHARE * max(readings)


def proportional_set_size(pid: int) -> int:
    """The memory (bytes) of `pid` and of its descendants: the sum of Pss, which divides each shared page among those who map it."""
    parents = _parents()
    tree, grown = {pid}, True
    while grown:
        children = {child for child, parent in parents.items() if parent in tree}
        grown = not children <= tree
        tree |= children
    return sum(_pss(each) for each in tree)


def _parents() -> dict[int, int]:
    found: dict[int, int] = {}
    for name in filter(str.isdigit, (entry.name for entry in Path("/proc").iterdir())):
        with suppress(OSError):
            # The second field, the program's name, may hold blanks and brackets: count from the last bracket.
            found[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"the kernel reports no Pss for process {pid}")
