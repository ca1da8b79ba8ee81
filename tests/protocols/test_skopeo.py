"""skopeo against the registry: copies with all their bytes, lists, deletes."""

from __future__ import annotations

import json

import pytest

from tests.support.clients.cutting import cutting_proxy
from tests.support.clients.images import (
    GZIP,
    PLAIN,
    ZSTD,
    Compression,
    Image,
    fetch,
    image,
    large_image,
    mixed_image,
    multi_arch,
    push,
    read_layout,
    write_layout,
)
from tests.support.clients.tools import Output, Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("skopeo")
HTTP = "--tls-verify=false"


def log_in(workplace: Workplace, registry: RoadsteadServer) -> None:
    workplace.run("skopeo", "login", HTTP, "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)


def copy(workplace: Workplace, source: str, target: str, *options: str) -> Output:
    secure = [f"--{side}-tls-verify=false" for side, name in (("src", source), ("dest", target)) if name.startswith("docker:")]
    return workplace.run("skopeo", "copy", "--preserve-digests", *secure, *options, source, target)


def test_login_takes_the_right_password_only(workplace: Workplace, registry: RoadsteadServer) -> None:
    said = workplace.refused("skopeo", "login", HTTP, "-u", "admin", "--password-stdin", registry.host, stdin="wrong")
    assert "invalid username/password" in said
    log_in(workplace, registry)


@pytest.mark.parametrize("compression", [GZIP, ZSTD, PLAIN], ids=["gzip", "zstd", "plain"])
def test_push_and_pull_keep_every_byte(workplace: Workplace, registry: RoadsteadServer, repository: str, compression: Compression) -> None:
    there_and_back(workplace, registry, repository, image(repository, compression))


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_index_keeps_every_byte(workplace: Workplace, registry: RoadsteadServer, repository: str, docker: bool) -> None:
    there_and_back(workplace, registry, repository, multi_arch(repository, docker=docker))


def test_layers_may_be_compressed_differently(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    there_and_back(workplace, registry, repository, mixed_image(repository))


def there_and_back(workplace: Workplace, registry: RoadsteadServer, repository: str, whole: Image) -> None:
    """Push from a layout as the administrator, pull into another as nobody; both copies must equal the original."""
    write_layout(workplace.path("layout"), {"one": whole})
    log_in(workplace, registry)
    name = f"docker://{registry.host}/{repository}:one"
    copy(workplace, "oci:layout:one", name, "--all")
    workplace.run("skopeo", "logout", registry.host)
    assert fetch(registry.http(anonymous=True), repository, "one") == whole
    # To a directory, because an OCI layout would have the Docker types converted.
    copy(workplace, name, "dir:pulled", "--all")
    assert (workplace.path("pulled") / "manifest.json").read_bytes() == whole.manifest.data


def test_anyone_pulls_an_image_from_the_public_project(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    copy(workplace, f"docker://{registry.host}/{repository}:one", "oci:layout:one")
    assert read_layout(workplace.path("layout")) == {"one": whole}


def test_nobody_may_not_push(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    write_layout(workplace.path("layout"), {"one": image(repository)})
    said = workplace.refused("skopeo", "copy", "--dest-tls-verify=false", "oci:layout:one", f"docker://{registry.host}/{repository}:one")
    assert "authentication required" in said.lower() or "unauthorized" in said.lower()


def test_a_push_to_an_unknown_project_says_why(workplace: Workplace, registry: RoadsteadServer) -> None:
    log_in(workplace, registry)
    write_layout(workplace.path("layout"), {"one": image("nowhere")})
    said = workplace.refused("skopeo", "copy", "--dest-tls-verify=false", "oci:layout:one", f"docker://{registry.host}/nowhere/it:one")
    assert "project" in said


def test_a_short_name_means_the_library(workplace: Workplace, registry: RoadsteadServer) -> None:
    whole = image("skopeo short name")
    write_layout(workplace.path("layout"), {"one": whole})
    log_in(workplace, registry)
    copy(workplace, "oci:layout:one", f"docker://{registry.host}/skopeo-short:one")
    assert fetch(registry.http(), "library/skopeo-short", "one") == whole
    seen = workplace.run("skopeo", "inspect", "--raw", HTTP, f"docker://{registry.host}/skopeo-short:one")
    assert seen.out.encode() == whole.manifest.data


def test_copy_between_repositories(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    copy(workplace, f"docker://{registry.host}/{repository}:one", f"docker://{registry.host}/{repository}-copy:two")
    assert fetch(registry.http(), f"{repository}-copy", "two") == whole


def test_tags_and_facts_are_listed(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    for tag in ("two", "one"):
        push(registry.http(), repository, tag, whole)
    name = f"docker://{registry.host}/{repository}"
    assert json.loads(workplace.run("skopeo", "list-tags", HTTP, name).out)["Tags"] == ["one", "two"]
    facts = json.loads(workplace.run("skopeo", "inspect", HTTP, f"{name}:one").out)
    assert (facts["Digest"], facts["Architecture"]) == (whole.digest, "amd64")
    assert facts["Layers"] == [layer.digest for layer in whole.blobs[1:]]


def test_delete_removes_the_manifest(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    name = f"docker://{registry.host}/{repository}:one"
    workplace.refused("skopeo", "delete", HTTP, name)
    log_in(workplace, registry)
    workplace.run("skopeo", "delete", HTTP, name)
    assert "manifest unknown" in workplace.refused("skopeo", "inspect", HTTP, name).lower()


def test_a_cut_download_is_resumed(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = large_image(repository, 4 << 20)
    push(registry.http(), repository, "one", whole)
    with cutting_proxy(registry.host, after=2 << 20) as proxy:
        copy(workplace, f"docker://{proxy.host}/{repository}:one", "oci:layout:one")
        assert proxy.resumed() == [206]
    assert read_layout(workplace.path("layout")) == {"one": whole}
