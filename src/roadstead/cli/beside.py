"""The job worker beside the HTTP workers: a fork of the server, so that it shares the memory of all that is imported.

    serve ─┬─ HTTP workers
           └─ keeper ── job worker

The keeper does nothing but start the job worker, again if it dies. It is a process of its own because the server has threads when
that happens, and a fork of a process with threads may inherit locks that nobody will ever open.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Event
from typing import Final

from roadstead.cli.worker import end_with_parent
from roadstead.cli.worker import run as work
from roadstead.settings import Settings

_RESTART_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.2
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_fork: Final = multiprocessing.get_context("fork")


@contextmanager
def job_worker(settings: Settings, stop_seconds: float) -> Iterator[None]:
    """Keep one job worker running. Enter it before anything starts a thread; in the end the worker has `stop_seconds` to finish."""
    keeper = _fork.Process(target=_keep, args=(settings, stop_seconds), name="job-worker-keeper")
    keeper.start()
    try:
        yield
    finally:
        _stop(keeper, stop_seconds * 2)


def _keep(settings: Settings, stop_seconds: float) -> None:
    """The keeper's life: until SIGTERM, or until the server is gone."""
    stopping = Event()
    for name in _ENDING:
        signal.signal(name, lambda _number, _frame: stopping.set())
    end_with_parent()
    _be_called("job-keeper")
    while not stopping.is_set():
        worker = _start(settings)
        while worker.is_alive() and not stopping.wait(_LOOK_SECONDS):
            pass
        if stopping.is_set():
            _stop(worker, stop_seconds)
        else:
            stopping.wait(_RESTART_SECONDS)


def _start(settings: Settings) -> BaseProcess:
    """A new job worker. A signal that comes while it is forked waits until it is known who must obey."""
    worker = _fork.Process(target=_work, args=(settings,), name="job-worker")
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    return worker


def _work(settings: Settings) -> None:
    for name in _ENDING:
        signal.signal(name, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    _be_called("job-worker")
    work(settings)


def _be_called(name: str) -> None:
    """How `ps -o comm` and `top` tell this process from the HTTP workers; at most 15 characters."""
    Path("/proc/self/comm").write_text(name)


def _stop(process: BaseProcess, seconds: float) -> None:
    """SIGTERM, and after so many seconds SIGKILL."""
    process.terminate()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
