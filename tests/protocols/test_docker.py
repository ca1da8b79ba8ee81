"""docker against the registry, with Docker's own image store and with containerd's: two different clients on the wire."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator

import pytest

from tests.support.clients.cutting import cutting_proxy
from tests.support.clients.images import (
    GZIP,
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
)
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("docker", "dockerd")


@pytest.fixture(params=["classic", "containerd"])
def docker(request: pytest.FixtureRequest, workplace: Workplace) -> Iterator[Workplace]:
    """A workplace whose docker talks to a daemon with one or the other store, left empty for the next test."""
    workplace.environment["DOCKER_HOST"] = request.getfixturevalue(f"{request.param}_docker")
    yield workplace
    workplace.run("docker", "system", "prune", "--all", "--force")


def log_in(docker: Workplace, registry: RoadsteadServer) -> None:
    docker.run("docker", "login", "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)


def pushed_digest(docker: Workplace, name: str) -> str:
    """Push and return the digest that docker reports."""
    reported = re.search(r"digest: (sha256:[0-9a-f]{64})", docker.run("docker", "push", name).out)
    assert reported is not None
    return reported[1]


def repository_digests(docker: Workplace, name: str) -> list[str]:
    found: list[str] = json.loads(docker.run("docker", "image", "inspect", "--format", "{{json .RepoDigests}}", name).out)
    return found


def test_login_takes_the_right_password_only(docker: Workplace, registry: RoadsteadServer) -> None:
    said = docker.refused("docker", "login", "-u", "admin", "--password-stdin", registry.host, stdin="wrong")
    assert "unauthorized" in said.lower()
    log_in(docker, registry)


@pytest.mark.parametrize("compression", [GZIP, ZSTD, PLAIN], ids=["gzip", "zstd", "plain"])
def test_anyone_pulls_from_the_public_project(
    docker: Workplace, registry: RoadsteadServer, repository: str, compression: Compression
) -> None:
    whole = image(repository, compression)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}"
    docker.run("docker", "pull", f"{name}:one")
    assert f"{name}@{whole.digest}" in repository_digests(docker, f"{name}:one")
    docker.run("docker", "create", "--name", "it", f"{name}:one")
    docker.run("docker", "export", "-o", "it.tar", "it")
    with tarfile.open(docker.path("it.tar")) as files:
        names = files.getnames()
        seed = files.extractfile("etc/seed")
        assert seed is not None and seed.read() == repository.encode()
    assert "opt/shown" in names and not {"etc/removed", "opt/hidden"} & set(names)


def test_docker_types_are_kept(docker: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository, docker=True)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}"
    docker.run("docker", "pull", f"{name}:one")
    assert f"{name}@{whole.digest}" in repository_digests(docker, f"{name}:one")


def test_an_index_gives_the_image_of_the_platform(docker: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = multi_arch(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}:one"
    for architecture in ("arm64", "amd64"):
        docker.run("docker", "pull", "--platform", f"linux/{architecture}", name)
        docker.run("docker", "create", "--platform", f"linux/{architecture}", "--name", architecture, name)
        docker.run("docker", "cp", f"{architecture}:/etc/seed", architecture)
        assert docker.path(architecture).read_text() == f"{repository} {architecture}"


def test_a_push_arrives_as_docker_reports_it(docker: Workplace, registry: RoadsteadServer, repository: str) -> None:
    docker.path("rootfs.tar").write_bytes(tar({**base(), "etc/seed": repository.encode()}))
    name = f"{registry.host}/{repository}"
    docker.run("docker", "import", "rootfs.tar", f"{name}:one")
    docker.refused("docker", "push", f"{name}:one")
    log_in(docker, registry)
    digest = pushed_digest(docker, f"{name}:one")
    assert fetch(registry.http(anonymous=True), repository, "one").digest == digest
    docker.run("docker", "rmi", f"{name}:one")
    docker.run("docker", "logout", registry.host)
    docker.run("docker", "pull", f"{name}@{digest}")


def test_a_pulled_image_goes_to_another_repository(docker: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(docker, registry)
    docker.run("docker", "pull", f"{registry.host}/{repository}:one")
    docker.run("docker", "tag", f"{registry.host}/{repository}:one", f"{registry.host}/{repository}-copy:two")
    said = docker.run("docker", "push", f"{registry.host}/{repository}-copy:two").out
    assert said.count(f"Mounted from {repository}") == 2
    copied = fetch(registry.http(), f"{repository}-copy", "two")
    assert [layer.digest for layer in copied.blobs[1:]] == [layer.digest for layer in whole.blobs[1:]]


def test_a_manifest_list_is_made_in_place(docker: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = multi_arch(repository, docker=True)
    name = f"{registry.host}/{repository}"
    for tag, child in zip(("amd", "arm"), whole.children, strict=True):
        push(registry.http(), repository, tag, child)
    log_in(docker, registry)
    docker.run("docker", "manifest", "create", "--insecure", f"{name}:both", f"{name}:amd", f"{name}:arm")
    digest = docker.run("docker", "manifest", "push", "--insecure", f"{name}:both").out.strip()
    made = fetch(registry.http(), repository, "both")
    assert (made.digest, set(made.children)) == (digest, set(whole.children))
    seen = docker.run("docker", "manifest", "inspect", "--insecure", f"{name}:both").out
    assert len(json.loads(seen)["manifests"]) == 2


def test_a_push_to_an_unknown_project_says_why(docker: Workplace, registry: RoadsteadServer) -> None:
    log_in(docker, registry)
    docker.path("rootfs.tar").write_bytes(tar({"etc/seed": b"nowhere"}))
    docker.run("docker", "import", "rootfs.tar", f"{registry.host}/nowhere/it:one")
    assert "project" in docker.refused("docker", "push", f"{registry.host}/nowhere/it:one")


def test_a_short_name_means_the_library(docker: Workplace, registry: RoadsteadServer) -> None:
    whole = image("docker short name")
    push(registry.http(), "library/docker-short", "one", whole)
    docker.run("docker", "pull", f"{registry.host}/docker-short:one")
    assert f"{registry.host}/docker-short@{whole.digest}" in repository_digests(docker, f"{registry.host}/docker-short:one")


def test_a_missing_image_is_said_to_be_missing(docker: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    said = docker.refused("docker", "pull", f"{registry.host}/{repository}:absent").lower()
    assert "manifest unknown" in said or "not found" in said


def test_a_cut_download_is_resumed(docker: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = large_image(repository, 4 << 20)
    push(registry.http(), repository, "one", whole)
    with cutting_proxy(registry.host, after=2 << 20) as proxy:
        docker.run("docker", "pull", f"{proxy.host}/{repository}:one")
        assert proxy.resumed() == [206]
    assert f"{proxy.host}/{repository}@{whole.digest}" in repository_digests(docker, f"{proxy.host}/{repository}:one")
