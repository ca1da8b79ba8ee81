"""Pushing blobs, rightly and wrongly (distribution-spec, "Pushing blobs")."""

from __future__ import annotations

import base64
import random
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.protocols.http.exchange import (
    accepted,
    await_standing,
    begin,
    client,
    digest_of,
    metric,
    push_blob,
    refused,
    require_error_body,
    standing,
    wire,
)
from tests.support.server import RoadsteadServer, poll

DATA = random.Random(1).randbytes(100_000)
WRONG = digest_of(b"something else")


def put_whole(http: httpx2.Client, location: str, data: bytes) -> None:
    accepted(http.put(location, params={"digest": digest_of(data)}, content=data), 201)


def patch_whole(http: httpx2.Client, location: str, data: bytes) -> None:
    answer = accepted(http.patch(location, content=data), 202)
    assert answer.headers["Range"] == f"0-{len(data) - 1}"
    accepted(http.put(answer.headers["Location"], params={"digest": digest_of(data)}), 201)


def patch_without_length(http: httpx2.Client, location: str, data: bytes) -> None:
    answer = accepted(http.patch(location, content=iter([data[:10], data[10:]])), 202)
    accepted(http.put(answer.headers["Location"], params={"digest": digest_of(data)}), 201)


def put_without_length(http: httpx2.Client, location: str, data: bytes) -> None:
    accepted(http.put(location, params={"digest": digest_of(data)}, content=iter([data[:10], data[10:]])), 201)


def chunks_and_a_last_one(http: httpx2.Client, location: str, data: bytes) -> None:
    step = len(data) // 3
    for start in range(0, 2 * step, step):
        headers = {"Content-Range": f"{start}-{start + step - 1}"}
        location = accepted(http.patch(location, content=data[start : start + step], headers=headers), 202).headers["Location"]
    headers = {"Content-Range": f"{2 * step}-{len(data) - 1}"}
    accepted(http.put(location, params={"digest": digest_of(data)}, content=data[2 * step :], headers=headers), 201)


def chunks_as_rfc_9110_writes_them(http: httpx2.Client, location: str, data: bytes) -> None:
    for start, end in ((0, 1000), (1000, len(data))):
        headers = {"Content-Range": f"bytes {start}-{end - 1}/*"}
        location = accepted(http.patch(location, content=data[start:end], headers=headers), 202).headers["Location"]
    accepted(http.put(location, params={"digest": digest_of(data)}), 201)


@pytest.mark.parametrize(
    "way", [put_whole, patch_whole, patch_without_length, put_without_length, chunks_and_a_last_one, chunks_as_rfc_9110_writes_them]
)
def test_every_way_to_push_a_blob(way: Callable[[httpx2.Client, str, bytes], None], http: httpx2.Client, repository: str) -> None:
    data = DATA + way.__name__.encode()
    location = begin(http, repository)
    way(http, location, data)
    answer = accepted(http.get(f"/v2/{repository}/blobs/{digest_of(data)}"), 200)
    assert answer.content == data
    assert answer.headers["Docker-Content-Digest"] == digest_of(data)
    refused(http.get(location), 404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_in_one_post(http: httpx2.Client, repository: str) -> None:
    digest = digest_of(DATA)
    answer = accepted(http.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=DATA), 201)
    assert answer.headers["Location"] == f"/v2/{repository}/blobs/{digest}"
    assert answer.headers["Docker-Content-Digest"] == digest
    assert http.get(answer.headers["Location"]).content == DATA


def test_an_empty_blob(http: httpx2.Client, repository: str) -> None:
    put_whole(http, begin(http, repository), b"")
    answer = accepted(http.get(f"/v2/{repository}/blobs/{digest_of(b'')}"), 200)
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "0")


def test_sha512_throughout(http: httpx2.Client, repository: str) -> None:
    digest = digest_of(DATA, "sha512")
    location = begin(http, repository, **{"digest-algorithm": "sha512"})
    location = accepted(http.patch(location, content=DATA), 202).headers["Location"]
    assert accepted(http.put(location, params={"digest": digest}), 201).headers["Docker-Content-Digest"] == digest
    for known_by in (digest, digest_of(DATA)):
        assert http.get(f"/v2/{repository}/blobs/{known_by}").content == DATA


