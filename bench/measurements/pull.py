"""A SIF of 1 GiB by `roadstead pull` and the same bytes by one GET of curl; then by several nodes of one job with a shared cache.

The nodes are processes of this machine, so they share a disk, not a network; what is counted is what the server sends.
Everything is written to memory. The check of the digest is in the time of `roadstead pull`, and not in that of curl.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.content import random_content
from bench.failure import BenchError
from bench.measurements.library_pull import push_sif, written
from bench.results import Row
from bench.rounds import Arena, interleave, settle
from bench.servers import ROADSTEAD, Server

_REPOSITORY: Final = "library/pull"
_BYTES: Final = 1 << 30
_NODES: Final = 8
_MEMORY: Final = Path("/dev/shm")
_DEADLINE: Final = 300


def measure(arena: Arena) -> list[Row]:
    """All ways in turns, from one server."""
    with arena.start_subject() as server:
        with random_content(_BYTES) as content:
            digest = push_sif(server, written(arena.directory / "it.sif", content), _REPOSITORY)
        settle(arena.directory)
        host = f"{server.address.host}:{server.address.port}"
        pull = [str(ROADSTEAD), "pull", "--quiet", "--plain-http", f"{host}/{_REPOSITORY}:one", "-o"]
        curl = ["curl", "-fsS", f"http://{host}/v2/{_REPOSITORY}/blobs/{digest}", "-o"]

        def alone() -> dict[str, float]:
            return {"roadstead pull MiB/s": 1024 / _seconds([[*pull, "pulled"]])}

        def by_curl() -> dict[str, float]:
            return {"curl MiB/s": 1024 / _seconds([[*curl, "pulled"]])}

        def with_cache() -> dict[str, float]:
            before = _sent(server)
            seconds = _seconds([[*pull, f"pulled-{node}", "--cache", "cache"] for node in range(_NODES)])
            return {"nodes s": seconds, "sent by the server, files": (_sent(server) - before) / _BYTES}

        def curls() -> dict[str, float]:
            return {"curls s": _seconds([[*curl, f"pulled-{node}"] for node in range(_NODES)])}

        found = interleave(arena, [alone, by_curl, with_cache, curls])
    return _rows(found)


def _rows(found: Mapping[str, list[float]]) -> list[Row]:
    return [
        Row("roadstead pull of 1 GiB, verified", "MiB/s", found["roadstead pull MiB/s"], "curl, not verified", found["curl MiB/s"]),
        Row(f"{_NODES} pulls of 1 GiB with a shared cache", "s", found["nodes s"], f"{_NODES} times curl", found["curls s"]),
        Row(f"sent for {_NODES} pulls with a shared cache", "files", found["sent by the server, files"], below=1.01),
    ]


def _sent(server: Server) -> int:
    """Bytes that the server's processes have given to sockets and files, by the kernel's count of their writes and sendfiles."""
    return sum(_written(process) for process in _session(server.pid))


def _session(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # It ended meanwhile.
            if int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def _written(process: int) -> int:
    try:
        told = Path(f"/proc/{process}/io").read_text()
    except OSError:
        return 0
    return next(int(line.partition(":")[2]) for line in told.splitlines() if line.startswith("wchar:"))


def _seconds(commands: Sequence[Sequence[str]]) -> float:
    """From the start of the commands, all at once, until the last has ended. Raises BenchError if one fails."""
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="bench-") as home:
        environment = {**os.environ, "HOME": home}
        begun = time.perf_counter()
        running = [subprocess.Popen(one, cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for one in commands]
        told = [process.communicate(timeout=_DEADLINE)[1] for process in running]
        seconds = time.perf_counter() - begun
        for process, text in zip(running, told, strict=True):
            if process.returncode != 0:
                raise BenchError(f"{process.args!r} failed: {text[-600:].decode(errors='replace')}")
        return seconds
