"""The whole server is killed at random moments while clients push; whatever it acknowledged must be there when it is back."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import msgspec
import pytest

from tests.support.clients.images import OCI_CONFIG, OCI_MANIFEST
from tests.support.server import RoadsteadServer, poll

KILLS = 32
PUSHERS = 4
LONGEST_LIFE = 0.7  # Seconds that the server is under load before it is killed.
CLAIM_DEADLINE = 45.0  # Seconds: a dead writer's claim on an upload runs out by itself, after 30.
SHARED = [random.Random(number).randbytes(400_000) for number in range(4)]  # Layers that every pusher has.


class Cut(msgspec.Struct, frozen=True):
    """An upload that was begun and never answered 201."""

    location: str
    repository: str
    data: bytes


class Ledger:
    """What one pusher was promised: blobs and manifests by digest, and where each tag may point."""

    def __init__(self) -> None:
        self.blobs: set[tuple[str, str]] = set()
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.tags: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.acknowledged_tags: set[tuple[str, str]] = set()
        self.cut: list[Cut] = []


class Pusher:
    """One client, which pushes image after image into a repository of its own until the server is gone."""

    def __init__(self, number: int, seed: str) -> None:
        self.repository = f"library/crash/pusher-{number}"
        self.random = random.Random(f"{seed} {number}")
        self.ledger = Ledger()
        self._pushed = 0

    def run(self, server: RoadsteadServer) -> None:
        """Push until a connection breaks. Fails if any answer is not what a healthy registry says."""
        with server.http() as http:
            try:
                while True:
                    self._push_image(http)
            except httpx2.TransportError:
                return

    def _push_image(self, http: httpx2.Client) -> None:
        self._pushed += 1
        config = json.dumps({"pushed": self._pushed, "by": self.repository}).encode()
        layers = [self._layer() for _ in range(self.random.randint(1, 3))]
        for data in (config, *layers):
            self._push_blob(http, data)
        manifest = _manifest(config, layers)
        for tag in (f"v{self._pushed}", "latest"):
            self._push_manifest(http, tag, manifest)

    def _layer(self) -> bytes:
        if self.random.random() < 0.3:
            return self.random.choice(SHARED)
        return self.random.randbytes(int(1024 * 3072 ** self.random.random()))

    def _push_blob(self, http: httpx2.Client, data: bytes) -> None:
        digest = _digest(data)
        if http.head(f"/v2/{self.repository}/blobs/{digest}").status_code == 200:
            return
        push = self.random.choice([self._at_once, self._mount, self._put, self._patch, self._stream, self._chunks])
        push(http, data, digest)
        self.ledger.blobs.add((self.repository, digest))

    def _push_manifest(self, http: httpx2.Client, tag: str, manifest: bytes) -> None:
        digest = _digest(manifest)
        self.ledger.tags[self.repository, tag].add(digest)
        url = f"/v2/{self.repository}/manifests/{tag}"
        _expect(201, http.put(url, content=manifest, headers={"Content-Type": OCI_MANIFEST}))
        self.ledger.manifests[self.repository, digest] = manifest
        self.ledger.tags[self.repository, tag] = {digest}
        self.ledger.acknowledged_tags.add((self.repository, tag))

    def _at_once(self, http: httpx2.Client, data: bytes, digest: str) -> None:
        _expect(201, http.post(f"/v2/{self.repository}/blobs/uploads/", params={"digest": digest}, content=data))

    def _mount(self, http: httpx2.Client, data: bytes, digest: str) -> None:
        answer = http.post(f"/v2/{self.repository}/blobs/uploads/", params={"mount": digest})
        if answer.status_code != 201:
            self._finish(http, self._begun(answer, data), data, digest)

    def _put(self, http: httpx2.Client, data: bytes, digest: str) -> None:
        self._finish(http, self._begin(http, data), data, digest)

    def _patch(self, http: httpx2.Client, data: bytes, digest: str) -> None:
        location = self._begin(http, data)
        answer = _expect(202, http.patch(location, content=data))
        self._finish(http, answer.headers["Location"], b"", digest)

    def _stream(self, http: httpx2.Client, data: bytes, digest: str) -> None:
        location = self._begin(http, data)
        answer = _expect(202, http.patch(location, content=_pieces(data, 64 * 1024)))
        self._finish(http, answer.headers["Location"], b"", digest)

    def _chunks(self, http: httpx2.Client, data: bytes, digest: str) -> None:
        location, offset = self._begin(http, data), 0
        for piece in _pieces(data, len(data) // 4 + 2):
            headers = {"Content-Range": f"{offset}-{offset + len(piece) - 1}"}
            location = _expect(202, http.patch(location, content=piece, headers=headers)).headers["Location"]
            offset += len(piece)
        self._finish(http, location, b"", digest)

    def _begin(self, http: httpx2.Client, data: bytes) -> str:
        return self._begun(http.post(f"/v2/{self.repository}/blobs/uploads/"), data)

    def _begun(self, answer: httpx2.Response, data: bytes) -> str:
        location: str = _expect(202, answer).headers["Location"]
        self.ledger.cut.append(Cut(location, self.repository, data))
        return location

    def _finish(self, http: httpx2.Client, location: str, data: bytes, digest: str) -> None:
        _expect(201, http.put(location, params={"digest": digest}, content=data))
        self.ledger.cut.pop()


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_at_any_moment(tmp_path: Path) -> None:
    seed = os.environ.get("CRASH_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"CRASH_SEED={seed} repeats these sizes, orders and moments")  # noqa: T201 - for pytest's report
    moments = random.Random(seed)
    pushers = [Pusher(number, seed) for number in range(PUSHERS)]
    checked: set[object] = set()
    server = RoadsteadServer(tmp_path / "data", {"ROADSTEAD_LOG_LEVEL": "warning"})
    with server:
        for _ in range(KILLS):
            under_load(server, pushers, moments.uniform(0.05, LONGEST_LIFE))
            server.start()
            with server.http() as http:
                for pusher in pushers:
                    check(http, pusher.ledger, checked)
        with server.http() as http:
            for pusher in pushers:
                for cut in pusher.ledger.cut:
                    resume(http, cut)
                check(http, pusher.ledger, set())
    assert sum(len(pusher.ledger.manifests) for pusher in pushers) > KILLS, "too little was pushed to prove anything"
    assert sum(len(pusher.ledger.cut) for pusher in pushers) > KILLS // 4, "too few uploads were cut to prove anything"
    assert not server.log.read_text().count('"level": "error"'), server.last_lines()


def under_load(server: RoadsteadServer, pushers: list[Pusher], seconds: float) -> None:
    """Let all pushers push, kill the server after so many seconds, and wait until all have noticed. Raises what they found wrong."""
    killer = threading.Timer(seconds, server.kill)
    with ThreadPoolExecutor(len(pushers)) as threads:
        running = [threads.submit(pusher.run, server) for pusher in pushers]
        killer.start()
        killer.join()
    for one in running:
        one.result()


def check(http: httpx2.Client, ledger: Ledger, checked: set[object]) -> None:
    """Pull everything that was acknowledged and is not `checked` yet; tags are always looked at, as they move."""
    for repository, digest in sorted(ledger.blobs - checked):
        with http.stream("GET", f"/v2/{repository}/blobs/{digest}") as answer:
            assert answer.status_code == 200, f"the acknowledged blob {digest} of {repository}: {answer.status_code}"
            assert f"sha256:{_hash(answer.iter_raw())}" == digest
    for repository, digest in sorted(ledger.manifests.keys() - checked):
        answer = _expect(200, http.get(f"/v2/{repository}/manifests/{digest}"))
        assert answer.content == ledger.manifests[repository, digest]
    for repository, tag in sorted(ledger.acknowledged_tags - checked):
        answer = _expect(200, http.head(f"/v2/{repository}/manifests/{tag}"))
        assert answer.headers["Docker-Content-Digest"] in ledger.tags[repository, tag]
    checked |= ledger.blobs | ledger.manifests.keys() | {tag for tag in ledger.acknowledged_tags if tag[1] != "latest"}


def resume(http: httpx2.Client, cut: Cut) -> None:
    """Continue an upload from where the server says it stands, once the dead writer's claim has run out. 404 is an honest answer too."""
    assert poll(lambda: _resumed(http, cut), CLAIM_DEADLINE), f"{cut.location} is neither resumable nor gone"


