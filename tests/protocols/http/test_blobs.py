"""Pulling blobs: ranges, encodings, and content that was damaged on the disk (distribution-spec, "Pulling blobs")."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.protocols.http.exchange import accepted, digest_of, metric, push_blob, refused, wire
from tests.support.server import RoadsteadServer, poll

THOUSAND = random.Random(10).randbytes(1000)
LARGE = random.Random(11).randbytes(5_000_000)

# Range → Content-Range and the bytes; None: the whole blob with 200
RANGES: dict[str, tuple[str, slice] | None] = {
    "bytes=0-9": ("bytes 0-9/1000", slice(0, 10)),
    "bytes=0-0": ("bytes 0-0/1000", slice(0, 1)),
    "bytes=500-999": ("bytes 500-999/1000", slice(500, 1000)),
    "bytes=990-": ("bytes 990-999/1000", slice(990, 1000)),
    "bytes=-10": ("bytes 990-999/1000", slice(990, 1000)),
    "bytes=0-5000": ("bytes 0-999/1000", slice(0, 1000)),
    "bytes=-5000": ("bytes 0-999/1000", slice(0, 1000)),
    "Bytes=1-2": ("bytes 1-2/1000", slice(1, 3)),
    f"bytes=5-{'9' * 5000}": ("bytes 5-999/1000", slice(5, 1000)),
    "bytes=0-1,5-6": None,
    "bytes=-": None,
    "bytes=a-b": None,
    "lines=0-9": None,
}


@pytest.mark.parametrize("wanted", RANGES, ids=lambda text: text[:20])
def test_a_range(wanted: str, http: httpx2.Client, repository: str) -> None:
    digest = push_blob(http, repository, THOUSAND)
    answer = http.get(f"/v2/{repository}/blobs/{digest}", headers={"Range": wanted})
    expected = RANGES[wanted]
    assert answer.status_code == (206 if expected else 200)
    assert answer.headers.get("Content-Range") == (expected[0] if expected else None)
    assert answer.content == (THOUSAND[expected[1]] if expected else THOUSAND)
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize(
    "wanted", ["bytes=1000-", "bytes=1000-1001", "bytes=5-2", "bytes=-0", f"bytes={'9' * 5000}-"], ids=lambda t: t[:20]
)
def test_a_range_beyond_the_end(wanted: str, http: httpx2.Client, repository: str) -> None:
    digest = push_blob(http, repository, THOUSAND)
    answer = http.get(f"/v2/{repository}/blobs/{digest}", headers={"Range": wanted})
    refused(answer, 416, "SIZE_INVALID")
    assert answer.headers["Content-Range"] == "bytes */1000"


def test_a_large_blob_whole_and_in_ranges(http: httpx2.Client, repository: str) -> None:
    url = f"/v2/{repository}/blobs/{push_blob(http, repository, LARGE)}"
    assert http.get(url).content == LARGE
    joined = b"".join(
        http.get(url, headers={"Range": f"bytes={start}-{start + 1_499_999}"}).content for start in range(0, len(LARGE), 1_500_000)
    )
    assert joined == LARGE


@pytest.mark.parametrize("coding", ["gzip, zstd", "gzip;q=1.0, identity;q=0", "*", "br"])
def test_nothing_is_ever_content_encoded(coding: str, http: httpx2.Client, repository: str) -> None:
    digest = push_blob(http, repository, b"a" * 10_000)
    for path in (f"{repository}/blobs/{digest}", f"{repository}/tags/list", "_catalog", f"{repository}/manifests/none"):
        answer = http.get(f"/v2/{path}", headers={"Accept-Encoding": coding})
        assert "Content-Encoding" not in answer.headers
    assert http.get(f"/v2/{repository}/blobs/{digest}", headers={"Accept-Encoding": coding}).content == b"a" * 10_000


def test_head_says_what_get_would(http: httpx2.Client, repository: str) -> None:
    url = f"/v2/{repository}/blobs/{push_blob(http, repository, THOUSAND)}"
    head, get = accepted(http.head(url), 200), accepted(http.get(url), 200)
    assert head.content == b""
    for name in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]
    assert http.head(f"/v2/{repository}/blobs/{digest_of(b'absent')}").status_code == 404


def test_a_deleted_blob_is_gone_from_its_repository_alone(http: httpx2.Client, repository: str) -> None:
    digest = push_blob(http, repository, THOUSAND)
    push_blob(http, f"{repository}/copy", THOUSAND)
    accepted(http.delete(f"/v2/{repository}/blobs/{digest}"), 202)
    refused(http.get(f"/v2/{repository}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    refused(http.delete(f"/v2/{repository}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    assert http.get(f"/v2/{repository}/copy/blobs/{digest}").content == THOUSAND


def test_a_client_that_goes_away_harms_nobody(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    url = f"/v2/{repository}/blobs/{push_blob(http, repository, LARGE)}"
    for headers in ({}, {"Range": "bytes=1-"}):
        with http.stream("GET", url, headers=headers) as answer:
            assert next(answer.iter_raw())
    with wire(registry) as line:
        line.head("GET", url)
    assert http.get(url).content == LARGE


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [Path.unlink, _truncate], ids=["missing", "short"])
def test_damaged_content_is_told_counted_and_healed(
    damage: Callable[[Path], None], registry: RoadsteadServer, http: httpx2.Client, repository: str
) -> None:
    data = random.Random(damage.__name__).randbytes(77_777)
    url = f"/v2/{repository}/blobs/{push_blob(http, repository, data)}"
    (stored,) = [path for path in registry.data.glob("content/*/*") if path.read_bytes() == data]
    damage(stored)

    before = metric(http, "roadstead_content_damaged_total")
    for answer in (http.get(url), http.get(url, headers={"Range": "bytes=0-9"})):
        assert "missing or damaged" in refused(answer, 500, "UNKNOWN")
        assert answer.headers["X-Request-Id"] in answer.text
    assert http.head(url).status_code == 500
    assert poll(lambda: metric(http, "roadstead_content_damaged_total") == before + 3, 10.0)

    push_blob(http, repository, data)
    assert accepted(http.get(url), 200).content == data
    assert accepted(http.head(url), 200).headers["Content-Length"] == "77777"
