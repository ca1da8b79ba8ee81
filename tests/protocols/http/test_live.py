"""Streams of pages over real connections: they end with their reader, are bounded, and hold up no stop."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.protocols.http.exchange import client, metric
from tests.support.server import RoadsteadServer, poll

MOST, WORKERS = 20, 4  # at most, by default


@pytest.fixture
def cookie(registry: RoadsteadServer) -> str:
    """Of a session of the administrator."""
    return session(registry)


def session(server: RoadsteadServer) -> str:
    with client(server, anonymous=True) as http:
        answer = http.post("/login", data={"name": "admin", "password": server.admin_password})
        assert answer.status_code == 303
        return "; ".join(f"{name}={value}" for name, value in http.cookies.items())


def open_stream(server: RoadsteadServer, cookie: str) -> socket.socket:
    """The queue of jobs, followed; the answer's first bytes have come."""
    line = socket.create_connection((server.address, server.port), timeout=30)
    line.sendall(f"GET /admin/jobs/live HTTP/1.1\r\nHost: {server.host}\r\nCookie: {cookie}\r\n\r\n".encode())
    return line


def status(line: socket.socket) -> int:
    return int(line.recv(12).split()[1])


def streams(http: httpx2.Client) -> float:
    return metric(http, "roadstead_live_streams")


@pytest.fixture
def quiet(http: httpx2.Client) -> Iterator[None]:
    """Nobody follows anything, before and after."""
    assert poll(lambda: streams(http) == 0)
    yield
    assert poll(lambda: streams(http) == 0)


@pytest.mark.usefixtures("quiet")
def test_a_stream_ends_when_its_reader_has_gone(registry: RoadsteadServer, http: httpx2.Client, cookie: str) -> None:
    lines = [open_stream(registry, cookie) for _ in range(5)]
    assert [status(line) for line in lines] == [200] * 5
    assert streams(http) == 5
    for line in lines:
        line.close()
    assert poll(lambda: streams(http) == 0, 20.0)  # a stream that nobody ended would go on for a minute


@pytest.mark.usefixtures("quiet")
def test_nobody_follows_too_much(registry: RoadsteadServer, http: httpx2.Client, cookie: str) -> None:
    with ExitStack() as stack:
        lines = [stack.enter_context(open_stream(registry, cookie)) for _ in range(WORKERS * MOST + 1)]
        answers = [status(line) for line in lines]
        assert set(answers) == {200, 429}
        assert answers.count(200) == streams(http) >= MOST  # counted in each worker by itself
    assert poll(lambda: streams(http) == 0)
    with open_stream(registry, cookie) as line:
        assert status(line) == 200


@pytest.mark.usefixtures("quiet")
def test_head_begins_no_stream(registry: RoadsteadServer, http: httpx2.Client, cookie: str) -> None:
    answer = http.head("/admin/jobs/live", headers={"cookie": cookie})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")


def test_streams_hold_up_no_stop(tmp_path: Path) -> None:
    with RoadsteadServer(tmp_path / "data") as server, open_stream(server, session(server)) as line:
        assert status(line) == 200
        assert server.stop() == 0
        while line.recv(65536):
            pass  # to its end, which a reset would be none of
        assert "Killing worker" not in server.log.read_text()
