"""A project that gives out only signed SIFs, at every door: the status, and the sentence that its users read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import httpx2
import pytest

from roadstead.access.public_keys import parse
from tests.protocols.http.exchange import accepted, client
from tests.protocols.http.test_library import identifier, refusal
from tests.rooms.sif.test_dsse import KEY, signed
from tests.support.clients.images import SIF_CONFIG, SIF_LAYER, Blob, artifact, push
from tests.support.pem import public_pem
from tests.support.server import RoadsteadServer
from tests.support.sifs import container, root, squashfs

UNSIGNED: Final = container([(root(), squashfs())])
SIGNED: Final = signed()
PUSHED: Final = artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, UNSIGNED)])
GOOD: Final = artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, SIGNED)])
HASH: Final = hashlib.sha256(UNSIGNED).hexdigest()
FINGERPRINT: Final = parse(public_pem(KEY)).fingerprint
HERE: Final = "strict/tools/it"
SENTENCE: Final = (
    "The project 'strict' gives out only SIFs that a key which it trusts has signed. This one is not signed. "
    f"It trusts: {FINGERPRINT} (the build)."
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """With a public project that trusts KEY alone, and in it a SIF that nobody has signed and one that KEY has."""
    with RoadsteadServer(tmp_path_factory.mktemp("strict") / "data") as server:
        with client(server) as http:
            accepted(http.post("/api/v2.0/projects", json={"project_name": "strict", "public": True}), 201)
            key = {"key": public_pem(KEY).decode(), "name": "the build"}
            accepted(http.post("/api/v2.0/projects/strict/trust/keys", json=key), 201)
            accepted(http.put("/api/v2.0/projects/strict/trust", json={"only_signed_sifs": True}), 200)
            push(http, HERE, "1.0", PUSHED)
            push(http, HERE, "good", GOOD)
        yield server


@pytest.mark.parametrize("reference", ["1.0", PUSHED.digest, f"sha256:{HASH}"], ids=["tag", "manifest", "file"])
def test_a_download_is_refused_with_the_reason(anonymous: httpx2.Client, reference: str) -> None:
    answer = anonymous.get(f"/sif/{HERE}/{reference}.sif")
    assert (answer.status_code, answer.text) == (403, f"{SENTENCE}\n")
    assert anonymous.head(f"/sif/{HERE}/{reference}.sif").status_code == 403


@pytest.mark.parametrize("path", ["/v1/images", "/library/v1/images", "/library/v1/imagefile"])
@pytest.mark.parametrize("reference", ["1.0", f"sha256.{HASH}"])
def test_a_client_of_the_library_is_told_the_reason(anonymous: httpx2.Client, path: str, reference: str) -> None:
    assert refusal(anonymous.get(f"{path}/{HERE}:{reference}", params={"arch": "amd64"}), 403) == SENTENCE


@pytest.mark.parametrize("reference", ["1.0", PUSHED.digest])
def test_a_client_of_the_distribution_api_is_told_the_reason(anonymous: httpx2.Client, reference: str) -> None:
    answer = anonymous.get(f"/v2/{HERE}/manifests/{reference}", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    assert (answer.status_code, answer.json()["errors"][0]["message"]) == (403, SENTENCE)


def test_the_file_goes_out_to_who_may_push_and_to_nobody_else(anonymous: httpx2.Client, http: httpx2.Client) -> None:
    path = f"/v2/{HERE}/blobs/sha256:{HASH}"
    for headers in ({}, {"Range": "bytes=0-99"}):
        answer = anonymous.get(path, headers=headers)
        assert (answer.status_code, answer.json()["errors"][0]["message"]) == (403, SENTENCE)
    assert anonymous.head(path).status_code == 403
    assert http.get(path).content == UNSIGNED


def test_who_may_push_is_told_what_there_is_and_pulls_nothing(http: httpx2.Client) -> None:
    told = accepted(http.get(f"/library/v1/images/{HERE}:sha256.{HASH}", params={"arch": "amd64"}), 200).json()["data"]
    assert (told["hash"], told["uploaded"]) == (f"sha256.{HASH}", True)
    for reference in ("1.0", f"sha256.{HASH}"):
        assert refusal(http.get(f"/library/v1/imagefile/{HERE}:{reference}"), 403) == SENTENCE


def test_the_same_file_is_announced_and_tagged_again(http: httpx2.Client) -> None:
    announced = {"hash": f"sha256.{HASH}", "container": identifier(HERE)}
    told = accepted(http.post("/library/v1/images", json=announced), 200).json()["data"]
    assert told["uploaded"] is True
    tagged = {"Tag": "again", "ImageID": told["id"], "Arch": "amd64"}
    accepted(http.post(f"/library/v2/tags/{identifier(HERE)}", json=tagged), 200)
    assert refusal(http.get(f"/library/v1/images/{HERE}:again"), 403) == SENTENCE


def test_one_that_is_signed_goes_out_at_every_door(anonymous: httpx2.Client) -> None:
    file = hashlib.sha256(SIGNED).hexdigest()
    assert anonymous.get(f"/sif/{HERE}/good.sif").content == SIGNED
    assert anonymous.get(f"/v2/{HERE}/blobs/sha256:{file}").content == SIGNED
    sent = anonymous.get(f"/library/v1/imagefile/{HERE}:good", params={"arch": "amd64"})
    assert sent.status_code == 303 and sent.headers["location"].endswith(f"/v2/{HERE}/blobs/sha256:{file}")
