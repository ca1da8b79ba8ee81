"""A server of HTTP on a port of this machine, for as long as a test needs it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Listener:
    """Answers by the handler's methods, each request in a thread of its own, from `with` until its end; `host` is NAME:PORT."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], name: str = "127.0.0.1") -> None:
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._listener.daemon_threads = True
        self.host = f"{name}:{self._listener.server_address[1]}"
        self._thread = threading.Thread(target=self._listener.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """Keeps connections, and says nothing on stderr."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""
