"""Tags, catalog and referrers, page by page (distribution-spec, "Listing Tags", "Listing Referrers")."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from tests.protocols.http.exchange import accepted, client, put_manifest, refused, small_image
from tests.support.clients.images import OCI_INDEX, Blob, artifact, as_json, push
from tests.support.server import RoadsteadServer

IN_ANY_ORDER = ["b9", "b10", "a", "B", "A", "_x", "1", "v1.0", "v1-0", "v1_0", "Z", "z"]
IN_ORDER = ["1", "A", "B", "Z", "_x", "a", "b10", "b9", "v1-0", "v1.0", "v1_0", "z"]


def pages(http: httpx2.Client, url: str, key: str) -> list[list[Any]]:
    """Every page, by the Link headers (RFC 8288) alone."""
    found: list[list[Any]] = []
    while url:
        answer = accepted(http.get(url), 200)
        found.append(answer.json()[key])
        link = re.fullmatch('<(.*)>; rel="next"', answer.headers.get("Link", ""))
        url = link[1] if link else ""
    return found


@pytest.fixture
def tagged(http: httpx2.Client, repository: str) -> str:
    """The list of a repository with twelve tags."""
    whole = small_image("tagged")
    push(http, repository, IN_ANY_ORDER[0], whole)
    for tag in IN_ANY_ORDER[1:]:
        accepted(put_manifest(http, repository, tag, whole.manifest), 201)
    return f"/v2/{repository}/tags/list"


def test_tags_come_in_the_order_of_their_bytes(tagged: str, repository: str, http: httpx2.Client) -> None:
    assert http.get(tagged).json() == {"name": repository, "tags": IN_ORDER}


@pytest.mark.parametrize("size", [1, 5, 6, 11, 12, 13, 10**30])
def test_tags_in_pages(size: int, tagged: str, http: httpx2.Client) -> None:
    found = pages(http, f"{tagged}?n={size}", "tags")
    assert [tag for page in found for tag in page] == IN_ORDER
    assert all(len(page) == size for page in found[:-1])
    assert 1 <= len(found[-1]) <= size


# Query → the tags of that page
PAGES = {
    "n=0": [],
    "n=2&last=A": ["B", "Z"],
    "last=b9": ["v1-0", "v1.0", "v1_0", "z"],
    "last=AA": ["B", "Z", "_x", "a", "b10", "b9", "v1-0", "v1.0", "v1_0", "z"],
    "last=z": [],
    "n=3&last=": ["1", "A", "B"],
    "n=1&other=x": ["1"],
}


@pytest.mark.parametrize("query", PAGES)
def test_one_page_of_tags(query: str, tagged: str, http: httpx2.Client) -> None:
    answer = http.get(f"{tagged}?{query}")
    assert answer.json()["tags"] == PAGES[query]
    if not PAGES[query]:
        assert "Link" not in answer.headers


@pytest.mark.parametrize("size", ["-1", "x", "1.5", "", "1e3", "%C2%B2"])
@pytest.mark.parametrize("path", ["tags/list", "_catalog"])
def test_a_page_size_that_is_none(size: str, path: str, tagged: str, http: httpx2.Client) -> None:
    url = "/v2/_catalog" if path == "_catalog" else tagged
    assert "'n' is a whole number" in refused(http.get(f"{url}?n={size}"), 400, "UNSUPPORTED")


def test_the_catalog_in_pages_is_the_catalog(http: httpx2.Client, anonymous: httpx2.Client, repository: str) -> None:
    names = [f"{repository}/{end}" for end in ("b", "a", "b-c", "b/c", "b.c", "b0")]
    for name in [*names, "hidden/from-others"]:
        push(http, name, "v1", small_image("catalog"))
    http.post(f"/v2/{repository}/only-an-upload/blobs/uploads/")
    everything = http.get("/v2/_catalog").json()["repositories"]
    assert [name for name in everything if name.startswith(f"{repository}/")] == sorted(names)
    for size in (1, 4, 1000):
        assert [name for page in pages(http, f"/v2/_catalog?n={size}", "repositories") for name in page] == everything
    seen = [name for page in pages(anonymous, "/v2/_catalog?n=3", "repositories") for name in page]
    assert seen == [name for name in everything if name.startswith("library/")]
    assert "hidden/from-others" in everything


def test_referrers_by_artifact_type(http: httpx2.Client, repository: str) -> None:
    subject = small_image("subject")
    push(http, repository, "v1", subject)
    named = {"artifactType": "application/vnd.example.sbom", "annotations": {"who": "we"}}
    sbom = small_image("sbom", subject=subject.manifest.descriptor(), **named)
    signature = artifact(Blob("application/vnd.example.signature", b"{}"), [], subject=subject.manifest.descriptor())
    for tag, referrer in (("sbom", sbom), ("signature", signature)):
        push(http, repository, tag, referrer)

    url = f"/v2/{repository}/referrers/{subject.digest}"
    answer = accepted(http.get(url), 200)
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert "OCI-Filters-Applied" not in answer.headers
    described = {entry["digest"]: entry for entry in answer.json()["manifests"]}
    assert described[sbom.digest] == {**sbom.manifest.descriptor(), **named}
    assert described[signature.digest]["artifactType"] == "application/vnd.example.signature"

    filtered = http.get(url, params={"artifactType": "application/vnd.example.sbom"})
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert [entry["digest"] for entry in filtered.json()["manifests"]] == [sbom.digest]
    for unknown in (f"/v2/{repository}/referrers/{sbom.digest}", f"/v2/{repository}/nothing/referrers/{subject.digest}"):
        assert http.get(unknown).json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def test_referrers_that_old_clients_keep_under_a_tag_are_listed_too(http: httpx2.Client, repository: str) -> None:
    subject = small_image("old subject")
    push(http, repository, "v1", subject)
    old = small_image("old referrer")
    push(http, repository, "old", old)
    index = as_json(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [old.manifest.descriptor()]})
    accepted(put_manifest(http, repository, subject.digest.replace(":", "-"), index), 201)
    listed = http.get(f"/v2/{repository}/referrers/{subject.digest}").json()["manifests"]
    assert [entry["digest"] for entry in listed] == [old.digest]


def test_more_referrers_than_fit_one_page(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    subject = small_image("much referred to")
    push(http, repository, "v1", subject)
    count = 1003
    with client(registry) as pusher:
        for number in range(count):
            named = {"number": str(number)}
            referrer = artifact(subject.blobs[0], [subject.blobs[1]], subject=subject.manifest.descriptor(), annotations=named)
            accepted(put_manifest(pusher, repository, referrer.digest, referrer.manifest), 201)
    url = f"/v2/{repository}/referrers/{subject.digest}?artifactType={subject.blobs[0].media_type.replace('+', '%2B')}"
    found = pages(http, url, "manifests")
    assert [len(page) for page in found] == [1000, 3]
    numbers = {int(entry["annotations"]["number"]) for page in found for entry in page}
    assert numbers == set(range(count))
    refused(http.get(f"/v2/{repository}/referrers/{subject.digest}?after=x"), 400, "UNSUPPORTED")
