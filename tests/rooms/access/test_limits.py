"""Limits of requests and pulls: of whom, in which time, and what several workers know of each other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from roadstead.access.actor import SYSTEM, Actor, anonymous_from
from roadstead.access.configuration import Configuration
from roadstead.access.limits import RateLimits, Standing
from roadstead.errors import DatabaseFailed, TooManyRequests
from roadstead.metadata.database import Database
from roadstead.metadata.schema import rate_windows
from tests.support.factories import ManualClock

ADA, GRACE = Actor(2, "ada", address="192.0.2.7"), Actor(3, "grace", address="192.0.2.7")
HERE, THERE = anonymous_from("192.0.2.7"), anonymous_from("198.51.100.1")
SECOND = timedelta(seconds=1)


class Worker:
    """One worker's limits, as a door asks them."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.limits = RateLimits(database, Configuration(database, clock), clock)

    async def pull(self, actor: Actor, project: str = "library") -> int | None:
        """Pull; how many remain. Raises TooManyRequests."""
        standing = await self.limits.standing(actor, project)
        if standing is not None and not standing.remaining:
            raise self.limits.refusal(standing)
        self.limits.pulled(actor, project)
        left = await self.limits.standing(actor, project)
        return None if left is None else left.remaining

    def requests(self, actor: Actor, times: int) -> int:
        """How many of so many requests pass."""
        passed = 0
        for _ in range(times):
            try:
                self.limits.request(actor)
            except TooManyRequests as refusal:
                assert int(str(refusal.detail["retry_after"])) >= 1
                continue
            passed += 1
        return passed


async def set_limits(database: Database, clock: ManualClock, *workers: Worker, **limits: int) -> None:
    await Configuration(database, clock).change(SYSTEM, limits)
    clock.advance(SECOND)
    for worker in workers:
        await worker.limits.share()


@pytest.fixture
def worker(database: Database, clock: ManualClock) -> Worker:
    return Worker(database, clock)


@pytest.fixture
def other(database: Database, clock: ManualClock) -> Worker:
    return Worker(database, clock)


async def rows(database: Database) -> int:
    return await database.read(lambda connection: connection.execute(select(func.count()).select_from(rate_windows)).scalar_one())


# --- pulls --------------------------------------------------------------------------------------------------------------------------


async def test_without_a_limit_nothing_is_asked_or_counted(worker: Worker, database: Database) -> None:
    await worker.limits.share()
    assert not worker.limits.active
    assert await worker.pull(ADA) is None
    assert worker.requests(ADA, 1000) == 1000
    await worker.limits.share()
    assert await rows(database) == 0


async def test_pulls_of_an_account_until_the_window_is_over(worker: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, pull_limit_per_account=3, pull_window_seconds=60)
    assert worker.limits.active
    assert [await worker.pull(ADA) for _ in range(3)] == [2, 1, 0]
    with pytest.raises(TooManyRequests, match=r"3 pulls in 60 seconds for ada: wait 59 seconds") as raised:
        await worker.pull(ADA)
    detail = raised.value.detail
    assert detail == {"retry_after": 59, "limit": 3, "window": 60, "remaining": 0, "source": "ada"}
    assert await worker.pull(GRACE) == 2
    assert await worker.pull(HERE) is None
    clock.advance(59 * SECOND)
    assert await worker.pull(ADA) == 2


async def test_the_anonymous_are_counted_by_address(worker: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, pull_limit_per_address=1)
    assert await worker.pull(HERE) == 0
    with pytest.raises(TooManyRequests, match=r"192\.0\.2\.7"):
        await worker.pull(HERE)
    assert await worker.pull(THERE) == 0
    assert await worker.pull(anonymous_from("2001:db8::1")) == 0
    with pytest.raises(TooManyRequests):
        await worker.pull(anonymous_from("2001:db8::2"))
    assert await worker.pull(ADA) is None


