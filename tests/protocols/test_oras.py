"""oras against the registry: artifacts of any kind, and referrers."""

from __future__ import annotations

import json

import pytest

from tests.support.clients.images import Json, fetch, image, multi_arch, push, read_layout, write_layout
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("oras")
HTTP = "--plain-http"
SBOM = "application/spdx+json"


def log_in(workplace: Workplace, registry: RoadsteadServer) -> None:
    workplace.run("oras", "login", HTTP, "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)


def test_login_takes_the_right_password_only(workplace: Workplace, registry: RoadsteadServer) -> None:
    said = workplace.refused("oras", "login", HTTP, "-u", "admin", "--password-stdin", registry.host, stdin="wrong")
    assert "401" in said or "unauthorized" in said.lower()
    log_in(workplace, registry)


def test_files_come_back_as_they_went(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    name = f"{registry.host}/{repository}:one,two"
    workplace.path("data.bin").write_bytes(bytes(range(256)) * 4096)
    workplace.path("empty").write_bytes(b"")
    pushing = ["push", HTTP, name, "data.bin:application/x.data", "empty:application/x.nothing"]
    assert "unauthorized" in workplace.refused("oras", *pushing).lower()
    log_in(workplace, registry)
    workplace.run("oras", *pushing)
    workplace.run("oras", "logout", registry.host)
    assert fetch(registry.http(anonymous=True), repository, "one") == fetch(registry.http(), repository, "two")
    workplace.run("oras", "pull", HTTP, "-o", "back", f"{registry.host}/{repository}:one")
    assert workplace.path("back/data.bin").read_bytes() == workplace.path("data.bin").read_bytes()
    assert workplace.path("back/empty").read_bytes() == b""


def test_an_index_is_copied_with_every_byte(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = multi_arch(repository)
    write_layout(workplace.path("layout"), {"one": whole})
    log_in(workplace, registry)
    name = f"{registry.host}/{repository}:one"
    workplace.run("oras", "cp", "--from-oci-layout", "--to-plain-http", "layout:one", name)
    assert fetch(registry.http(), repository, "one") == whole
    workplace.run("oras", "cp", "--from-plain-http", "--to-oci-layout", name, "back:one")
    assert read_layout(workplace.path("back"))["one"] == whole


def test_copy_mounts_the_layers(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    both = ("--from-plain-http", "--to-plain-http")
    said = workplace.run("oras", "cp", *both, f"{registry.host}/{repository}:one", f"{registry.host}/{repository}-copy:two").out
    assert said.count("Mounted") >= len(whole.blobs)
    assert fetch(registry.http(), f"{repository}-copy", "two") == whole


def test_an_index_is_made_in_place(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = multi_arch(repository)
    for tag, child in zip(("amd", "arm"), whole.children, strict=True):
        push(registry.http(), repository, tag, child)
    log_in(workplace, registry)
    workplace.run("oras", "manifest", "index", "create", HTTP, f"{registry.host}/{repository}:both", "amd", "arm")
    assert fetch(registry.http(), repository, "both").children == whole.children


def test_tags_and_repositories_are_listed(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    log_in(workplace, registry)
    name = f"{registry.host}/{repository}"
    workplace.run("oras", "tag", HTTP, f"{name}:one", "another", "third")
    assert workplace.run("oras", "repo", "tags", HTTP, name).out.split() == ["another", "one", "third"]
    assert repository in workplace.run("oras", "repo", "ls", HTTP, registry.host).out.split()
    namespace, _, last = repository.rpartition("/")
    assert last in workplace.run("oras", "repo", "ls", HTTP, f"{registry.host}/{namespace}/").out.split()


def test_what_is_stored_can_be_looked_at(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    name = f"{registry.host}/{repository}"
    assert workplace.run("oras", "resolve", HTTP, f"{name}:one").out.strip() == whole.digest
    assert workplace.run("oras", "manifest", "fetch", HTTP, f"{name}:one").out.encode() == whole.manifest.data
    assert workplace.run("oras", "manifest", "fetch-config", HTTP, f"{name}:one").out.encode() == whole.blobs[0].data
    layer = whole.blobs[1]
    workplace.run("oras", "blob", "fetch", HTTP, "--output", "layer", f"{name}@{layer.digest}")
    assert workplace.path("layer").read_bytes() == layer.data


def test_a_blob_and_a_manifest_are_deleted(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    name = f"{registry.host}/{repository}"
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    workplace.refused("oras", "manifest", "delete", HTTP, "--force", f"{name}:one")
    log_in(workplace, registry)
    workplace.path("loose").write_bytes(repository.encode())
    pushed = json.loads(workplace.run("oras", "blob", "push", HTTP, "--descriptor", name, "loose").out)
    workplace.run("oras", "blob", "delete", HTTP, "--force", f"{name}@{pushed['digest']}")
    assert registry.http().head(f"/v2/{repository}/blobs/{pushed['digest']}").status_code == 404
    workplace.run("oras", "manifest", "delete", HTTP, "--force", f"{name}:one")
    assert "not found" in workplace.refused("oras", "manifest", "fetch", HTTP, f"{name}:one").lower()


def test_what_is_attached_is_discovered(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    name = f"{registry.host}/{repository}"
    workplace.path("sbom.json").write_text('{"name": "it"}')
    workplace.path("scan.txt").write_text("clean")
    for kind, file in ((SBOM, "sbom.json"), ("application/x.scan", "scan.txt")):
        workplace.run("oras", "attach", HTTP, "--artifact-type", kind, "--annotation", "by=tests", f"{name}:one", file)
    found = discover(workplace, f"{name}:one")
    assert {entry["artifactType"] for entry in found} == {SBOM, "application/x.scan"}
    (sbom,) = discover(workplace, f"{name}:one", "--artifact-type", SBOM)
    assert sbom["annotations"]["by"] == "tests"
    workplace.run("oras", "pull", HTTP, "-o", "back", f"{name}@{sbom['digest']}")
    assert workplace.path("back/sbom.json").read_text() == '{"name": "it"}'
    # The registry keeps the list of referrers itself, so the client need not push its index of them under a tag.
    assert workplace.run("oras", "repo", "tags", HTTP, name).out.split() == ["one"]


def test_referrers_are_copied_along(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    log_in(workplace, registry)
    name = f"{registry.host}/{repository}"
    workplace.path("sbom.json").write_text('{"name": "it"}')
    workplace.run("oras", "attach", HTTP, "--artifact-type", SBOM, f"{name}:one", "sbom.json")
    workplace.run("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", f"{name}:one", f"{name}-copy:one")
    assert [entry["artifactType"] for entry in discover(workplace, f"{name}-copy:one")] == [SBOM]


def discover(workplace: Workplace, name: str, *options: str) -> list[Json]:
    found: list[Json] = json.loads(workplace.run("oras", "discover", HTTP, "--format", "json", *options, name).out)["referrers"]
    return found


def test_a_push_to_an_unknown_project_says_why(workplace: Workplace, registry: RoadsteadServer) -> None:
    log_in(workplace, registry)
    workplace.path("it").write_text("nowhere")
    assert "project" in workplace.refused("oras", "push", HTTP, f"{registry.host}/nowhere/it:one", "it")


def test_a_short_name_means_the_library(workplace: Workplace, registry: RoadsteadServer) -> None:
    push(registry.http(), "library/oras-short", "one", image("oras short name"))
    assert workplace.run("oras", "repo", "tags", HTTP, f"{registry.host}/oras-short").out.split() == ["one"]
