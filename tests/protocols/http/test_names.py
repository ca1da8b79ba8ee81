"""Paths, names and methods that are wrong: each is refused in the specification's form, with a message that says which rule broke."""

from __future__ import annotations

import httpx2
import pytest

from tests.protocols.http.exchange import accepted, begin, refused, require_error_body, wire
from tests.support.server import RoadsteadServer

X256 = "sha256:" + "0" * 64

# path as sent → status, code, words of the message
PATHS = {
    "/v2/library/../etc/passwd/manifests/x": (400, "NAME_INVALID", "'..' is not a component"),
    "/v2/../../etc/passwd/manifests/x": (400, "NAME_INVALID", "not a component"),
    "/v2/../../etc/passwd": (404, "NAME_UNKNOWN", "no such path"),
    "/v2/library/x/blobs/../../../manifests/x": (400, "NAME_INVALID", "'..' is not a component"),
    "/v2/library/./x/manifests/x": (400, "NAME_INVALID", "'.' is not a component"),
    "/v2/library%2fx/manifests/latest": (400, "NAME_INVALID", "percent-encoding"),
    "/v2/library%2F..%2Fx/manifests/latest": (400, "NAME_INVALID", "percent-encoding"),
    "/v2/library/%2e%2e/x/manifests/latest": (400, "NAME_INVALID", "percent-encoding"),
    "/v2/library/x/manifests/..%2f..%2fetc": (400, "MANIFEST_INVALID", "has the character '/'"),
    "/v2/library/x/blobs/..%2f..%2fsecret.key": (400, "DIGEST_INVALID", "no colon"),
    "/v2/library/X/manifests/latest": (400, "NAME_INVALID", "upper case"),
    "/v2/UBUNTU/manifests/latest": (400, "NAME_INVALID", "upper case"),
    f"/v2/library/{'a' * 292}/manifests/latest": (400, "NAME_INVALID", "300 characters"),
    f"/v2/{'a' * 248}/manifests/latest": (400, "NAME_INVALID", "256 characters"),
    "/v2//x/manifests/latest": (400, "NAME_INVALID", "begins or ends with '/'"),
    "/v2/library//x/manifests/latest": (400, "NAME_INVALID", "empty component"),
    "/v2/library/-x/manifests/latest": (400, "NAME_INVALID", "begins with the separator"),
    "/v2/library/x..y/manifests/latest": (400, "NAME_INVALID", "separator"),
    "/v2/library/x/manifests/two%20words": (400, "MANIFEST_INVALID", "has the character ' '"),
    "/v2/library/x/manifests/%00": (400, "NAME_INVALID", "U+0000"),
    "/v2/library/x/blobs/uploads/%00": (400, "NAME_INVALID", "U+0000"),
    "/v2/library/x/tags/list?last=%00": (400, "UNSUPPORTED", "query of the URL"),
    "/v2/library/x/manifests/.hidden": (400, "MANIFEST_INVALID", "begins with"),
    f"/v2/library/x/manifests/{'t' * 129}": (400, "MANIFEST_INVALID", "129 characters"),
    "/v2/library/x/manifests/sha256:0": (400, "DIGEST_INVALID", "64 digits"),
    "/v2/library/x/blobs/sha256:0": (400, "DIGEST_INVALID", "64 digits"),
    f"/v2/library/x/blobs/sha256:{'A' * 64}": (400, "DIGEST_INVALID", "lower case"),
    f"/v2/library/x/blobs/md5:{'0' * 32}": (400, "DIGEST_INVALID", "'md5' is not supported"),
    "/v2/library/x/blobs/latest": (400, "DIGEST_INVALID", "no colon"),
    "/v2/library/x/referrers/latest": (400, "DIGEST_INVALID", "no colon"),
    "/v2/library/x/manifests/": (404, "NAME_UNKNOWN", "no such path"),
    "/v2/library/x/tags": (404, "NAME_UNKNOWN", "no such path"),
    "/v2/library/x": (404, "NAME_UNKNOWN", "no such path"),
    "/v2/library/nothing/manifests/latest": (404, "MANIFEST_UNKNOWN", "no tag latest in library/nothing"),
    f"/v2/library/nothing/manifests/{X256}": (404, "MANIFEST_UNKNOWN", "no manifest sha256:0"),
    f"/v2/library/nothing/blobs/{X256}": (404, "BLOB_UNKNOWN", "no blob sha256:0"),
    "/v2/library/nothing/tags/list": (404, "NAME_UNKNOWN", "no repository library/nothing"),
    "/v2/library/nothing/blobs/uploads/none": (404, "BLOB_UPLOAD_UNKNOWN", "no such upload"),
    "/v2/nowhere/x/manifests/latest": (404, "NAME_UNKNOWN", "no project 'nowhere'"),
}


@pytest.mark.parametrize(("path", "expected"), PATHS.items(), ids=[path[:60] for path in PATHS])
def test_a_path_that_is_wrong(path: str, expected: tuple[int, str, str], registry: RoadsteadServer) -> None:
    status, code, words = expected
    with wire(registry) as line:
        answer = line.ask("GET", path)
    error = require_error_body(answer.body)
    assert (answer.status, error.code) == (status, code)
    assert words in error.message
    assert answer.headers["X-Request-Id"]


# method and path → what Allow must say
METHODS = {
    ("PUT", "/v2/"): "GET, HEAD",
    ("DELETE", "/v2/_catalog"): "GET",
    ("POST", "/v2/library/x/manifests/latest"): "GET, HEAD, PUT, DELETE",
    ("PUT", f"/v2/library/x/blobs/{X256}"): "GET, HEAD, DELETE",
    ("GET", "/v2/library/x/blobs/uploads/"): "POST",
    ("POST", "/v2/library/x/blobs/uploads/0123"): "GET, PATCH, PUT, DELETE",
    ("PUT", "/v2/library/x/tags/list"): "GET",
    ("POST", f"/v2/library/x/referrers/{X256}"): "GET",
    ("BREW", "/v2/"): "GET, HEAD",
}


@pytest.mark.parametrize(("method", "path"), METHODS, ids=lambda value: value[:40])
def test_a_method_that_has_no_meaning(method: str, path: str, http: httpx2.Client) -> None:
    answer = http.request(method, path)
    refused(answer, 405, "UNSUPPORTED")
    assert answer.headers["Allow"] == METHODS[method, path]


def test_a_name_of_one_component_is_in_the_library(http: httpx2.Client) -> None:
    assert begin(http, "single").startswith("/v2/single/blobs/uploads/")
    location = begin(http, "library/single")
    token = location.rpartition("/")[2]
    accepted(http.get(f"/v2/single/blobs/uploads/{token}"), 204)


def test_the_longest_name_is_taken(http: httpx2.Client) -> None:
    begin(http, f"library/{'a' * 247}")


def test_a_push_to_a_project_that_does_not_exist_says_what_to_do(impatient: RoadsteadServer) -> None:
    with impatient.http() as http:
        message = refused(http.post("/v2/nowhere/x/blobs/uploads/"), 404, "NAME_UNKNOWN")
    assert "There is no project 'nowhere'" in message
    assert "made by an administrator before the first push" in message
