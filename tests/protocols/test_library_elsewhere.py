"""library:// without a remote, at any port, and with an object store that clients are sent to for the bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.clients.images import SIF_CONFIG, SIF_LAYER, Blob, artifact, push
from tests.support.clients.sifs import small_sif
from tests.support.clients.tools import Workplace
from tests.support.seaweedfs import SeaweedFS
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("apptainer")


@pytest.fixture(scope="module")
def sif() -> bytes:
    """A SIF that takes several ranges."""
    return small_sif(os.urandom(12 << 20))


@pytest.fixture(scope="module")
def on_s3(seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server that keeps its content in an object store."""
    store = seaweedfs.url(seaweedfs.fresh_bucket(), "library")
    environment = {**seaweedfs.environment, "ROADSTEAD_STORAGE_URL": store}
    with RoadsteadServer(tmp_path_factory.mktemp("s3") / "data", environment) as server:
        yield server


def pulled(workplace: Workplace, server: RoadsteadServer, repository: str, sif: bytes) -> bytes:
    with server.http() as http:
        push(http, repository, "one", artifact(Blob(SIF_CONFIG, b"{}"), [Blob(SIF_LAYER, sif)]))
    said = workplace.run("apptainer", "-d", "pull", "--library", server.url, "back.sif", f"library://{repository}:one").err
    assert "parts: 3, streams: 3" in said
    return workplace.path("back.sif").read_bytes()


def test_it_is_pulled_from_an_address_with_a_port(workplace: Workplace, registry: RoadsteadServer, repository: str, sif: bytes) -> None:
    assert pulled(workplace, registry, repository, sif) == sif


def test_ranges_come_from_the_object_store(workplace: Workplace, on_s3: RoadsteadServer, repository: str, sif: bytes) -> None:
    assert pulled(workplace, on_s3, repository, sif) == sif
    with on_s3.http() as http:
        location = http.get(f"/v1/imagefile/{repository}:one").headers["Location"]
        assert http.get(location, headers={"Range": "bytes=0-9"}).status_code == 307
