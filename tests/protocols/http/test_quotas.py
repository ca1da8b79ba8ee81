"""A project with a quota, as clients meet it at the distribution API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.protocols.http.exchange import accepted, begin, digest_of, push_blob, put_manifest, refused, small_image, wire
from tests.support import program
from tests.support.server import RoadsteadServer

LIMIT = 300_000
HALF = b"h" * 150_000
MORE = b"m" * 150_001


@pytest.fixture(scope="session")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server with some projects of 300,000 bytes each."""
    data = tmp_path_factory.mktemp("limited") / "data"
    with RoadsteadServer(data, {"ROADSTEAD_CREATE_PROJECTS_ON_PUSH": "true"}) as server:
        yield server


@pytest.fixture
def http(limited: RoadsteadServer) -> Iterator[httpx2.Client]:
    with limited.http() as made:
        yield made


@pytest.fixture
def project(limited: RoadsteadServer, request: pytest.FixtureRequest) -> str:
    """A project of its own for each test, limited while the server runs, by the command."""
    name: str = request.node.name.replace("_", "-")[:60].strip("-")
    administer(limited.data, "project", "add", name)
    administer(limited.data, "project", "quota", name, "--limit", str(LIMIT))
    return name


def administer(data: Path, *arguments: str) -> None:
    done = program.run((*arguments, "--data", str(data)), program.without_settings())
    assert done.returncode == 0, done.stderr


def detail(answer: httpx2.Response) -> Mapping[str, Any]:
    """What a refusal says in numbers."""
    message = refused(answer, 403, "DENIED")
    found: Mapping[str, Any] = answer.json()["errors"][0]["detail"]
    assert f"{found['project']!r} uses " in message
    assert " KiB" in message
    return found


def test_a_stream_of_unknown_length_is_refused_as_it_passes_the_limit(http: httpx2.Client, project: str) -> None:
    """As docker pushes: POST, a PATCH in chunks."""
    push_blob(http, f"{project}/app", HALF)
    location = begin(http, f"{project}/app")
    answer = http.patch(location, content=iter([MORE[:1000]] * 200))
    found = detail(answer)
    assert (found["project"], found["limit"]) == (project, LIMIT)
    assert found["used"] + found["wanted"] > LIMIT
    refused(http.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    # What was refused holds nothing any more.
    push_blob(http, f"{project}/app", HALF[:-1] + b"!")


def test_an_announced_length_is_refused_before_the_body_comes(limited: RoadsteadServer, http: httpx2.Client, project: str) -> None:
    push_blob(http, f"{project}/app", HALF)
    for method, query in (("PATCH", ""), ("PUT", f"?digest={digest_of(MORE)}")):
        location = begin(http, f"{project}/app")
        with wire(limited) as line:
            line.head(method, f"{location}{query}", {"Content-Length": str(len(MORE))})
            answer = line.answer()
        assert answer.status == 403
        assert b"DENIED" in answer.body
        refused(http.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    with wire(limited) as line:
        line.head("POST", f"/v2/{project}/app/blobs/uploads/?digest={digest_of(MORE)}", {"Content-Length": str(len(MORE))})
        assert line.answer().status == 403


def test_a_content_range_announces_too(http: httpx2.Client, project: str) -> None:
    location = begin(http, f"{project}/app")
    location = accepted(http.patch(location, content=HALF, headers={"Content-Range": f"0-{len(HALF) - 1}"}), 202).headers["Location"]
    headers = {"Content-Range": f"{len(HALF)}-{len(HALF) + len(MORE) - 1}"}
    assert detail(http.patch(location, content=iter([MORE]), headers=headers)) == {
        "project": project,
        "used": len(HALF),
        "limit": LIMIT,
        "wanted": len(MORE),
    }


def test_a_full_project_refuses_the_start_and_has_room_again_after_a_deletion(http: httpx2.Client, project: str) -> None:
    name = f"{project}/app"
    made = small_image(project)
    for one in made.blobs:
        push_blob(http, name, one.data)
    accepted(put_manifest(http, name, "latest", made.manifest), 201)
    rest = LIMIT - sum(len(one.data) for one in made.blobs)
    push_blob(http, name, b"r" * rest)
    assert detail(http.post(f"/v2/{name}/blobs/uploads/"))["used"] == LIMIT
    accepted(http.delete(f"/v2/{name}/manifests/{digest_of(made.manifest.data)}"), 202)
    begin(http, name)


def test_a_mount_is_refused_too(http: httpx2.Client, project: str) -> None:
    source = f"{project}-source/app"
    digest = push_blob(http, source, b"s" * (LIMIT + 1))
    answer = http.post(f"/v2/{project}/app/blobs/uploads/", params={"mount": digest, "from": source})
    assert detail(answer)["wanted"] == LIMIT + 1
    refused(http.get(f"/v2/{project}/app/blobs/{digest}"), 404, "BLOB_UNKNOWN")
