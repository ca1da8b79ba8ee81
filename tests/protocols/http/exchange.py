"""Requests made by hand, and what every answer of the registry must look like."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message

import httpx2
import msgspec

from tests.support.clients.images import OCI_CONFIG, OCI_MANIFEST, Blob, Image, artifact
from tests.support.server import RoadsteadServer, poll

Headers = Mapping[str, str]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One error as the specification writes it (distribution-spec, "Error Codes")."""

    code: str
    message: str
    detail: msgspec.Raw


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of every error."""

    errors: list[Fault]


def check(answer: httpx2.Response) -> None:
    """What holds of every answer: it has a request id, it is never content-encoded, and an error has the specification's body."""
    assert answer.headers["X-Request-Id"]
    assert "Content-Encoding" not in answer.headers
    if answer.status_code >= 400 and answer.request.method != "HEAD" and answer.request.url.path.startswith(("/v2", "/service")):
        answer.read()
        assert answer.headers["Content-Type"] == "application/json"
        require_error_body(answer.content)


def require_error_body(content: bytes) -> Fault:
    """The one error of an error body; its code is one of the specification's form, its message a sentence."""
    (error,) = msgspec.json.decode(content, type=Faults).errors
    assert re.fullmatch("[A-Z_]+", error.code)
    assert len(error.message) > 15
    return error


def refused(answer: httpx2.Response, status: int, code: str) -> str:
    """The message of a refusal with this status and code."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    error = require_error_body(answer.content)
    assert error.code == code
    return error.message


def accepted(answer: httpx2.Response, status: int) -> httpx2.Response:
    """The answer, which must have this status."""
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    return answer


def client(server: RoadsteadServer, *, anonymous: bool = False) -> httpx2.Client:
    """A client that checks every answer."""
    made = server.http(anonymous=anonymous)
    made.event_hooks = {"response": [check]}
    return made


def bearer(server: RoadsteadServer, token: str) -> httpx2.Client:
    """A client with a bearer token that checks every answer."""
    made = client(server, anonymous=True)
    made.headers["Authorization"] = f"Bearer {token}"
    return made


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def push_blob(http: httpx2.Client, repository: str, data: bytes) -> str:
    """Push at once; the digest."""
    digest = digest_of(data)
    accepted(http.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=data), 201)
    return digest


def begin(http: httpx2.Client, repository: str, **query: str) -> str:
    """Begin an upload; its location."""
    location: str = accepted(http.post(f"/v2/{repository}/blobs/uploads/", params=query), 202).headers["Location"]
    return location


def small_image(seed: str, **more: object) -> Image:
    """An image of a few bytes, unlike those of other seeds."""
    return artifact(Blob(OCI_CONFIG, b"{}"), [Blob("application/octet-stream", seed.encode())], OCI_MANIFEST, **more)


def put_manifest(http: httpx2.Client, repository: str, reference: str, manifest: Blob) -> httpx2.Response:
    headers = {"Content-Type": manifest.media_type}
    return http.put(f"/v2/{repository}/manifests/{reference}", content=manifest.data, headers=headers)


class Answer(msgspec.Struct, frozen=True):
    """An answer to a request written by hand."""

    status: int
    headers: Message
    body: bytes


class Wire:
    """One connection on which a request can be sent piece by piece, with a path and headers that no client library would send."""

    def __init__(self, server: RoadsteadServer) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._basic = base64.b64encode(f"admin:{server.admin_password}".encode()).decode()

    def head(self, method: str, target: str, headers: Headers | None = None) -> None:
        """Send the request line and headers, as the administrator."""
        self._connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {"Authorization": f"Basic {self._basic}", **(headers or {})}.items():
            self._connection.putheader(name, value)
        self._connection.endheaders()

    def send(self, data: bytes) -> None:
        """Send some of the body."""
        self._connection.send(data)

    def answer(self) -> Answer:
        """The answer, as soon as it is there."""
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def ask(self, method: str, target: str, headers: Headers | None = None) -> Answer:
        """Send a request without a body and return the answer."""
        self.head(method, target, headers)
        return self.answer()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def wire(server: RoadsteadServer) -> Iterator[Wire]:
    """A connection that is closed in the end."""
    opened = Wire(server)
    try:
        yield opened
    finally:
        opened.close()


def standing(http: httpx2.Client, location: str) -> str:
    """The Range of an upload."""
    return str(accepted(http.get(location), 204).headers["Range"])


def await_standing(http: httpx2.Client, location: str, expected: str) -> None:
    """Return when the upload stands there; the server learns of a broken connection in its own time."""
    assert poll(lambda: standing(http, location) == expected, 10.0), f"{standing(http, location)}, not {expected}"


def metric(http: httpx2.Client, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; 0 if there are none."""
    total = 0.0
    for line in http.get("/metrics").text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name and dict(re.findall(r'(\w+)="([^"]*)"', found[2] or "")).items() >= labels.items():
            total += float(found[3])
    return total
