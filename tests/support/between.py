"""Stands between a client and the real server: counts what is asked for, cuts answers, changes bytes."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from tests.support.listener import Handler, Listener
from tests.support.server import RoadsteadServer

Change = Callable[[str, bytes], bytes]
"""From the path and body of a blob's answer, the body that is sent instead; a shorter one is a cut connection. Called by many at once."""


class Between(Listener):
    """Forwards to the server on a port of its own (`host`). `blobs` counts the GETs of each blob's path, `ranges` keeps their ranges."""

    def __init__(self, server: RoadsteadServer, change: Change = lambda _path, body: body) -> None:
        self.blobs: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.change = change
        self._lock = threading.Lock()
        outer = self

        class Forwarding(Handler):
            def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
                outer._forward(self, server)

        super().__init__(Forwarding)

    def _forward(self, request: BaseHTTPRequestHandler, server: RoadsteadServer) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            connection.request("GET", request.path, headers=dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
            sent = self._seen(request, answer.status, body)
            request.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("date", "server", "connection", "transfer-encoding", "content-length"):
                    request.send_header(name, value)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(sent)
            request.close_connection = len(sent) < len(body)
        finally:
            connection.close()

    def _seen(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> bytes:
        if "/blobs/" not in request.path or status >= 300:
            return body
        with self._lock:
            self.blobs[request.path] += 1
            self.ranges.append(request.headers.get("Range", ""))
        return self.change(request.path, body)
