"""What the clients' users read when their name has to wait after failed logins: our sentence, in the clients' own words around it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from roadstead.access.clock import system_clock
from roadstead.access.throttle import OF_NAME, Throttle
from roadstead.access.vault import load_or_make
from roadstead.metadata.database import open_database
from tests.support.clients.tools import Workplace
from tests.support.factories import ManualClock
from tests.support.server import RoadsteadServer

SENTENCE = "Too many failed logins for this name from this address: wait"


async def block(server: RoadsteadServer, name: str) -> None:
    """Let logins of this name from this machine fail as often as is free, an hour from now: until then it waits."""
    database = await open_database(f"sqlite:///{server.data}/roadstead.sqlite")
    throttle = Throttle(database, load_or_make(server.data / "secret.key"), ManualClock(system_clock() + timedelta(hours=1)))

    async def prove() -> bool:
        return False

    for number in range(OF_NAME.free):
        await throttle.attempt(name, str(number), "127.0.0.1", prove)
    await database.close()


@pytest.fixture
def blocked(registry: RoadsteadServer, request: pytest.FixtureRequest) -> str:
    """A name that has to wait for an hour."""
    name = f"blocked-{request.node.callspec.id}" if hasattr(request.node, "callspec") else f"blocked-{request.node.name}"
    asyncio.run(block(registry, name))
    return name


@pytest.mark.clients("docker", "dockerd")
@pytest.mark.parametrize("store", ["classic", "containerd"])
def test_docker(store: str, workplace: Workplace, registry: RoadsteadServer, blocked: str, request: pytest.FixtureRequest) -> None:
    workplace.environment["DOCKER_HOST"] = request.getfixturevalue(f"{store}_docker")
    said = workplace.refused("docker", "login", "-u", blocked, "--password-stdin", registry.host, stdin="whatever")
    assert SENTENCE in said


@pytest.mark.clients("apptainer")
def test_apptainer(workplace: Workplace, registry: RoadsteadServer, blocked: str) -> None:
    said = workplace.refused(
        "apptainer", "registry", "login", "--username", blocked, "--password-stdin", f"oras://{registry.host}", stdin="whatever"
    )
    assert SENTENCE in said


@pytest.mark.clients("oras")
def test_oras(workplace: Workplace, registry: RoadsteadServer, blocked: str) -> None:
    said = workplace.refused("oras", "login", "--plain-http", "-u", blocked, "--password-stdin", registry.host, stdin="whatever")
    assert SENTENCE in said


@pytest.mark.clients("crane")
def test_crane(workplace: Workplace, registry: RoadsteadServer, blocked: str) -> None:
    workplace.run("crane", "auth", "login", registry.host, "-u", blocked, "--password-stdin", stdin="whatever")
    said = workplace.refused("crane", "ls", "--insecure", f"{registry.host}/library/x")
    assert SENTENCE in said
