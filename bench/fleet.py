"""Several clients at once, each in a process of its own, so that no client waits for another one's interpreter lock."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import multiprocessing.synchronize
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from bench.failure import BenchError

Work = Callable[[], None]
Prepare = Callable[[], Work]
_PREPARE_SECONDS: Final = 120.0
_WORK_SECONDS: Final = 1800.0
_processes = multiprocessing.get_context("fork")


def together(clients: Sequence[Prepare]) -> float:
    """Let every client prepare, start their work at the same moment, and return the seconds from the first start to the last end.

    Fails with the message of the first client that failed.
    """
    barrier = _processes.Barrier(len(clients))
    pipes = [_processes.Pipe(duplex=False) for _ in clients]
    running = [
        _processes.Process(target=_run, args=(prepare, barrier, there), daemon=True)
        for prepare, (_, there) in zip(clients, pipes, strict=True)
    ]
    try:
        for process in running:
            process.start()
        spans = [_report(here) for here, _ in pipes]
    finally:
        _end(running)
        for here, there in pipes:
            here.close()
            there.close()
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _run(prepare: Prepare, barrier: multiprocessing.synchronize.Barrier, report: multiprocessing.connection.Connection) -> None:
    # The parent alone answers the signals of the user; it ends its clients itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work = prepare()
        barrier.wait(_PREPARE_SECONDS)
        start = time.monotonic()
        work()
        report.send((start, time.monotonic()))
    except BaseException as reason:
        barrier.abort()
        report.send(f"{type(reason).__name__}: {reason}")


def _report(report: multiprocessing.connection.Connection) -> tuple[float, float]:
    if not report.poll(_WORK_SECONDS):
        raise BenchError(f"a client did not end within {_WORK_SECONDS:.0f} seconds")
    answer = report.recv()
    if isinstance(answer, str):
        raise BenchError(f"a client failed: {answer}")
    start, end = answer
    return float(start), float(end)


def _end(running: Sequence[multiprocessing.process.BaseProcess]) -> None:
    for process in running:
        if process.is_alive():
            process.terminate()
    for process in running:
        if process.pid is not None:
            process.join()
