"""Collecting contents that nothing links any more, by the rule drawn in `metadata.schema`.

Links are looked for in a read and unlinked in batches, so that pushes never wait for the search (SQLite has one writer). Several job
workers may collect at the same time: each leaves what another works on.

Rows before bytes: a content is taken by compare-and-swap and its digests are forgotten in one transaction; only then are the bytes
deleted, and the row last. A crash in between leaves rows marked as being deleted, with which the next run begins.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore
from roadstead.metadata import contents
from roadstead.metadata.database import Database
from roadstead.registry.rules import Rules

_BATCH: Final = 500


async def collect(database: Database, store: ContentStore, rules: Rules, clock: Clock, tell: Callable[[int], None] = lambda _: None) -> int:
    """Unlink loose links whose grace is over, then delete contents whose own grace is over. Returns how many contents were deleted.

    `tell` is told now and then how many they are so far.
    """
    now = clock()
    since, after = now - rules.link_grace, (0, 0)
    while links := await database.read(partial(contents.loose, untouched_since=since, after=after, limit=_BATCH)):
        await database.write(partial(contents.unlink_loose, links=links, untouched_since=since, now=now))
        after = links[-1]
    deleted = 0
    while taken := await database.write(partial(contents.take_doomed, doomed_before=now - rules.content_grace, limit=_BATCH)):
        for content in taken:
            await store.delete(content.key)
            await database.write(partial(contents.forget, content_id=content.id))
        deleted += len(taken)
        tell(deleted)
    return deleted
