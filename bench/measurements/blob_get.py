"""Blob GET of 512 MiB from page cache, by one client and by eight: MiB a second over all clients."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial
from typing import Final

from bench.client import BUFFER_BYTES, Address, Connection
from bench.content import Content, random_content
from bench.failure import BenchError
from bench.fleet import Work, together
from bench.images import push_file, push_scope
from bench.results import Row
from bench.rounds import Arena, Contender, interleave, settle
from bench.servers import Nginx, Server

_REPOSITORY: Final = "library/blob-get"
_CROWDS: Final = {1: "one client", 8: "eight clients"}


def measure(arena: Arena) -> list[Row]:
    """The same blob on all three servers, then pulls in turns."""
    rows: list[Row] = []
    with ExitStack() as stack:
        content = stack.enter_context(random_content())
        nginx_directory = arena.directory / "nginx"
        servers = [
            stack.enter_context(arena.start_subject()),
            stack.enter_context(arena.start_rival()),
            stack.enter_context(Nginx()(nginx_directory)),
        ]
        shutil.copyfile(content.path, nginx_directory / "files/blob")
        targets = [*(publish_blob(server, _REPOSITORY, content) for server in servers[:2]), "/blob"]
        settle(arena.directory)
        for server, target in zip(servers, targets, strict=True):
            _check(server, target, content.digest)
        for crowd, words in _CROWDS.items():
            arena.announce(f"  {words}")
            rows += _rows(arena, servers, targets, content.size, crowd)
    return rows


def publish_blob(server: Server, repository: str, content: Content) -> str:
    """Push `content` and return the request target under which it can be pulled."""
    with Connection(server.address) as connection:
        connection.authorise([push_scope(repository)])
        push_file(connection, repository, content.file, content.size, content.digest)
    return f"/v2/{repository}/blobs/{content.digest}"


def _check(server: Server, target: str, digest: str) -> None:
    with Connection(server.address) as connection:
        if connection.fetch_digest(target) != digest:
            raise BenchError(f"{server.name} sent other bytes than were pushed")


def _rows(arena: Arena, servers: list[Server], targets: list[str], size: int, crowd: int) -> list[Row]:
    contenders = [
        _contender(figure, server.address, target, size, crowd)
        for figure, server, target in zip(("subject", "rival", "nginx"), servers, targets, strict=True)
    ]
    found = interleave(arena, contenders)
    title = f"blob GET of 512 MiB, {_CROWDS[crowd]}"
    return [
        Row(title, "MiB/s", found["subject"], servers[1].name, found["rival"], at_least=1.0),
        Row(title, "MiB/s", found["subject"], "nginx with sendfile", found["nginx"], at_least=0.8),
    ]


def _contender(figure: str, address: Address, target: str, size: int, crowd: int) -> Contender:
    def attempt() -> dict[str, float]:
        seconds = together([partial(_prepare, address, target, size)] * crowd)
        return {figure: crowd * size / seconds / 2**20}

    return attempt


def _prepare(address: Address, target: str, size: int) -> Work:
    connection, buffer = Connection(address), bytearray(BUFFER_BYTES)

    def pull() -> None:
        if connection.drain(target, buffer) != size:
            raise BenchError(f"GET {target} sent a body of another length")

    return pull
