"""What the job worker's process does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from roadstead.access.audit_export import AuditExport, pass_over
from roadstead.access.audit_sinks import open_sink
from roadstead.access.clock import system_clock
from roadstead.app.system import System, open_system
from roadstead.jobs.running import Kind
from roadstead.jobs.worker import Worker
from roadstead.metadata.jobs import NewJob
from roadstead.serving.observation import reserve_counters, set_up_logging
from roadstead.settings import Settings
from roadstead.sif.gate import SifGate
from roadstead.upkeep import chores
from roadstead.upkeep.eviction import Budget
from roadstead.upkeep.quotas import compact_entries
from roadstead.upkeep.schedule import repeat
from roadstead.upkeep.uploads import expire_uploads

_EXPIRE_UPLOADS_SECONDS = 60.0
_FORGET_SECONDS = 600.0
_COMPACT_QUOTAS_SECONDS = 60.0
_EXPORT_SECONDS = 1.0
_PASS_OVER_SECONDS = 60.0


async def work(settings: Settings, stop: asyncio.Event) -> None:
    """What the job worker does until `stop` is set."""
    set_up_logging(settings.log_level)
    reserve_counters()
    async with open_system(settings) as system, AsyncExitStack() as stack:
        database, store, rules, access = system.database, system.store, settings.rules(), system.access
        often: dict[str, tuple[Callable[[], Awaitable[object]], float]] = {
            "expire uploads": (partial(expire_uploads, database, store, rules, system_clock), _EXPIRE_UPLOADS_SECONDS),
            "compact quotas": (partial(compact_entries, database), _COMPACT_QUOTAS_SECONDS),
            "forget failed logins": (access.throttle.purge, _FORGET_SECONDS),
            "forget windows": (access.limits.purge, _FORGET_SECONDS),
            "forget sessions": (access.sessions.purge, _FORGET_SECONDS),
            "export audit": _export(system, stack),
            "refresh groups": (system.access.groups.refresh, settings.login_refresh_minutes * 60),
        }
        worker = Worker(database, kinds(system), chores.SCHEDULES, clock=system_clock)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run(stop), name="jobs")
            for what, (act, every) in often.items():
                tasks.create_task(repeat(what, act, every, stop), name=what)


def kinds(system: System) -> tuple[Kind, ...]:
    """Every kind of job that a worker can run."""
    settings = system.settings
    budget = Budget(int(settings.derived_gib * (1 << 30)), system.sif.makes)
    upkeep = chores.kinds(system.database, system.store, system.access, settings.rules(), budget, system_clock)
    evict = NewJob(chores.EVICT_DERIVED, key=chores.EVICT_DERIVED)
    examine = SifGate(system.database, system.store, system_clock).examine
    return (
        *upkeep,
        system.surveys.kind(),
        system.sif.kind(settings.conversions_at_once, made=partial(system.queue.add, evict), examine=examine),
    )


def _export(system: System, stack: AsyncExitStack) -> tuple[Callable[[], Awaitable[object]], float]:
    """What exports the audit log, and how often (seconds)."""
    if system.settings.audit_export is None:
        return partial(pass_over, system.database), _PASS_OVER_SECONDS
    export = AuditExport(system.database, open_sink(system.settings.audit_export))
    stack.push_async_callback(export.close)
    return export.run, _EXPORT_SECONDS
