"""Conversions that are broken off, ended or refused: nothing is left behind, and whoever waits is answered."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.test_job_worker import is_gone, job_worker
from tests.journeys.test_who_may import tell
from tests.support.clients.images import GZIP, OCI_CONFIG, PLAIN, Blob, Image, artifact, as_json, assemble, everything, push, tar
from tests.support.server import RoadsteadServer, children, poll, told_of

SOON = 3.0
"""Seconds: one until the worker sees it, and what a busy machine adds."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path / "data", {"ROADSTEAD_WORKERS": "1"}) as server:
        yield server


def an_image(seed: str, size: int = 32 << 20) -> Image:
    """An image whose conversion takes a moment."""
    return assemble([tar({"etc/": b"", "etc/seed": seed.encode(), "zeros": os.urandom(size)})], [PLAIN], "amd64", docker=False)


def ask(server: RoadsteadServer, repository: str) -> httpx2.Response:
    """Ask for the image of tag 1 as a SIF, and wait."""
    with server.http(timeout=120) as http:
        return http.get(f"/v2/{repository}/manifests/1.sif")


def converters(server: RoadsteadServer) -> list[int]:
    """The processes that convert."""
    worker = job_worker(server)
    found = [] if worker is None else sorted(children(worker))
    return [one for one in found if "roadstead.sif.converter" in told_of(one, "cmdline")]


def stop_converter(server: RoadsteadServer) -> int:
    """The converter, which stands still in the middle of its work from now on."""
    assert poll(lambda: any(map(_is_shut_in, converters(server))))
    (converter,) = converters(server)
    os.kill(converter, signal.SIGSTOP)
    return converter


def _is_shut_in(pid: int) -> bool:
    """Whether it has begun to work at the image."""
    return "NoNewPrivs:\t1" in told_of(pid, "status")


def stored(server: RoadsteadServer) -> int:
    """How many files the store has."""
    return sum(1 for path in (server.data / "content").rglob("*") if path.is_file())


def push_quietly(server: RoadsteadServer, repository: str, image: Image) -> None:
    """Push it as tag 1, and wait until the job that looks into it for what it needs has ended: only conversions are left."""
    push(server.http(), repository, "1", image)
    assert poll(lambda: not {one["state"] for one in tell(server, "jobs", "list", "--kind", "survey")} & {"waiting", "running"})


def unnamed(server: RoadsteadServer) -> list[str]:
    """Files without a name that the job worker holds open, on the store's file system."""
    worker, links = job_worker(server), []
    for one in () if worker is None else Path(f"/proc/{worker}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(one.readlink()))
    return [link for link in links if link.startswith(str(server.data / "content")) and link.endswith("(deleted)")]


def convert_job(server: RoadsteadServer) -> dict[str, Any]:
    """The one job that converts."""
    (job,) = tell(server, "jobs", "list", "--kind", "convert")
    return dict(job)


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_is_followed_by_another(server: RoadsteadServer) -> None:
    image = an_image("killed")
    push_quietly(server, "library/killed", image)
    with ThreadPoolExecutor(1) as threads:
        asked: Future[httpx2.Response] = threads.submit(ask, server, "library/killed")
        converter, worker = stop_converter(server), job_worker(server)
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        assert poll(lambda: is_gone(converter))
        answer = asked.result()
    assert answer.status_code == 200, answer.text
    job = convert_job(server)
    assert (job["state"], job["attempt"]) == ("succeeded", 2)
    # The image's config and layer, the SIF, and its empty config: nothing of the first attempt.
    assert stored(server) == len(everything(image)) - 1 + 2
    assert unnamed(server) == []


@pytest.mark.slow
def test_a_conversion_that_is_cancelled_ends_at_once(server: RoadsteadServer) -> None:
    image = an_image("cancelled")
    push_quietly(server, "library/cancelled", image)
    with ThreadPoolExecutor(1) as threads:
        asked: Future[httpx2.Response] = threads.submit(ask, server, "library/cancelled")
        converter = stop_converter(server)
        tell(server, "jobs", "cancel", str(convert_job(server)["id"]))
        began = time.monotonic()
        assert poll(lambda: is_gone(converter))
        assert time.monotonic() - began < SOON
        answer = asked.result()
    assert answer.status_code == 422
    assert "Cancelled by system." in answer.text
    assert convert_job(server)["state"] == "cancelled"
    assert poll(lambda: unnamed(server) == [])
    assert stored(server) == len(everything(image)) - 1
    tell(server, "jobs", "retry", str(convert_job(server)["id"]))
    assert ask(server, "library/cancelled").status_code == 200


def test_two_servers_make_the_same_file(server: RoadsteadServer, tmp_path: Path) -> None:
    image = an_image("the same", 3 << 20)
    with RoadsteadServer(tmp_path / "other", {"ROADSTEAD_CONVERSION_THREADS": "7"}) as other:
        made = []
        for one, repository in ((server, "library/here"), (other, "library/there/and/more")):
            push(one.http(), repository, "1", image)
            made.append(ask(one, repository))
    assert [answer.status_code for answer in made] == [200, 200]
    assert made[0].headers["docker-content-digest"] == made[1].headers["docker-content-digest"]
    assert made[0].content == made[1].content


def changed(image: Image, **values: object) -> Image:
    """The image with another configuration."""
    config, *layers = image.blobs
    return artifact(as_json(OCI_CONFIG, {**json.loads(config.data), **values}), layers)


def of_layer(layer: bytes) -> Image:
    return assemble([layer], [PLAIN], "amd64", docker=False)


BOMB = tar({"zeros": bytes(300 << 20)})

BAD: Mapping[str, tuple[Callable[[], Image], str]] = {
    "no-archive": (lambda: of_layer(b"This is no archive at all." * 100), "not a"),
    "truncated": (lambda: of_layer(tar({"file": os.urandom(100_000)})[:50_000]), "ends"),
    "bomb": (lambda: assemble([BOMB], [GZIP], "amd64", docker=False), "times"),
    "more-layers-told": (lambda: changed(an_image("told", 10), rootfs={"type": "layers", "diff_ids": []}), "configuration"),
    "other-layer-told": (
        lambda: changed(an_image("other", 10), rootfs={"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]}),
        "configuration states",
    ),
    "windows": (lambda: changed(an_image("windows", 10), os="windows"), "windows"),
    "strange-layer": (
        lambda: artifact(an_image("strange", 10).blobs[0], [Blob("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", b"secret")]),
        "encrypted",
    ),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """One server for all that is refused."""
    with RoadsteadServer(tmp_path_factory.mktemp("refusing") / "data", {"ROADSTEAD_WORKERS": "1"}) as server:
        yield server


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_converted_is_refused_with_the_reason(shared: RoadsteadServer, what: str) -> None:
    make, reason = BAD[what]
    repository = f"library/{what}"
    push_quietly(shared, repository, make())
    before, worker = stored(shared), job_worker(shared)
    answer = ask(shared, repository)
    assert answer.status_code == 422, answer.text
    assert reason in answer.json()["errors"][0]["message"]
    shown = shared.http().get(f"/api/v2.0/projects/library/repositories/{what}/artifacts/1/conversions").json()
    assert [(one["state"], reason in one["reason"]) for one in shown] == [("failed", True)]
    assert stored(shared) == before
    assert unnamed(shared) == []
    assert job_worker(shared) == worker
    assert converters(shared) == []
