"""Push with Docker, pull with Apptainer: the real clients, the real server, and what happens to it meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.protocols.conftest import short_directory
from tests.support.clients.images import base, fetch, tar
from tests.support.clients.tools import Workplace, require_client
from tests.support.daemons import CLASSIC_STORE, docker_daemon
from tests.support.server import RoadsteadServer

pytestmark = [pytest.mark.clients, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """One for all stories that need no other settings."""
    with RoadsteadServer(tmp_path_factory.mktemp("conversions") / "data") as server:
        yield server


@pytest.fixture
def cluster(server: RoadsteadServer) -> Iterator[Workplace]:
    """A machine that has apptainer, and whose user has logged in."""
    require_client("apptainer")
    with short_directory() as home:
        workplace = Workplace(home)
        login = ("registry", "login", "--username", "admin", "--password-stdin", f"oras://{server.host}")
        workplace.run("apptainer", *login, stdin=server.admin_password)
        yield workplace


@pytest.fixture
def laptop() -> Iterator[Workplace]:
    """A machine that has Docker."""
    require_client("dockerd")
    with short_directory() as home, short_directory() as directory, docker_daemon(directory, CLASSIC_STORE) as host:
        workplace = Workplace(home)
        workplace.environment["DOCKER_HOST"] = host
        yield workplace


def test_docker_pushes_and_apptainer_pulls_and_runs(server: RoadsteadServer, laptop: Workplace, cluster: Workplace) -> None:
    name = f"{server.host}/library/story:1.0"
    laptop.path("rootfs.tar").write_bytes(tar({**base(), "etc/seed": b"built on a laptop"}))
    settings = ("--change", 'ENTRYPOINT ["/bin/echo", "a  b"]', "--change", 'CMD ["$HOME", "c"]', "--change", "ENV PATH=/bin SEED=sown")
    laptop.run("docker", "import", *settings, "rootfs.tar", name)
    laptop.run("docker", "login", "--username", "admin", "--password-stdin", server.host, stdin=server.admin_password)
    laptop.run("docker", "push", name)

    cluster.run("apptainer", "pull", "--no-https", "converted.sif", f"oras://{name}.sif")
    cluster.run("apptainer", "pull", "--no-https", "own.sif", f"docker://{name}")
    shown = laptop.run("docker", "run", "--rm", name).out
    assert shown == "a  b $HOME c\n"
    for sif in ("converted.sif", "own.sif"):
        assert cluster.run("apptainer", "run", sif).out == shown
        assert cluster.run("apptainer", "run", sif, "other").out == "a  b other\n"
        assert cluster.run("apptainer", "exec", sif, "cat", "/etc/seed").out == "built on a laptop"
    inspected = json.loads(cluster.run("apptainer", "inspect", "--json", "converted.sif").out)
    assert inspected["data"]["attributes"]["labels"]["org.label-schema.usage.singularity.deffile.bootstrap"] == "docker"
    assert fetch(server.http(), "library/story", "1.0.sif").blobs[1].data == cluster.path("converted.sif").read_bytes()
