"""The machine that a run was made on, in general words: figures of different machines do not compare."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Final

_SYNCS: Final = 50


def describe(directory: Path) -> dict[str, str]:
    """What decides the figures: cores, memory, system, and the disk below `directory` with its latency of a synced write."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": f"{os.cpu_count()} ({platform.machine()})",
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"Linux {'.'.join(platform.release().split('.')[:2])}, Python {platform.python_version()}",
        "disk": f"{_filesystem(directory)}, a 4 KiB write and fdatasync takes {_sync_milliseconds(directory):.2f} ms",
        "docker-registry": _version("docker-registry"),
        "nginx": _version("nginx-light"),
    }


def _filesystem(directory: Path) -> str:
    command = ["findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _sync_milliseconds(directory: Path) -> float:
    probe = directory / "sync-probe"
    descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY)
    try:
        return 1000 * median(_timed_sync(descriptor) for _ in range(_SYNCS))
    finally:
        os.close(descriptor)
        probe.unlink()


def _timed_sync(descriptor: int) -> float:
    started = time.monotonic()
    os.write(descriptor, bytes(4096))
    os.fdatasync(descriptor)
    return time.monotonic() - started


def _version(package: str) -> str:
    found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "not from Debian"
