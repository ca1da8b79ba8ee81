"""crane against the registry: it copies, tags and deletes without a daemon, and deletes by tag."""

from __future__ import annotations

import json
import tarfile

import pytest

from tests.support.clients.images import (
    GZIP,
    PLAIN,
    ZSTD,
    Compression,
    fetch,
    image,
    multi_arch,
    push,
    read_layout,
    write_layout,
)
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("crane")


def log_in(workplace: Workplace, registry: RoadsteadServer) -> None:
    workplace.run("crane", "auth", "login", registry.host, "-u", "admin", "--password-stdin", stdin=registry.admin_password)


def test_a_wrong_password_cannot_push(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    # `crane auth login` asks nobody: the password is first tried by the push.
    workplace.run("crane", "auth", "login", registry.host, "-u", "admin", "-p", "wrong")
    write_layout(workplace.path("layout"), {"one": image(repository)})
    said = workplace.refused("crane", "push", "layout", f"{registry.host}/{repository}:one")
    assert "UNAUTHORIZED" in said


def test_nobody_may_not_push(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    write_layout(workplace.path("layout"), {"one": image(repository)})
    assert "UNAUTHORIZED" in workplace.refused("crane", "push", "layout", f"{registry.host}/{repository}:one")


@pytest.mark.parametrize("compression", [GZIP, ZSTD, PLAIN], ids=["gzip", "zstd", "plain"])
def test_push_and_pull_keep_every_byte(workplace: Workplace, registry: RoadsteadServer, repository: str, compression: Compression) -> None:
    whole = image(repository, compression)
    write_layout(workplace.path("layout"), {"one": whole})
    log_in(workplace, registry)
    name = f"{registry.host}/{repository}:one"
    workplace.run("crane", "push", "layout", name)
    workplace.run("crane", "auth", "logout", registry.host)
    assert fetch(registry.http(anonymous=True), repository, "one") == whole
    workplace.run("crane", "pull", "--format", "oci", name, "pulled")
    assert list(read_layout(workplace.path("pulled")).values()) == [whole]


def test_an_index_in_an_index_keeps_every_byte(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    # With --index, what is pushed is the layout's own index.json.
    whole = multi_arch(repository)
    write_layout(workplace.path("layout"), {"one": whole})
    log_in(workplace, registry)
    workplace.run("crane", "push", "--index", "layout", f"{registry.host}/{repository}:one")
    pushed = fetch(registry.http(anonymous=True), repository, "one")
    assert pushed.manifest.data == workplace.path("layout/index.json").read_bytes()
    assert pushed.children == (whole,)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_index_is_copied_with_every_byte(workplace: Workplace, registry: RoadsteadServer, repository: str, docker: bool) -> None:
    whole = multi_arch(repository, docker=docker)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    workplace.run("crane", "copy", f"{registry.host}/{repository}:one", f"{registry.host}/{repository}-copy:two")
    assert fetch(registry.http(), f"{repository}-copy", "two") == whole
    workplace.run("crane", "validate", "--remote", f"{registry.host}/{repository}-copy:two")


def test_what_is_stored_can_be_looked_at(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = multi_arch(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}"
    first = whole.children[0]
    assert workplace.run("crane", "digest", f"{name}:one").out.strip() == whole.digest
    assert workplace.run("crane", "digest", "--platform", "linux/amd64", f"{name}:one").out.strip() == first.digest
    assert workplace.run("crane", "manifest", f"{name}:one").out.encode() == whole.manifest.data
    assert workplace.run("crane", "config", f"{name}@{first.digest}").out.encode() == first.blobs[0].data
    assert json.loads(workplace.run("crane", "blob", f"{name}@{first.blobs[0].digest}").out) == json.loads(first.blobs[0].data)


def test_export_applies_the_whiteouts(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    workplace.run("crane", "export", f"{registry.host}/{repository}:one", "files.tar")
    with tarfile.open(workplace.path("files.tar")) as files:
        names = set(files.getnames())
    assert {"bin/busybox", "etc/seed", "opt/shown"} <= names
    assert "etc/removed" not in names


def test_copy_mounts_the_layers(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    said = workplace.run("crane", "copy", f"{registry.host}/{repository}:one", f"{registry.host}/{repository}-copy:two").err
    for blob in whole.blobs:
        assert f"mounted blob: {blob.digest}" in said
    assert fetch(registry.http(), f"{repository}-copy", "two") == whole


def test_tags_and_repositories_are_listed(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    log_in(workplace, registry)
    workplace.run("crane", "tag", f"{registry.host}/{repository}:one", "another")
    assert workplace.run("crane", "ls", f"{registry.host}/{repository}").out.split() == ["another", "one"]
    assert repository in workplace.run("crane", "catalog", registry.host).out.split()


def test_delete_by_tag_leaves_the_other_tag(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    for tag in ("one", "two"):
        push(registry.http(), repository, tag, whole)
    name = f"{registry.host}/{repository}"
    assert "UNAUTHORIZED" in workplace.refused("crane", "delete", f"{name}:one")
    log_in(workplace, registry)
    workplace.run("crane", "delete", f"{name}:one")
    assert workplace.run("crane", "ls", name).out.split() == ["two"]
    assert fetch(registry.http(), repository, "two") == whole
    workplace.run("crane", "delete", f"{name}@{whole.digest}")
    assert "MANIFEST_UNKNOWN" in workplace.refused("crane", "manifest", f"{name}:two")


def test_a_layer_is_appended_in_place(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    log_in(workplace, registry)
    name = f"{registry.host}/{repository}"
    workplace.path("notes").write_text("more")
    with tarfile.open(workplace.path("more.tar"), "w") as archive:
        archive.add(workplace.path("notes"), "notes")
    appended = workplace.run("crane", "append", "-b", f"{name}:one", "-f", "more.tar", "-t", f"{name}:two").out.strip()
    grown = fetch(registry.http(), repository, "two")
    assert appended == f"{name}@{grown.digest}"
    assert len(grown.blobs) == 4


def test_a_push_to_an_unknown_project_says_why(workplace: Workplace, registry: RoadsteadServer) -> None:
    log_in(workplace, registry)
    write_layout(workplace.path("layout"), {"one": image("nowhere")})
    assert "project" in workplace.refused("crane", "push", "layout", f"{registry.host}/nowhere/it:one")


def test_a_short_name_means_the_library(workplace: Workplace, registry: RoadsteadServer) -> None:
    whole = image("crane short name")
    log_in(workplace, registry)
    write_layout(workplace.path("layout"), {"one": whole})
    workplace.run("crane", "push", "layout", f"{registry.host}/crane-short:one")
    assert fetch(registry.http(), "library/crane-short", "one") == whole
