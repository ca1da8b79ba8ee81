"""SIFs by whichever client pushes and pulls them: what arrives is looked into, and comes back as it went."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.clients.images import OCI_INDEX, SIF_CONFIG, SIF_LAYER, SIF_LAYER_OF_OLD, Blob, artifact, fetch, push
from tests.support.clients.tools import Workplace
from tests.support.clients.trusting import make_sif
from tests.support.server import RoadsteadServer
from tests.support.sifs import container, root, sif

pytestmark = pytest.mark.clients("apptainer")
HTTP = "--plain-http"


def log_in(workplace: Workplace, registry: RoadsteadServer, *clients: str) -> None:
    for client in clients:
        if client == "apptainer":
            login = ("registry", "login", "--username", "admin", "--password-stdin", f"oras://{registry.host}")
            workplace.run("apptainer", *login, stdin=registry.admin_password)
        else:
            plain = "--tls-verify=false" if client == "podman" else HTTP
            workplace.run(client, "login", plain, "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)


def told(registry: RoadsteadServer, repository: str, reference: str = "one") -> dict[str, Any]:
    """The artifact as the management API tells it."""
    project, _, path = repository.partition("/")
    place = f"/api/v2.0/projects/{project}/repositories/{quote(quote(path, safe=''), safe='')}/artifacts/{reference}"
    answer: dict[str, Any] = registry.http().get(place).raise_for_status().json()
    return answer


def test_what_apptainer_builds_signs_and_pushes_is_told(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    make_sif(workplace)
    workplace.path("it.def").write_text("Bootstrap: localimage\nFrom: it.sif\n\n%labels\n    Purpose testing\n")
    workplace.run("apptainer", "build", "labelled.sif", "it.def")
    workplace.run("apptainer", "key", "newpair", "-N", "tests", "-E", "tests@example.org", "-C", "", "-P", "", "-U=false", "-b", "2048")
    workplace.run("apptainer", "sign", "labelled.sif")
    log_in(workplace, registry, "apptainer")
    workplace.run("apptainer", "push", "labelled.sif", f"oras://{registry.host}/{repository}:one")
    found = told(registry, repository)
    attributes = found["extra_attrs"]
    assert found["type"] == "SIF"
    assert (attributes["architecture"], attributes["size"]) == ("amd64", workplace.path("labelled.sif").stat().st_size)
    assert attributes["partitions"][0]["compression"] == "gzip"
    assert attributes["labels"]["Purpose"] == "testing"
    assert "From: it.sif" in attributes["definition"]
    (signature,) = attributes["signatures"]
    listed = workplace.run("apptainer", "key", "list").out
    assert signature["hash"] == "sha256" and signature["fingerprint"] in listed.upper()
    assert not {"damaged", "encrypted", "left_out"} & set(attributes)


@pytest.mark.clients("oras")
def test_oras_pushes_and_pulls_a_sif(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    make_sif(workplace)
    log_in(workplace, registry, "oras")
    name = f"{registry.host}/{repository}:one"
    workplace.run("oras", "push", HTTP, name, f"it.sif:{SIF_LAYER}")
    assert told(registry, repository)["type"] == "SIF"
    assert told(registry, repository)["extra_attrs"]["architecture"] == "amd64"
    workplace.run("oras", "pull", HTTP, "-o", "back", name)
    workplace.run("apptainer", "pull", "back.sif", f"oras://{name}")
    for back in ("back/it.sif", "back.sif"):
        assert workplace.path(back).read_bytes() == workplace.path("it.sif").read_bytes()


@pytest.mark.clients("podman")
def test_podman_pushes_and_pulls_a_sif(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    make_sif(workplace)
    log_in(workplace, registry, "podman")
    name = f"{registry.host}/{repository}:one"
    workplace.run("podman", "artifact", "add", "--file-type", SIF_LAYER, name, "it.sif")
    workplace.run("podman", "artifact", "push", "--tls-verify=false", name)
    assert told(registry, repository)["type"] == "SIF"
    workplace.run("apptainer", "pull", "back.sif", f"oras://{name}")
    workplace.run("podman", "artifact", "rm", name)
    workplace.run("podman", "artifact", "pull", "--tls-verify=false", name)
    workplace.run("podman", "artifact", "extract", name, "extracted.sif")
    for back in ("back.sif", "extracted.sif"):
        assert workplace.path(back).read_bytes() == workplace.path("it.sif").read_bytes()


@pytest.mark.clients("oras")
def test_a_damaged_sif_is_refused_with_the_reason(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    make_sif(workplace)
    whole = workplace.path("it.sif").read_bytes()
    log_in(workplace, registry, "oras")
    for damaged, reason in ((whole[: len(whole) // 2], "would lie at"), (b"PK" + bytes(600), "magic number")):
        workplace.path("damaged.sif").write_bytes(damaged)
        said = workplace.refused("oras", "push", HTTP, f"{registry.host}/{repository}:one", f"damaged.sif:{SIF_LAYER}")
        assert "not a sound SIF file" in said and reason in said
    assert registry.http().get(f"/v2/{repository}/manifests/one").status_code == 404


@pytest.mark.clients("oras", "podman")
@pytest.mark.parametrize("registry", [{"ROADSTEAD_ACCEPT_DAMAGED_SIF": "true"}], indirect=True, ids=["tolerant"])
def test_a_site_may_let_it_in(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    workplace.path("damaged.sif").write_bytes(sif()[:-1])
    log_in(workplace, registry, "oras")
    workplace.run("oras", "push", HTTP, f"{registry.host}/{repository}:one", f"damaged.sif:{SIF_LAYER}")
    assert "would lie at" in told(registry, repository)["extra_attrs"]["damaged"]


def test_an_encrypted_sif_comes_back_and_says_so(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    encrypted = container([(root(file_system=5), b"LUKS\xba\xbe\x00\x02" + bytes(5000))])
    workplace.path("it.sif").write_bytes(encrypted)
    log_in(workplace, registry, "apptainer")
    name = f"oras://{registry.host}/{repository}:one"
    workplace.run("apptainer", "push", "--allow-unsigned", "it.sif", name)
    attributes = told(registry, repository)["extra_attrs"]
    assert attributes["encrypted"] is True
    assert attributes["partitions"] == [
        {"file_system": "encrypted_squashfs", "use": "primary_system", "architecture": "amd64", "size": 5008},
    ]
    workplace.run("apptainer", "pull", "back.sif", name)
    assert workplace.path("back.sif").read_bytes() == encrypted


@pytest.mark.parametrize("config", [b"", b"{}"], ids=["empty", "braces"])
@pytest.mark.parametrize("layer_type", [SIF_LAYER, SIF_LAYER_OF_OLD], ids=["today", "misspelt"])
def test_what_old_singularity_pushed_is_looked_into(registry: RoadsteadServer, repository: str, config: bytes, layer_type: str) -> None:
    push(registry.http(), repository, "one", artifact(Blob(SIF_CONFIG, config), [Blob(layer_type, sif())]))
    found = told(registry, repository)
    assert (found["type"], found["extra_attrs"]["architecture"]) == ("SIF", "amd64")


@pytest.mark.clients("oras")
def test_an_index_of_sifs_gives_the_one_for_the_architecture(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    log_in(workplace, registry, "oras")
    name = f"{registry.host}/{repository}"
    for architecture in ("amd64", "arm64"):
        workplace.path(f"{architecture}.sif").write_bytes(sif(architecture))
        # Apptainer itself pushes only what its machine can run.
        workplace.run("oras", "push", HTTP, f"{name}:{architecture}", f"{architecture}.sif:{SIF_LAYER}")
    parts = [fetch(registry.http(), repository, architecture) for architecture in ("amd64", "arm64")]
    entries = [
        part.manifest.descriptor(platform={"os": "linux", "architecture": architecture})
        for part, architecture in zip(parts, ("amd64", "arm64"), strict=True)
    ]
    workplace.path("index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
    workplace.run("oras", "manifest", "push", HTTP, f"{name}:one", "index.json")
    assert told(registry, repository)["type"] == "SIF"
    # Of an index behind oras://, Apptainer before 1.5 takes the part for amd64 whatever --arch says; other architectures have other roads.
    workplace.run("apptainer", "pull", "--arch", "amd64", "own.sif", f"oras://{name}:one")
    assert workplace.path("own.sif").read_bytes() == sif("amd64")
    for architecture in ("amd64", "arm64"):
        answer = registry.http(anonymous=True).get(f"/sif/{repository}/one.sif", params={"platform": f"linux/{architecture}"})
        assert answer.content == sif(architecture)
    workplace.run("oras", "pull", HTTP, "--platform", "linux/arm64", "-o", "back", f"{name}:one")
    assert workplace.path("back/arm64.sif").read_bytes() == sif("arm64")
