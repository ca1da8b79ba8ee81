"""Jobs by the clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from roadstead.errors import Misconfigured
from roadstead.jobs import schedule
from roadstead.jobs.schedule import Cron, Every, Schedule
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.schedules import ScheduleSelects
from tests.support.factories import BEGINNING

HOUR = timedelta(hours=1)
HOURLY = Schedule("tidy", Every(HOUR), "work", '{"a":1}')


async def prepare(database: Database, *known: Schedule, after: timedelta = timedelta(0)) -> None:
    await database.write(partial(schedule.prepare, known=known, now=BEGINNING + after))


async def due(database: Database, after: timedelta) -> dict[str, datetime]:
    return dict(await ScheduleSelects(database).due(BEGINNING + after))


async def fire(database: Database, one: Schedule, since: datetime, after: timedelta) -> bool:
    return await database.write(partial(schedule.fire, one=one, due=since, now=BEGINNING + after))


async def kinds(database: Database) -> list[str]:
    rows, _ = await database.read(partial(jobs.page, listing=Listing()))
    return [row.kind for row in rows]


def test_cron_is_reckoned_in_utc() -> None:
    cron = Cron("17 3 * * *")
    assert cron.first(BEGINNING) == datetime(2026, 1, 1, 3, 17, tzinfo=UTC)
    assert cron.following(datetime(2026, 1, 1, 3, 17, tzinfo=UTC)) == datetime(2026, 1, 2, 3, 17, tzinfo=UTC)
    assert cron.following(datetime(2026, 1, 1, 3, 16, 59, 999999, tzinfo=UTC)) == datetime(2026, 1, 1, 3, 17, tzinfo=UTC)
    # Where clocks change in spring the hour does not exist; UTC has every hour once.
    assert Cron("30 2 29 3 *").first(BEGINNING) == datetime(2026, 3, 29, 2, 30, tzinfo=UTC)


@pytest.mark.parametrize("expression", ["", "* * * *", "61 * * * *", "nonsense", "0 0 31 2 *"])
def test_a_cron_expression_that_cannot_be_is_refused(expression: str) -> None:
    with pytest.raises(Misconfigured, match="schedule"):
        Cron(expression)


async def test_an_interval_is_due_at_once_and_a_cron_at_its_next_time(database: Database) -> None:
    await prepare(database, HOURLY, Schedule("nightly", Cron("0 3 * * *"), "work"))
    assert await due(database, timedelta(0)) == {"tidy": BEGINNING}
    assert await due(database, HOUR * 3) == {"tidy": BEGINNING, "nightly": BEGINNING + HOUR * 3}


async def test_a_schedule_fires_once_for_all_who_see_it_due(database: Database) -> None:
    await prepare(database, HOURLY)
    fired = await asyncio.gather(*(fire(database, HOURLY, BEGINNING, timedelta(0)) for _ in range(5)))
    assert sum(fired) == 1
    assert await due(database, HOUR - timedelta(microseconds=1)) == {}
    assert await due(database, HOUR) == {"tidy": BEGINNING + HOUR}
    rows, total = await database.read(partial(jobs.page, listing=Listing()))
    assert total == 1
    assert (rows[0].kind, rows[0].key, rows[0].payload) == ("work", "tidy", '{"a":1}')


async def test_what_was_missed_is_made_up_for_once(database: Database) -> None:
    await prepare(database, HOURLY)
    assert await fire(database, HOURLY, BEGINNING, HOUR * 100)
    assert await due(database, HOUR * 101 - timedelta(seconds=1)) == {}
    assert await kinds(database) == ["work"]


async def test_no_second_job_while_the_first_is_live(database: Database) -> None:
    await prepare(database, HOURLY)
    assert await fire(database, HOURLY, BEGINNING, timedelta(0))
    assert await fire(database, HOURLY, BEGINNING + HOUR, HOUR)
    assert await kinds(database) == ["work"]


async def test_a_restart_keeps_the_time_and_a_new_rule_sets_it_anew(database: Database) -> None:
    await prepare(database, HOURLY)
    await fire(database, HOURLY, BEGINNING, timedelta(0))
    await prepare(database, HOURLY, after=HOUR / 2)
    assert await due(database, HOUR / 2) == {}
    often = Schedule("tidy", Every(HOUR / 4), "work")
    await prepare(database, often, after=HOUR / 2)
    assert await due(database, HOUR / 2) == {"tidy": BEGINNING + HOUR / 2}


async def test_a_schedule_that_is_no_more_is_forgotten(database: Database) -> None:
    await prepare(database, HOURLY, Schedule("other", Every(HOUR), "work"))
    await prepare(database, HOURLY)
    assert list(await due(database, HOUR)) == ["tidy"]
