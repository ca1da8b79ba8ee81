"""What models of the registry have in common: a database for plain functions, a registry over it, and histories that are tried."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from sqlalchemy import Connection, delete

from roadstead.content.memory import MemoryStore
from roadstead.metadata.database import open_database
from roadstead.metadata.schema import metadata
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from tests.support.factories import ManualClock

T = TypeVar("T")


class House:
    """A database, open on an event loop of its own, for a machine whose steps are plain functions."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.database = self.run(open_database(url))

    def run(self, act: Coroutine[Any, Any, T]) -> T:
        """Wait for `act`."""
        return self._runner.run(act)

    def empty(self) -> None:
        """Delete every row."""
        self.run(self.database.write(_delete_all))

    def close(self) -> None:
        """Close the database and the loop."""
        self.run(self.database.close())
        self._runner.close()


def _delete_all(connection: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        connection.execute(delete(table))


class Life(RuleBasedStateMachine):
    """A model beside a registry of its own, over the emptied database."""

    def __init__(self, house: House, rules: Rules) -> None:
        super().__init__()
        self.house, self.site = house, rules
        self.clock, self.store = ManualClock(), MemoryStore()
        self.registry = Registry(house.database, self.store, rules, clock=self.clock)
        house.empty()


def live(kind: type[Life], house: House, rules: Rules, *, histories: int, steps: int) -> None:
    """Try so many histories of at most so many steps each."""

    class Here(kind):  # type: ignore[misc,valid-type] # hypothesis makes the machine by calling it without arguments
        def __init__(self) -> None:
            super().__init__(house, rules)

    effort = settings(max_examples=histories, stateful_step_count=steps, report_multiple_bugs=False)
    run_state_machine_as_test(Here, settings=effort)
