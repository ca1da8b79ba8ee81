"""What other programs read in a squashfs: the kernel, squashfuse, unsquashfs; and what tar2sqfs makes of a tar archive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tests.support.snapshot import Record, snapshot

PROGRAMS = {"unsquashfs": "squashfs-tools", "squashfuse": "squashfuse", "tar2sqfs": "squashfs-tools-ng"}
SNAPSHOT = Path(__file__).with_name("snapshot.py")

Snapshot = dict[str, Record]


def require_squashfs_readers() -> None:
    """Skip the running test if a reader of squashfs is missing, or fail it if ROADSTEAD_REQUIRE_SQUASHFS is 1."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        reason = f"Debian packages are missing: {' '.join(missing)}"
    elif os.geteuid() != 0:
        reason = "owners and devices are compared, which needs root"
    else:
        return
    if os.environ.get("ROADSTEAD_REQUIRE_SQUASHFS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def by_kernel(image: Path) -> Snapshot:
    """As the kernel shows it, mounted in a namespace that ends with the process."""
    return _in_namespace('mount -t squashfs -o loop,ro "$1" "$2"', image)


def by_squashfuse(image: Path) -> Snapshot:
    """As squashfuse shows it."""
    return _in_namespace('squashfuse "$1" "$2"', image)


def by_unsquashfs(image: Path) -> Snapshot:
    """As unsquashfs unpacks it."""
    target = image.with_name(image.name + ".unpacked")
    _run("unsquashfs", "-no-progress", "-quiet", "-strict-errors", "-d", str(target), str(image))
    try:
        return snapshot(os.fsencode(target))
    finally:
        shutil.rmtree(target)


READERS: dict[str, Callable[[Path], Snapshot]] = {"kernel": by_kernel, "squashfuse": by_squashfuse, "unsquashfs": by_unsquashfs}


def tar2sqfs(archive: bytes, image: Path) -> Path:
    """Let tar2sqfs make a squashfs of an uncompressed archive."""
    _run("tar2sqfs", "--quiet", "--no-skip", "--force", str(image), stdin=archive)
    return image


def statistics(image: Path) -> str:
    """What `unsquashfs -s` says of the superblock."""
    return _run("unsquashfs", "-s", str(image)).decode()


def _in_namespace(mount: str, image: Path) -> Snapshot:
    place = image.with_name(image.name + ".mounted")
    place.mkdir(exist_ok=True)
    # squashfuse goes on in the background; unmounting ends it.
    script = f'{mount} && "$3" "$4" "$2" && umount "$2"'
    command = (
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        script,
        "sh",
        str(image),
        str(place),
        sys.executable,
        str(SNAPSHOT),
    )
    return cast(Snapshot, json.loads(_run(*command)))


def _run(*command: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}{done.stdout.decode(errors='replace')[-2000:]}"
    return done.stdout
