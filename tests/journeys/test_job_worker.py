"""The job worker beside a server: there from the start, there again when it dies, gone with the server however that ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import RoadsteadServer, children, job_keepers, poll, told_of


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path / "data", arguments=["--workers", "1"]) as server:
        yield server


def job_worker(server: RoadsteadServer) -> int | None:
    """Its process id, once it has its name."""
    found = {worker for keeper in job_keepers(server) for worker in children(keeper)}
    return next((worker for worker in found if told_of(worker, "comm") == "job-worker\n"), None)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_it_is_started_again_when_it_dies(server: RoadsteadServer) -> None:
    assert poll(lambda: job_worker(server) is not None)
    first = job_worker(server)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert poll(lambda: is_gone(first) and job_worker(server) is not None)


def test_it_ends_with_a_server_that_is_asked_to_end(server: RoadsteadServer) -> None:
    assert poll(lambda: job_worker(server) is not None)
    worker, (keeper,) = job_worker(server), job_keepers(server)
    assert worker is not None
    assert server.stop() == 0
    assert is_gone(worker)
    assert is_gone(keeper)


def test_it_ends_with_a_server_that_is_killed(server: RoadsteadServer) -> None:
    assert poll(lambda: job_worker(server) is not None)
    worker, (keeper,) = job_worker(server), job_keepers(server)
    assert worker is not None
    os.kill(server.pid, signal.SIGKILL)
    assert poll(lambda: is_gone(worker) and is_gone(keeper))
