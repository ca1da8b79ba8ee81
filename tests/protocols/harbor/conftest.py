"""Who asks the management API in these tests: administrator, plain user, nobody; by hand, and by `harborapi`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx2
import pytest
from harborapi import HarborAsyncClient

from tests.support.server import RoadsteadServer

API = "/api/v2.0"
USER, PASSWORD = "ada", "engines of analysis"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server of their own: requests that are made from the description may delete what other tests rely on."""
    with RoadsteadServer(tmp_path_factory.mktemp("harbor") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def somebody(registry: RoadsteadServer) -> int:
    """The id of an account without any rights of its own."""
    with registry.http() as http:
        made = http.post(f"{API}/users", json={"username": USER, "password": PASSWORD, "email": "ada@example.org"})
        assert made.status_code == 201, made.text
        return int(made.headers["location"].rpartition("/")[2])


@pytest.fixture
def admin(registry: RoadsteadServer) -> Iterator[httpx2.Client]:
    """The administrator, by hand."""
    with registry.http() as http:
        http.base_url = f"{registry.url}{API}"
        yield http


@pytest.fixture
def user(registry: RoadsteadServer, somebody: int) -> Iterator[httpx2.Client]:
    """The plain user, by hand."""
    with httpx2.Client(base_url=f"{registry.url}{API}", auth=(USER, PASSWORD), trust_env=False) as http:
        yield http


@pytest.fixture
def nobody(registry: RoadsteadServer) -> Iterator[httpx2.Client]:
    """Somebody who does not say who they are."""
    with httpx2.Client(base_url=f"{registry.url}{API}", trust_env=False) as http:
        yield http


MakeClient = Callable[..., HarborAsyncClient]


@pytest.fixture
def client(registry: RoadsteadServer) -> MakeClient:
    """Makes clients of `harborapi`: the administrator's, or somebody's with this name and secret."""

    def make(name: str = "admin", secret: str = registry.admin_password) -> HarborAsyncClient:
        return HarborAsyncClient(url=f"{registry.url}{API}", username=name, secret=secret, retry=None)

    return make


@pytest.fixture
def project(request: pytest.FixtureRequest, admin: httpx2.Client) -> str:
    """A private project that no other test uses."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:100]
    made = admin.post("/projects", json={"project_name": name})
    assert made.status_code == 201, made.text
    return name
