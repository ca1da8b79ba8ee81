"""SIFs as files, request by request: ranges, what a cache needs, credentials, and what is said of what cannot be had."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.protocols.http.exchange import client, small_image
from tests.support.clients.images import SIF_CONFIG, SIF_LAYER, Blob, artifact, as_json, push
from tests.support.clients.images import Image as Whole
from tests.support.server import RoadsteadServer
from tests.support.sifs import sif

DATA = sif()
PUSHED = artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, DATA)])
FILE = PUSHED.blobs[1].digest
LINK = "/sif/library/tools/it/1.0.sif"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """With a SIF in the public project and in a private one."""
    environment = {"ROADSTEAD_CREATE_PROJECTS_ON_PUSH": "true", "ROADSTEAD_CONVERSION_WAIT_SECONDS": "30"}
    with RoadsteadServer(tmp_path_factory.mktemp("downloads") / "data", environment) as server:
        with client(server) as http:
            push(http, "library/tools/it", "1.0", PUSHED)
            push(http, "hidden/it", "1.0", PUSHED)
        yield server


def refused(answer: httpx2.Response, status: int) -> str:
    """The line that says why."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith("\n") and answer.text.count("\n") == 1
    return answer.text


def test_a_sif_is_a_file_of_a_good_name(anonymous: httpx2.Client) -> None:
    answer = anonymous.get(LINK)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-disposition"] == 'attachment; filename="it_1.0.sif"'
    assert answer.headers["etag"] == f'"{FILE}"'
    assert (answer.headers["accept-ranges"], answer.headers["cache-control"]) == ("bytes", "private, no-cache")
    head = anonymous.head(LINK)
    same = ("content-length", "content-type", "content-disposition", "etag", "accept-ranges", "cache-control", "docker-content-digest")
    assert [head.headers[name] for name in same] == [answer.headers[name] for name in same]
    assert head.content == b""


