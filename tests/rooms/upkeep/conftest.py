"""A database of each kind for models whose steps are plain functions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rooms.upkeep.house import House


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    house = House(database_url)
    try:
        yield house
    finally:
        house.close()
