"""The container page of a national lab, command by command: host replaced, `--nohttps` dropped or spelt as today, nothing else changed.

A user builds with Docker on a laptop, and runs with Apptainer on a cluster that has no Docker. Both trust the registry's own authority, as
the site's administrators have set them up to; the registry has one name, `registry.test`, and no port in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.journeys.test_who_may import tell
from tests.protocols.conftest import short_directory
from tests.support.clients.images import base, fetch, image, push, tar
from tests.support.clients.tools import Workplace, require_client
from tests.support.clients.trusting import ADDRESS, make_sif, newcomer, registry_with_tls, trust
from tests.support.daemons import CLASSIC_STORE, docker_daemon
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients

HOST = "registry.test"
PASSWORD = "a keel of old oak"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """The lab's registry: the user `ada` is a developer of the private project `climate`."""
    require_client("apptainer")
    with registry_with_tls(tmp_path_factory.mktemp("page"), HOST) as server:
        tell(server, "user", "add", "ada", said=PASSWORD + "\n")
        tell(server, "project", "add", "climate")
        tell(server, "project", "member", "climate", "ada", "--role", "developer")
        yield server


@pytest.fixture
def machine(registry: RoadsteadServer) -> Iterator[Workplace]:
    """A machine whose administrator has run the registry's /trust.sh."""
    with newcomer() as workplace:
        trust(workplace, registry)
        yield workplace


@pytest.fixture
def laptop(machine: Workplace) -> Iterator[Workplace]:
    """The same, with Docker on it."""
    require_client("dockerd")
    with short_directory() as directory, docker_daemon(directory, CLASSIC_STORE) as host:
        machine.environment["DOCKER_HOST"] = host
        yield machine


def build(laptop: Workplace, name: str, seed: str) -> None:
    """What a build leaves on the laptop: an image of that name, with `seed` in /etc/seed."""
    laptop.path("rootfs.tar").write_bytes(tar({**base(), "etc/seed": seed.encode()}))
    laptop.run("docker", "import", "rootfs.tar", name)


def log_in(laptop: Workplace, name: str, password: str) -> tuple[int, str]:
    """`docker login HOST`, answered at the terminal."""
    return laptop.converse({"Username:": name, "Password:": password}, "docker", "login", HOST)


def cli_secret(registry: RoadsteadServer, name: str) -> str:
    """What the user's profile shows once."""
    secret: str = tell(registry, "user", "secret", name)["secret"]
    return secret


def test_docker_images(laptop: Workplace, registry: RoadsteadServer) -> None:
    """Sections "Docker": login, prepare image for push, pull Docker image on the cluster."""
    build(laptop, "model:1.0", "built on a laptop")
    status, shown = log_in(laptop, "ada", "wrong")
    assert status != 0 and "unauthorized" in shown.lower(), shown
    status, shown = log_in(laptop, "ada", PASSWORD)
    assert status == 0 and "Login Succeeded" in shown, shown
    laptop.run("docker", "tag", "model:1.0", f"{HOST}/climate/model:1.0")
    pushed = re.search(r"digest: (sha256:[0-9a-f]{64})", laptop.run("docker", "push", f"{HOST}/climate/model:1.0").out)
    assert pushed is not None
    assert fetch(registry.http(), "climate/model", "1.0").digest == pushed[1]

    with short_directory() as home:
        cluster = Workplace(home)
        pull = ("apptainer", "pull", "--docker-login", f"docker://{HOST}/climate/model:1.0")
        assert "authentication required" in cluster.refused("apptainer", "pull", f"docker://{HOST}/climate/model:1.0")
        status, shown = cluster.converse({"Username:": "ada", "Password:": PASSWORD}, *pull)
        assert status == 0, shown
        # "The container should now be downloaded and usable as usual"
        assert cluster.run("apptainer", "exec", "model_1.0.sif", "cat", "/etc/seed").out == "built on a laptop"


def test_the_pull_command_with_its_option(machine: Workplace, registry: RoadsteadServer) -> None:
    """Section "Pull Docker image": `--nohttps`, which Apptainer now spells `--no-https`, does no harm where certificates are good."""
    push(registry.http(), "climate/letter", "1.0", image("to the letter"))
    command = ("apptainer", "pull", "--no-https", "--docker-login", f"docker://{HOST}/climate/letter:1.0")
    status, shown = machine.converse({"Username:": "ada", "Password:": "wrong"}, *command)
    assert status != 0, shown
    status, shown = machine.converse({"Username:": "ada", "Password:": PASSWORD}, *command)
    assert status == 0, shown
    assert machine.run("apptainer", "exec", "letter_1.0.sif", "cat", "/etc/seed").out == "to the letter"


def test_singularity_images(machine: Workplace, registry: RoadsteadServer) -> None:
    """Sections "Singularity": login information, push a Singularity image, pull a Singularity image."""
    sif = make_sif(machine)
    credentials = {"SINGULARITY_DOCKER_USERNAME": "ada", "SINGULARITY_DOCKER_PASSWORD": cli_secret(registry, "ada")}
    name = f"oras://{HOST}/climate/tools:2.1"
    assert "unauthorized" in machine.refused("singularity", "push", "it.sif", name).lower()
    machine.environment.update(credentials)
    machine.run("singularity", "push", "it.sif", name)
    machine.path("it.sif").unlink()
    machine.run("singularity", "pull", name)
    assert machine.path("tools_2.1.sif").read_bytes() == sif

    # A new secret in the profile ends the one that was exported.
    cli_secret(registry, "ada")
    assert "unauthorized" in machine.refused("singularity", "pull", "--force", name).lower()


def test_official_images_by_their_short_names(machine: Workplace, registry: RoadsteadServer) -> None:
    """Section "DockerHub": what everybody may read needs no login, and no project in its name."""
    push(registry.http(), "library/ubuntu", "22.04", image("jammy"))
    machine.run("apptainer", "pull", "ubuntu-22.04.sif", f"docker://{HOST}/ubuntu:22.04")
    assert machine.run("apptainer", "exec", "ubuntu-22.04.sif", "cat", "/etc/seed").out == "jammy"


def test_an_access_token_for_docker_login(laptop: Workplace, registry: RoadsteadServer) -> None:
    """Section "DockerHub Enterprise Credentials": create a new access token, and use it with `docker login` to pull and push."""
    made = tell(registry, "token", "add", "ada", "laptop", "--level", "write", "--project", "climate", "--days", "30")
    build(laptop, f"{HOST}/climate/token:1", "pushed with a token")
    status, shown = log_in(laptop, "ada", made["secret"])
    assert status == 0 and "Login Succeeded" in shown, shown
    laptop.run("docker", "push", f"{HOST}/climate/token:1")
    laptop.run("docker", "rmi", f"{HOST}/climate/token:1")
    laptop.run("docker", "pull", f"{HOST}/climate/token:1")
    listed = tell(registry, "token", "list", "ada")
    assert [(one["name"], one["last_used_from"]) for one in listed] == [("laptop", ADDRESS)], json.dumps(listed)
    tell(registry, "token", "revoke", "ada", str(made["id"]))
    assert "unauthorized" in laptop.refused("docker", "pull", f"{HOST}/climate/token:1").lower()
