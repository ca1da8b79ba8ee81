"""More clients than a server waits for at once, for one image that nobody has converted yet."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roadstead.cli import serve
from roadstead.sif.conversions import Patience
from tests.journeys.test_who_may import tell
from tests.support.clients.images import GZIP, Image, assemble, push, tar
from tests.support.server import RoadsteadServer, children, job_keepers

CLIENTS = 1300
MOMENT = 5.0
"""Seconds in which what needs no conversion must answer, on a machine that does other things too."""


@contextmanager
def stopped_worker(server: RoadsteadServer) -> Iterator[None]:
    """Let the job worker stand still meanwhile."""
    (keeper,) = job_keepers(server)
    (worker,) = children(keeper)
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def small_image() -> Image:
    return assemble([tar({"etc/": b"", "etc/seed": b"x"})], [GZIP], "amd64", docker=False)


def token_for(server: RoadsteadServer, scope: str) -> str:
    """A bearer token of the administrator's."""
    answer = server.http().get("/service/token", params={"service": "roadstead", "scope": scope})
    return str(answer.raise_for_status().json()["token"])


async def ask(server: RoadsteadServer, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
    """One GET on a connection of its own: status, headers, body."""
    reader, writer = await asyncio.open_connection(server.address, server.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, await reader.read()
    finally:
        writer.close()


async def crowd(server: RoadsteadServer, token: str) -> list[tuple[int, dict[str, str], bytes]]:
    """All ask at once; while they wait, other requests are answered; then the worker goes on."""
    with stopped_worker(server):
        asked = [asyncio.create_task(ask(server, "/v2/library/crowd/manifests/1.sif", token)) for _ in range(CLIENTS)]
        refused = CLIENTS - Patience().waiters
        async with asyncio.timeout(60):
            while sum(task.done() for task in asked) < refused:  # noqa: ASYNC110 - the server is another process
                await asyncio.sleep(0.05)
        for path in ("/health/live", "/v2/library/crowd/manifests/1", "/health/ready"):
            began = time.monotonic()
            status, _, _ = await ask(server, path, token)
            assert status == 200
            assert time.monotonic() - began < MOMENT
        assert sum(task.done() for task in asked) == refused
    return await asyncio.gather(*asked)


def test_the_server_takes_more_connections_than_may_wait() -> None:
    assert Patience().waiters * 2 < serve._CONNECTIONS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RoadsteadServer]:
    """A server with one worker, started with few open files allowed, as service managers do."""
    server = RoadsteadServer(tmp_path / "data", {"ROADSTEAD_WORKERS": "1"})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * CLIENTS)), hard))
    try:
        yield server
    finally:
        server.kill()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_crowd_waits_for_one_conversion_and_is_in_nobodys_way(server: RoadsteadServer) -> None:
    push(server.http(), "library/crowd", "1", small_image())
    answers = asyncio.run(crowd(server, token_for(server, "repository:library/crowd:pull")))
    jobs = tell(server, "jobs", "list", "--kind", "convert")
    given = [body for status, _, body in answers if status == 200]
    told = [headers for status, headers, _ in answers if status == 503]
    assert len(given) == Patience().waiters
    assert len(told) == CLIENTS - len(given)
    assert len(set(given)) == 1
    assert {headers["retry-after"] for headers in told} == {"10"}
    assert len(jobs) == 1
