"""The registry against the model of quotas, on both databases, with whole and with sparse images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from roadstead.registry.rules import Rules
from tests.rooms.upkeep.life_of_content import House
from tests.rooms.upkeep.life_of_quota import LifeOfQuota

EXAMPLES = {"sqlite": 20, "postgresql": 5}
"""How many histories are tried; see test_life_of_content."""


@pytest.fixture
def house(database_url: str) -> Iterator[House]:
    house = House(database_url)
    try:
        yield house
    finally:
        house.close()


@pytest.mark.parametrize("rules", [Rules(), Rules(accept_absent_content=True)], ids=["whole", "sparse"])
def test_projects_use_what_the_model_counts(house: House, rules: Rules) -> None:
    effort = settings(max_examples=EXAMPLES[house.database.dialect], stateful_step_count=40, report_multiple_bugs=False)
    run_state_machine_as_test(machine(house, rules), settings=effort)


def machine(house: House, rules: Rules) -> type[RuleBasedStateMachine]:
    class Here(LifeOfQuota):
        def __init__(self) -> None:
            super().__init__(house, rules)

    return Here
