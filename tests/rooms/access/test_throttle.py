"""Failed logins make the next ones wait, and nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from roadstead.access import throttle as module
from roadstead.access.access import Access
from roadstead.access.actor import SYSTEM
from roadstead.access.addresses import neighbourhood
from roadstead.access.throttle import OF_ADDRESS, OF_NAME, Throttle
from roadstead.access.vault import Vault
from roadstead.errors import TooManyRequests, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.metadata.login_failures import NONE
from roadstead.metadata.schema import login_failures
from tests.support.factories import BEGINNING, ManualClock

HERE, THERE, ELSEWHERE = "192.0.2.7", "198.51.100.1", "203.0.113.9"
VAULT = Vault([b"k" * 32])
GOOD = "correct horse battery"


class Guessing:
    """Proves one password, and counts how often it was asked to."""

    def __init__(self, throttle: Throttle) -> None:
        self.throttle = throttle
        self.checks = 0

    async def _prove(self, password: str) -> bool:
        self.checks += 1
        return password == GOOD

    async def attempt(self, password: str, name: str = "ada", address: str = HERE, *, familiar: bool = False) -> str:
        """What became of it: right, wrong, or wait."""
        try:
            right = await self.throttle.attempt(name, password, address, lambda: self._prove(password), familiar=familiar)
        except TooManyRequests as error:
            seconds = error.detail["retry_after"]
            assert isinstance(seconds, int)
            assert f"wait {seconds} seconds" in error.message
            return f"wait {seconds}"
        return "right" if right else "wrong"

    async def fail(self, times: int, name: str = "ada", address: str = HERE) -> None:
        for number in range(times):
            assert await self.attempt(f"guess {self.checks} {number}", name, address) == "wrong"


@pytest.fixture
def throttle(database: Database, clock: ManualClock) -> Throttle:
    return Throttle(database, VAULT, clock)


@pytest.fixture
def guessing(throttle: Throttle) -> Guessing:
    return Guessing(throttle)


async def rows(database: Database) -> int:
    return await database.read(lambda connection: connection.execute(select(func.count()).select_from(login_failures)).scalar_one())


# --- name and address together ------------------------------------------------------------------------------------------------------


async def test_after_some_failures_each_wait_is_twice_the_last(guessing: Guessing, clock: ManualClock) -> None:
    await guessing.fail(OF_NAME.free)
    waits = []
    for _ in range(11):
        said = await guessing.attempt("x")
        waits.append(int(said.removeprefix("wait ")))
        clock.advance(timedelta(seconds=waits[-1]))
        await guessing.fail(1)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]
    assert (await guessing.attempt("x")).startswith("wait")
    assert guessing.checks == OF_NAME.free + 11, "what has to wait is not checked"


async def test_neither_other_names_from_there_nor_that_name_from_elsewhere_wait(guessing: Guessing) -> None:
    await guessing.fail(OF_NAME.free)
    assert await guessing.attempt(GOOD) == "wait 1"
    assert await guessing.attempt(GOOD, "grace") == "right"
    assert await guessing.attempt(GOOD, "ada", THERE) == "right"


async def test_another_worker_or_replica_knows(guessing: Guessing, database: Database, clock: ManualClock) -> None:
    await guessing.fail(OF_NAME.free)
    assert await Guessing(Throttle(database, VAULT, clock)).attempt(GOOD) == "wait 1"


async def test_time_forgives(guessing: Guessing, clock: ManualClock) -> None:
    await guessing.fail(OF_NAME.free)
    clock.advance(OF_NAME.forgives_one * 3)
    await guessing.fail(3)
    assert await guessing.attempt("x") == "wait 1"
    clock.advance(timedelta(days=1))
    await guessing.fail(OF_NAME.free)


async def test_the_right_password_forgives_and_writes_only_then(guessing: Guessing, database: Database) -> None:
    assert await guessing.attempt(GOOD) == "right"
    assert await rows(database) == 0
    await guessing.fail(OF_NAME.free - 1)
    assert await guessing.attempt(GOOD) == "right"
    await guessing.fail(OF_NAME.free - 1)
    assert await guessing.attempt(GOOD) == "right"


async def test_the_same_wrong_password_again_is_one_failure(guessing: Guessing) -> None:
    for _ in range(3 * OF_NAME.free):
        assert await guessing.attempt("the old password") == "wrong"
    assert await guessing.attempt(GOOD) == "right"


async def test_equal_attempts_at_one_time_are_one(guessing: Guessing) -> None:
    """An array job of a hundred tasks that log in with one password."""
    assert Counter(await asyncio.gather(*(guessing.attempt(GOOD) for _ in range(100)))) == {"right": 100}
    assert guessing.checks == 1


async def test_different_attempts_at_one_time_count_as_if_they_had_failed(guessing: Guessing) -> None:
    became = Counter(await asyncio.gather(*(guessing.attempt(f"guess {number}") for number in range(60))))
    assert became == {"wrong": OF_NAME.free, "wait 1": 60 - OF_NAME.free}


async def test_who_hangs_up_does_not_end_it_for_others(throttle: Throttle) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def prove() -> bool:
        asked.set()
        await answer.wait()
        return True

    first = asyncio.create_task(throttle.attempt("ada", GOOD, HERE, prove))
    await asked.wait()
    second = asyncio.create_task(throttle.attempt("ada", GOOD, HERE, prove))
    await asyncio.sleep(0)
    first.cancel()
    answer.set()
    assert await second is True


async def test_case_does_not_make_another_name(guessing: Guessing) -> None:
    await guessing.fail(OF_NAME.free // 2, "Ada")
    await guessing.fail(OF_NAME.free // 2, "aDA")
    assert await guessing.attempt(GOOD) == "wait 1"


async def test_what_was_tried_as_a_name_is_not_stored(guessing: Guessing, database: Database) -> None:
    await guessing.fail(1, "my password, in the wrong field")
    stored = await database.read(lambda connection: [tuple(row) for row in connection.execute(select(login_failures))])
    assert "password" not in str(stored)
    assert {len(row[0]) for row in stored} == {1, 32}


# --- what passes all the same -------------------------------------------------------------------------------------------------------


async def test_what_was_right_lately_passes_while_others_wait(guessing: Guessing) -> None:
    await guessing.fail(OF_NAME.free)
    assert await guessing.attempt("x") == "wait 1"
    assert await guessing.attempt(GOOD, familiar=True) == "right"
    assert await guessing.attempt(GOOD) == "wait 1"


async def test_a_guesser_cannot_use_that_for_ever(guessing: Guessing, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    await guessing.fail(OF_NAME.free)
    monkeypatch.setattr(module, "_WHILE_WAITING", module.Backoff(20, timedelta(seconds=1), timedelta(seconds=4)))
    for number in range(20):
        assert await guessing.attempt(f"in vain {number}") == "wait 1"
    assert await guessing.attempt(GOOD, familiar=True) == "wait 1"
    assert await guessing.attempt(GOOD, "grace", familiar=True) == "right"
    clock.advance(timedelta(seconds=8))
    assert await guessing.attempt(GOOD, familiar=True) == "right"


# --- all names of an address --------------------------------------------------------------------------------------------------------


async def test_who_tries_many_names_is_slowed_and_neighbours_with_good_memory_are_not(guessing: Guessing, clock: ManualClock) -> None:
    for number in range(OF_ADDRESS.free):
        await guessing.fail(1, f"name {number}")
    assert await guessing.attempt("x", "one more") == "wait 1"
    assert await guessing.attempt(GOOD, "grace", familiar=True) == "right"
    assert await guessing.attempt(GOOD, "grace", THERE) == "right"
    clock.advance(timedelta(seconds=1))
    became = Counter(await asyncio.gather(*(guessing.attempt("x", f"burst {number}") for number in range(20))))
    assert became["wrong"] == 1, "one at a time"
    checks = guessing.checks
    for second in range(120):
        clock.advance(timedelta(seconds=1))
        assert await guessing.attempt("x", f"later {second}") != "right"
    assert guessing.checks - checks < 40
    clock.advance(OF_ADDRESS.forgives_one * OF_ADDRESS.most)
    assert await guessing.attempt(GOOD, "grace") == "right"


async def test_a_flood_is_turned_away_before_it_takes_memory(throttle: Throttle) -> None:
    answer = asyncio.Event()

    async def prove() -> bool:
        await answer.wait()
        return True

    async def attempt(number: int, address: str) -> str:
        try:
            await throttle.attempt(f"name {number}", GOOD, address, prove)
        except TooManyRequests:
            return "turned away"
        return "done"

    tasks = [asyncio.create_task(attempt(number, f"198.51.100.{number % 8}")) for number in range(1000)]
    await asyncio.sleep(0)
    assert len(throttle._running) == 256
    answer.set()
    assert Counter(await asyncio.gather(*tasks)) == {"done": 256, "turned away": 744}
    assert not throttle._running
    assert not throttle._asked
    one_address = [asyncio.create_task(attempt(number, HERE)) for number in range(100)]
    assert Counter(await asyncio.gather(*one_address)) == {"done": 64, "turned away": 36}


async def test_memory_and_rows_are_bounded(
    guessing: Guessing, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    for number in range(OF_ADDRESS.free + 50):
        assert await guessing.attempt(f"{number}", f"name {number}") != "right"
    assert await rows(database) == OF_ADDRESS.free + 1, "what has to wait writes nothing"
    assert len(guessing.throttle._wrong) <= 10
    assert len(guessing.throttle._in_vain) <= 10
    assert await guessing.throttle.purge() == 0
    clock.advance(timedelta(hours=4))
    assert await guessing.throttle.purge() == OF_ADDRESS.free + 1
    assert await rows(database) == 0


def test_the_count_does_not_grow_beyond_what_lengthens_the_wait() -> None:
    row = NONE
    for _ in range(1000):
        row = OF_NAME.after(BEGINNING, row)
    assert row.failures == OF_NAME.most == 20
    assert row.blocked_until == BEGINNING + OF_NAME.longest


# --- addresses ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
        ("/run/socket", "/run/socket"),
        ("x" * 200, "x" * 100),
    ],
)
def test_what_counts_as_one_address(address: str, counts_as: str) -> None:
    assert neighbourhood(address) == counts_as


async def test_an_ipv6_network_has_one_count(guessing: Guessing) -> None:
    for number in range(OF_NAME.free):
        await guessing.fail(1, address=f"2001:db8::{number:x}")
    assert await guessing.attempt(GOOD, address="2001:db8::ffff") == "wait 1"


# --- as Accounts uses it ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def access(database: Database, clock: ManualClock) -> Access:
    access = Access(database, VAULT, clock=clock)
    await access.people.add(SYSTEM, "grace", GOOD)
    return access


async def failures(access: Access, name: str, times: int, address: str = HERE) -> list[str]:
    said = []
    for number in range(times):
        with pytest.raises((Unauthenticated, TooManyRequests)) as raised:
            await access.accounts.by_password(name, f"wrong {number}", address)
        said.append(raised.value.message)
    return said


async def test_a_name_that_is_not_there_waits_as_one_that_is(access: Access) -> None:
    assert await failures(access, "grace", OF_NAME.free + 1) == await failures(access, "nobody", OF_NAME.free + 1)


async def test_good_credentials_pass_while_somebody_guesses(access: Access) -> None:
    grace = await access.accounts.by_password("grace", GOOD, HERE)
    secret = await access.credentials.make_cli_secret(grace, grace.account_id or 0)
    await failures(access, "grace", OF_NAME.free + 1)
    for password in (GOOD, secret):
        assert (await access.accounts.by_password("grace", password, HERE)).account_id == grace.account_id
    stranger = await access.accounts.by_password("grace", GOOD, ELSEWHERE)
    assert stranger.account_id == grace.account_id


async def test_a_changed_password_is_familiar_no_more(access: Access) -> None:
    grace = await access.accounts.by_password("grace", GOOD, HERE)
    await failures(access, "grace", OF_NAME.free)
    await access.people.set_password(SYSTEM, grace.account_id or 0, "another horse battery")
    for password in (GOOD, "another horse battery"):
        with pytest.raises(TooManyRequests):
            await access.accounts.by_password("grace", password, HERE)


async def test_the_old_password_of_a_change_is_not_guessed_either(access: Access) -> None:
    grace = await access.accounts.by_password("grace", GOOD, HERE)
    said: Counter[type[Exception]] = Counter()
    for number in range(OF_NAME.free + 5):
        with pytest.raises((Unauthenticated, TooManyRequests)) as raised:
            await access.people.set_password(grace, grace.account_id or 0, "another horse battery", old=f"wrong {number}")
        said[raised.type] += 1
    assert said == {Unauthenticated: OF_NAME.free, TooManyRequests: 5}


@pytest.mark.slow
async def test_a_flood_leaves_the_loop_and_the_good_ones_alone(access: Access) -> None:
    """Ten thousand bad logins over a hundred connections, while one who is known logs in from the same address."""
    known = await access.accounts.by_password("grace", GOOD, HERE)
    waiting: list[float] = []

    async def connection(number: int) -> None:
        for guess in range(100):
            with pytest.raises((Unauthenticated, TooManyRequests)):
                await access.accounts.by_password(f"name {number}", f"wrong {guess}", HERE)
            await asyncio.sleep(0)

    async def good() -> None:
        loop = asyncio.get_running_loop()
        while not flood.done():
            began = loop.time()
            assert (await access.accounts.by_password("grace", GOOD, HERE)).account_id == known.account_id
            waiting.append(loop.time() - began)
            await asyncio.sleep(0.005)

    flood = asyncio.gather(*(connection(number) for number in range(100)))
    await asyncio.gather(flood, good())
    assert len(waiting) > 10
    assert sorted(waiting)[len(waiting) // 2] < 0.5
