"""`roadstead worker`: a job worker."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

from roadstead.app.worker import work
from roadstead.settings import Settings

_PR_SET_PDEATHSIG = 1


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT."""
    end_with_parent()
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await work(settings, stop)


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the server that started us is killed (prctl(2))."""
    if sys.platform == "linux" and os.getppid() != 1:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
