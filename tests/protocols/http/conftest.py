"""Servers and clients of the tests that speak HTTP by hand."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.protocols.http.exchange import client
from tests.support.server import RoadsteadServer


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """One server for all tests, on which the administrator's push makes a private project."""
    with RoadsteadServer(tmp_path_factory.mktemp("http") / "data", {"ROADSTEAD_CREATE_PROJECTS_ON_PUSH": "true"}) as server:
        yield server


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server that waits one second for a stalled body, and is otherwise set up as it comes."""
    with RoadsteadServer(tmp_path_factory.mktemp("impatient") / "data", {"ROADSTEAD_BODY_TIMEOUT_SECONDS": "1"}) as server:
        yield server


@pytest.fixture
def http(registry: RoadsteadServer) -> Iterator[httpx2.Client]:
    """The administrator."""
    with client(registry) as made:
        yield made


@pytest.fixture
def anonymous(registry: RoadsteadServer) -> Iterator[httpx2.Client]:
    """Nobody."""
    with client(registry, anonymous=True) as made:
        yield made
