"""apptainer against the registry: what a user of a cluster does all day, and the commands that sites have in their documentation."""

from __future__ import annotations

import io
import tarfile

import pytest

from tests.protocols.conftest import short_directory
from tests.support.clients.images import (
    OCI_MANIFEST,
    SIF_CONFIG,
    SIF_LAYER,
    SIF_LAYER_OF_OLD,
    Blob,
    artifact,
    base,
    fetch,
    image,
    mixed_image,
    multi_arch,
    push,
    tar,
)
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("apptainer", "singularity")
HTTP = "--no-https"


@pytest.fixture(scope="module")
def sif() -> bytes:
    """A SIF that runs busybox and has /etc/seed."""
    with short_directory() as home:
        workplace = Workplace(home)
        with tarfile.open(fileobj=io.BytesIO(tar({**base(), "etc/seed": b"a SIF"}))) as files:
            files.extractall(home / "rootfs", filter="tar")
        workplace.run("apptainer", "build", "it.sif", "rootfs")
        return workplace.path("it.sif").read_bytes()


@pytest.fixture
def owner(workplace: Workplace, sif: bytes) -> Workplace:
    """A workplace that has the SIF, as it.sif."""
    workplace.path("it.sif").write_bytes(sif)
    return workplace


def log_in(workplace: Workplace, registry: RoadsteadServer) -> None:
    login = ("registry", "login", "--username", "admin", "--password-stdin", f"oras://{registry.host}")
    workplace.run("apptainer", *login, stdin=registry.admin_password)


def inside(workplace: Workplace, file: str, path: str) -> str:
    """Run the image: what the file at `path` says inside."""
    return workplace.run("apptainer", "exec", file, "cat", path).out


@pytest.mark.parametrize("scheme", ["oras", "docker"])
def test_login_takes_the_right_password_only(workplace: Workplace, registry: RoadsteadServer, scheme: str) -> None:
    login = ("registry", "login", "--username", "admin", "--password-stdin", f"{scheme}://{registry.host}")
    assert "unauthorized" in workplace.refused("apptainer", *login, stdin="wrong").lower()
    assert not workplace.path(".docker/config.json").exists()
    workplace.run("apptainer", *login, stdin=registry.admin_password)
    assert registry.host in workplace.path(".docker/config.json").read_text()


def test_a_sif_comes_back_as_it_went(owner: Workplace, registry: RoadsteadServer, repository: str, sif: bytes) -> None:
    name = f"oras://{registry.host}/{repository}:one"
    assert "unauthorized" in owner.refused("apptainer", "push", "it.sif", name).lower()
    log_in(owner, registry)
    owner.run("apptainer", "push", "it.sif", name)
    stored = fetch(registry.http(), repository, "one")
    assert stored.manifest.media_type == OCI_MANIFEST
    assert stored.blobs == (Blob(SIF_CONFIG, b"{}"), Blob(SIF_LAYER, sif))
    owner.run("apptainer", "registry", "logout", f"oras://{registry.host}")
    owner.run("apptainer", "pull", "back.sif", name)
    assert owner.path("back.sif").read_bytes() == sif
    assert inside(owner, "back.sif", "/etc/seed") == "a SIF"


def test_the_commands_of_a_site_for_pushing_and_pulling_a_sif(
    owner: Workplace, registry: RoadsteadServer, repository: str, sif: bytes
) -> None:
    credentials = {"SINGULARITY_DOCKER_USERNAME": "admin", "SINGULARITY_DOCKER_PASSWORD": registry.admin_password}
    name = f"oras://{registry.host}/{repository}:one"
    owner.refused("singularity", "push", "it.sif", name, environment={**credentials, "SINGULARITY_DOCKER_PASSWORD": "wrong"})
    owner.run("singularity", "push", "it.sif", name, environment=credentials)
    owner.path("it.sif").rename(owner.path("pushed.sif"))
    owner.run("singularity", "pull", name, environment=credentials)
    (pulled,) = [file for file in owner.home.glob("*.sif") if file.name != "pushed.sif"]
    assert pulled.read_bytes() == sif


