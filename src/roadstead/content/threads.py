"""Threads for work that leaves the interpreter's lock: hashing, reading and writing files, checking passwords.

The threads that need the lock stay on one core of a worker's own (see `serving.affinity`), where what they share is in its cache. These
may run on any.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

_EVERY_CORE: Final = os.sched_getaffinity(0)


def thread_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool of up to `threads` threads that run on every core that this process was started on."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_run_anywhere)


def _run_anywhere() -> None:
    os.sched_setaffinity(0, _EVERY_CORE)
