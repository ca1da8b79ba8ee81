"""Granian's server, changed in three things: workers that are replaced may finish what they are doing, however long it takes; what is
live on pages ends before a worker is asked to stop; and a worker is asked to stop when it can hear that, and until it does.

Granian by itself waits for a replaced worker in the thread that also starts and stops all others, and kills it after the time for
stopping: a push of hours would be cut, or the server could not be stopped for hours.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from granian.server.mp import MPServer

from roadstead.serving.ending import ENDING

_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_AGAIN_SECONDS: Final = 0.5
_LISTEN: Final = "0A"  # TCP_LISTEN in the kernel's tables of sockets


class PatientServer(MPServer):
    """See the module's docstring."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._finishing: list[Any] = []
        # Until a worker listens to it: by itself it would end the process.
        signal.signal(ENDING, signal.SIG_IGN)

    def _respawn_workers(self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        """Start the new workers, and when they listen ask the old ones to finish. `delay` is not needed for that."""
        before = listeners(self.bind_port)
        self._finishing = [worker for worker in self._finishing if worker.is_alive()]
        replaced: list[Any] = [self.wrks[index] for index in workers]
        started: list[Any] = []
        for index in workers:
            self.respawned_wrks[index] = time.monotonic()
            self.wrks[index] = self._spawn_worker(idx=index, target=spawn_target, callback_loader=target_loader)
            started.append(self.wrks[index])
            started[-1].start()
        self._wait_for_listeners(before + len(workers), started)
        for worker in replaced:
            _end_streams(worker)
            worker.terminate()
        self._finishing += replaced

    def _wait_for_listeners(self, wanted: int, workers: list[Any]) -> None:
        """Until there are so many sockets that take connections, or some worker died instead, or too much time has passed."""
        end = time.monotonic() + _START_SECONDS
        while listeners(self.bind_port) < wanted and all(worker.is_alive() for worker in workers) and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)

    def shutdown(self, exit_code: int = 0) -> None:
        """Those that still finish are stopped as all others are, and killed when the time for that is over.

        One that has just begun would take the signal for its parent's, or for nothing, and go on until it is killed.
        """
        self._wait_for_listeners(len(self.wrks), self.wrks)
        self.wrks += self._finishing
        for worker in self.wrks:
            _end_streams(worker)
        self._ask_until_they_end()
        super().shutdown(exit_code)  # type: ignore[no-untyped-call] # granian annotates few of its methods

    def _ask_until_they_end(self) -> None:
        """Or until it is time to kill them, which granian does next; it would do so with those that have just ended, too."""
        workers: list[Any] = self.wrks
        begun = time.monotonic()
        asked = begun - _AGAIN_SECONDS
        while (now := time.monotonic()) - begun < (self.workers_kill_timeout or 0):
            alive = [worker for worker in workers if worker.is_alive()]
            if not alive:
                return
            if now - asked >= _AGAIN_SECONDS:
                asked = now
                for worker in alive:
                    worker.terminate()
            time.sleep(_POLL_SECONDS)
        self.workers_kill_timeout = 1


def _end_streams(worker: Any) -> None:
    """Tell it; one that has just begun, or has ended, does not mind."""
    with suppress(ProcessLookupError):
        if (pid := worker.inner.pid) is not None and worker.is_alive():
            os.kill(pid, ENDING)


def listeners(port: int) -> int:
    """How many sockets of this machine take connections on a TCP port; each worker has one of its own (SO_REUSEPORT)."""
    suffix = f":{port:04X}"
    found = 0
    for table in (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6")):
        rows = table.read_text().splitlines()[1:] if table.exists() else []
        found += sum(fields[1].endswith(suffix) and fields[3] == _LISTEN for fields in map(str.split, rows))
    return found