@pytest.mark.parametrize("query", [{"digest-algorithm": "md5"}, {"digest": f"md5:{'0' * 32}"}, {"mount": "sha256:0"}, {"digest": ""}])
def test_a_post_whose_digest_or_algorithm_is_wrong(query: dict[str, str], http: httpx2.Client, repository: str) -> None:
    refused(http.post(f"/v2/{repository}/blobs/uploads/", params=query, content=b"x"), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("query", [{}, {"digest": "sha256:0"}, {"digest": f"md5:{'0' * 32}"}, {"digest": "latest"}])
def test_a_closing_put_whose_digest_cannot_be_read_leaves_the_upload(query: dict[str, str], http: httpx2.Client, repository: str) -> None:
    location = begin(http, repository)
    accepted(http.patch(location, content=DATA), 202)
    refused(http.put(location, params=query), 400, "DIGEST_INVALID")
    accepted(http.put(location, params={"digest": digest_of(DATA)}), 201)


def test_a_wrong_digest_in_one_post(http: httpx2.Client, repository: str) -> None:
    data = b"never kept in one post"
    message = refused(http.post(f"/v2/{repository}/blobs/uploads/", params={"digest": WRONG}, content=data), 400, "DIGEST_INVALID")
    assert WRONG in message
    assert digest_of(data) in message
    for digest in (WRONG, digest_of(data)):
        refused(http.get(f"/v2/{repository}/blobs/{digest}"), 404, "BLOB_UNKNOWN")


def test_a_wrong_digest_at_the_closing_put_ends_the_upload(http: httpx2.Client, repository: str) -> None:
    location = begin(http, repository)
    data = b"never kept at the closing put"
    assert digest_of(data) in refused(http.put(location, params={"digest": WRONG}, content=data), 400, "DIGEST_INVALID")
    refused(http.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    refused(http.get(f"/v2/{repository}/blobs/{digest_of(data)}"), 404, "BLOB_UNKNOWN")


# Content-Range of a chunk of ten bytes to an upload that stands at ten → status, code, words of the message
CHUNKS = {
    "20-29": (416, "BLOB_UPLOAD_INVALID", "does not begin where the upload stands"),
    "0-9": (416, "BLOB_UPLOAD_INVALID", "does not begin where the upload stands"),
    "10-20": (400, "SIZE_INVALID", "announces 11 bytes, but Content-Length 10"),
    "19-10": (400, "BLOB_UPLOAD_INVALID", "ends before it begins"),
    "ten-nineteen": (400, "BLOB_UPLOAD_INVALID", "write the first and last byte offset"),
    f"10-{'9' * 40}": (400, "BLOB_UPLOAD_INVALID", "last offset"),
}


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("content_range", CHUNKS, ids=lambda text: text[:12])
def test_a_chunk_out_of_order_leaves_the_upload_as_it_was(content_range: str, method: str, http: httpx2.Client, repository: str) -> None:
    status, code, words = CHUNKS[content_range]
    data = bytes(range(20))
    location = begin(http, repository)
    accepted(http.patch(location, content=data[:10]), 202)
    query = {"digest": digest_of(data)} if method == "PUT" else {}
    answer = http.request(method, location, params=query, content=data[10:], headers={"Content-Range": content_range})
    assert words in refused(answer, status, code)
    if status == 416:
        assert answer.headers["Range"] == "0-9"
    assert standing(http, location) == "0-9"
    accepted(http.put(location, params={"digest": digest_of(data)}, content=data[10:], headers={"Content-Range": "10-19"}), 201)


def test_a_cancelled_upload_is_gone(http: httpx2.Client, repository: str) -> None:
    location = begin(http, repository)
    accepted(http.patch(location, content=DATA), 202)
    accepted(http.delete(location), 204)
    for answer in (http.get(location), http.patch(location, content=b"x"), http.delete(location)):
        refused(answer, 404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(http: httpx2.Client, repository: str) -> None:
    token = begin(http, repository).rpartition("/")[2]
    refused(http.get(f"/v2/{repository}/other/blobs/uploads/{token}"), 404, "BLOB_UPLOAD_UNKNOWN")


# Headers and bytes of a body of 1000 bytes of which 400 come before the client hangs up
BROKEN_OFF = {
    "with a length": ({"Content-Length": "1000"}, DATA[:400]),
    "without a length": ({"Transfer-Encoding": "chunked"}, b"190\r\n" + DATA[:400] + b"\r\n"),
}


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("kind", BROKEN_OFF)
def test_a_body_that_is_broken_off_can_be_resumed(
    kind: str, method: str, registry: RoadsteadServer, http: httpx2.Client, repository: str
) -> None:
    headers, sent = BROKEN_OFF[kind]
    whole = DATA[:1000]
    location = begin(http, repository)
    with wire(registry) as line:
        line.head(method, f"{location}?digest={digest_of(whole)}" if method == "PUT" else location, headers)
        line.send(sent)
        assert poll(lambda: metric(http, "roadstead_uploads_in_progress") == 1, 10.0)
    await_standing(http, location, "0-399")
    assert poll(lambda: metric(http, "roadstead_uploads_in_progress") == 0, 10.0)
    accepted(http.put(location, params={"digest": digest_of(whole)}, content=whole[400:], headers={"Content-Range": "400-999"}), 201)
    assert http.get(f"/v2/{repository}/blobs/{digest_of(whole)}").content == whole


def test_one_post_that_is_broken_off_leaves_nothing(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    whole = DATA[:1001]
    with wire(registry) as line:
        line.head("POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(whole)}", {"Content-Length": "1001"})
        line.send(whole[:400])
        assert poll(lambda: metric(http, "roadstead_uploads_in_progress") == 1, 10.0)
    assert poll(lambda: metric(http, "roadstead_uploads_in_progress") == 0, 10.0)
    refused(http.get(f"/v2/{repository}/blobs/{digest_of(whole)}"), 404, "BLOB_UNKNOWN")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_body_that_stalls_is_ended_and_can_be_resumed(method: str, impatient: RoadsteadServer, repository: str) -> None:
    whole = DATA[:1000]
    with client(impatient) as http, wire(impatient) as line:
        location = begin(http, repository)
        line.head(method, f"{location}?digest={digest_of(whole)}" if method == "PUT" else location, {"Content-Length": "1000"})
        line.send(whole[:400])
        answer = line.answer()
        assert answer.status == 408
        error = require_error_body(answer.body)
        assert error.code == "BLOB_UPLOAD_INVALID"
        assert "No byte of the request body came for 1 seconds" in error.message
        assert standing(http, location) == "0-399"
        accepted(http.put(location, params={"digest": digest_of(whole)}, content=whole[400:]), 201)


def test_a_client_that_waits_to_be_asked_for_the_body_is_asked_or_refused(registry: RoadsteadServer, repository: str) -> None:
    """RFC 9110 section 10.1.1: a refusal comes before the body."""
    data = b"sent when asked for"
    target = f"POST /v2/{repository}/blobs/uploads/?digest={digest_of(data)} HTTP/1.1\r\nHost: {registry.host}\r\n"
    expects = f"Expect: 100-continue\r\nContent-Length: {len(data)}\r\n\r\n"
    basic = base64.b64encode(f"admin:{registry.admin_password}".encode()).decode()
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as line:
        line.sendall(f"{target}Authorization: Basic {basic}\r\n{expects}".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 100 ")
        line.sendall(data)
        assert line.recv(4096).startswith(b"HTTP/1.1 201 ")
    with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as line:
        line.sendall(f"{target}{expects}".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_of_two_writers_to_one_upload_the_later_is_refused(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    location = begin(http, repository)
    headers = {"Content-Range": f"0-{len(DATA) - 1}"}
    with wire(registry) as first:
        first.head("PATCH", location, {"Content-Length": str(len(DATA)), **headers})
        first.send(DATA[:500])
        assert poll(lambda: claimed(registry, location), 10.0)
        refused(http.patch(location, content=DATA, headers=headers), 416, "BLOB_UPLOAD_INVALID")
        refused(http.put(location, params={"digest": WRONG}), 416, "BLOB_UPLOAD_INVALID")
        refused(http.delete(location), 416, "BLOB_UPLOAD_INVALID")
        first.send(DATA[500:])
        assert first.answer().status == 202
    accepted(http.put(location, params={"digest": digest_of(DATA)}), 201)
    assert http.get(f"/v2/{repository}/blobs/{digest_of(DATA)}").content == DATA


def claimed(registry: RoadsteadServer, location: str) -> bool:
    """Whether an upload has a writer. No request tells without getting in its way."""
    with closing(sqlite3.connect(f"file:{registry.data}/roadstead.sqlite?mode=ro", uri=True)) as database:
        select = "SELECT claimed_until IS NOT NULL FROM uploads WHERE token = ?"
        return bool(database.execute(select, [location.rpartition("/")[2]]).fetchone()[0])


def at_once(registry: RoadsteadServer, acts: Sequence[Callable[[httpx2.Client], httpx2.Response]]) -> list[httpx2.Response]:
    """Do all of them at the same moment, each with a client of its own."""
    start = threading.Barrier(len(acts))

    def one(act: Callable[[httpx2.Client], httpx2.Response]) -> httpx2.Response:
        with client(registry) as http:
            http.get("/health/live")
            start.wait()
            return act(http)

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(one, acts))


def test_the_same_chunk_from_two_clients_at_once_is_taken_once(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    data = random.Random(2).randbytes(3_000_000)
    for _ in range(5):
        location = begin(http, repository)

        def chunk(http: httpx2.Client, location: str = location) -> httpx2.Response:
            return http.patch(location, content=data, headers={"Content-Range": f"0-{len(data) - 1}"})

        assert sorted(answer.status_code for answer in at_once(registry, [chunk, chunk])) == [202, 416]
        accepted(http.put(location, params={"digest": digest_of(data)}), 201)
    assert http.get(f"/v2/{repository}/blobs/{digest_of(data)}").content == data


def test_the_same_blob_from_many_clients_at_once_is_kept_once(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    data = random.Random(3).randbytes(1_234_567)
    digest = digest_of(data)
    places = [repository, repository, f"{repository}/a", f"{repository}/b"]
    locations = [begin(http, place) for place in places]
    acts = [lambda http, at=at: http.put(at, params={"digest": digest}, content=data) for at in locations]
    assert {answer.status_code for answer in at_once(registry, acts)} == {201}
    for place in places:
        assert http.get(f"/v2/{place}/blobs/{digest}").content == data
    assert poll(lambda: len(list(files_of_size(registry, len(data)))) == 1, 10.0)


def files_of_size(registry: RoadsteadServer, size: int) -> Iterator[Path]:
    """The files of the content store that have so many bytes."""
    return (path for path in registry.data.glob("content/*/*") if path.stat().st_size == size)


def test_two_closing_puts_of_one_upload_at_once(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    for number in range(5):
        data = DATA + bytes([number])
        location = begin(http, repository)
        accepted(http.patch(location, content=data), 202)

        def close(http: httpx2.Client, location: str = location, data: bytes = data) -> httpx2.Response:
            return http.put(location, params={"digest": digest_of(data)})

        statuses = sorted(answer.status_code for answer in at_once(registry, [close, close]))
        assert statuses in ([201, 404], [201, 416])
        assert http.get(f"/v2/{repository}/blobs/{digest_of(data)}").content == data


def test_a_blob_is_mounted_from_another_repository(http: httpx2.Client, repository: str) -> None:
    digest = push_blob(http, repository, DATA)
    uploads = f"/v2/{repository}/copy/blobs/uploads/"
    answer = accepted(http.post(uploads, params={"mount": digest, "from": repository}), 201)
    assert answer.headers["Location"] == f"/v2/{repository}/copy/blobs/{digest}"
    assert http.get(answer.headers["Location"]).content == DATA
    accepted(http.post(f"/v2/{repository}/unsaid/blobs/uploads/", params={"mount": digest}), 201)


@pytest.mark.parametrize("source", ["library/nothing", "NOT/A/NAME", "nowhere/x"])
def test_a_mount_that_cannot_be_done_begins_an_upload(source: str, http: httpx2.Client, repository: str) -> None:
    digest = push_blob(http, repository, DATA)
    answer = accepted(http.post(f"/v2/{repository}/copy/blobs/uploads/", params={"mount": digest, "from": source}), 202)
    put_whole(http, answer.headers["Location"], DATA)
