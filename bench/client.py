"""A raw HTTP/1.1 client that is never the bottleneck: one kept-alive socket, no parsing beyond what a registry needs.

The same client measures every server, so what it costs, it costs all of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from bench.failure import BenchError

TIMEOUT_SECONDS: Final = 120
BUFFER_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 1 << 16
_CHALLENGE_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')


class Address(msgspec.Struct, frozen=True):
    """Where a server listens, and the Basic credentials (`user:password`) that may push there, or None where anybody may."""

    host: str
    port: int
    credentials: str | None = None


class Response(msgspec.Struct, frozen=True):
    """An answer that was read to its end; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Head(msgspec.Struct, frozen=True):
    """The head of an answer, with the bytes of the body that arrived together with it."""

    status: int
    headers: Mapping[str, str]
    early: bytes

    def length(self) -> int:
        """The Content-Length in bytes; fails on a chunked body, which no registry needs for what the bench asks."""
        if "content-length" not in self.headers:
            raise BenchError(f"an answer with status {self.status} has no Content-Length")
        return int(self.headers["content-length"])


class Connection:
    """One kept-alive connection. Not for several threads at once."""

    def __init__(self, address: Address, receive_buffer: int | None = None) -> None:
        """Connect. `receive_buffer` bounds the kernel's receive buffer (bytes); None leaves it to the kernel."""
        self.address = address
        self.authorization: str | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own time limits: with settimeout each call would cost a poll as well.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", TIMEOUT_SECONDS, 0))
        self._socket.connect((address.host, address.port))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; may be repeated."""
        self._socket.close()

    def request(self, method: str, target: str, headers: Sequence[str] = (), body: bytes = b"") -> Response:
        """Send one request with its whole body and read the answer. `headers` are complete lines without line ends."""
        self._socket.sendall(self._request_head(method, target, headers, len(body)) + body)
        return self._response(method)

    def request_file(self, method: str, target: str, headers: Sequence[str], file: BinaryIO, size: int) -> Response:
        """As `request`, with the first `size` bytes of `file` as the body, sent by the kernel (sendfile)."""
        self._socket.sendall(self._request_head(method, target, headers, size))
        # A server that refuses early closes while we still send; its answer, if any, says why.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendfile(file, 0, size)
        return self._response(method)

    def begin(self, target: str) -> Head:
        """Send a GET and read only the head of the answer; the body stays unread in the kernel."""
        self._socket.sendall(self._request_head("GET", target, (), 0))
        return self._head()

    def drain(self, target: str, buffer: bytearray) -> int:
        """GET `target`, read the body into `buffer` again and again, and return its length in bytes."""
        head = self._begin_ok(target)
        rest = head.length() - len(head.early)
        view = memoryview(buffer)
        while rest > 0:
            received = self._socket.recv_into(view[: min(rest, len(view))])
            if received == 0:
                raise BenchError(f"the body of GET {target} ended {rest} bytes early")
            rest -= received
        return head.length()

    def fetch_digest(self, target: str) -> str:
        """GET `target` and return the sha256 digest of its body: the untimed check that a server sends the right bytes."""
        head = self._begin_ok(target)
        digest, rest = hashlib.sha256(head.early), head.length() - len(head.early)
        while rest > 0:
            chunk = self._socket.recv(min(rest, BUFFER_BYTES))
            if not chunk:
                raise BenchError(f"the body of GET {target} ended {rest} bytes early")
            digest.update(chunk)
            rest -= len(chunk)
        return f"sha256:{digest.hexdigest()}"

    def authorise(self, scopes: Sequence[str]) -> None:
        """Do what the challenge on /v2/ asks for: nothing, or a Bearer token for `scopes` (OCI Distribution, token authentication)."""
        self.authorization = None  # with the token of before, /v2/ would not be a challenge
        challenge = self.request("GET", "/v2/").headers.get("www-authenticate", "")
        if not challenge or self.address.credentials is None:
            return
        basic = "Basic " + base64.b64encode(self.address.credentials.encode()).decode()
        self.authorization = basic if challenge.lower().startswith("basic") else self._token(challenge, basic, scopes)

    def _token(self, challenge: str, basic: str, scopes: Sequence[str]) -> str:
        parameters = dict(_CHALLENGE_PARAMETER.findall(challenge))
        query = [("service", parameters.get("service", "")), *(("scope", scope) for scope in scopes)]
        target = f"{urlsplit(parameters['realm']).path}?{urlencode(query)}"
        answer = expect(self.request("GET", target, [f"Authorization: {basic}"]), 200, "GET the token")
        granted = json.loads(answer.body)
        return f"Bearer {granted.get('token') or granted['access_token']}"

    def _begin_ok(self, target: str) -> Head:
        head = self.begin(target)
        if head.status != 200:
            raise BenchError(f"GET {target} was answered {head.status}")
        return head

    def _request_head(self, method: str, target: str, headers: Sequence[str], length: int) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.address.host}:{self.address.port}", *headers]
        if self.authorization is not None:
            lines.append(f"Authorization: {self.authorization}")
        if method not in ("GET", "HEAD"):
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _head(self) -> Head:
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            chunk = self._socket.recv(_HEAD_BYTES)
            if not chunk:
                raise BenchError(f"the server at port {self.address.port} closed the connection without an answer")
            received += chunk
        status, *lines = received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Head(int(status.split(" ", 2)[1]), headers, bytes(received[end + 4 :]))

    def _response(self, method: str) -> Response:
        head = self._head()
        if method == "HEAD" or head.status in (204, 304):
            return Response(head.status, head.headers, b"")
        body = bytearray(head.early)
        while len(body) < head.length():
            chunk = self._socket.recv(_HEAD_BYTES)
            if not chunk:
                raise BenchError(f"the body of an answer with status {head.status} ended early")
            body += chunk
        return Response(head.status, head.headers, bytes(body))


def expect(response: Response, status: int, act: str) -> Response:
    """Return `response` when it has `status`; fail with what the server said otherwise."""
    if response.status != status:
        raise BenchError(f"{act} was answered {response.status}, not {status}: {response.body[:300].decode(errors='replace')}")
    return response


def with_digest(location: str, digest: str) -> str:
    """The request target of a `Location` (absolute or relative) with `digest` added to its query."""
    parts = urlsplit(location)
    query = f"{parts.query}&" if parts.query else ""
    return f"{parts.path}?{query}digest={quote(digest)}"


def target_of(location: str) -> str:
    """The request target of a `Location`, absolute or relative."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
