"""Before a push is acknowledged, it is on the disk: proven by the system calls of the running server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
import msgspec
import pytest

from tests.journeys.system_calls import Call, NotProven, parse, prove_blob, prove_manifest, recorded, traced
from tests.support.clients.images import OCI_CONFIG, Blob, Image, artifact
from tests.support.server import RoadsteadServer

Prove = Callable[[Sequence[Call]], list[Call]]

REPOSITORY = "library/durable"
DATA = b"durable" * 300_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"

# What takes one sync away from the real code; imported by the server's processes at their start.
SABOTAGE = {
    "the file's fsync": "from roadstead.content.disk import Disk\nDisk.fsync = lambda self, descriptor: None\n",
    "the directory's fsync": "from roadstead.content.disk import Disk\nDisk.fsync_directory = lambda self, path: None\n",
    "the database's sync": """
import sqlite3

real = sqlite3.connect

class Careless(sqlite3.Connection):
    def execute(self, sql, *arguments):
        return super().execute(sql.replace("synchronous=FULL", "synchronous=NORMAL"), *arguments)

sqlite3.connect = sqlite3.dbapi2.connect = lambda *arguments, **options: real(*arguments, **{**options, "factory": Careless})
""",
}

LOG = "/data/roadstead.sqlite-wal"
CONTENT = "/data/content/ab/ab4f0c1122334455667788990a1b2c3d"
SAMPLE = f"""
7 1.0 pwrite64(9<{LOG}>, "claim"..., 24, 0) = 24
5 1.1 pwrite64(8<{CONTENT}>, "one"..., 3, 0) = 3
5 1.2 pwrite64(8<{CONTENT}>, "two"..., 3, 3 <unfinished ...>
6 1.3 write(2</data.log>, "log", 3) = 3
5 1.4 <... pwrite64 resumed>) = 3
5 1.5 fsync(8<{CONTENT}> <unfinished ...>
6 1.6 write(2</data.log>, "log", 3) = 3
5 1.7 <... fsync resumed>) = 0
5 1.8 fsync(8</data/content/ab>) = 0
7 1.9 pwrite64(9<{LOG}>, "frame"..., 24, 24) = 24
7 2.0 pwrite64(9<{LOG}>, "page"..., 4096, 48) = 4096
7 2.1 fdatasync(9<{LOG}>) = 0
4 2.2 writev(35<socket:[16]>, [{{iov_base="HTTP/1.1 201 Created\\r\\nlocat"..., iov_len=328}}], 1) = 328
""".strip().splitlines()
FILE_SYNC, DIRECTORY_SYNC, COMMIT, LOG_SYNC, ANSWER = [5, 6, 7], [8], [9, 10], [11], [12]


def _moved(lines: list[int], before: list[int]) -> list[int]:
    """The sample's line numbers with some of them put before others."""
    rest = [number for number in range(len(SAMPLE)) if number not in lines]
    at = rest.index(before[0])
    return [*rest[:at], *lines, *rest[at:]]


ALL = list(range(len(SAMPLE)))
BROKEN = {
    "file not synced": [number for number in ALL if number not in FILE_SYNC],
    "directory not synced": [number for number in ALL if number not in DIRECTORY_SYNC],
    "nothing committed": [number for number in ALL if number not in COMMIT],
    "log not synced": [number for number in ALL if number not in LOG_SYNC],
    "not answered": [number for number in ALL if number not in ANSWER],
    "file synced before its last bytes": _moved(FILE_SYNC, [2]),
    "directory synced before the file": _moved(DIRECTORY_SYNC, FILE_SYNC),
    "committed before the directory was synced": _moved(DIRECTORY_SYNC, LOG_SYNC),
    "committed before the file was synced": _moved([*COMMIT, *LOG_SYNC], FILE_SYNC),
    "log synced before the commit": _moved(LOG_SYNC, COMMIT),
    "answered before the log was synced": _moved(ANSWER, LOG_SYNC),
    "answered before everything": _moved(ANSWER, [1]),
}


def test_the_right_order_is_proven() -> None:
    chain = prove_blob(parse(SAMPLE))
    assert [(call.name, call.path) for call in chain[:3]] == [("fsync", CONTENT), ("fsync", "/data/content/ab"), ("fdatasync", LOG)]


