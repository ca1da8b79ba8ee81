"""What a directory holds, told as JSON: run as a program, also where a file system is mounted for it alone.

Paths are bytes, since names that are no text are compared too.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys

Record = dict[str, object]


def snapshot(root: bytes) -> dict[str, Record]:
    """Path → everything that can be told of it without depending on the machine. Bytes are read as Latin-1, so that JSON holds them."""
    found: dict[str, Record] = {}
    first_names: dict[tuple[int, int], str] = {}
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        name = path.decode("latin-1")
        full = root + b"/" + path if path else root
        status = os.lstat(full)
        found[name] = describe(full, status)
        if stat.S_ISDIR(status.st_mode):
            waiting += [path + b"/" + child if path else child for child in sorted(os.listdir(full), reverse=True)]
        elif status.st_nlink > 1:
            found[name]["same"] = first_names.setdefault((status.st_dev, status.st_ino), name)
    return found


def describe(path: bytes, status: os.stat_result) -> Record:
    record: Record = {
        "mode": oct(status.st_mode),
        "owner": [status.st_uid, status.st_gid],
        "time": int(status.st_mtime // 1),
        "xattrs": {name: os.getxattr(path, name, follow_symlinks=False).decode("latin-1") for name in attributes(path)},
    }
    if stat.S_ISREG(status.st_mode):
        record |= {"size": status.st_size, "links": status.st_nlink, "content": content(path)}
    elif stat.S_ISLNK(status.st_mode):
        record["target"] = os.readlink(path).decode("latin-1")
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        record["device"] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
    return record


def attributes(path: bytes) -> list[str]:
    try:
        return sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:  # The file system of a test machine may have none.
        return []


def content(path: bytes) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    json.dump(snapshot(os.fsencode(sys.argv[1])), sys.stdout)
