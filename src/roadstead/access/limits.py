"""Limits of requests and pulls that administrators set in the configuration: for each account, each anonymous address, each project.

* **Requests** a second: a bucket in each worker that holds one second's worth, and the mean of ten seconds over all workers.
* **Pulls** in a window (GET of a manifest that was found; HEAD counts nothing and is never refused). Windows begin at whole multiples of
  their length since 1970, for everybody at the same time.

Counts are kept in memory and shared by rows once a second. So a limit may be passed by what came within a second or two in other
workers and replicas. While no limit is set, `active` is false, doors ask no further, and nothing is counted.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Actor
from roadstead.access.addresses import neighbourhood
from roadstead.access.batches import to_its_end
from roadstead.access.clock import Clock, system_clock
from roadstead.access.configuration import DEFAULTS, Configuration
from roadstead.errors import TooManyRequests
from roadstead.metadata import rate_windows
from roadstead.metadata.database import Database
from roadstead.metadata.rate_windows import Window, WindowSelects
from roadstead.metadata.schema import EPOCH

PULLS: Final = "pulls"
REQUESTS: Final = "requests"
_REQUESTS_WINDOW: Final = timedelta(seconds=10)
_MOST: Final = 50_000


class Standing(msgspec.Struct, frozen=True):
    """How somebody stands with a limit: so many in a window of `window` seconds, `remaining` of them left; `source` says whose it is."""

    limit: int
    window: int
    remaining: int
    source: str


class _Bucket(msgspec.Struct):
    """What is left of the last second's requests."""

    tokens: float
    at: datetime


class _Limit(msgspec.Struct, frozen=True):
    """A limit that concerns a request."""

    window: Window
    most: int
    seconds: int
    source: str


