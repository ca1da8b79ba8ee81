"""Where an SQLite file may lie: not on a network file system, whose locks and shared memory do not work as WAL needs them."""

from __future__ import annotations

import os
from pathlib import Path

from roadstead.errors import Misconfigured

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "lustre",
        "gpfs",
        "beegfs",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "afs",
        "9p",
        "pvfs2",
        "panfs",
    }
)


def file_system_type(directory: Path, mountinfo: str | None = None) -> str | None:
    """The type of the file system that holds `directory` (as in /proc/self/mountinfo, see proc(5)), or None where that cannot be told."""
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return None
    device = directory.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        if fields.split()[2:3] == [wanted]:
            return tail.split()[0]
    return None


def require_local(directory: Path, mountinfo: str | None = None) -> None:
    """Raise Misconfigured if `directory` is on a file system that is shared over a network."""
    kind = file_system_type(directory, mountinfo)
    if kind in NETWORK_FILE_SYSTEMS:
        raise Misconfigured(
            f"{directory} is on {kind}, a network file system: SQLite's locks and shared memory are not safe there, and acknowledged "
            "pushes could be lost. Put the database on a local disk (ROADSTEAD_DATABASE_URL=sqlite:///local/path) or use PostgreSQL; "
            "blobs may stay on the network."
        )
