"""The registry against the model of the life of content, on both databases, with whole and with sparse images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from roadstead.registry.rules import Rules
from tests.rooms.upkeep.life_of_content import House, LifeOfContent

EXAMPLES = {"sqlite": 30, "postgresql": 8}
"""How many histories are tried. The rule is in SQL that both share; on PostgreSQL a step takes five times as long."""


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    house = House(database_url)
    try:
        yield house
    finally:
        house.close()


@pytest.mark.parametrize("rules", [Rules(), Rules(accept_absent_content=True)], ids=["whole", "sparse"])
def test_content_lives_as_the_model_says(house: House, rules: Rules) -> None:
    effort = settings(max_examples=EXAMPLES[house.database.dialect], stateful_step_count=35, report_multiple_bugs=False)
    run_state_machine_as_test(machine(house, rules), settings=effort)


def machine(house: House, rules: Rules) -> type[RuleBasedStateMachine]:
    class Here(LifeOfContent):
        def __init__(self) -> None:
            super().__init__(house, rules)

    return Here
