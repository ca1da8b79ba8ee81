"""Push with Docker, pull with Apptainer: the real clients, the real server, and what happens to it meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from roadstead.sif.format import ARCHITECTURES
from tests.journeys.test_who_may import tell
from tests.protocols.conftest import short_directory
from tests.support.clients.images import base, fetch, multi_arch, push, tar
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


def test_of_an_index_each_architecture_that_the_project_wants_is_there(server: RoadsteadServer, cluster: Workplace) -> None:
    tell(server, "project", "add", "arches")
    push(server.http(), "arches/app", "1", multi_arch("for two"))
    name = f"oras://{server.host}/arches/app:1.sif"
    cluster.run("apptainer", "pull", "--no-https", "only.sif", name)
    only = cluster.path("only.sif").read_bytes()
    tell(server, "project", "conversion", "arches", "--platforms", "linux/amd64,linux/arm64")
    # Of an index behind oras://, Apptainer before 1.5 takes the part for amd64 whatever --arch says.
    cluster.run("apptainer", "pull", "--no-https", "--arch", "amd64", "amd64.sif", name)
    assert cluster.path("amd64.sif").read_bytes() == only
    files = [child.blobs[1].data for child in fetch(server.http(), "arches/app", "1.sif").children]
    assert files[0] == only
    assert [file[_ARCHITECTURE] for file in files] == [ARCHITECTURES["amd64"], ARCHITECTURES["arm64"]]


_ARCHITECTURE = slice(45, 48)
"""Where a SIF's header says it."""


def test_who_is_not_logged_in_pulls_what_others_had_converted(server: RoadsteadServer, cluster: Workplace) -> None:
    push(server.http(), "library/public", "1", multi_arch("for everybody"))
    name = f"oras://{server.host}/library/public:1.sif"
    with short_directory() as home:
        stranger = Workplace(home)
        assert "unauthorized" in stranger.refused("apptainer", "pull", "--no-https", "it.sif", name).lower()
        cluster.run("apptainer", "pull", "--no-https", "it.sif", name)
        stranger.run("apptainer", "pull", "--no-https", "it.sif", name)
        assert stranger.path("it.sif").read_bytes() == cluster.path("it.sif").read_bytes()