class RateLimits:
    """See the module's docstring."""

    def __init__(self, database: Database, configuration: Configuration, clock: Clock = system_clock) -> None:
        self.active = False
        """Whether any limit is set; the one thing that doors look at while none is."""
        self._database = database
        self._selects = WindowSelects(database)
        self._configuration = configuration
        self._clock = clock
        self._values = DEFAULTS
        self._used: OrderedDict[Window, int] = OrderedDict()
        self._fresh: dict[Window, int] = {}
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def request(self, actor: Actor) -> None:
        """Count one request. Raises TooManyRequests."""
        values = self._values
        rate = values.requests_per_second_per_address if actor.account_id is None else values.requests_per_second_per_account
        if rate < 0:
            return
        now, subject = self._clock(), _subject(actor)
        window = Window(REQUESTS, subject, _begin(now, _REQUESTS_WINDOW))
        if self._used.get(window, 0) >= rate * _REQUESTS_WINDOW.total_seconds():
            raise _too_many_requests(rate, window.started_at + _REQUESTS_WINDOW - now)
        bucket = self._buckets.setdefault(subject, _Bucket(rate, now))
        bucket.tokens = min(rate, bucket.tokens + rate * max(0.0, (now - bucket.at).total_seconds()))
        bucket.at = now
        if bucket.tokens < 1:
            raise _too_many_requests(rate, timedelta(seconds=1))
        bucket.tokens -= 1
        self._count(window)

    async def standing(self, actor: Actor, project: str) -> Standing | None:
        """How the actor stands with the limit of pulls that is nearest for this project; None if there is none."""
        standings = [_standing(limit, await self._count_of(limit.window)) for limit in self._limits(actor, project)]
        return min(standings, key=lambda one: one.remaining, default=None)

    def refusal(self, standing: Standing) -> TooManyRequests:
        """What to raise where nothing remains."""
        now, length = self._clock(), timedelta(seconds=standing.window)
        seconds = math.ceil((_begin(now, length) + length - now).total_seconds())
        return TooManyRequests(
            f"You have reached the limit of {standing.limit} pulls in {_words(length)} for {standing.source}: wait {seconds} seconds.",
            retry_after=seconds,
            **msgspec.structs.asdict(standing),
        )

    def pulled(self, actor: Actor, project: str) -> None:
        """Count one pull."""
        for limit in self._limits(actor, project):
            self._count(limit.window)

    def _limits(self, actor: Actor, project: str) -> list[_Limit]:
        """The limits of pulls that concern the actor and the project."""
        values = self._values
        own = values.pull_limit_per_address if actor.account_id is None else values.pull_limit_per_account
        whose = neighbourhood(actor.address) if actor.account_id is None else actor.name
        began = _begin(self._clock(), timedelta(seconds=values.pull_window_seconds))
        all_limits = (
            _Limit(Window(PULLS, _subject(actor), began), own, values.pull_window_seconds, whose),
            _Limit(Window(PULLS, f"project:{project}", began), values.pull_limit_per_project, values.pull_window_seconds, project),
        )
        return [limit for limit in all_limits if limit.most >= 0]

    def _count(self, window: Window) -> None:
        self._used[window] = self._used.get(window, 0) + 1
        self._fresh[window] = self._fresh.get(window, 0) + 1

    async def _count_of(self, window: Window) -> int:
        if window not in self._used:
            stored = await self._selects.used(window)
            self._used[window] = stored + self._fresh.get(window, 0)
        return self._used[window]

    async def share(self) -> None:
        """Obey the present configuration, write what was counted since the last time, and read what others have counted."""
        self._values = values = await self._configuration.present()
        limits = (values.pull_limit_per_account, values.pull_limit_per_address, values.pull_limit_per_project)
        rates = (values.requests_per_second_per_account, values.requests_per_second_per_address)
        self.active = max(*limits, *rates) >= 0
        self._forget()
        if self._used or self._fresh:
            fresh, self._fresh = self._fresh, {}
            await to_its_end(self._exchange(fresh))

    async def _exchange(self, fresh: dict[Window, int]) -> None:
        windows = tuple(self._used)
        try:
            if fresh:
                await self._database.write(lambda connection: rate_windows.add(connection, fresh), durable=False)
        except BaseException:
            for window, count in fresh.items():
                self._fresh[window] = self._fresh.get(window, 0) + count
            raise
        known = await self._database.read(lambda connection: rate_windows.used(connection, windows))
        for window, count in known.items():
            self._used[window] = count + self._fresh.get(window, 0)

    def _forget(self) -> None:
        """Forget windows that are over, and the oldest of too many: they are read again where they are needed."""
        now = self._clock()
        lengths = {PULLS: timedelta(seconds=self._values.pull_window_seconds), REQUESTS: _REQUESTS_WINDOW}
        for window in [one for one in self._used if not one.started_at <= now < one.started_at + lengths[one.kind] or not self.active]:
            del self._used[window]
        for kept in (self._used, self._buckets):
            while len(kept) > _MOST:
                kept.popitem(last=False)

    async def purge(self) -> int:
        """Remove the rows of windows that are over; returns how many."""
        now, values = self._clock(), await self._configuration.present()
        old = {PULLS: now - 2 * timedelta(seconds=values.pull_window_seconds), REQUESTS: now - 2 * _REQUESTS_WINDOW}

        def work(connection: Connection) -> int:
            return sum(rate_windows.purge(connection, kind, before) for kind, before in old.items())

        return await self._database.write(work, durable=False)


def _subject(actor: Actor) -> str:
    return f"address:{neighbourhood(actor.address)}" if actor.account_id is None else f"account:{actor.account_id}"


def _begin(now: datetime, length: timedelta) -> datetime:
    return EPOCH + (now - EPOCH) // length * length


def _standing(limit: _Limit, used: int) -> Standing:
    return Standing(limit.most, limit.seconds, max(0, limit.most - used), limit.source)


def _words(length: timedelta) -> str:
    hours = length.total_seconds() / 3600
    return f"{hours:g} hours" if hours >= 1 else f"{length.total_seconds():g} seconds"


def _too_many_requests(rate: int, wait: timedelta) -> TooManyRequests:
    seconds = max(1, math.ceil(wait.total_seconds()))
    return TooManyRequests(f"More than {rate} requests a second: wait {seconds} seconds, then go on more slowly.", retry_after=seconds)
