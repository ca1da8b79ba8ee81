"""A large random file that lives in memory alone, so that reading it never competes for the disk that is measured."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

import msgspec

LARGE_BYTES: Final = 512 << 20
_STEP: Final = 16 << 20


class Content(msgspec.Struct, frozen=True):
    """An open memory file of `size` bytes; `path` opens it from any process while this one lives."""

    file: BinaryIO
    path: str
    size: int
    digest: str


@contextmanager
def random_content(size: int = LARGE_BYTES) -> Iterator[Content]:
    """Random bytes that no server has seen, in page cache and nowhere on a disk; freed at the end."""
    descriptor = os.memfd_create("bench-content")
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        digest = hashlib.sha256()
        for _ in range(size // _STEP):
            step = os.urandom(_STEP)
            file.write(step)
            digest.update(step)
        yield Content(file, f"/proc/{os.getpid()}/fd/{descriptor}", size, f"sha256:{digest.hexdigest()}")
