"""The programs that the bench needs beside Python, and the Debian packages that bring them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.failure import BenchError

PROGRAMS: Final[Mapping[str, str]] = {
    "docker-registry": "docker-registry",
    "wrk": "wrk",
    "nginx": "nginx-light",
    "mksquashfs": "squashfs-tools",
    "dd": "coreutils",
    "setpriv": "util-linux",
    "findmnt": "util-linux",
}
_POLICY: Final = Path("/usr/sbin/policy-rc.d")


def ensure_programs() -> None:
    """Return when every program is there: root on Debian gets them installed, anybody else is told in one line what to install."""
    # A plain user's PATH has no sbin, where Debian puts nginx.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = _missing()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(missing)
        missing = _missing()
    if missing:
        raise BenchError(f"the bench needs these packages: apt-get install --no-install-recommends {' '.join(missing)}")


def _missing() -> list[str]:
    return [package for program, package in PROGRAMS.items() if shutil.which(program) is None]


def _install(packages: list[str]) -> None:
    print(f"installing {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        for command in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *packages]):
            done = subprocess.run(["apt-get", *command], env=environment, stdout=subprocess.DEVNULL, check=False)
            if done.returncode != 0:
                raise BenchError(f"apt-get {command[0]} failed; install by hand: {' '.join(packages)}")


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep Debian from starting the installed servers as system services (invoke-rc.d asks policy-rc.d; 101 means no)."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
