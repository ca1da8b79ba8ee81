"""Health, metrics, logs and request ids; and a client that speaks TLS to the plain port."""

from __future__ import annotations

import json
import os
import socket

import httpx2

from tests.protocols.http.exchange import accepted, begin, client, digest_of, metric, push_blob, refused
from tests.support.server import RoadsteadServer, poll

CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(32)) + bytes(150)


def test_a_tls_hello_on_the_plain_port_is_answered_in_http(registry: RoadsteadServer) -> None:
    with socket.create_connection(("127.0.0.1", registry.port), timeout=10) as line:
        line.sendall(CLIENT_HELLO)
        assert line.recv(4096).startswith(b"HTTP/1.1 400")


def test_live_and_ready(http: httpx2.Client, anonymous: httpx2.Client) -> None:
    for somebody in (http, anonymous):
        assert accepted(somebody.get("/health/live"), 200).json() == {"status": "alive"}
        ready = accepted(somebody.get("/health/ready"), 200).json()
        assert ready == {"status": "ready", "parts": {"database": "ok", "store": "ok"}}
    accepted(http.get("/health/other"), 404)


def test_not_ready_names_the_part_that_fails(impatient: RoadsteadServer) -> None:
    content, away = impatient.data / "content", impatient.data / "away"
    with client(impatient) as http:
        content.rename(away)
        try:
            answer = http.get("/health/ready")
            assert answer.status_code == 503
            assert answer.json() == {"status": "not ready", "parts": {"database": "ok", "store": "The registry's storage does not answer."}}
            accepted(http.get("/health/live"), 200)
            location = begin(http, "library/unready")
            message = refused(http.patch(location, content=b"x"), 503, "UNAVAILABLE")
            assert "storage does not answer" in message
        finally:
            away.rename(content)
        accepted(http.get("/health/ready"), 200)
        accepted(http.put(location, params={"digest": digest_of(b"x")}, content=b"x"), 201)


def test_requests_and_bytes_are_counted(http: httpx2.Client, repository: str) -> None:
    def count(name: str, **labels: str) -> float:
        return metric(http, f"roadstead_http_{name}_total", **labels)

    data = os.urandom(50_000)
    labels = {"route": "blob", "method": "GET", "status": "200"}
    requests, unknown = count("requests", **labels), count("requests", **labels | {"status": "404"})
    received, sent = count("received_bytes"), count("sent_bytes")
    digest = push_blob(http, repository, data)
    assert poll(lambda: count("received_bytes") == received + len(data), 10.0)
    for url in (f"/v2/{repository}/blobs/{digest}", f"/v2/{repository}/blobs/{digest_of(b'absent')}"):
        http.get(url)
    assert poll(lambda: count("requests", **labels) == requests + 1, 10.0)
    assert poll(lambda: count("requests", **labels | {"status": "404"}) == unknown + 1, 10.0)
    assert count("sent_bytes") >= sent + len(data)
    assert metric(http, "roadstead_http_request_seconds_count", route="blob") >= 2
    assert metric(http, "roadstead_store_seconds_count", call="seal") >= 1
    assert metric(http, "roadstead_uploads_in_progress") == 0


def test_labels_do_not_grow_with_what_clients_send(http: httpx2.Client) -> None:
    for method, path in (("BREW", "/v2/"), ("GET", "/v2/library/x/whatever"), ("GET", "/nowhere")):
        http.request(method, path)
    assert poll(lambda: metric(http, "roadstead_http_requests_total", method="other", route="base") >= 1, 10.0)
    text = http.get("/metrics").text
    assert "BREW" not in text
    assert "whatever" not in text
    assert "nowhere" not in text


def test_every_request_has_an_id_that_the_log_has_too(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    ids = [http.get(path).headers["X-Request-Id"] for path in ("/", "/v2/", "/metrics", "/health/live", "/nowhere", "/v2/_catalog")]
    assert len(set(ids)) == len(ids)
    written = http.post(f"/v2/{repository}/blobs/uploads/").headers["X-Request-Id"]

    def logged() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in registry.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("request_id") == written]

    assert poll(lambda: bool(logged()), 10.0)
    (line,) = logged()
    assert line["event"] == "request"
    assert (line["method"], line["route"], line["status"]) == ("POST", "uploads", 202)


def test_the_root_says_what_this_is(http: httpx2.Client, registry: RoadsteadServer) -> None:
    assert f"docker push {registry.host}/PROJECT/IMAGE:TAG" in accepted(http.get("/"), 200).text
    accepted(http.get("/nowhere"), 404)
