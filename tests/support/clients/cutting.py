"""A bad network: a loopback proxy before the registry that breaks a download off in the middle, once."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

CHUNK = 64 * 1024
# Those that speak of one connection only (RFC 9110 section 7.6.1); http.server sends Server and Date itself.
NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "server", "date"}


class Exchange(msgspec.Struct, frozen=True):
    """One request that passed: its path, its Range header, and the status of the answer."""

    path: str
    range: str | None
    status: int


class CuttingProxy(ThreadingHTTPServer):
    """Forwards to the registry at `upstream` (host:port); cuts the first answer longer than `after` bytes; records all `exchanges`."""

    daemon_threads = True

    def __init__(self, upstream: str, after: int) -> None:
        super().__init__(("127.0.0.1", 0), Forwarder)
        self.upstream = upstream
        self.after = after
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.exchanges: list[Exchange] = []
        self._cut = threading.Lock()

    def resumed(self) -> list[int]:
        """The statuses of the answers to requests that continued a download."""
        return [exchange.status for exchange in self.exchanges if exchange.range is not None]

    def cut_here(self, length: int) -> bool:
        """Whether this answer, of `length` bytes, is the one to cut."""
        return length > self.after and self._cut.acquire(blocking=False)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the test."""


class Forwarder(BaseHTTPRequestHandler):
    """Passes one connection's requests on."""

    server: CuttingProxy
    protocol_version = "HTTP/1.1"
    # Some clients try TLS first and take http only if the refusal has a status line.
    default_request_version = "HTTP/1.1"

    def do_GET(self) -> None:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        self.server.exchanges.append(Exchange(self.path, self.headers.get("Range"), answer.status))
        self._answer(answer)
        upstream.close()

    do_HEAD = do_POST = do_GET  # noqa: N815 - http.server gives the names

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in NOT_FORWARDED:
                self.send_header(name, value)
        if answer.length is None:  # Its end is the end of the connection.
            self.send_header("Connection", "close")
        self.end_headers()
        left = sys.maxsize if answer.length is None else answer.length
        if self.server.cut_here(answer.length or 0):
            left, self.close_connection = self.server.after, True
        while left and (chunk := answer.read(min(left, CHUNK))):
            self.wfile.write(chunk)
            left -= len(chunk)

    def log_message(self, format: str, *args: object) -> None:
        """`exchanges` is the log."""


@contextmanager
def cutting_proxy(upstream: str, after: int) -> Iterator[CuttingProxy]:
    """A running CuttingProxy; connect to its `host`."""
    with CuttingProxy(upstream, after) as proxy:
        serving = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, name="cutting proxy")
        serving.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            serving.join()
