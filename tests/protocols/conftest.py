"""What every protocol test stands on: a running registry, a user's workplace, a repository of its own, Docker daemons."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.clients.tools import Workplace, require_client
from tests.support.daemons import CLASSIC_STORE, CONTAINERD_STORE, docker_daemon
from tests.support.server import RoadsteadServer


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.clients("skopeo", …)` names what a test cannot run without."""
    for mark in item.iter_markers("clients"):
        for client in mark.args:
            require_client(client)


@pytest.fixture(scope="session")
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """One server for all tests; a test that needs other settings parametrises this, indirectly, with the environment that sets them."""
    environment: dict[str, str] | None = getattr(request, "param", None)
    with RoadsteadServer(tmp_path_factory.mktemp("registry") / "data", environment) as server:
        yield server


@pytest.fixture(autouse=True)
def show_server_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what the server logged during the test; pytest shows it when the test fails."""
    if "registry" not in request.fixturenames:
        yield
        return
    server: RoadsteadServer = request.getfixturevalue("registry")
    before = server.log.stat().st_size
    yield
    assert server.exit_status is None, f"the server died with status {server.exit_status}\n{server.last_lines()}"
    with server.log.open("rb") as log:
        log.seek(before)
        print(f"--- {server.log} ---\n{log.read().decode(errors='replace')}")  # noqa: T201 - for pytest's report


@pytest.fixture
def workplace() -> Iterator[Workplace]:
    """A user's home, empty."""
    with short_directory() as home:
        yield Workplace(home)


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """The name of a repository in the public project that no other test uses."""
    name = f"{request.path.stem.removeprefix('test_')}/{request.node.name.removeprefix('test_')}"
    return "library/" + re.sub(r"[^a-z0-9/]+", "-", name.lower()).strip("-")


@pytest.fixture(scope="session")
def classic_docker() -> Iterator[str]:
    """DOCKER_HOST of a daemon that stores images as Docker always did."""
    with short_directory() as directory, docker_daemon(directory, CLASSIC_STORE) as host:
        yield host


@pytest.fixture(scope="session")
def containerd_docker() -> Iterator[str]:
    """DOCKER_HOST of a daemon that stores images in containerd, and so speaks to registries with containerd's client."""
    with short_directory() as directory, docker_daemon(directory, CONTAINERD_STORE) as host:
        yield host


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory for clients. Not tmp_path: they see only /tmp, and put sockets there, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="roadstead-", dir="/tmp") as directory:
        yield Path(directory)
