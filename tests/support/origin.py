"""A place on the network that answers as a test says, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.support.listener import Handler, Listener


class Asked(NamedTuple):
    """A request as it came; the names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Answered(NamedTuple):
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


Answer = Callable[[Asked], Answered]


class Origin(Listener):
    """Answers on a port of its own, as `name`; `asked` holds the requests in their order."""

    def __init__(self, answer: Answer, name: str = "127.0.0.1") -> None:
        self.asked: list[Asked] = []
        outer = self

        class Answering(Handler):
            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body)
                outer.asked.append(asked)
                answered = answer(asked)
                self.send_response(answered.status)
                for key, value in {"Content-Length": str(len(answered.body)), **answered.headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answered.body)

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self._handle
                raise AttributeError(name)

        super().__init__(Answering, name)
        self.url = f"http://{self.host}"

    def credentials(self) -> set[str]:
        """The Authorization headers that came, with secrets in forms."""
        return {asked.headers["authorization"] for asked in self.asked if "authorization" in asked.headers} | {
            asked.body.decode() for asked in self.asked if b"refresh_token" in asked.body
        }