@pytest.mark.parametrize("digest", [PUSHED.digest, FILE], ids=["manifest", "file"])
def test_a_digest_names_it_for_ever(anonymous: httpx2.Client, digest: str) -> None:
    for written in (digest, digest.replace(":", "%3A")):
        answer = anonymous.get(f"/sif/library/tools/it/{written}.sif")
        assert (answer.status_code, answer.content) == (200, DATA)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-disposition"] == f'attachment; filename="it_{digest.replace(":", ".")}.sif"'


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-", 0, len(DATA)), ("bytes=100-199", 100, 200), ("bytes=-10", len(DATA) - 10, len(DATA)), ("bytes=30000-", 30000, len(DATA))],
)
def test_a_part_can_be_had(anonymous: httpx2.Client, asked: str, start: int, end: int) -> None:
    answer = anonymous.get(LINK, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


def test_a_part_beyond_the_end_is_refused_with_the_size(anonymous: httpx2.Client) -> None:
    answer = anonymous.get(LINK, headers={"Range": f"bytes={len(DATA)}-"})
    refused(answer, 416)
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_a_part_of_another_file_is_not_continued(anonymous: httpx2.Client) -> None:
    headers = {"Range": "bytes=100-", "If-Range": f'"{FILE}"'}
    assert anonymous.get(LINK, headers=headers).status_code == 206
    for changed in ('"sha256:other"', "Thu, 01 Jan 2026 00:00:00 GMT", f'W/"{FILE}"'):
        answer = anonymous.get(LINK, headers={**headers, "If-Range": changed})
        assert (answer.status_code, answer.content) == (200, DATA)


def test_what_the_client_has_is_not_sent_again(anonymous: httpx2.Client) -> None:
    for has in (f'"{FILE}"', f'W/"{FILE}"', f'"other", "{FILE}"'):
        answer = anonymous.get(LINK, headers={"If-None-Match": has})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", f'"{FILE}"')
    assert anonymous.get(LINK, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_private_project_asks_who_it_is(registry: RoadsteadServer, anonymous: httpx2.Client, http: httpx2.Client) -> None:
    link = "/sif/hidden/it/1.0.sif"
    for answer in (anonymous.get(link), anonymous.get("/sif/absent/it/1.0.sif")):
        refused(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic ")
    refused(anonymous.get(link, auth=("admin", "wrong")), 401)
    assert http.get(link).content == DATA
    scope = {"service": "roadstead", "scope": "repository:hidden/it:pull"}
    token = http.get("/service/token", params=scope).json()["token"]
    assert anonymous.get(link, headers={"Authorization": f"Bearer {token}"}).content == DATA
    refused(anonymous.get("/sif/hidden/other/1.0.sif", headers={"Authorization": f"Bearer {token}"}), 401)


def test_a_browsers_session_is_enough(registry: RoadsteadServer) -> None:
    with client(registry, anonymous=True) as browser:
        assert browser.post("/c/login", data={"principal": "admin", "password": registry.admin_password}).status_code == 200
        assert browser.get("/sif/hidden/it/1.0.sif").content == DATA


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/sif/library/tools/it/absent.sif", 404, "absent"),
        ("/sif/library/nowhere/1.0.sif", 404, "nowhere"),
        ("/sif/library/tools/it/1.0", 404, "TAG.sif"),
        ("/sif/1.0.sif", 404, "TAG.sif"),
        ("/sif", 404, "TAG.sif"),
        ("/sif/", 404, "TAG.sif"),
        ("/sif/library/tools/it/.sif", 400, "empty"),
        ("/sif/library/tools/it/a%00b.sif", 400, "tag"),
        ("/sif/library/tools/it/sha256:12.sif", 400, "digest"),
        ("/sif/library/Tools/it/1.0.sif", 400, "upper case"),
        ("/sif/library/%2e%2e/it/1.0.sif", 400, "percent"),
        (f"{LINK}?platform=windows/amd64", 400, "platform"),
        (f"{LINK}?platform=linux/", 400, "platform"),
        (f"{LINK}?platform=linux/arm64", 404, "for arm64"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(anonymous: httpx2.Client, path: str, status: int, reason: str) -> None:
    assert reason in refused(anonymous.get(path), status)


def test_a_download_changes_nothing(http: httpx2.Client) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = http.request(method, LINK)
        refused(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/amd64/v1", "amd64", ""])
def test_the_platform_may_be_named(anonymous: httpx2.Client, platform: str) -> None:
    assert anonymous.get(LINK, params={"platform": platform}).content == DATA


def test_of_an_index_the_platform_chooses(http: httpx2.Client, anonymous: httpx2.Client) -> None:
    parts = {name: artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, sif(name))]) for name in ("amd64", "arm64")}
    kind = "application/vnd.oci.image.index.v1+json"
    entries = [one.manifest.descriptor(platform={"os": "linux", "architecture": name}) for name, one in parts.items()]
    body = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    push(http, "library/both", "1.0", Whole(as_json(kind, body), (), tuple(parts.values())))
    for name, one in parts.items():
        assert anonymous.get("/sif/library/both/1.0.sif", params={"platform": f"linux/{name}"}).content == one.blobs[1].data


def test_what_is_no_image_cannot_be_converted(http: httpx2.Client) -> None:
    push(http, "library/notes", "1.0", artifact(Blob("application/x.notes", b"{}"), [Blob("text/plain", b"hello")]))
    assert "not a SIF" in refused(http.get("/sif/library/notes/1.0.sif"), 422)


def test_an_image_that_cannot_be_converted_says_why(http: httpx2.Client) -> None:
    push(http, "library/broken", "1.0", small_image("no tar at all"))
    answer = http.get("/sif/library/broken/1.0.sif")
    assert answer.status_code in (400, 422), answer.text
    assert "1.0" in answer.text or "layer" in answer.text
