"""Push with Apptainer, pull with whatever runs OCI images: the real clients and the real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocols.conftest import short_directory
from tests.support.clients.images import OCI_MANIFEST, SIF_CONFIG, base, tar
from tests.support.clients.tools import Workplace, require_client
from tests.support.daemons import CLASSIC_STORE, CONTAINERD_STORE, docker_daemon
from tests.support.server import RoadsteadServer

pytestmark = [pytest.mark.clients, pytest.mark.slow]

DEFINITION = """Bootstrap: localimage
From: base
%files
    seed /etc/seed
%environment
    export GREETING="hello from"
    export PATH=/opt/bin:$PATH
%runscript
    echo "$GREETING" "$@" "$(cat /etc/seed)"
%labels
    Author somebody
"""
DOCKER = "docker/28.5.2 go/go1.27.1 os/linux arch/amd64 UpstreamClient(Docker-Client/28.5.2)"
ACCEPT = {"Accept": OCI_MANIFEST}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    with RoadsteadServer(tmp_path_factory.mktemp("back") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def pushed(server: RoadsteadServer) -> Iterator[str]:
    """The name of a SIF that apptainer built and pushed."""
    require_client("apptainer")
    with short_directory() as home:
        cluster = Workplace(home)
        login = ("registry", "login", "--username", "admin", "--password-stdin", f"oras://{server.host}")
        cluster.run("apptainer", *login, stdin=server.admin_password)
        _build(cluster)
        name = f"{server.host}/library/back:1.0"
        cluster.run("apptainer", "push", "built.sif", f"oras://{name}")
        assert cluster.run("apptainer", "run", "built.sif", "me").out == "hello from me a cluster\n"
        yield name


def _build(cluster: Workplace) -> None:
    import io
    import tarfile

    root = cluster.path("base")
    root.mkdir()
    with tarfile.open(fileobj=io.BytesIO(tar(base()))) as archive:
        archive.extractall(root, filter="fully_trusted")
    cluster.path("seed").write_text("a cluster")
    cluster.path("it.def").write_text(DEFINITION)
    cluster.run("apptainer", "build", "built.sif", "it.def")


@pytest.fixture(params=[CLASSIC_STORE, CONTAINERD_STORE], ids=["classic", "containerd"])
def laptop(server: RoadsteadServer, request: pytest.FixtureRequest) -> Iterator[Workplace]:
    """With Docker's own store of images, and with containerd's, which calls itself something else."""
    require_client("dockerd")
    with short_directory() as home, short_directory() as directory, docker_daemon(directory, request.param) as host:
        workplace = Workplace(home)
        workplace.environment["DOCKER_HOST"] = host
        workplace.run("docker", "login", "--username", "admin", "--password-stdin", server.host, stdin=server.admin_password)
        yield workplace


@pytest.mark.parametrize("suffix", ["", ".oci"])
def test_docker_pulls_and_runs_what_apptainer_pushed(laptop: Workplace, pushed: str, suffix: str) -> None:
    name = pushed + suffix
    laptop.run("docker", "pull", name)
    assert laptop.run("docker", "run", "--rm", "--network", "none", name, "me").out == "hello from me a cluster\n"
    assert laptop.run("docker", "run", "--rm", "--network", "none", "--entrypoint", "/bin/cat", name, "/etc/seed").out == "a cluster"
    (found,) = json.loads(laptop.run("docker", "image", "inspect", name).out)
    assert found["Config"]["Labels"]["Author"] == "somebody"
    assert "GREETING=hello from" in found["Config"]["Env"]


def test_a_tag_is_what_was_pushed_to_all_but_those_that_run_images(server: RoadsteadServer, pushed: str) -> None:
    path = f"/v2/library/back/manifests/{pushed.rpartition(':')[2]}"
    with server.http() as client:
        plain = client.get(path, headers=ACCEPT)
        image = client.get(path, headers=ACCEPT | {"User-Agent": DOCKER})
        virtual = client.get(f"{path}.oci", headers=ACCEPT)
        digest = plain.headers["docker-content-digest"]
        same = client.get(f"/v2/library/back/manifests/{digest}", headers=ACCEPT | {"User-Agent": DOCKER})
        head = client.head(path, headers=ACCEPT | {"User-Agent": DOCKER})
    assert plain.json()["config"]["mediaType"] == SIF_CONFIG
    assert image.json()["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert image.json()["subject"]["digest"] == digest
    assert image.content == virtual.content
    assert head.headers["docker-content-digest"] == image.headers["docker-content-digest"]
    assert same.content == plain.content
    assert [one.headers.get("vary") for one in (plain, image, head, virtual, same)] == ["User-Agent"] * 4 + [None]


@pytest.mark.parametrize("client", ["podman", "skopeo"])
def test_others_take_the_virtual_tag(server: RoadsteadServer, pushed: str, tmp_path: Path, client: str) -> None:
    require_client(client)
    with short_directory() as home:
        workplace = Workplace(home)
        credentials = ("--tls-verify=false", "--username", "admin", "--password-stdin", server.host)
        workplace.run(client, "login", *credentials, stdin=server.admin_password)
        if client == "podman":
            workplace.run("podman", "pull", "--tls-verify=false", f"{pushed}.oci")
            shown = workplace.run("podman", "--runtime", "runc", "run", "--rm", "--network", "none", f"{pushed}.oci", "me").out
            assert shown == "hello from me a cluster\n"
        else:
            workplace.run("skopeo", "copy", "--src-tls-verify=false", f"docker://{pushed}.oci", "oci:copied:it")
            manifest = json.loads(workplace.run("skopeo", "inspect", "--raw", "oci:copied:it").out)
            assert len(manifest["layers"]) == 1


def test_apptainer_is_given_its_own_sif_by_its_tag(server: RoadsteadServer, pushed: str) -> None:
    with short_directory() as home:
        cluster = Workplace(home)
        login = ("registry", "login", "--username", "admin", "--password-stdin", f"oras://{server.host}")
        cluster.run("apptainer", *login, stdin=server.admin_password)
        cluster.run("apptainer", "pull", "same.sif", f"oras://{pushed}")
        cluster.run("apptainer", "pull", "virtual.sif", f"oras://{pushed}.sif")
        assert cluster.path("same.sif").read_bytes() == cluster.path("virtual.sif").read_bytes()
