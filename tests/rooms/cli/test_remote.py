"""The commands of users through the real program, against the real server and against one that is cut, lies, or is counted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadstead.client.download import PART
from tests.support.between import Between
from tests.support.factories import blob
from tests.support.server import RoadsteadServer, free_port
from tests.support.sifs import sif
from tests.support.user import User, logged_in

BIG = sif() + random.Random(1).randbytes(3 * PART + 12345)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path_factory.mktemp("remote") / "data") as running:
        with running.http() as http:
            for name in ("lab", "other"):
                assert http.post("/api/v2.0/projects", json={"project_name": name}).status_code == 201
        user = User(tmp_path_factory.mktemp("pusher"), running.host)
        user.login()
        user.file("big.sif", BIG)
        user.told("push", "big.sif", f"{running.host}/lab/big:1")
        yield running


@pytest.fixture
def user(tmp_path: Path, server: RoadsteadServer) -> User:
    return logged_in(tmp_path / "home", server.host)


def through(user: User, between: Between) -> User:
    """The same user, logged in through what stands between."""
    user.host = between.host
    user.login()
    return user


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_sif_goes_up_is_found_and_comes_back(user: User) -> None:
    small = sif()
    user.file("tool.sif", small)
    pushed = user.told("push", "tool.sif", f"{user.host}/lab/tool:1.0")
    assert "lab/tool" in user.told("ls", f"{user.host}/lab")
    assert user.told("ls", f"{user.host}/other") == [name for name in user.told("ls", user.host) if name.startswith("other/")]
    user.done("tag", f"{user.host}/lab/tool:1.0", "stable")
    assert user.told("tags", f"{user.host}/lab/tool") == ["1.0", "stable"]
    shown = user.told("inspect", f"{user.host}/lab/tool:stable")
    assert (shown["digest"], shown["manifest"]["layers"][0]["digest"]) == (pushed["digest"], digest(small))
    fetched = user.told("pull", f"{user.host}/lab/tool:1.0")
    assert fetched == {"path": str(user.home / "tool_1.0.sif"), "size": len(small), "digest": digest(small)}
    assert (user.home / "tool_1.0.sif").read_bytes() == small
    user.done("rm", f"{user.host}/lab/tool:stable")
    assert user.told("tags", f"{user.host}/lab/tool") == ["1.0"]
    assert user.names() == {"tool.sif", "tool_1.0.sif"}


def test_a_copy_within_a_registry_moves_no_bytes(user: User, server: RoadsteadServer) -> None:
    copied = user.told("cp", f"{user.host}/lab/big:1", f"{user.host}/other/big:2")
    assert copied["digest"] == user.told("inspect", f"{user.host}/other/big:2")["digest"]
    assert user.done("pull", f"{user.host}/other/big:2", "-o", "copy.sif")
    assert (user.home / "copy.sif").read_bytes() == BIG
    stored = sum(path.stat().st_size for path in server.data.rglob("*") if path.is_file() and path.stat().st_size >= len(BIG))
    assert stored == len(BIG)


def test_a_copy_to_another_registry_moves_all(user: User, tmp_path: Path) -> None:
    with RoadsteadServer(tmp_path / "second") as second:
        with second.http() as http:
            http.post("/api/v2.0/projects", json={"project_name": "far"})
        there = User(user.home, second.host)
        there.login()
        user.done("cp", f"{user.host}/lab/big:1", f"{second.host}/far/big:1")
        there.done("pull", f"{second.host}/far/big:1", "-o", "far.sif")
    assert (user.home / "far.sif").read_bytes() == BIG


def test_a_pull_asks_for_ranges(user: User, server: RoadsteadServer) -> None:
    with Between(server) as between:
        through(user, between).done("pull", f"{between.host}/lab/big:1", "-o", "big.sif")
        expected = {f"bytes={start}-{min(start + PART, len(BIG)) - 1}" for start in range(0, len(BIG), PART)}
        assert set(between.ranges) == expected
    assert (user.home / "big.sif").read_bytes() == BIG


def test_a_cut_within_a_pull_is_mended_from_where_it_was(user: User, server: RoadsteadServer) -> None:
    cuts = iter([1000])

    with Between(server, lambda _path, body: body[: next(cuts, len(body))]) as between:
        through(user, between).done("pull", f"{between.host}/lab/big:1", "-o", "big.sif")
        assert len(between.ranges) == 5
        assert any(int(one.removeprefix("bytes=").partition("-")[0]) % PART == 1000 for one in between.ranges)
    assert (user.home / "big.sif").read_bytes() == BIG


def test_a_pull_that_was_given_up_goes_on_where_it_was(user: User, server: RoadsteadServer) -> None:
    last = len(BIG) % PART

    with Between(server, lambda _path, body: b"" if len(body) == last else body) as between:
        through(user, between)
        assert "broke off" in user.refused(5, "pull", f"{between.host}/lab/big:1", "-o", "big.sif")
        (partial,) = user.names()
        assert (user.home / partial).stat().st_size == 3 * PART
        between.change = lambda _path, body: body
        between.ranges.clear()
        user.done("pull", f"{between.host}/lab/big:1", "-o", "big.sif")
        assert between.ranges == [f"bytes={3 * PART}-{len(BIG) - 1}"]
    assert (user.home / "big.sif").read_bytes() == BIG
    assert user.names() == {"big.sif"}


def test_bytes_that_are_not_the_digests_are_refused_and_leave_nothing(user: User, server: RoadsteadServer) -> None:
    user.file("big.sif", b"what was there before")
    with Between(server, lambda _path, body: bytes([body[0] ^ 1]) + body[1:]) as between:
        through(user, between)
        assert digest(BIG) in user.refused(1, "pull", f"{between.host}/lab/big:1", "-o", "big.sif")
    assert (user.home / "big.sif").read_bytes() == b"what was there before"
    assert user.names() == {"big.sif"}


def test_a_full_disk_is_told_as_such(user: User) -> None:
    (user.home / "small").mkdir()
    pull = " ".join(user.command("pull", f"{user.host}/lab/big:1", "-o", "small/big.sif"))
    script = f"mount -t tmpfs -o size=9m none small || exit 77; {pull}; status=$?; ls -A small; exit $status"
    command = ["unshare", "-rm", "sh", "-c", script]
    ended = subprocess.run(command, text=True, capture_output=True, cwd=user.home, env=user.environment, check=False)
    if ended.returncode == 77 or "unshare" in ended.stderr:
        reason = f"this machine lets nobody mount a small disk: {ended.stderr.strip()}"
        if os.environ.get("ROADSTEAD_REQUIRE_OPERATIONS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    assert (ended.returncode, "no room left" in ended.stderr) == (5, True), ended.stderr
    assert ended.stdout == f".big.sif.{hashlib.sha256(BIG).hexdigest()[:16]}.part\n"


def test_ten_processes_with_one_cache_fetch_once(user: User, server: RoadsteadServer) -> None:
    with Between(server) as between:
        through(user, between)
        commands = [user.command("pull", f"{between.host}/lab/big:1", "-o", f"{number}.sif", "--cache", "cache") for number in range(10)]
        running = [subprocess.Popen(command, cwd=user.home, env=user.environment, stdout=subprocess.DEVNULL) for command in commands]
        assert [process.wait(120) for process in running] == [0] * 10
        assert sum(between.blobs.values()) == 4
    assert all((user.home / f"{number}.sif").read_bytes() == BIG for number in range(10))


def test_damage_in_the_cache_is_found_and_goes(user: User) -> None:
    words = ("pull", f"{user.host}/lab/big:1", "-o", "big.sif", "--cache", "cache")
    user.done(*words)
    kept = user.home / "cache" / "sha256" / digest(BIG).removeprefix("sha256:")
    kept.write_bytes(b"x" * len(BIG))
    (user.home / "big.sif").unlink()
    assert "damaged" in user.refused(1, *words)
    assert not (user.home / "big.sif").exists()
    user.done(*words)
    assert (user.home / "big.sif").read_bytes() == BIG


def test_what_is_not_there_or_not_allowed_has_its_status(user: User, tmp_path: Path) -> None:
    user.refused(3, "pull", f"{user.host}/lab/big:nowhere")
    assert "HOST/project/image:tag" in user.refused(2, "pull", "lab/big:1")
    assert "TAG" in user.refused(2, "rm", f"{user.host}/lab/big")
    assert "cannot be reached" in user.refused(5, "tags", f"127.0.0.1:{free_port()}/lab/big")
    user.file("notes.txt", b"no image" * 10)
    assert "is not a SIF" in user.refused(2, "push", "notes.txt", f"{user.host}/lab/notes:1")
    user.done("logout", user.host)
    assert f"roadstead login {user.host}" in user.refused(4, "pull", f"{user.host}/lab/big:1")
    user.refused(3, "logout", user.host)


def test_a_wrong_password_is_not_kept(user: User) -> None:
    user.done("logout", user.host)
    user.refused(4, "login", user.host, "-u", "admin", "--password-stdin", said="wrong\n")
    assert json.loads((user.home / ".docker" / "config.json").read_text())["auths"] == {}


def test_an_image_that_cannot_be_converted_is_refused_with_the_registrys_reason(user: User, server: RoadsteadServer) -> None:
    layer = blob("layer")
    with server.http() as http:
        http.post(f"/v2/lab/plain/blobs/uploads/?digest={layer.digest}", content=layer.content)
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": layer.digest, "size": len(layer.content)}
        parts = {"config": config, "layers": [{**config, "mediaType": "application/vnd.oci.image.layer.v1.tar"}]}
        image = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", **parts}).encode()
        put = http.put("/v2/lab/plain/manifests/1", content=image, headers={"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
        assert put.status_code == 201, put.text
    assert "configuration cannot be read" in user.refused(1, "pull", f"{user.host}/lab/plain:1")


def test_the_page_of_an_artifact_is_told(user: User) -> None:
    assert user.done("open", "registry.example.org/lab/tool:1.0") == "http://registry.example.org/repositories/lab/tool:1.0\n"


def test_users_commands_load_nothing_of_the_server() -> None:
    asked = "import sys, roadstead.client.download, roadstead.client.upload; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sqlalchemy", "fastapi", "granian", "aiobotocore"} & set(loaded)
