"""podman against the registry: what a user who builds with it does all day."""

from __future__ import annotations

import json
import tarfile

import pytest

from tests.support.clients.cutting import cutting_proxy
from tests.support.clients.images import (
    GZIP,
    OCI_INDEX,
    PLAIN,
    ZSTD,
    Compression,
    base,
    fetch,
    image,
    large_image,
    multi_arch,
    push,
    tar,
    write_layout,
)
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("podman")
HTTP = "--tls-verify=false"


def log_in(workplace: Workplace, registry: RoadsteadServer) -> None:
    workplace.run("podman", "login", HTTP, "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)


def test_login_takes_the_right_password_only(workplace: Workplace, registry: RoadsteadServer) -> None:
    said = workplace.refused("podman", "login", HTTP, "-u", "admin", "--password-stdin", registry.host, stdin="wrong")
    assert "invalid username/password" in said
    log_in(workplace, registry)


@pytest.mark.parametrize("compression", [GZIP, ZSTD, PLAIN], ids=["gzip", "zstd", "plain"])
def test_anyone_pulls_from_the_public_project(
    workplace: Workplace, registry: RoadsteadServer, repository: str, compression: Compression
) -> None:
    whole = image(repository, compression)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}:one"
    workplace.run("podman", "pull", HTTP, name)
    assert workplace.run("podman", "image", "inspect", "--format", "{{.Digest}}", name).out.strip() == whole.digest
    workplace.run("podman", "create", "--name", "it", name)
    workplace.run("podman", "export", "-o", "it.tar", "it")
    with tarfile.open(workplace.path("it.tar")) as files:
        names = files.getnames()
        seed = files.extractfile("etc/seed")
        assert seed is not None and seed.read() == repository.encode()
    assert "opt/shown" in names and not {"etc/removed", "opt/hidden"} & set(names)


def test_an_index_gives_the_image_of_the_machine(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = multi_arch(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}:one"
    for architecture, child in zip(("amd64", "arm64"), whole.children, strict=True):
        workplace.run("podman", "pull", HTTP, "--arch", architecture, name)
        digests = json.loads(workplace.run("podman", "image", "inspect", "--format", "{{json .RepoDigests}}", name).out)
        assert f"{registry.host}/{repository}@{child.digest}" in digests


@pytest.mark.parametrize("compression", ["gzip", "zstd", "zstd:chunked"])
def test_a_push_arrives_as_podman_reports_it(workplace: Workplace, registry: RoadsteadServer, repository: str, compression: str) -> None:
    workplace.path("rootfs.tar").write_bytes(tar({**base(), "etc/seed": repository.encode()}))
    name = f"{registry.host}/{repository}:one"
    workplace.run("podman", "import", "rootfs.tar", name)
    workplace.refused("podman", "push", HTTP, name)
    log_in(workplace, registry)
    workplace.run("podman", "push", HTTP, "--compression-format", compression, "--digestfile", "digest", name)
    pushed = fetch(registry.http(anonymous=True), repository, "one")
    assert pushed.digest == workplace.path("digest").read_text()
    assert compression.partition(":")[0] in pushed.blobs[1].media_type
    workplace.run("podman", "rmi", name)
    workplace.run("podman", "pull", HTTP, f"{registry.host}/{repository}@{pushed.digest}")


def test_docker_types_are_kept(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository, docker=True)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    name = f"{registry.host}/{repository}"
    workplace.run("podman", "pull", HTTP, f"{name}:one")
    workplace.run("podman", "push", HTTP, "--format", "v2s2", "--digestfile", "digest", f"{name}:one", f"docker://{name}:two")
    pushed = fetch(registry.http(), repository, "two")
    assert pushed.digest == workplace.path("digest").read_text()
    assert pushed.manifest.media_type == whole.manifest.media_type


def test_a_pulled_image_goes_to_another_repository(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    workplace.run("podman", "pull", HTTP, f"{registry.host}/{repository}:one")
    workplace.run("podman", "push", HTTP, f"{registry.host}/{repository}:one", f"docker://{registry.host}/{repository}-copy:two")
    copied = fetch(registry.http(), f"{repository}-copy", "two")
    assert copied.blobs == whole.blobs


def test_a_manifest_list_is_pushed_with_its_images(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = multi_arch(repository)
    write_layout(workplace.path("layout"), {child.digest: child for child in whole.children})
    log_in(workplace, registry)
    workplace.run("podman", "manifest", "create", "list")
    for child in whole.children:
        workplace.run("podman", "manifest", "add", "list", f"oci:{workplace.path('layout')}:{child.digest}")
    workplace.run("podman", "manifest", "push", "--all", HTTP, "list", f"docker://{registry.host}/{repository}:one")
    pushed = fetch(registry.http(), repository, "one")
    assert pushed.manifest.media_type == OCI_INDEX
    assert {child.digest for child in pushed.children} == {child.digest for child in whole.children}


def test_an_artifact_comes_back(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    name = f"{registry.host}/{repository}:one"
    workplace.path("notes.txt").write_text(repository)
    log_in(workplace, registry)
    workplace.run("podman", "artifact", "add", name, "notes.txt")
    workplace.run("podman", "artifact", "push", HTTP, name)
    workplace.run("podman", "artifact", "rm", name)
    workplace.run("podman", "artifact", "pull", HTTP, name)
    workplace.run("podman", "artifact", "extract", name, "back.txt")
    assert workplace.path("back.txt").read_text() == repository


def test_repositories_and_tags_are_found(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    for tag in ("two", "one"):
        push(registry.http(), repository, tag, image(repository))
    tags = workplace.run("podman", "search", HTTP, "--list-tags", "--format", "{{.Tag}}", f"{registry.host}/{repository}").out
    assert tags.split() == ["one", "two"]
    found = workplace.run("podman", "search", HTTP, "--limit", "100", "--format", "{{.Name}}", f"{registry.host}/{repository}").out
    assert f"{registry.host}/{repository}" in found.split()


def test_a_push_to_an_unknown_project_says_why(workplace: Workplace, registry: RoadsteadServer) -> None:
    log_in(workplace, registry)
    workplace.path("rootfs.tar").write_bytes(tar({"etc/seed": b"nowhere"}))
    workplace.run("podman", "import", "rootfs.tar", "it")
    assert "project" in workplace.refused("podman", "push", HTTP, "it", f"docker://{registry.host}/nowhere/it:one")


def test_a_short_name_means_the_library(workplace: Workplace, registry: RoadsteadServer) -> None:
    whole = image("podman short name")
    push(registry.http(), "library/podman-short", "one", whole)
    name = f"{registry.host}/podman-short:one"
    workplace.run("podman", "pull", HTTP, name)
    assert workplace.run("podman", "image", "inspect", "--format", "{{.Digest}}", name).out.strip() == whole.digest


def test_a_cut_download_is_resumed(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = large_image(repository, 4 << 20)
    push(registry.http(), repository, "one", whole)
    with cutting_proxy(registry.host, after=2 << 20) as proxy:
        name = f"{proxy.host}/{repository}:one"
        workplace.run("podman", "pull", HTTP, name)
        assert proxy.resumed() == [206]
    assert workplace.run("podman", "image", "inspect", "--format", "{{.Digest}}", name).out.strip() == whole.digest
