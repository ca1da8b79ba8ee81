"""Pushing, pulling and deleting manifests (distribution-spec, "Pushing Manifests", "Pulling manifests", "Deleting Manifests")."""

from __future__ import annotations

import json

import httpx2
import pytest

from tests.protocols.http.exchange import (
    accepted,
    client,
    digest_of,
    push_blob,
    put_manifest,
    refused,
    require_error_body,
    small_image,
    wire,
)
from tests.support.clients.images import (
    ANY_MANIFEST,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    as_json,
    push,
)
from tests.support.server import RoadsteadServer

LIMIT = 4 * 1024 * 1024
EMPTY = Blob(OCI_CONFIG, b"{}")
IMAGE = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": EMPTY.descriptor(), "layers": []}
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

# What is wrong → Content-Type, body, words of the message
BAD: dict[str, tuple[str, object, str]] = {
    "empty": (OCI_MANIFEST, b"", "not valid JSON"),
    "cut in the middle": (OCI_MANIFEST, b'{"schemaVersion":2,', "not valid JSON: it ends in the middle, at byte 19"),
    "not JSON": (OCI_MANIFEST, b"<xml/>", "not valid JSON"),
    "not UTF-8": (OCI_MANIFEST, b'{"schemaVersion":2,"x":"\xff"}', "not UTF-8 at byte 24"),
    "a list": (OCI_MANIFEST, [], "expected `object`"),
    "nested too deeply": (OCI_MANIFEST, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "no schemaVersion": (OCI_MANIFEST, {"mediaType": OCI_MANIFEST}, "schemaVersion must be 2, and is missing"),
    "no config": (OCI_MANIFEST, {"schemaVersion": 2, "layers": []}, "'config' is missing"),
    "a bad digest": (OCI_MANIFEST, {**IMAGE, "layers": [{"mediaType": "x/y", "digest": "sha256:0", "size": 1}]}, "layers"),
    "a negative size": (OCI_MANIFEST, {**IMAGE, "layers": [{"mediaType": "x/y", "digest": EMPTY.digest, "size": -1}]}, "layers"),
    "an index with layers": (OCI_INDEX, {"schemaVersion": 2, "manifests": [], "layers": []}, "belongs to an image"),
    "an image with manifests": (OCI_MANIFEST, {**IMAGE, "manifests": []}, "belongs to an index"),
    "two types": (DOCKER_MANIFEST, IMAGE, "but it was pushed with Content-Type"),
    "an unknown type": ("application/vnd.example.unknown+json", IMAGE, "not one that this registry stores"),
    "an unknown type inside": ("application/json", {**IMAGE, "mediaType": "example/x"}, "not one that this registry stores"),
    "no type at all": ("application/json", {"schemaVersion": 2, "layers": []}, "type is unknown"),
    "schema 1": (SCHEMA1, {"schemaVersion": 1, "name": "x", "tag": "y", "fsLayers": []}, "schema 1 are obsolete"),
    "schema 1, signed": (SCHEMA1_SIGNED, {"schemaVersion": 1}, "schema 1 are obsolete"),
    "schema 1, untyped": ("application/json", {"schemaVersion": 1}, "schema 1 are obsolete"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_manifest_that_is_wrong(case: str, http: httpx2.Client, repository: str) -> None:
    content_type, body, words = BAD[case]
    push_blob(http, repository, EMPTY.data)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = refused(put_manifest(http, repository, "wrong", Blob(content_type, content)), 400, "MANIFEST_INVALID")
    assert words in message
    refused(http.get(f"/v2/{repository}/manifests/wrong"), 404, "MANIFEST_UNKNOWN")


def test_a_manifest_whose_layers_are_missing_is_told_which(http: httpx2.Client, repository: str) -> None:
    whole = small_image("here")
    push(http, repository, "here", whole)
    absent = [Blob("application/octet-stream", bytes([number])) for number in range(3)]
    layers = [whole.blobs[1].descriptor(), *(blob.descriptor() for blob in absent)]
    manifest = as_json(OCI_MANIFEST, {**IMAGE, "layers": layers})
    answer = put_manifest(http, repository, "wrong", manifest)
    message = refused(answer, 400, "MANIFEST_BLOB_UNKNOWN")
    assert all(blob.digest in message for blob in absent)
    assert whole.blobs[1].digest not in message
    assert answer.json()["errors"][0]["detail"] == {"digests": [blob.digest for blob in absent], "missing": 3}


def test_an_index_whose_manifests_are_missing_is_told_which(http: httpx2.Client, repository: str) -> None:
    child = small_image("absent child").manifest
    index = as_json(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child.descriptor()]})
    assert child.digest in refused(put_manifest(http, repository, "wrong", index), 400, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_of_the_largest_size_is_taken_and_one_byte_more_is_not(http: httpx2.Client, repository: str) -> None:
    push_blob(http, repository, EMPTY.data)
    frame = json.dumps({**IMAGE, "annotations": {"filling": ""}})
    filling = "x" * (LIMIT - len(frame))
    largest = json.dumps({**IMAGE, "annotations": {"filling": filling}}).encode()
    accepted(put_manifest(http, repository, "largest", Blob(OCI_MANIFEST, largest)), 201)
    assert http.get(f"/v2/{repository}/manifests/largest").content == largest
    message = refused(put_manifest(http, repository, "larger", Blob(OCI_MANIFEST, largest + b" ")), 413, "MANIFEST_INVALID")
    assert "larger than 4 MiB" in message


@pytest.mark.parametrize("headers", [{"Content-Length": str(LIMIT + 1)}, {"Transfer-Encoding": "chunked"}], ids=["length", "chunked"])
def test_a_manifest_that_is_too_large_is_refused_as_soon_as_that_is_known(
    headers: dict[str, str], registry: RoadsteadServer, repository: str
) -> None:
    with wire(registry) as line:
        line.head("PUT", f"/v2/{repository}/manifests/large", {"Content-Type": OCI_MANIFEST, **headers})
        if "Transfer-Encoding" in headers:
            for _ in range(4 * 16 + 1):
                line.send(b"10000\r\n" + bytes(65536) + b"\r\n")
        answer = line.answer()
    assert (answer.status, require_error_body(answer.body).code) == (413, "MANIFEST_INVALID")


def test_a_manifest_by_a_digest_that_is_not_its_own(http: httpx2.Client, repository: str) -> None:
    manifest = small_image("by digest").manifest
    wrong = digest_of(b"something else")
    message = refused(put_manifest(http, repository, wrong, manifest), 400, "DIGEST_INVALID")
    assert wrong in message
    assert manifest.digest in message


def test_a_manifest_that_stalls_is_ended(impatient: RoadsteadServer, repository: str) -> None:
    with wire(impatient) as line:
        line.head("PUT", f"/v2/{repository}/manifests/slow", {"Content-Type": OCI_MANIFEST, "Content-Length": "1000"})
        line.send(b"{")
        answer = line.answer()
    assert answer.status == 408
    assert "No byte of the request body came" in require_error_body(answer.body).message


def test_a_manifest_by_digest_in_sha512(http: httpx2.Client, repository: str) -> None:
    whole = small_image("sha512")
    push(http, repository, "first", whole)
    digest = digest_of(whole.manifest.data, "sha512")
    answer = accepted(put_manifest(http, repository, digest, whole.manifest), 201)
    assert answer.headers["Docker-Content-Digest"] == digest
    assert http.get(f"/v2/{repository}/manifests/{digest}").content == whole.manifest.data


def test_unknown_fields_white_space_and_order_are_kept_byte_for_byte(http: httpx2.Client, repository: str) -> None:
    push_blob(http, repository, EMPTY.data)
    content = b"\n" + json.dumps({"zzz": [1.0, None, "\u00e9"], **IMAGE, "aaa": {}}, indent=3).encode() + b" \n"
    accepted(put_manifest(http, repository, "odd", Blob(f"{OCI_MANIFEST}; charset=utf-8", content)), 201)
    answer = http.get(f"/v2/{repository}/manifests/odd")
    assert answer.content == content
    assert answer.headers["Content-Type"] == OCI_MANIFEST
    assert answer.headers["Docker-Content-Digest"] == digest_of(content)


ACCEPT = {
    "none": [],
    "any": [("Accept", "*/*")],
    "several lines": [("Accept", media_type) for media_type in ANY_MANIFEST.split(", ")],
    "one line": [("Accept", ANY_MANIFEST)],
    "another type only": [("Accept", DOCKER_LIST), ("Accept", "application/json;q=0.1")],
}


@pytest.mark.parametrize("case", ACCEPT)
def test_whatever_the_accept_lines_the_manifest_comes_as_it_was_pushed(case: str, http: httpx2.Client, repository: str) -> None:
    whole = small_image("accept")
    push(http, repository, "v1", whole)
    del http.headers["Accept"]
    for method in ("GET", "HEAD"):
        answer = accepted(http.request(method, f"/v2/{repository}/manifests/v1", headers=ACCEPT[case]), 200)
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert answer.headers["Content-Length"] == str(len(whole.manifest.data))
        assert answer.headers["Docker-Content-Digest"] == whole.digest
        assert answer.content == (whole.manifest.data if method == "GET" else b"")


def test_the_ns_parameter_of_mirrors_is_ignored(http: httpx2.Client, repository: str) -> None:
    whole = small_image("ns")
    push(http, repository, "v1", whole)
    for path in ("manifests/v1", f"blobs/{whole.blobs[0].digest}"):
        accepted(http.get(f"/v2/{repository}/{path}", params={"ns": "docker.io"}), 200)


def test_one_push_by_digest_sets_many_tags(http: httpx2.Client, repository: str) -> None:
    whole = small_image("tags")
    push(http, repository, "first", whole)
    names = [f"t{number}" for number in range(10)]
    url = f"/v2/{repository}/manifests/{whole.digest}"
    headers = {"Content-Type": OCI_MANIFEST}
    answer = accepted(http.put(url, params={"tag": names}, content=whole.manifest.data, headers=headers), 201)
    assert answer.headers.get_list("OCI-Tag") == names
    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == sorted(["first", *names])

    many = [f"m{number}" for number in range(101)]
    refused(http.put(url, params={"tag": many}, content=whole.manifest.data, headers=headers), 414, "UNSUPPORTED")
    refused(http.put(url, params={"tag": ["fine", "not fine"]}, content=whole.manifest.data, headers=headers), 400, "MANIFEST_INVALID")
    assert http.get(f"/v2/{repository}/tags/list").json()["tags"] == sorted(["first", *names])
    accepted(http.put(url, params={"tag": many[:100]}, content=whole.manifest.data, headers=headers), 201)
    assert len(http.get(f"/v2/{repository}/tags/list").json()["tags"]) == 111


def test_a_subject_is_acknowledged_whether_or_not_it_is_there(http: httpx2.Client, repository: str) -> None:
    absent = small_image("never pushed")
    signature = small_image("signature", subject=absent.manifest.descriptor())
    push(http, repository, "signature", signature)
    answer = put_manifest(http, repository, "signature", signature.manifest)
    assert answer.headers["OCI-Subject"] == absent.digest
    assert "OCI-Subject" not in put_manifest(http, repository, "plain", small_image("signature").manifest).headers


def test_deleting_a_tag_leaves_the_manifest_and_deleting_the_manifest_takes_its_tags(http: httpx2.Client, repository: str) -> None:
    whole = small_image("delete")
    for tag in ("one", "two"):
        push(http, repository, tag, whole)
    accepted(http.delete(f"/v2/{repository}/manifests/one"), 202)
    refused(http.get(f"/v2/{repository}/manifests/one"), 404, "MANIFEST_UNKNOWN")
    refused(http.delete(f"/v2/{repository}/manifests/one"), 404, "MANIFEST_UNKNOWN")
    accepted(http.get(f"/v2/{repository}/manifests/{whole.digest}"), 200)
    accepted(http.delete(f"/v2/{repository}/manifests/{whole.digest}"), 202)
    refused(http.get(f"/v2/{repository}/manifests/two"), 404, "MANIFEST_UNKNOWN")
    refused(http.delete(f"/v2/{repository}/manifests/{whole.digest}"), 404, "MANIFEST_UNKNOWN")
    accepted(put_manifest(http, repository, "three", whole.manifest), 201)


def test_layers_that_are_not_to_be_distributed_need_not_be_here(http: httpx2.Client, repository: str) -> None:
    push_blob(http, repository, EMPTY.data)
    foreign = Blob(f"{OCI}.layer.nondistributable.v1.tar+gzip", b"elsewhere").descriptor(urls=["https://example.org/layer"])
    accepted(put_manifest(http, repository, "foreign", as_json(OCI_MANIFEST, {**IMAGE, "layers": [foreign]})), 201)


def test_absent_content_is_accepted_where_the_site_allows_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("sparse") / "data"
    with RoadsteadServer(data, {"ROADSTEAD_ACCEPT_ABSENT_CONTENT": "true"}) as server, client(server) as http:
        accepted(put_manifest(http, "library/sparse", "v1", small_image("absent").manifest), 201)
