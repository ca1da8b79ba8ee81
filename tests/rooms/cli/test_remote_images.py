"""Images by the commands of users, on the real server: pushed, fetched as they are, converted, found; and what a newcomer is told."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from roadstead.client.download import PART
from tests.support.between import Between
from tests.support.clients.images import GZIP, OCI_INDEX, OCI_MANIFEST, Image, as_json, assemble, read_layout, tar, write_layout
from tests.support.server import RoadsteadServer, free_port
from tests.support.sifs import sif
from tests.support.user import User, logged_in

BIG = sif() + random.Random(2).randbytes(3 * PART + 54321)


def image(seed: str, architecture: str = "amd64") -> Image:
    return assemble(
        [tar({"etc/": b"", "etc/seed": seed.encode()}), tar({"bin/": b"", "bin/tool": b"x" * 5000})], [GZIP] * 2, architecture, False
    )


def index(seed: str) -> Image:
    children = [image(seed, name) for name in ("amd64", "arm64")]
    told = [
        child.manifest.descriptor(platform={"os": "linux", "architecture": name})
        for child, name in zip(children, ("amd64", "arm64"), strict=True)
    ]
    return Image(as_json(OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": told}), (), tuple(children))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path_factory.mktemp("images") / "data", {"ROADSTEAD_WORKERS": "1"}) as running:
        with running.http() as http:
            assert http.post("/api/v2.0/projects", json={"project_name": "lab"}).status_code == 201
        pusher = User(tmp_path_factory.mktemp("pusher"), running.host)
        pusher.login()
        write_layout(pusher.home / "one", {"1": image("one")})
        write_layout(pusher.home / "many", {"1": index("many")})
        pusher.done("push", "one", f"{running.host}/lab/deep/one:1")
        pusher.done("push", "many", f"{running.host}/lab/many:1")
        pusher.file("big.sif", BIG)
        pusher.done("push", "big.sif", f"{running.host}/lab/big:1")
        yield running


@pytest.fixture
def user(tmp_path: Path, server: RoadsteadServer) -> User:
    return logged_in(tmp_path / "home", server.host)


def test_an_image_comes_back_as_it_went(user: User) -> None:
    pulled = user.told("pull", "--oci", f"{user.host}/lab/deep/one:1")
    assert pulled["path"] == str(user.home / "one_1")
    assert pulled["digest"] == image("one").digest
    assert read_layout(user.home / "one_1") == {"1": image("one")}
    assert user.names() == {"one_1"}
    assert "already" in user.refused(1, "pull", "--oci", f"{user.host}/lab/deep/one:1")


def test_a_layout_goes_through_a_shared_cache(user: User) -> None:
    user.done("pull", "--oci", f"{user.host}/lab/deep/one:1", "--cache", "cache")
    kept = {path.name for path in (user.home / "cache" / "sha256").iterdir() if path.suffix != ".lock"}
    assert kept == {one.digest.removeprefix("sha256:") for one in image("one").blobs}


def test_of_several_platforms_the_one_that_is_asked_for_comes(user: User) -> None:
    user.done("pull", "--oci", f"{user.host}/lab/many:1", "--platform", "linux/arm64", "-o", "arm")
    assert read_layout(user.home / "arm") == {"1": image("many", "arm64")}
    assert "linux/amd64, linux/arm64" in user.refused(1, "pull", "--oci", f"{user.host}/lab/many:1", "--platform", "linux/s390x")


def test_an_image_is_converted_by_the_registry_once_and_fetched_as_a_sif(user: User) -> None:
    first = user.told("pull", f"{user.host}/lab/deep/one:1")
    made = (user.home / "one_1.sif").read_bytes()
    assert (made[32:42], len(made)) == (b"SIF_MAGIC\0", first["size"])
    assert os.access(user.home / "one_1.sif", os.X_OK)
    assert user.told("pull", f"{user.host}/lab/deep/one:1", "-o", "again.sif")["digest"] == first["digest"]
    (shown,) = user.told("convert", f"{user.host}/lab/deep/one:1")
    assert (shown["form"], shown["state"], shown["source_digest"]) == ("sif", "converted", image("one").digest)


def test_a_platform_that_the_project_does_not_convert_is_not_mixed_up_with_one_that_it_does(user: User) -> None:
    user.done("pull", f"{user.host}/lab/many:1", "--platform", "linux/amd64", "-o", "amd.sif")
    assert "does not convert" in user.refused(1, "pull", f"{user.host}/lab/many:1", "--platform", "linux/arm64", "-o", "arm.sif")
    assert user.names() == {"amd.sif"}


def test_a_conversion_at_a_registry_writes_no_file_and_tells_why_it_cannot(user: User, server: RoadsteadServer) -> None:
    assert "roadstead pull" in user.refused(2, "convert", f"{user.host}/lab/deep/one:1", "-o", "x.sif")
    broken = assemble([b"this is no tar" * 100], [GZIP], "amd64", False)
    write_layout(user.home / "broken", {"1": broken})
    user.done("push", "broken", f"{user.host}/lab/broken:1")
    assert "is not converted" in user.refused(1, "convert", f"{user.host}/lab/broken:1")
    user.refused(3, "convert", f"{user.host}/lab/nowhere:1")


def test_a_damaged_layout_is_not_pushed(user: User) -> None:
    write_layout(user.home / "it", {"1": image("damaged")})
    manifest = user.home / "it" / "blobs" / "sha256" / image("damaged").digest.removeprefix("sha256:")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert "damaged" in user.refused(2, "push", "it", f"{user.host}/lab/damaged:1")
    manifest.unlink()
    assert "lacks" in user.refused(2, "push", "it", f"{user.host}/lab/damaged:1")
    (user.home / "empty").mkdir()
    assert "index.json" in user.refused(2, "push", "empty", f"{user.host}/lab/damaged:1")
    user.refused(3, "tags", f"{user.host}/lab/damaged")


def test_search_finds_by_a_part_of_the_name_what_one_may_see(user: User) -> None:
    found = user.told("search", user.host, "eep/on")
    assert [one["name"] for one in found["repositories"]] == ["lab/deep/one"]
    assert user.told("search", user.host, "lab")["projects"] == ["lab"]
    assert f"{user.host}/lab/deep/one" in user.done("search", user.host, "deep")
    user.done("logout", user.host)
    assert user.told("search", user.host, "lab") == {"projects": [], "repositories": []}


def test_a_copy_takes_along_what_refers_to_it_where_that_is_wanted(user: User, server: RoadsteadServer) -> None:
    def refer(http: httpx2.Client, subject: dict[str, object], artifact: str) -> dict[str, object]:
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "size": 2}
        http.post(f"/v2/lab/many/blobs/uploads/?digest={empty['digest']}", content=b"{}")
        parts = {"artifactType": artifact, "config": empty, "layers": [empty], "subject": subject}
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **parts}).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        put = http.put(f"/v2/lab/many/manifests/{digest}", content=content, headers={"Content-Type": OCI_MANIFEST})
        assert put.status_code == 201, put.text
        return {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(content)}

    def referring(http: httpx2.Client, repository: str, digest: object) -> set[object]:
        return {one["digest"] for one in http.get(f"/v2/{repository}/referrers/{digest}").json()["manifests"]}

    child = image("many", "arm64").manifest
    with server.http() as http:
        sbom = refer(http, child.descriptor(), "application/spdx+json")
        signature = refer(http, sbom, "application/x.signature")
        user.done("cp", f"{user.host}/lab/many:1", f"{user.host}/lab/alone:1")
        user.done("cp", f"{user.host}/lab/many:1", f"{user.host}/lab/company", "--with-referrers")
        assert referring(http, "lab/alone", child.digest) == set()
        assert referring(http, "lab/company", child.digest) == {sbom["digest"]}
        assert referring(http, "lab/company", sbom["digest"]) == {signature["digest"]}
    assert user.told("tags", f"{user.host}/lab/company") == ["latest"]


def test_every_change_is_told_as_json_too(user: User) -> None:
    where = f"{user.host}/lab/deep/one"
    assert user.told("tag", f"{where}:1", "two") == {"path": f"{where}:two", "digest": image("one").digest}
    assert user.told("rm", f"{where}:two") == {"path": f"{where}:two"}
    assert user.told("open", f"{where}:1") == {"url": f"http://{user.host}/repositories/lab/deep/one:1"}
    assert user.told("logout", user.host) == {"host": user.host}


def test_what_is_missing_is_told_with_what_to_type(user: User) -> None:
    assert f"roadstead tags {user.host}/lab/big" in user.refused(3, "inspect", f"{user.host}/lab/big:9")
    assert f"roadstead tags {user.host}/lab/big" in user.refused(3, "rm", f"{user.host}/lab/big:9")
    assert f"roadstead ls {user.host}" in user.refused(3, "tags", f"{user.host}/lab/nothing")
    assert "no machine of that name" in user.refused(5, "tags", "nowhere.invalid/lab/big")
    assert "nothing answers there" in user.refused(5, "tags", f"127.0.0.1:{free_port()}/lab/big")
    assert user.host in user.refused(2, "login", f"{user.host}/lab", "-u", "admin", "--password-stdin", said="x\n")


def test_this_machines_own_registry_needs_no_word_about_tls(user: User) -> None:
    user.plain = False
    assert "1" in user.told("tags", f"{user.host}/lab/big")


def test_a_certificate_that_nobody_knows_is_told_and_can_be_trusted(tmp_path: Path) -> None:
    with RoadsteadServer(tmp_path / "tls", {"ROADSTEAD_TLS": "self", "ROADSTEAD_WORKERS": "1"}) as secure:
        home = tmp_path / "home"
        home.mkdir()
        somebody = User(home, secure.host)
        somebody.plain = False
        assert "--ca FILE" in somebody.refused(5, "ls", secure.host)
        assert somebody.told("ls", secure.host, "--ca", str(secure.authority)) == []


def test_without_a_terminal_a_pull_says_only_what_it_made(user: User) -> None:
    ended = user.run("pull", f"{user.host}/lab/big:1", "-o", "big.sif")
    assert (len(ended.stdout.splitlines()), ended.stderr) == (1, "")


def test_on_a_terminal_rate_and_time_left_are_shown(user: User, server: RoadsteadServer) -> None:
    held = threading.Event()

    def slowly(_path: str, body: bytes) -> bytes:
        held.wait(1)  # So long that the bar is drawn before the file is whole.
        return body

    with Between(server, slowly) as between:
        user.host = between.host
        user.login()
        terminal, end = pty.openpty()
        command = user.command("pull", f"{between.host}/lab/big:1", "-o", "big.sif")
        environment = {**user.environment, "TERM": "xterm", "COLUMNS": "120"}
        running = subprocess.Popen(command, cwd=user.home, env=environment, stdout=subprocess.PIPE, stderr=end)
        os.close(end)
        shown = b"".join(_drained(terminal)).decode()
        assert running.wait(60) == 0
    assert ("big.sif" in shown, "MB/s" in shown, "0:00:" in shown) == (True, True, True), shown


def _drained(terminal: int) -> Iterator[bytes]:
    try:
        while piece := os.read(terminal, 65536):
            yield piece
    except OSError:  # Linux says so when nobody holds the other end.
        os.close(terminal)


def test_who_waits_for_the_cache_goes_on_when_the_one_who_fetched_is_killed(user: User, server: RoadsteadServer) -> None:
    blocked, go_on = threading.Event(), threading.Event()
    last = len(BIG) % PART

    def stall(_path: str, body: bytes) -> bytes:
        if len(body) == last and not go_on.is_set():
            blocked.set()
            go_on.wait(60)
        return body

    with Between(server, stall) as between:
        user.host = between.host
        user.login()
        command = [*user.command("pull", f"{between.host}/lab/big:1", "--cache", "cache"), "-o"]
        first = subprocess.Popen([*command, "first.sif"], cwd=user.home, env=user.environment)
        assert blocked.wait(60)
        second = subprocess.Popen([*command, "second.sif"], cwd=user.home, env=user.environment)
        assert second.poll() is None
        first.send_signal(signal.SIGKILL)
        first.wait(60)
        go_on.set()
        assert second.wait(60) == 0
    assert (user.home / "second.sif").read_bytes() == BIG
    assert not (user.home / "first.sif").exists()


@pytest.mark.parametrize(
    ("typed", "offered"), [("roadstead pu", {"pull", "push"}), ("roadstead pull --pla", {"--plain-http", "--platform"})]
)
def test_a_shell_completes_commands_and_options(user: User, typed: str, offered: set[str]) -> None:
    asked = {"_ROADSTEAD_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    ended = subprocess.run(user.command("ls")[:1], env={**user.environment, **asked}, capture_output=True, text=True, check=False)
    assert set(ended.stdout.split()) == offered


def test_an_image_without_a_sif_elsewhere_is_told_of_both_ways(user: User) -> None:
    digest = f"sha256:{'0' * 64}"
    user.refused(3, "pull", f"{user.host}/lab/deep/one@{digest}")
    told = user.refused(1, "pull", f"{user.host}/lab/deep/one@{image('one').digest}")
    assert "--oci" in told
    assert "apptainer pull docker://" in told
