"""Failed logins make the next ones wait: by name and address together, so that neither a guesser nor a neighbour locks anybody out.

* After ten failures for one name from one address, that pair waits: a second, two, four … up to a quarter of an hour. Other names from
  there and other addresses of that name are not concerned. Whether the name is an account's makes no difference, in time neither.
* After a hundred failures from one address in ten minutes, whatever the names, attempts from there come one at a time and wait up to
  ten seconds after each failure: who tries many names cannot keep the hashing of passwords busy.
* What was right lately passes all the same (`familiar`), and so do secrets of tokens, which nobody guesses and which are not asked about
  here. As that would let a guesser try on while others wait, it ends for a pair that has tried a thousand times in vain while it waited.
* The same wrong password again is one failure: a forgotten script does not lock its owner out. Equal attempts at one time are one.

Failures are rows, so workers and replicas share them; a right password writes nothing unless there are failures to forget. What is tried
at the same moment in several workers is counted only afterwards, so each may let one more pass. Names are stored as keyed hashes: what
was typed into a name's field may be a password.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection

from roadstead.access.addresses import neighbourhood
from roadstead.access.clock import Clock, system_clock
from roadstead.access.vault import Vault
from roadstead.errors import TooManyRequests, Unauthenticated
from roadstead.metadata import login_failures
from roadstead.metadata.database import Database
from roadstead.metadata.login_failures import ANY_NAME, NONE, FailureRow, FailureSelects

T = TypeVar("T")

_MOST_AT_ONCE: Final = 256
_MOST_OF_ADDRESS: Final = 64
_REMEMBERED: Final = 4096
_NAME_DIGITS: Final = 32


class Backoff(msgspec.Struct, frozen=True):
    """How many failures are free, how long the longest wait is, and how much time forgives one of them."""

    free: int
    longest: timedelta
    forgives_one: timedelta

    @property
    def most(self) -> int:
        """Failures that are counted: further ones would not lengthen the wait."""
        return self.free + math.ceil(math.log2(self.longest.total_seconds()))

    def left(self, row: FailureRow, now: datetime) -> int:
        """How many of the failures are not forgiven yet."""
        return max(0, row.failures - max(0, (now - row.last_at) // self.forgives_one)) if row.failures else 0

    def wait(self, failures: int) -> timedelta:
        """How long to wait after that many."""
        return min(self.longest, timedelta(seconds=2.0 ** (failures - self.free))) if failures >= self.free else timedelta()

    def after(self, now: datetime, row: FailureRow) -> FailureRow:
        """The row with one failure more."""
        failures = min(self.left(row, now) + 1, self.most)
        wait = self.wait(failures)
        return FailureRow(failures, now, now + wait if wait else None)


OF_NAME: Final = Backoff(10, timedelta(minutes=15), timedelta(minutes=10))
OF_ADDRESS: Final = Backoff(100, timedelta(seconds=10), timedelta(seconds=6))
_WHILE_WAITING: Final = Backoff(1000, timedelta(seconds=1), timedelta(seconds=4))
_KEPT: Final = max(one.most * one.forgives_one for one in (OF_NAME, OF_ADDRESS))


class _Pair(NamedTuple):
    """A name, as its hash, and an address."""

    name: str
    address: str


class _Memory(OrderedDict[Any, FailureRow]):
    """Rows of this process, the latest few thousand."""

    def put(self, key: object, row: FailureRow) -> None:
        self[key] = row
        self.move_to_end(key)
        if len(self) > _REMEMBERED:
            self.popitem(last=False)


class Throttle:
    """See the module's docstring."""

    def __init__(self, database: Database, vault: Vault, clock: Clock = system_clock) -> None:
        self._database = database
        self._selects = FailureSelects(database)
        self._names = vault.derive("names of failed logins")
        self._guesses = secrets.token_bytes(32)
        self._clock = clock
        self._running: dict[bytes, asyncio.Task[Any]] = {}
        self._asked: Counter[str] = Counter()
        self._tried: Counter[_Pair | str] = Counter()
        self._failures = 0
        self._wrong = _Memory()
        self._in_vain = _Memory()

    async def attempt(
        self, name: str, password: str, address: str, prove: Callable[[], Awaitable[T | None]], *, familiar: bool = False
    ) -> T | None:
        """The answer of `prove`, which is run unless name and address have to wait; what is falsy, or Unauthenticated, is a failure.

        `familiar`: this password was right not long ago, so it need not wait. Raises TooManyRequests, and what `prove` raises.
        """
        pair = _Pair(self._hashed(name), neighbourhood(address))
        if familiar and _WHILE_WAITING.left(self._in_vain.get(pair, NONE), self._clock()) < _WHILE_WAITING.free:
            return await prove()
        guess = hmac.digest(self._guesses, f"{pair.name}\0{pair.address}\0{password}".encode(), hashlib.sha256)
        running = self._running.get(guess)
        if running is None:
            self._require_room(pair)
            running = asyncio.create_task(self._counted(pair, guess, prove), name="login")
            self._running[guess] = running
            self._asked[pair.address] += 1
            running.add_done_callback(partial(self._done, pair, guess))
        # Who hangs up does not end the attempt for those who asked the same.
        answer: T | None = await asyncio.shield(running)
        return answer

    async def purge(self) -> int:
        """Remove the rows of which nothing is left to wait for; returns how many."""
        before = self._clock() - _KEPT
        return await self._database.write(lambda connection: login_failures.purge(connection, before), durable=False)

    def _hashed(self, name: str) -> str:
        return hmac.digest(self._names, name.casefold().encode(), hashlib.sha256).hex()[:_NAME_DIGITS]

    def _require_room(self, pair: _Pair) -> None:
        """A flood is turned away here before it takes memory; it waits for no one's database."""
        if len(self._running) >= _MOST_AT_ONCE or self._asked[pair.address] >= _MOST_OF_ADDRESS:
            raise _too_many("Too many logins at once", timedelta(seconds=1))

    def _done(self, pair: _Pair, guess: bytes, task: asyncio.Task[Any]) -> None:
        del self._running[guess]
        _subtract(self._asked, pair.address)
        if not task.cancelled():
            task.exception()  # seen, even if nobody waits any more

    async def _counted(self, pair: _Pair, guess: bytes, prove: Callable[[], Awaitable[T | None]]) -> T | None:
        own, everybodys = await self._present(pair)
        self._admit(pair, own, everybodys)
        self._tried.update((pair, pair.address))
        try:
            answer = await self._proved(pair, guess, prove)
        finally:
            _subtract(self._tried, pair, pair.address)
        if answer and own.failures:
            await self._database.write(lambda connection: login_failures.forget(connection, *pair), durable=False)
        return answer

    async def _present(self, pair: _Pair) -> tuple[FailureRow, FailureRow]:
        """The failures of the pair and of its address, and none of this process is younger than what was read."""
        while True:
            before = self._failures
            rows = await self._selects.both(*pair)
            if self._failures == before:
                return rows

    async def _proved(self, pair: _Pair, guess: bytes, prove: Callable[[], Awaitable[T | None]]) -> T | None:
        try:
            answer = await prove()
        except Unauthenticated:
            await self._failed(pair, guess)
            raise
        if not answer:
            await self._failed(pair, guess)
        return answer

    def _admit(self, pair: _Pair, own: FailureRow, everybodys: FailureRow) -> None:
        """Return if this may be tried now. Raises TooManyRequests."""
        now = self._clock()
        for row, whose in ((own, "for this name from this address"), (everybodys, "from this address")):
            if row.blocked_until is not None and row.blocked_until > now:
                self._in_vain.put(pair, _WHILE_WAITING.after(now, self._in_vain.get(pair, NONE)))
                raise _too_many(f"Too many failed logins {whose}", row.blocked_until - now)
        # What is being tried may fail, and counts as if it had; of an address that has used up its own, one is tried at a time.
        free = max(1, OF_NAME.free - OF_NAME.left(own, now))
        exhausted = OF_ADDRESS.left(everybodys, now) >= OF_ADDRESS.free
        if self._tried[pair] >= free or (exhausted and self._tried[pair.address]):
            raise _too_many("Too many logins at once", timedelta(seconds=1))

    async def _failed(self, pair: _Pair, guess: bytes) -> None:
        now = self._clock()
        again = now - self._wrong.get(guess, NONE).last_at < OF_NAME.longest
        self._wrong.put(guess, FailureRow(1, now))

        def work(connection: Connection) -> None:
            if not again:
                login_failures.change(connection, pair.name, pair.address, partial(OF_NAME.after, now))
            login_failures.change(connection, ANY_NAME, pair.address, partial(OF_ADDRESS.after, now))

        await self._database.write(work, durable=False)
        self._failures += 1


def _subtract(counter: Counter[Any], *keys: object) -> None:
    """One less of each; what comes to nothing takes no memory."""
    for key in keys:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]


def _too_many(what: str, wait: timedelta) -> TooManyRequests:
    seconds = max(1, math.ceil(wait.total_seconds()))
    return TooManyRequests(f"{what}: wait {seconds} seconds, then try again. Tokens are taken all the same.", retry_after=seconds)
