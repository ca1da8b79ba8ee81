"""Keeping what the registry derives within the site's budget.

What was pulled least recently goes first, and only what can be made again today to the same bytes: what an earlier version of a converter
made stays as long as its source. Nobody's pull breaks: links go, bytes have their own grace (`metadata.schema`), and who asks for what is
gone waits until it is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from roadstead.access.clock import Clock
from roadstead.metadata import eviction
from roadstead.metadata.database import Database
from roadstead.metadata.eviction import Candidate
from roadstead.oci.digest import Digest
from roadstead.registry.rules import Rules

_BATCH: Final = 100


class Budget(msgspec.Struct, frozen=True):
    """How many bytes derived content may take; and whether what a conversion has made of a source `can_be_made` again now."""

    size: int
    can_be_made: Callable[[Digest, str], bool]


class Evicted(msgspec.Struct, frozen=True):
    """How many derived manifests lost content, how many bytes they kept, and how many (bytes) are kept now."""

    manifests: int
    freed: int
    used: int


async def evict(database: Database, budget: Budget, rules: Rules, clock: Clock) -> Evicted:
    """Evict until what is derived fits into the budget, or nothing more may go."""
    before = used = await database.read(eviction.used)
    count, after = 0, None
    while used > budget.size and (page := await database.read(partial(eviction.candidates, after=after, limit=_BATCH))):
        for one in page:
            if used > budget.size and budget.can_be_made(one.subject, one.conversion) and await _evict(database, one, rules, clock):
                count, used = count + 1, await database.read(eviction.used)
        after = page[-1]
    return Evicted(count, before - used, used)


async def _evict(database: Database, one: Candidate, rules: Rules, clock: Clock) -> bool:
    now = clock()
    return await database.write(partial(eviction.evict, one=one, untouched_since=now - rules.link_grace, now=now)) > 0
