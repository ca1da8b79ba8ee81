"""A full disk: pushes are refused in words that help, nothing acknowledged is lost, and with room again all goes on without a restart."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from roadstead import settings as configuration
from roadstead.settings import Settings
from tests.journeys.in_process import application
from tests.rooms.content.faulty_disk import FaultyDisk
from tests.support.clients.images import OCI_CONFIG, Blob, Image, artifact, fetch, push
from tests.support.server import RoadsteadServer

REPOSITORY = "library/full"
UPLOADS = f"/v2/{REPOSITORY}/blobs/uploads/"
MIB = 1 << 20
MOST_STEPS = 60  # Write steps of one push, at most.
EARLIER = b"pushed before the disk was full"

Push = Callable[[httpx2.AsyncClient, bytes], Awaitable[httpx2.Response]]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """The data as it comes from a network."""
    for start in range(0, len(data), MIB):
        yield data[start : start + MIB]


async def at_once(http: httpx2.AsyncClient, data: bytes) -> httpx2.Response:
    return await http.post(UPLOADS, params={"digest": digest_of(data)}, content=data)


async def put(http: httpx2.AsyncClient, data: bytes) -> httpx2.Response:
    started = await http.post(UPLOADS)
    if started.status_code != 202:
        return started
    return await http.put(started.headers["Location"], params={"digest": digest_of(data)}, content=data)


async def chunks(http: httpx2.AsyncClient, data: bytes) -> httpx2.Response:
    answer = await http.post(UPLOADS)
    for start in range(0, len(data), 2 * MIB):
        if answer.status_code != 202:
            return answer
        answer = await http.patch(answer.headers["Location"], content=data[start : start + 2 * MIB])
    if answer.status_code != 202:
        return answer
    return await http.put(answer.headers["Location"], params={"digest": digest_of(data)})


def assert_refused(answer: httpx2.Response) -> None:
    """507 with the specification's error body, whose message says what is wrong, and which request it was."""
    assert answer.status_code == 507, answer.text
    (error,) = answer.json()["errors"]
    assert error.keys() == {"code", "message", "detail"}
    assert "full" in error["message"]
    assert answer.headers["X-Request-Id"] in error["message"]


async def assert_blob(http: httpx2.AsyncClient, data: bytes) -> None:
    assert (await http.get(f"/v2/{REPOSITORY}/blobs/{digest_of(data)}")).content == data


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ROADSTEAD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ROADSTEAD_ADMIN_PASSWORD", "a password")
    return configuration.load()


@pytest.mark.parametrize("push_blob", [at_once, put, chunks])
async def test_a_disk_full_at_any_write_step_refuses_the_push_and_loses_nothing(push_blob: Push, settings: Settings) -> None:
    disk = FaultyDisk()
    disk.longest_write = MIB
    async with application(settings, disk) as http:
        assert (await at_once(http, EARLIER)).status_code == 201
        for step in range(1, MOST_STEPS):
            data = random.Random(step).randbytes(5 * MIB)
            disk.fail(errno.ENOSPC, at=step)
            answer = await push_blob(http, data)
            if not disk.met:
                break
            assert_refused(answer)
            disk.heal()
            assert (await http.head(f"/v2/{REPOSITORY}/blobs/{digest_of(data)}")).status_code == 404
            assert (await push_blob(http, data)).status_code == 201
            await assert_blob(http, data)
            await assert_blob(http, EARLIER)
        assert not disk.met, "the push does not end"
        assert answer.status_code == 201
        assert step > 4, "the push met too few faults to prove anything"
        assert disk.open_files == 0


async def test_an_upload_that_met_a_full_disk_goes_on_when_there_is_room(settings: Settings) -> None:
    disk, data = FaultyDisk(), random.Random(0).randbytes(9 * MIB)
    disk.longest_write = MIB
    async with application(settings, disk) as http:
        location = (await http.post(UPLOADS)).headers["Location"]
        disk.fail(errno.ENOSPC, at=4)
        assert_refused(await http.patch(location, content=pieces(data)))
        disk.heal()
        standing = await http.get(location)
        offset = int(standing.headers["Range"].removeprefix("0-")) + 1
        assert MIB <= offset < len(data), "what was written before the fault is kept"
        done = await http.put(location, params={"digest": digest_of(data)}, content=data[offset:])
        assert done.status_code == 201, done.text
        await assert_blob(http, data)


SIZE = 24 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory that is a file system of its own, of `SIZE` bytes."""
    directory = tmp_path / "data"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        reason = f"a small file system cannot be mounted, which needs root: {mounted.stderr.strip()}"
        if os.environ.get("ROADSTEAD_REQUIRE_CLIENTS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    yield directory
    # Lazily: a killed server's last process may still be on its way out.
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(ballast: Path) -> None:
    """Write until not one more byte fits."""
    with ballast.open("ab", buffering=0) as file:
        for size in (64 * 1024, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert os.statvfs(ballast).f_bavail == 0


def small_image(seed: str) -> Image:
    return artifact(Blob(OCI_CONFIG, b"{}"), [Blob("application/octet-stream", seed.encode())])


def put_manifest(http: httpx2.Client, tag: str, whole: Image) -> httpx2.Response:
    return http.put(f"/v2/{REPOSITORY}/manifests/{tag}", content=whole.manifest.data, headers={"Content-Type": whole.manifest.media_type})


@pytest.mark.slow
def test_a_really_full_disk_under_content_and_database(small_disk: Path) -> None:
    kept, ballast = small_image("kept"), small_disk / "ballast"
    with RoadsteadServer(small_disk) as server, server.http() as http:
        push(http, REPOSITORY, "kept", kept)

        too_large = os.urandom(SIZE)
        assert_refused(http.post(UPLOADS, params={"digest": digest_of(too_large)}, content=too_large))
        push(http, REPOSITORY, "after", kept)

        location = http.post(UPLOADS).headers["Location"]
        fill(ballast)
        for answer in (
            http.post(UPLOADS),
            http.post(UPLOADS, params={"digest": digest_of(b"one")}, content=b"one"),
            http.patch(location, content=b"one"),
            put_manifest(http, "refused", kept),
            http.post("/v2/library/other/blobs/uploads/", params={"mount": kept.blobs[0].digest, "from": REPOSITORY}),
            http.delete(f"/v2/{REPOSITORY}/manifests/kept"),
        ):
            assert_refused(answer)
        assert fetch(http, REPOSITORY, "kept") == kept, "what is there can be pulled from a full disk"
        assert http.get(f"/v2/{REPOSITORY}/tags/list").json()["tags"] == ["after", "kept"]
        health = http.get("/health/ready")
        assert (health.status_code, "full" in health.json()["parts"]["store"]) == (503, True)
        assert http.get("/metrics").status_code == 200

        ballast.unlink()
        assert http.get("/health/ready").status_code == 200
        assert http.patch(location, content=b"one").status_code == 202
        push(http, REPOSITORY, "again", small_image("again"))
        assert fetch(http, REPOSITORY, "again") == small_image("again")
        assert fetch(http, REPOSITORY, "kept") == kept
        assert server.exit_status is None
        assert "locked" not in server.log.read_text()
