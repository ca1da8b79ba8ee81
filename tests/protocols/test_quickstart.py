"""The quickstart's commands in their order, as they stand there; only host, `make serve` and the image from elsewhere are replaced."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.test_who_may import tell
from tests.support.clients.images import base, tar
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients("docker", "dockerd", "apptainer")

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"
HOST = "127.0.0.1:5000"
RELEASE = b"NAME=Alpine\n"


def typed() -> list[str]:
    """Every line of the page's shell blocks."""
    return [line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def newcomer(workplace: Workplace, classic_docker: str) -> Iterator[Workplace]:
    """Somebody with Docker and Apptainer; `docker pull alpine` has been done, from another registry."""
    workplace.environment["DOCKER_HOST"] = classic_docker
    workplace.path("rootfs.tar").write_bytes(tar({**base(), "etc/os-release": RELEASE}))
    workplace.run("docker", "import", "rootfs.tar", "alpine")
    yield workplace
    workplace.run("docker", "system", "prune", "--all", "--force")


def test_from_nothing_to_a_run_and_a_place_for_a_group(newcomer: Workplace, tmp_path: Path) -> None:
    lines = typed()
    assert [line for line in lines if line.endswith("make serve")] == [lines[0], lines[-1]]
    with RoadsteadServer(tmp_path / "data") as server:
        for line in lines[1:-1]:
            client, *words = shlex.split(line.replace(HOST, server.host))
            if client == ".venv/bin/roadstead":
                tell(server, *words, said="a keel of old oak\n" if words[0] == "user" else "")
            elif words[0] == "login":
                status, said = newcomer.converse({"Password:": server.admin_password}, client, *words)
                assert status == 0, said
            elif line != "docker pull alpine":
                said = newcomer.run(client, *words).out
                assert words[0] != "run" or said == RELEASE.decode()
        members = tell(server, "project", "member", "climate")
        assert [(one["holder"], one["role"]) for one in members if one["holder"] == "grace"] == [("grace", "developer")]
