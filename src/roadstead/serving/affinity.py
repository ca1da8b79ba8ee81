"""A core of its own for each HTTP worker process.

The interpreter's lock lets one thread of a process run at a time. Left to itself the kernel spreads the loop and the database's threads
over all cores, and each hand-over wakes another core with a cold cache: measured on two cores, a third fewer small pushes a second.
Threads that do not need the lock stay free (`content.threads`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_core(folder: Path) -> Iterator[int | None]:
    """Keep this thread, and those that it starts, on a core that no other process claims in `folder`; None if all are claimed."""
    before = os.sched_getaffinity(0)
    for core in sorted(before):
        with (folder / f"core-{core}").open("ab") as claim:
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            os.sched_setaffinity(0, {core})
            try:
                yield core
            finally:
                os.sched_setaffinity(0, before)
            return
    yield None