@pytest.mark.parametrize("order", BROKEN.values(), ids=BROKEN)
def test_a_call_that_is_missing_or_out_of_order_is_noticed(order: list[int]) -> None:
    with pytest.raises(NotProven):
        prove_blob(parse(SAMPLE[number] for number in order))


@pytest.mark.parametrize("number", [*FILE_SYNC[2:], *DIRECTORY_SYNC, *LOG_SYNC])
def test_a_sync_that_failed_is_none(number: int) -> None:
    failed = SAMPLE[number].replace("= 0", "= -1 EIO (Input/output error)")
    with pytest.raises(NotProven):
        prove_blob(parse([*SAMPLE[:number], failed, *SAMPLE[number + 1 :]]))


def push_at_once(http: httpx2.Client) -> None:
    answer = http.post(f"/v2/{REPOSITORY}/blobs/uploads/", params={"digest": DIGEST}, content=DATA)
    assert answer.status_code == 201, answer.text


def push_in_steps(http: httpx2.Client) -> None:
    location = http.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]
    half = len(DATA) // 2
    assert http.patch(location, content=DATA[:half]).status_code == 202
    answer = http.put(location, params={"digest": DIGEST}, content=DATA[half:])
    assert answer.status_code == 201, answer.text


def push_manifest(http: httpx2.Client) -> None:
    whole = small_image()
    answer = http.put(f"/v2/{REPOSITORY}/manifests/v1", content=whole.manifest.data, headers={"Content-Type": whole.manifest.media_type})
    assert answer.status_code == 201, answer.text


def push_what_the_manifest_names(http: httpx2.Client) -> None:
    for blob in small_image().blobs:
        answer = http.post(f"/v2/{REPOSITORY}/blobs/uploads/", params={"digest": blob.digest}, content=blob.data)
        assert answer.status_code == 201, answer.text


def small_image() -> Image:
    return artifact(Blob(OCI_CONFIG, b"{}"), [Blob("application/octet-stream", b"layer")])


class Story(msgspec.Struct, frozen=True):
    """A push to be traced, what goes before it untraced, and the proof that its trace must yield."""

    push: Callable[[httpx2.Client], None]
    prove: Prove
    before: Callable[[httpx2.Client], None] = lambda http: None


STORIES = {
    "a blob at once": Story(push_at_once, prove_blob),
    "a blob in steps": Story(push_in_steps, prove_blob),
    "a manifest": Story(push_manifest, prove_manifest, push_what_the_manifest_names),
}


def trace_of(server: RoadsteadServer, story: Story, output: Path) -> list[Call]:
    with server.http() as http:
        story.before(http)
        with traced(server, output):
            story.push(http)
            return recorded(output)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_push_is_durable_before_it_is_acknowledged(story: Story, data: Path) -> None:
    with RoadsteadServer(data, arguments=["--workers", "1"]) as server:
        calls = trace_of(server, story, data.with_name("trace"))
    chain = story.prove(calls)
    for link in chain:
        with pytest.raises(NotProven):
            story.prove([call for call in calls if call is not link])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "story", "reason"),
    [
        ("the file's fsync", "a blob in steps", "/content/../[0-9a-f]{32} was not synced"),
        ("the directory's fsync", "a blob at once", "/content/.. was not synced"),
        ("the database's sync", "a blob at once", "sqlite-wal was not synced"),
        ("the database's sync", "a manifest", "sqlite-wal was not synced"),
    ],
    ids=["file", "directory", "database-blob", "database-manifest"],
)
def test_code_without_one_of_the_syncs_is_noticed(missing: str, story: str, reason: str, data: Path) -> None:
    (data.with_name("sabotage")).mkdir()
    (data.with_name("sabotage") / "sitecustomize.py").write_text(SABOTAGE[missing])
    with RoadsteadServer(data, {"PYTHONPATH": str(data.with_name("sabotage"))}, ["--workers", "1"]) as server:
        calls = trace_of(server, STORIES[story], data.with_name("trace"))
    with pytest.raises(NotProven, match=reason):
        STORIES[story].prove(calls)
