"""Artifacts, tags and copies by the management API: `harborapi`, and by hand what that does not say."""

from __future__ import annotations

import json

import httpx2
import pytest
from harborapi.exceptions import Conflict, HarborAPIException, NotFound
from harborapi.models import Label, Tag

from tests.protocols.harbor.conftest import API, MakeClient
from tests.protocols.harbor.images import address, push
from tests.support.factories import Image, image, index

CONFIG = {"architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "config": {"Labels": {"maintainer": "ada"}}}
HISTORY = [{"created": "2026-01-01T00:00:00Z", "created_by": "RUN make"}]


def plain(name: str) -> Image:
    """An image with a config that tells something."""
    return image(name, config=json.dumps({**CONFIG, "history": HISTORY, "name": name}))


async def test_artifacts_by_harborapi(client: MakeClient, admin: httpx2.Client, project: str) -> None:
    harbor, name = client(), f"{project}/team/app"
    one, two = plain("one"), plain("two")
    both, signature = index(one, two), image("s", subject=one, artifact_type="application/vnd.cncf.notary.signature")
    push(admin, name, one, "1.0", "latest")
    for made, tags in ((two, ()), (both, ("both",)), (signature, ())):
        push(admin, name, made, *tags)
    found = await harbor.get_artifacts(project, "team/app", sort="push_time", with_accessory=True, with_label=True)
    assert [artifact.digest for artifact in found] == [one.digest, both.digest]
    assert [[tag.name for tag in artifact.tags or []] for artifact in found] == [["latest", "1.0"], ["both"]]
    assert [[accessory.type for accessory in artifact.accessories or []] for artifact in found] == [["signature.notation"], []]
    assert [part.child_digest for part in found[1].references or []] == [one.digest, two.digest]
    got = await harbor.get_artifact(project, "team/app", "1.0")
    assert (got.type, got.digest, got.size) == ("IMAGE", one.digest, len(one.content) + sum(len(blob.content) for blob in one.blobs))
    assert got.extra_attrs is not None
    assert got.extra_attrs.model_dump()["architecture"] == "amd64"
    assert [entry.created_by for entry in await harbor.get_artifact_build_history(project, "team/app", "1.0")] == ["RUN make"]
    assert [one.digest for one in await harbor.get_artifact_accessories(project, "team/app", "1.0")] == [signature.digest]
    assert await harbor.get_artifact_vulnerability_reports(project, "team/app", "1.0") == {}
    with pytest.raises(HarborAPIException):
        await harbor.delete_artifact(project, "team/app", str(two.digest))
    await harbor.delete_artifact(project, "team/app", "both")
    left = await harbor.get_artifacts(project, "team/app", query="base=*")
    assert {artifact.digest for artifact in left} == {one.digest, signature.digest}


async def test_tags_by_harborapi(client: MakeClient, admin: httpx2.Client, project: str) -> None:
    harbor, made = client(), plain("one")
    push(admin, f"{project}/a/b", made, "1.0")
    location = await harbor.create_artifact_tag(project, "a/b", "1.0", Tag(name="stable"))
    assert location.endswith("/tags/stable")
    with pytest.raises(Conflict):
        await harbor.create_artifact_tag(project, "a/b", str(made.digest), Tag(name="stable"))
    tags = await harbor.get_artifact_tags(project, "a/b", str(made.digest), sort="name")
    assert [(tag.name, tag.immutable) for tag in tags] == [("1.0", False), ("stable", False)]
    await harbor.delete_artifact_tag(project, "a/b", "1.0", "stable")
    with pytest.raises(NotFound):
        await harbor.delete_artifact_tag(project, "a/b", "1.0", "stable")
    assert [tag.name for tag in await harbor.get_artifact_tags(project, "a/b", "1.0")] == ["1.0"]


async def test_a_copy_by_harborapi(client: MakeClient, admin: httpx2.Client, project: str) -> None:
    harbor, made = client(), index(plain("one"))
    push(admin, f"{project}/from/app", plain("one"))
    push(admin, f"{project}/from/app", made, "1.0")
    for number, source in enumerate((f"{project}/from/app:1.0", f"{project}/from/app@{made.digest}")):
        location = await harbor.copy_artifact(project, f"to/app-{number}", source)
        assert location.startswith(f"{API}/projects/{project}/repositories/to")
        copied = await harbor.get_artifact(project, f"to/app-{number}", "1.0")
        assert copied.digest == made.digest
    with pytest.raises(NotFound):
        await harbor.copy_artifact(project, "to/app", f"{project}/from/app:never")


async def test_what_is_not_offered_says_so_to_harborapi(client: MakeClient, admin: httpx2.Client, project: str) -> None:
    harbor = client()
    push(admin, f"{project}/app", plain("one"), "1.0")
    for refused in (harbor.scan_artifact(project, "app", "1.0"), harbor.add_artifact_label(project, "app", "1.0", Label(id=1))):
        with pytest.raises(HarborAPIException) as told:
            await refused
        assert "does not offer" in str(told.value)
    with pytest.raises(NotFound):
        await harbor.delete_artifact_label(project, "app", "1.0", 1)


def test_the_location_of_a_copy_is_where_it_is(admin: httpx2.Client, project: str) -> None:
    push(admin, f"{project}/from/app", plain("one"), "1.0")
    made = admin.post(address(f"{project}/to/app", f"artifacts?from={project}/from/app:1.0"))
    assert (made.status_code, made.content) == (201, b"")
    assert made.headers["location"] == f"{API}/projects/{project}/repositories/to%252Fapp/artifacts/1.0"
    assert admin.get(made.headers["location"].removeprefix(API)).json()["digest"] == plain("one").digest


@pytest.mark.parametrize("source", ["", "app", "app:", "/:1", "a@b", "UPPER/app:1", "a/b@sha256:12"])
def test_what_is_no_source_of_a_copy_is_refused(admin: httpx2.Client, source: str) -> None:
    assert admin.post(address("library/copied", "artifacts"), params={"from": source}).status_code == 400


def test_flags_choose_what_is_shown(admin: httpx2.Client, project: str) -> None:
    push(admin, f"{project}/app", plain("one"), "1.0")
    path = address(f"{project}/app", "artifacts")
    (bare,) = admin.get(f"{path}?with_tag=false").json()
    assert not {"tags", "accessories", "labels", "scan_overview", "pull_time"} & set(bare)
    (full,) = admin.get(f"{path}?with_label=true&with_accessory=true&with_scan_overview=true&with_immutable_status=true").json()
    assert (full["labels"], full["accessories"], [tag["immutable"] for tag in full["tags"]]) == ([], [], [False])
    link = full["addition_links"]["build_history"]["href"].removeprefix(API)
    assert admin.get(link).json() == HISTORY
    assert admin.get(f"{path}/1.0/additions/readme.md").status_code == 404
    assert admin.get(f"{path}/1.0/additions/vulnerabilities").json() == {}


@pytest.mark.parametrize(
    ("asked", "count"), [("tags=*", 1), ("tags=nil", 1), ("tags=~.0", 1), ("tags=2.0", 0), ("type=SIF", 0), ("type={IMAGE CHART}", 2)]
)
def test_queries(admin: httpx2.Client, project: str, asked: str, count: int) -> None:
    push(admin, f"{project}/app", plain("one"), "1.0")
    push(admin, f"{project}/app", plain("two"))
    answer = admin.get(address(f"{project}/app", "artifacts"), params={"q": asked})
    assert (answer.status_code, len(answer.json()), answer.headers["x-total-count"]) == (200, count, str(count))
