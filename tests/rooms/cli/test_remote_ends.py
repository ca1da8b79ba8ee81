"""How users' commands end: several at one target, broken off, on answers and names that are wrong; by the real program."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roadstead.client.download import PART
from tests.support.between import Between
from tests.support.clients.images import GZIP, assemble, tar, write_layout
from tests.support.origin import Answered, Origin
from tests.support.server import RoadsteadServer, free_port
from tests.support.sifs import sif
from tests.support.user import INTERRUPTIBLE, User, logged_in

BIG = sif() + random.Random(4).randbytes(3 * PART + 777)
RANGES = 4
PROCESSES = 5
MADE_UP = {
    "no locks": "import errno, fcntl\ndef lockf(*_): raise OSError(errno.ENOSYS, 'Function not implemented')\nfcntl.lockf = lockf\n",
    "locks of one node": "import fcntl\nfcntl.lockf = lambda *_: None\n",  # As for processes on several nodes with `localflock`.
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path_factory.mktemp("ends") / "data", {"ROADSTEAD_WORKERS": "1"}) as running:
        with running.http() as http:
            for name in ("lab", "empty"):
                assert http.post("/api/v2.0/projects", json={"project_name": name}).status_code == 201
        pusher = User(tmp_path_factory.mktemp("pusher"), running.host)
        pusher.login()
        pusher.file("big.sif", BIG)
        pusher.done("push", "big.sif", f"{running.host}/lab/big:1")
        pusher.file("small.sif", sif())
        pusher.done("push", "small.sif", f"{running.host}/library/small:1")
        image = assemble([tar({"etc/": b""})], [GZIP], "amd64", False)
        write_layout(pusher.home / "one", {"1": image})
        pusher.done("push", "one", f"{running.host}/lab/one:1")
        yield running


@pytest.fixture
def user(tmp_path: Path, server: RoadsteadServer) -> User:
    return logged_in(tmp_path / "home", server.host)


@pytest.mark.parametrize("cache", [False, True], ids=["to one target", "with one cache"])
@pytest.mark.parametrize("locks", MADE_UP)
def test_pulls_at_once_are_right_where_locks_are_not(user: User, server: RoadsteadServer, tmp_path: Path, locks: str, cache: bool) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MADE_UP[locks])
    user.environment["PYTHONPATH"] = str(tmp_path / "site")
    arrived, all_there = [0], threading.Condition()

    def together(_path: str, body: bytes) -> bytes:
        with all_there:
            arrived[0] += 1
            all_there.notify_all()
            all_there.wait_for(lambda: arrived[0] >= RANGES * PROCESSES, 60)
        return body

    with Between(server, together) as between:
        user.host = between.host
        user.login()
        name = f"{between.host}/lab/big:1"
        more = [["--cache", "cache", "-o", f"{number}.sif"] if cache else ["-o", "0.sif"] for number in range(PROCESSES)]
        commands = [user.command("pull", name, *words) for words in more]
        running = [subprocess.Popen(command, cwd=user.home, env=user.environment, stdout=subprocess.DEVNULL) for command in commands]
        assert [process.wait(120) for process in running] == [0] * PROCESSES
        assert arrived[0] >= RANGES * PROCESSES
    for number in range(PROCESSES if cache else 1):
        assert (user.home / f"{number}.sif").read_bytes() == BIG
    if cache:
        kept = user.home / "cache" / "sha256" / hashlib.sha256(BIG).hexdigest()
        assert kept.read_bytes() == BIG
    elif locks == "no locks":
        assert user.names() == {"0.sif"}


def test_the_second_pull_to_one_target_is_told_to_try_again(user: User, server: RoadsteadServer) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def stall(_path: str, body: bytes) -> bytes:
        asked.set()
        go_on.wait(60)
        return body

    with Between(server, stall) as between:
        user.host = between.host
        user.login()
        words = ("pull", f"{between.host}/lab/big:1", "-o", "big.sif")
        first = subprocess.Popen(user.command(*words), cwd=user.home, env=user.environment)
        assert asked.wait(60)
        assert "another process" in user.refused(5, *words)
        go_on.set()
        assert first.wait(60) == 0
    assert user.names() == {"big.sif"}


def test_ctrl_c_ends_a_pull_whose_connection_stands_still(user: User, server: RoadsteadServer) -> None:
    asked, go_on = threading.Event(), threading.Event()
    last = len(BIG) % PART

    def stall(_path: str, body: bytes) -> bytes:
        if len(body) == last:
            asked.set()
            go_on.wait(120)
        return body

    with Between(server, stall) as between:
        user.host = between.host
        user.login()
        command = user.command("pull", f"{between.host}/lab/big:1", "-o", "big.sif")
        running = subprocess.Popen([*INTERRUPTIBLE, *command], cwd=user.home, env=user.environment, stderr=subprocess.PIPE, text=True)
        try:
            assert asked.wait(60)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=30)  # Its patience with the connection is longer than that.
        finally:
            running.kill()
            go_on.set()
    assert running.returncode == 130
    assert "Traceback" not in said
    (partial,) = user.names()
    assert partial.endswith(".part")
    user.host = server.host
    user.login()
    user.done("pull", f"{server.host}/lab/big:1", "-o", "big.sif")
    assert (user.home / "big.sif").read_bytes() == BIG


def test_what_is_typed_wrongly_ends_with_2(user: User) -> None:
    (user.home / "folder").mkdir()
    small = f"{user.host}/library/small:1"
    assert "no folder" in user.refused(2, "pull", small, "-o", "nowhere/it.sif")
    assert "no folder" in user.refused(2, "pull", "--oci", small, "-o", "nowhere/it")
    assert "is a directory" in user.refused(2, "pull", small, "-o", "folder")
    user.refused(2, "push", "nowhere.sif", small)
    assert "nowhere.sif" in user.refused(2, "convert", "nowhere.sif")
    assert "whole repository" in user.refused(2, "tags", small)
    assert "HOST/library/alpine:3.19" in user.refused(2, "pull", "alpine:3.19")
    assert "HOST/library/foo:bar" in user.refused(2, "pull", "foo:bar")
    assert "names no registry" in user.refused(2, "ls", ":5000")
    assert "names no registry" in user.refused(2, "ls", "host:abc")


def test_a_bad_login_is_told_alike_everywhere(user: User) -> None:
    file = user.home / ".docker" / "config.json"
    file.write_text(json.dumps({"auths": {user.host: {"auth": "YWRtaW46d3Jvbmc="}}}))
    for words in (["ls", user.host], ["search", user.host, "lab"], ["convert", f"{user.host}/lab/one:1"], ["tags", f"{user.host}/lab/one"]):
        told = user.refused(4, *words)
        assert f"roadstead login {user.host}" in told
        assert "wrong" in told
    told = user.refused(4, "login", user.host, "-u", "admin", "--password-stdin", said="wrong\n")
    assert "roadstead login" not in told
    assert "does not accept" in told


def test_what_lists_nothing_says_why(user: User) -> None:
    assert user.told("ls", f"{user.host}/empty") == []
    assert user.told("ls", f"{user.host}/library/small") == ["library/small"]
    assert user.told("ls", f"{user.host}/library") == ["library/small"]
    assert f"roadstead ls {user.host}" in user.refused(3, "ls", f"{user.host}/nosuch")
    user.refused(3, "ls", f"{user.host}/library/nosuch")
    user.refused(3, "ls", f"{user.host}/lib")
    user.done("logout", user.host)
    assert "roadstead login" in user.refused(3, "ls", f"{user.host}/empty")


@pytest.mark.parametrize(
    ("typed", "page"),
    [
        ("", "/"),
        ("/library", "/projects/library"),
        ("/library/small", "/repositories/library/small"),
        ("/library/small:1", "/repositories/library/small:1"),
        ("/small:1", "/repositories/library/small:1"),
    ],
)
def test_the_page_that_is_opened_is_there(user: User, server: RoadsteadServer, typed: str, page: str) -> None:
    url = user.told("open", f"{user.host}{typed}")["url"]
    assert url == f"http://{user.host}{page}"
    with server.http() as http:
        assert http.get(url).status_code == 200


def test_another_platform_than_was_asked_for_is_not_given(user: User) -> None:
    small = f"{user.host}/library/small:1"
    assert "linux/riscv64" in user.refused(1, "pull", small, "--platform", "linux/riscv64")
    assert "linux/riscv64" in user.refused(1, "pull", "--oci", small, "--platform", "linux/riscv64")
    assert "linux/amd64" in user.refused(1, "pull", "--oci", f"{user.host}/lab/one:1", "--platform", "linux/arm64")
    assert user.names() == set()
    user.done("pull", small, "--platform", "linux/amd64")
    user.done("pull", "--oci", f"{user.host}/lab/one:1", "--platform", "linux/amd64")


def test_who_cannot_be_reached_is_told_in_a_sentence(user: User) -> None:
    gone = f"127.0.0.1:{free_port()}"
    (user.home / ".docker" / "config.json").write_text(json.dumps({"auths": {gone: {"auth": "YWRtaW46d3Jvbmc="}}}))
    assert "nothing answers there" in user.refused(5, "ls", gone)
    assert "nothing answers there" in user.refused(5, "search", gone, "x")


def test_what_is_no_registry_is_told_in_a_sentence(user: User) -> None:
    with Origin(lambda _: Answered(200, b"<html>hello</html>")) as page:
        for words in (["ls", page.host], ["tags", f"{page.host}/lab/tool"], ["pull", f"{page.host}/lab/tool:1"]):
            assert len(user.refused(5, *words).splitlines()) == 1
        user.refused(3, "search", page.host, "x")


def test_a_proxy_of_the_environment_does_not_keep_this_machines_registry_away(user: User) -> None:
    with Origin(lambda _: Answered(502)) as proxy:
        user.environment.update({"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "ALL_PROXY": proxy.url})
        assert user.told("ls", f"{user.host}/library") == ["library/small"]
        assert proxy.asked == []


def test_a_failure_is_told_in_words_with_json_too(user: User) -> None:
    ended = user.run("inspect", f"{user.host}/lab/one:9", "--json")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("roadstead: ")
