"""Keeping the ledger of quotas short, so that adding it up is quick, and true, should it ever have gone wrong."""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog

from roadstead.access.clock import Clock
from roadstead.metadata import quota_upkeep
from roadstead.metadata.database import Database
from roadstead.metadata.quota_upkeep import Discrepancy

log = structlog.get_logger()

_MOST: Final = 100
_BATCH: Final = 5000


async def compact_entries(database: Database) -> None:
    """Make one entry of many, in every project that has more than a hundred."""
    for project_id in await database.read(partial(quota_upkeep.crowded, most=_MOST)):
        while await database.write(partial(quota_upkeep.compact, project_id=project_id, limit=_BATCH)) == _BATCH:
            pass


async def recount(database: Database, clock: Clock) -> list[Discrepancy]:
    """Compare every project's ledger with its links and manifests, and mend what differs. Returns, and logs, what was found.

    Nothing is ever found, unless this program has a fault or somebody has changed the database by hand.
    """
    found = []
    for project_id in await database.read(quota_upkeep.project_ids):
        # The search is long, and nobody should wait for it; what it finds is looked at again in a transaction of its own.
        if await database.read(partial(quota_upkeep.discrepancy, project_id=project_id)):
            wrong = await database.write(partial(quota_upkeep.recount, project_id=project_id, now=clock()))
            found += [wrong] if wrong else []
    for one in found:
        log.warning("quota recounted", **{field: getattr(one, field) for field in Discrepancy.__struct_fields__})
    return found