async def test_the_nearer_of_two_limits_is_told(worker: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, pull_limit_per_account=10, pull_limit_per_project=2)
    assert await worker.pull(ADA) == 1
    assert await worker.limits.standing(ADA, "library") == Standing(2, 21600, 1, "library")
    await worker.pull(GRACE)
    with pytest.raises(TooManyRequests, match="library"):
        await worker.pull(ADA)
    assert await worker.pull(ADA, "vault") == 1


async def test_none_at_all(worker: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, pull_limit_per_address=0)
    with pytest.raises(TooManyRequests):
        await worker.pull(HERE)


# --- several workers ----------------------------------------------------------------------------------------------------------------


async def test_workers_know_of_each_other_after_a_share(worker: Worker, other: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, other, pull_limit_per_account=10)
    for _ in range(3):
        await worker.pull(ADA)
        await other.pull(ADA)
    await worker.limits.share()
    await other.limits.share()
    assert await other.pull(ADA) == 3
    await worker.limits.share()
    assert await worker.pull(ADA) == 3, "what the other has pulled since is not known yet"
    for one in (other, worker, other):
        await one.limits.share()
    assert await worker.pull(ADA) == await other.pull(ADA) == 1


async def test_who_comes_to_another_worker_is_known_there(worker: Worker, other: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, other, pull_limit_per_account=1)
    await worker.pull(ADA)
    await worker.limits.share()
    with pytest.raises(TooManyRequests):
        await other.pull(ADA)


async def test_what_cannot_be_written_is_written_later(
    worker: Worker, other: Worker, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_limits(database, clock, worker, other, pull_limit_per_account=10)
    await worker.pull(ADA)

    async def failing(*_: object, **__: object) -> None:
        raise DatabaseFailed

    with monkeypatch.context() as broken, pytest.raises(DatabaseFailed):
        broken.setattr(database, "write", failing)
        await worker.limits.share()
    assert await worker.pull(ADA) == 8
    await worker.limits.share()
    assert await other.pull(ADA) == 7


async def test_a_limit_that_is_taken_away_holds_no_more(worker: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, pull_limit_per_account=0)
    with pytest.raises(TooManyRequests):
        await worker.pull(ADA)
    await set_limits(database, clock, worker, pull_limit_per_account=-1)
    assert not worker.limits.active
    assert await worker.pull(ADA) is None


async def test_windows_that_are_over_are_forgotten(worker: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, pull_limit_per_account=10, pull_window_seconds=60, requests_per_second_per_account=10)
    await worker.pull(ADA)
    worker.requests(ADA, 1)
    await worker.limits.share()
    assert await rows(database) == 2
    clock.advance(60 * SECOND)
    await worker.limits.share()
    assert worker.limits._used == {}
    assert await worker.limits.purge() == 1, "that of requests"
    clock.advance(61 * SECOND)
    assert await worker.limits.purge() == 1
    assert await rows(database) == 0


# --- requests -----------------------------------------------------------------------------------------------------------------------


async def test_requests_a_second(worker: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, requests_per_second_per_account=5)
    assert worker.requests(ADA, 20) == 5
    assert worker.requests(GRACE, 3) == 3
    assert worker.requests(HERE, 100) == 100
    clock.advance(SECOND / 5)
    assert worker.requests(ADA, 20) == 1
    clock.advance(SECOND)
    assert worker.requests(ADA, 20) == 5


async def test_the_mean_over_all_workers(worker: Worker, other: Worker, database: Database, clock: ManualClock) -> None:
    await set_limits(database, clock, worker, other, requests_per_second_per_address=10)
    clock.advance(timedelta(seconds=9))  # a window of ten seconds begins
    passed = 0
    for _ in range(10):
        for one in (worker, other):
            passed += one.requests(HERE, 50)
        for one in (worker, other, worker):
            await one.limits.share()
        clock.advance(SECOND)
    assert 100 <= passed <= 120, "the limit, and what came before a share"
    assert worker.requests(HERE, 50) == 10
