"""The registry against the model of quotas, on both databases, with whole and with sparse images."""

from __future__ import annotations

import pytest

from roadstead.registry.rules import Rules
from tests.rooms.upkeep.house import House, live
from tests.rooms.upkeep.life_of_quota import LifeOfQuota

EXAMPLES = {"sqlite": 20, "postgresql": 5}
"""How many histories are tried; see test_life_of_content."""


@pytest.mark.parametrize("rules", [Rules(), Rules(accept_absent_content=True)], ids=["whole", "sparse"])
def test_projects_use_what_the_model_counts(house: House, rules: Rules) -> None:
    live(LifeOfQuota, house, rules, histories=EXAMPLES[house.database.dialect], steps=40)