def test_the_command_of_a_site_for_pulling_an_image(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    command = ("apptainer", "pull", HTTP, "--docker-login", "it.sif", f"docker://{registry.host}/{repository}:one")
    status, shown = workplace.converse({"Username:": "admin", "Password:": "wrong"}, *command)
    assert status != 0 and "unauthorized" in shown.lower(), shown
    status, shown = workplace.converse({"Username:": "admin", "Password:": registry.admin_password}, *command)
    assert status == 0, shown
    assert inside(workplace, "it.sif", "/etc/seed") == repository


@pytest.mark.parametrize("prefix", ["APPTAINER", "SINGULARITY"])
def test_the_environment_may_hold_the_password(workplace: Workplace, registry: RoadsteadServer, repository: str, prefix: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    command = ("apptainer", "pull", HTTP, "--force", "it.sif", f"docker://{registry.host}/{repository}:one")
    names = f"{prefix}_DOCKER_USERNAME", f"{prefix}_DOCKER_PASSWORD"
    workplace.refused(*command, environment=dict(zip(names, ("admin", "wrong"), strict=True)))
    workplace.run(*command, environment=dict(zip(names, ("admin", registry.admin_password), strict=True)))


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_anyone_pulls_an_image_as_sif(workplace: Workplace, registry: RoadsteadServer, repository: str, docker: bool) -> None:
    push(registry.http(), repository, "one", image(repository, docker=docker))
    workplace.run("apptainer", "pull", HTTP, "it.sif", f"docker://{registry.host}/{repository}:one")
    assert inside(workplace, "it.sif", "/etc/seed") == repository
    assert workplace.run("apptainer", "exec", "it.sif", "ls", "/opt").out.split() == ["shown"]
    workplace.refused("apptainer", "exec", "it.sif", "cat", "/etc/removed")


def test_layers_may_be_compressed_differently(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", mixed_image(repository))
    workplace.run("apptainer", "pull", HTTP, "it.sif", f"docker://{registry.host}/{repository}:one")
    for file in ("/etc/seed", "/etc/third"):
        assert inside(workplace, "it.sif", file) == repository


def test_an_image_is_run_without_pulling_first(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    whole = image(repository)
    push(registry.http(), repository, "one", whole)
    name = f"docker://{registry.host}/{repository}@{whole.digest}"
    assert workplace.run("apptainer", "exec", HTTP, name, "cat", "/etc/seed").out == repository


def test_an_index_gives_the_image_of_the_architecture(workplace: Workplace, registry: RoadsteadServer, repository: str) -> None:
    push(registry.http(), repository, "one", multi_arch(repository))
    name = f"docker://{registry.host}/{repository}:one"
    workplace.run("apptainer", "pull", HTTP, "amd64.sif", name)
    assert inside(workplace, "amd64.sif", "/etc/seed") == f"{repository} amd64"
    # Both images hold the same program, so the other one runs as well.
    workplace.run("apptainer", "pull", HTTP, "--arch", "arm64", "arm64.sif", name)
    assert inside(workplace, "arm64.sif", "/etc/seed") == f"{repository} arm64"


@pytest.mark.parametrize("config", [b"", b"{}"], ids=["empty", "braces"])
@pytest.mark.parametrize("layer_type", [SIF_LAYER, SIF_LAYER_OF_OLD], ids=["today", "misspelt"])
def test_what_old_singularity_pushed_is_pulled(
    workplace: Workplace, registry: RoadsteadServer, repository: str, sif: bytes, config: bytes, layer_type: str
) -> None:
    push(registry.http(), repository, "one", artifact(Blob(SIF_CONFIG, config), [Blob(layer_type, sif)]))
    workplace.run("apptainer", "pull", "back.sif", f"oras://{registry.host}/{repository}:one")
    assert workplace.path("back.sif").read_bytes() == sif


@pytest.mark.clients("oras")
def test_a_sif_pushed_by_oras_is_pulled(owner: Workplace, registry: RoadsteadServer, repository: str, sif: bytes) -> None:
    owner.run("oras", "login", "--plain-http", "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)
    owner.run("oras", "push", "--plain-http", f"{registry.host}/{repository}:one", f"it.sif:{SIF_LAYER}")
    owner.run("apptainer", "pull", "back.sif", f"oras://{registry.host}/{repository}:one")
    assert owner.path("back.sif").read_bytes() == sif


def test_a_signature_inside_the_sif_survives(owner: Workplace, registry: RoadsteadServer, repository: str) -> None:
    owner.run("apptainer", "key", "newpair", "-N", "tests", "-E", "tests@example.org", "-C", "", "-P", "", "-U=false", "-b", "2048")
    owner.run("apptainer", "sign", "it.sif")
    log_in(owner, registry)
    owner.run("apptainer", "push", "it.sif", f"oras://{registry.host}/{repository}:one")
    owner.run("apptainer", "pull", "back.sif", f"oras://{registry.host}/{repository}:one")
    owner.run("apptainer", "verify", "--local", "back.sif")


def test_a_short_name_means_the_library(owner: Workplace, registry: RoadsteadServer, sif: bytes) -> None:
    push(registry.http(), "library/ubuntu", "22.04", image("ubuntu"))
    owner.run("apptainer", "pull", HTTP, "ubuntu.sif", f"docker://{registry.host}/ubuntu:22.04")
    assert inside(owner, "ubuntu.sif", "/etc/seed") == "ubuntu"
    log_in(owner, registry)
    owner.run("apptainer", "push", "it.sif", f"oras://{registry.host}/ubuntu-sif:22.04")
    assert fetch(registry.http(), "library/ubuntu-sif", "22.04").blobs[1].data == sif
    owner.run("apptainer", "pull", "back.sif", f"oras://{registry.host}/ubuntu-sif:22.04")
    assert owner.path("back.sif").read_bytes() == sif


def test_a_push_to_an_unknown_project_says_why(owner: Workplace, registry: RoadsteadServer) -> None:
    log_in(owner, registry)
    assert "project" in owner.refused("apptainer", "push", "it.sif", f"oras://{registry.host}/nowhere/it:one")


@pytest.mark.parametrize("scheme", ["docker", "oras"])
def test_a_missing_image_is_said_to_be_missing(workplace: Workplace, registry: RoadsteadServer, repository: str, scheme: str) -> None:
    push(registry.http(), repository, "one", image(repository))
    said = workplace.refused("apptainer", "pull", HTTP, "it.sif", f"{scheme}://{registry.host}/{repository}:absent").lower()
    assert "manifest unknown" in said or "manifest_unknown" in said
