"""The configuration: what is set, by whom, what is refused, and when others see it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import msgspec
import pytest
from sqlalchemy import select

from roadstead.access.actor import ANONYMOUS, SYSTEM, Actor
from roadstead.access.configuration import DEFAULTS, Configuration, Values
from roadstead.access.policy import Creation
from roadstead.access.robots import NewRobot, Robots
from roadstead.errors import Denied, InvalidInput, RoadsteadError, Unauthenticated
from roadstead.metadata import configuration as rows
from roadstead.metadata.database import Database
from roadstead.metadata.schema import audit_log
from roadstead.registry.projects import Projects
from tests.support.factories import BEGINNING, ManualClock


@pytest.fixture
def configuration(database: Database, clock: ManualClock) -> Configuration:
    return Configuration(database, clock)


async def test_what_was_not_set_has_its_default(configuration: Configuration) -> None:
    assert await configuration.get(SYSTEM) == DEFAULTS == await configuration.present()


async def test_a_change_sets_what_it_names(configuration: Configuration, database: Database, clock: ManualClock, admin: Actor) -> None:
    changed = await configuration.change(admin, {"session_timeout": 5, "project_creation_restriction": "everyone"})
    assert changed == Values(session_timeout=5, project_creation_restriction=Creation.EVERYONE)
    changed = await configuration.change(admin, {"session_timeout": 7})
    assert changed == await configuration.present() == await Configuration(database, clock).get(admin)
    assert (changed.session_timeout, changed.project_creation_restriction) == (7, Creation.EVERYONE)
    back = await configuration.change(admin, {"session_timeout": None, "project_creation_restriction": None})
    assert back == DEFAULTS
    assert await database.read(rows.stored) == {}


async def test_another_replica_sees_it_within_a_second(configuration: Configuration, database: Database, clock: ManualClock) -> None:
    other = Configuration(database, clock)
    await other.present()
    await configuration.change(SYSTEM, {"session_timeout": 5})
    assert (await other.present()).session_timeout == DEFAULTS.session_timeout
    clock.advance(timedelta(seconds=1))
    assert (await other.present()).session_timeout == 5
    clock.advance(-timedelta(days=1))
    await configuration.change(SYSTEM, {"session_timeout": 6})
    assert (await other.present()).session_timeout == 6, "a clock that was set back makes nothing last"


@pytest.mark.parametrize(
    "wrong",
    [
        {"no_such_key": 1},
        {"session_timeout": 0},
        {"session_timeout": "60"},
        {"session_timeout": 1.5},
        {"session_timeout": True},
        {"storage_per_project": -2},
        {"storage_per_project": 2**63},
        {"robot_token_duration": 0},
        {"project_creation_restriction": "nobody"},
        {"self_registration": True},
        {"pull_window_seconds": 1},
        {"requests_per_second_per_account": 0},
        {"requests_per_second_per_address": 0},
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(configuration: Configuration, wrong: Mapping[str, object]) -> None:
    with pytest.raises(InvalidInput) as raised:
        await configuration.change(SYSTEM, {"session_lifetime": 5, **wrong})
    assert next(iter(wrong)) in raised.value.message
    assert await configuration.get(SYSTEM) == DEFAULTS


@pytest.mark.parametrize(("who", "refusal"), [(ANONYMOUS, Unauthenticated), (Actor(2, "ada"), Denied)], ids=["anonymous", "user"])
async def test_it_is_for_administrators(configuration: Configuration, who: Actor, refusal: type[RoadsteadError]) -> None:
    for attempt in (configuration.get(who), configuration.change(who, {"session_timeout": 5})):
        with pytest.raises(refusal):
            await attempt
    assert await configuration.present() == DEFAULTS


async def test_what_another_version_has_written_does_no_harm(configuration: Configuration, database: Database) -> None:
    values = {"of_tomorrow": "1", "session_timeout": '"soon"', "session_lifetime": "{", "pull_limit_per_account": "9"}
    await database.write(partial(rows.change, values=values, now=BEGINNING))
    assert await configuration.present() == Values(pull_limit_per_account=9)


def test_every_key_survives_being_stored() -> None:
    assert msgspec.convert(msgspec.to_builtins(DEFAULTS), Values) == DEFAULTS


async def test_the_audit_log_says_what_was_set(configuration: Configuration, database: Database, admin: Actor) -> None:
    await configuration.change(admin, {"session_timeout": 5, "pull_limit_per_account": None})
    query = select(audit_log.c.actor, audit_log.c.action, audit_log.c.resource, audit_log.c.detail).order_by(audit_log.c.resource)
    logged = await database.read(lambda connection: [tuple(row) for row in connection.execute(query)])
    assert logged == [("admin", "update", "pull_limit_per_account", "the default"), ("admin", "update", "session_timeout", "5")]


# --- obeyed -------------------------------------------------------------------------------------------------------------------------


async def test_everyone_makes_projects_once_it_says_so(
    configuration: Configuration, database: Database, clock: ManualClock, user: Actor
) -> None:
    projects = Projects(database, clock, configuration)
    with pytest.raises(Denied):
        await projects.add(user, "mine")
    await configuration.change(SYSTEM, {"project_creation_restriction": "everyone"})
    assert (await projects.add(user, "mine")).owner_id == user.account_id
    with pytest.raises(Unauthenticated):
        await projects.add(ANONYMOUS, "theirs")
    await configuration.change(SYSTEM, {"project_creation_restriction": "adminonly"})
    with pytest.raises(Denied):
        await projects.add(user, "more")


async def test_a_robot_lives_as_long_as_it_says(configuration: Configuration, database: Database, clock: ManualClock) -> None:
    robots = Robots(database, clock, configuration)
    row, _ = await robots.add(SYSTEM, NewRobot("a", None, (), duration_days=None))
    assert (row.duration_days, row.expires_at) == (30, BEGINNING + timedelta(days=30))
    await configuration.change(SYSTEM, {"robot_token_duration": -1})
    row, _ = await robots.add(SYSTEM, NewRobot("b", None, (), duration_days=None))
    assert (row.duration_days, row.expires_at) == (-1, None)
