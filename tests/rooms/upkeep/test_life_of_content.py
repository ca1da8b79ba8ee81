"""The registry against the model of the life of content, on both databases, with whole and with sparse images."""

from __future__ import annotations

import pytest

from roadstead.registry.rules import Rules
from tests.rooms.upkeep.house import House, live
from tests.rooms.upkeep.life_of_content import LifeOfContent

EXAMPLES = {"sqlite": 30, "postgresql": 8}
"""How many histories are tried. The rule is in SQL that both share; on PostgreSQL a step takes five times as long."""


@pytest.mark.parametrize("rules", [Rules(), Rules(accept_absent_content=True)], ids=["whole", "sparse"])
def test_content_lives_as_the_model_says(house: House, rules: Rules) -> None:
    live(LifeOfContent, house, rules, histories=EXAMPLES[house.database.dialect], steps=35)