def _resumed(http: httpx2.Client, cut: Cut) -> bool:
    status = http.get(cut.location)
    if status.status_code == 404:
        assert status.json()["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
        return True
    last = int(_expect(204, status).headers["Range"].removeprefix("0-"))
    offset = last + 1 if last else 0
    assert offset <= len(cut.data)
    rest, digest = cut.data[offset:], _digest(cut.data)
    headers = {"Content-Range": f"{offset}-{len(cut.data) - 1}"} if rest else {}
    answer = http.put(cut.location, params={"digest": digest}, content=rest, headers=headers)
    if answer.status_code == 416:
        return False
    _expect(201, answer)
    assert http.get(f"/v2/{cut.repository}/blobs/{digest}").content == cut.data
    return True


def _expect(status: int, answer: httpx2.Response) -> httpx2.Response:
    request = answer.request
    assert answer.status_code == status, f"{request.method} {request.url}: {answer.status_code}, not {status}: {answer.text}"
    return answer


def _manifest(config: bytes, layers: list[bytes]) -> bytes:
    def descriptor(media_type: str, data: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

    content = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, config)}
    return json.dumps({**content, "layers": [descriptor("application/octet-stream", layer) for layer in layers]}).encode()


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _hash(chunks: Iterator[bytes]) -> str:
    running = hashlib.sha256()
    for chunk in chunks:
        running.update(chunk)
    return running.hexdigest()
