"""Upkeep that runs as jobs by the clock: an administrator sees what it does and how it ended, and can end it or begin it anew.

What is done every minute or so, and is over in a moment, is no job: `schedule.repeat` does it.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Final

from roadstead.access.access import Access
from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore
from roadstead.jobs.running import Job, Kind
from roadstead.jobs.schedule import Cron, Every, Schedule
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.growth import Sample
from roadstead.registry.rules import Rules
from roadstead.registry.sizes import human_size
from roadstead.upkeep.audit import purge_audit
from roadstead.upkeep.collect import collect
from roadstead.upkeep.eviction import Budget, Evicted, evict
from roadstead.upkeep.growth import measure
from roadstead.upkeep.quotas import recount

_COLLECT: Final = "collect"
_RECOUNT_QUOTAS: Final = "recount-quotas"
_PURGE_AUDIT: Final = "purge-audit"
_FORGET_JOBS: Final = "forget-jobs"
_MEASURE_STORAGE: Final = "measure-storage"
EVICT_DERIVED: Final = "evict-derived"
"""Asked for too when something has been derived."""
_BATCH: Final = 500

SCHEDULES: Final = (
    # What nothing refers to counts in its project until it is collected.
    Schedule(_COLLECT, Cron("17 * * * *"), _COLLECT),
    Schedule(EVICT_DERIVED, Cron("47 * * * *"), EVICT_DERIVED),
    Schedule(_RECOUNT_QUOTAS, Cron("40 2 * * *"), _RECOUNT_QUOTAS),
    Schedule(_PURGE_AUDIT, Every(timedelta(days=1)), _PURGE_AUDIT),
    Schedule(_FORGET_JOBS, Every(timedelta(hours=6)), _FORGET_JOBS),
    Schedule(_MEASURE_STORAGE, Every(timedelta(days=1)), _MEASURE_STORAGE),
)


def kinds(database: Database, store: ContentStore, access: Access, rules: Rules, budget: Budget, clock: Clock) -> tuple[Kind, ...]:
    """The kinds of job of this room."""

    async def purge(_job: Job) -> None:
        await purge_audit(access.audit, access.configuration, clock)

    return (
        Kind(_COLLECT, partial(collect_garbage, database=database, store=store, rules=rules, clock=clock)),
        Kind(EVICT_DERIVED, partial(evict_derived, database=database, budget=budget, rules=rules, clock=clock)),
        Kind(_RECOUNT_QUOTAS, partial(recount_quotas, database=database, clock=clock)),
        Kind(_PURGE_AUDIT, purge),
        Kind(_FORGET_JOBS, partial(forget_jobs, rules=rules, clock=clock)),
        Kind(_MEASURE_STORAGE, partial(measure_storage, database=database, clock=clock)),
    )


async def collect_garbage(job: Job, *, database: Database, store: ContentStore, rules: Rules, clock: Clock) -> dict[str, int]:
    """Delete what nothing refers to any more; see `upkeep.collect`. Returns how many contents were deleted."""

    def tell(deleted: int) -> None:
        job.progress(None, f"{deleted} contents deleted")

    deleted = await collect(database, store, rules, clock, tell)
    job.log(f"Deleted {deleted} contents to which nothing referred any more.")
    return {"deleted": deleted}


async def evict_derived(job: Job, *, database: Database, budget: Budget, rules: Rules, clock: Clock) -> Evicted:
    """Make what is derived fit into the site's budget; see `upkeep.eviction`. Returns what went and what stays."""
    evicted = await evict(database, budget, rules, clock)
    if evicted.manifests:
        job.log(f"Evicted what {evicted.manifests} conversions have made: {human_size(evicted.freed)}.")
    if evicted.used > budget.size:
        job.log(
            f"What has been derived takes {human_size(evicted.used)}, more than the {human_size(budget.size)} that it may, and must stay."
        )
    return evicted


async def recount_quotas(job: Job, *, database: Database, clock: Clock) -> dict[str, int]:
    """Compare every project's ledger with what it holds; see `upkeep.quotas`. Returns how many were wrong."""
    wrong = await recount(database, clock)
    for one in wrong:
        job.log(f"Mended: {one}")
    return {"mended": len(wrong)}


async def forget_jobs(job: Job, *, rules: Rules, clock: Clock) -> dict[str, int]:
    """Remove jobs, with their logs, that ended long enough ago. Returns how many."""
    before, forgotten = clock() - rules.job_retention, 0
    while some := await job.write(partial(jobs.purge, finished_before=before, limit=_BATCH)):
        forgotten += some
        job.progress(None, f"{forgotten} jobs forgotten")
    return {"forgotten": forgotten}


async def measure_storage(job: Job, *, database: Database, clock: Clock) -> Sample:
    """Keep how much is stored now; see `upkeep.growth`. Returns that."""
    sample = await measure(database, clock)
    job.log(f"{human_size(sample.stored)} in {sample.repositories} repositories.")
    return sample
