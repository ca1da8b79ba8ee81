"""The whole system, built from `Settings`: the only module that knows every room."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from roadstead import settings as configuration
from roadstead.access.access import Access
from roadstead.access.audit import Audit
from roadstead.access.audit_export import AuditExport, pass_over
from roadstead.access.audit_sinks import open_sink
from roadstead.access.clock import system_clock
from roadstead.access.vault import load_or_make
from roadstead.apis.distribution.door import DistributionDoor
from roadstead.apis.distribution.tokens import TokenDoor
from roadstead.apis.download.door import DownloadDoor
from roadstead.apis.harbor.devcenter import DevCenterDoor
from roadstead.apis.keyserver.door import KeyServerDoor
from roadstead.apis.library import shub
from roadstead.apis.library.door import LibraryDoor
from roadstead.apis.login.door import LoginDoor
from roadstead.content.observed import ObservedStore
from roadstead.content.opening import open_store
from roadstead.content.store import ContentStore
from roadstead.content.threads import thread_pool
from roadstead.errors import RoadsteadError
from roadstead.jobs.queue import Queue
from roadstead.jobs.running import Kind
from roadstead.jobs.worker import Worker
from roadstead.metadata import migrations
from roadstead.metadata.database import Database, open_database
from roadstead.metadata.jobs import NewJob
from roadstead.oci.reference import DEFAULT_PROJECT
from roadstead.registry.registry import Registry
from roadstead.serving.affinity import own_core
from roadstead.serving.ending import ENDING
from roadstead.serving.front import Application, BesideDoor, Door, Front, PlainDoor
from roadstead.serving.health import HealthDoor, MetricsDoor
from roadstead.serving.live import LiveStreams
from roadstead.serving.observation import COUNTERS_FOLDER, reserve_counters, set_up_logging
from roadstead.serving.tls_authority import SelfSigned
from roadstead.serving.trust import trust_doors
from roadstead.settings import Settings
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatible import Compatibility
from roadstead.sif.compression import usual
from roadstead.sif.conversions import Patience
from roadstead.sif.convert import Conversion
from roadstead.sif.forms import Form
from roadstead.sif.gate import SifGate
from roadstead.sif.limits import Limits
from roadstead.sif.makers import Maker, Stock
from roadstead.sif.orders import Means
from roadstead.sif.room import SifRoom, makers
from roadstead.sif.signed import ShownSignatures
from roadstead.sif.signed_only import SignedOnly
from roadstead.sif.surveys import Surveys
from roadstead.upkeep import chores
from roadstead.upkeep.eviction import Budget
from roadstead.upkeep.jobs import Jobs
from roadstead.upkeep.quotas import compact_entries
from roadstead.upkeep.schedule import repeat
from roadstead.upkeep.uploads import expire_uploads
from roadstead.web.door import PagesForErrors, WebDoor
from roadstead.web.rooms import Rooms

_STREAMS = 16  # threads of a worker that read ranges of files
_FLUSH_SECONDS = 1.0  # what a process that is killed may lose of pulls, last uses and notes of the audit log
_EXPIRE_UPLOADS_SECONDS = 60.0
_FORGET_SECONDS = 600.0
_COMPACT_QUOTAS_SECONDS = 60.0
_EXPORT_SECONDS = 1.0
_PASS_OVER_SECONDS = 60.0


class System(msgspec.Struct, frozen=True):
    """Everything that is open in one process."""

    settings: Settings
    database: Database
    store: ContentStore
    access: Access
    registry: Registry
    queue: Queue
    jobs: Jobs
    sif: SifRoom
    surveys: Surveys
    clusters: Clusters


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncIterator[System]:
    """Open database and store and wire the rooms together; the schema must be there (see `prepare`)."""
    async with AsyncExitStack() as stack:
        store = ObservedStore(await open_store(settings.storage))
        stack.push_async_callback(store.close)
        database = await open_database(settings.database)
        stack.push_async_callback(database.close)
        access = Access(database, load_or_make(settings.secret_key), create_projects_on_push=settings.create_projects_on_push)
        queue = Queue(database, system_clock)
        stack.push_async_callback(queue.close)
        plain = Registry(database, store, settings.rules(), configuration=access.configuration)
        surveys = Surveys(database, Stock(database, store), _means(settings), queue, system_clock)
        sif = SifRoom(database, plain, queue, _makers(settings, database, store), system_clock, _patience(settings), surveys)
        gate = SifGate(database, store, system_clock, accept_damaged=settings.accept_damaged_sif)
        signed = SignedOnly(database, access.openpgp_keys, plain.image_signatures, system_clock)
        seams = msgspec.structs.replace(sif.seams(), push_gate=gate, pull_gate=signed)
        registry = Registry(database, store, settings.rules(), seams, configuration=access.configuration)
        clusters = Clusters(database, system_clock)
        yield System(settings, database, store, access, registry, queue, Jobs(database), sif, surveys, clusters)


def _makers(settings: Settings, database: Database, store: ContentStore) -> dict[Form, Maker]:
    limits = Limits(unpacked=settings.conversion_unpacked_gib << 30, ratio=settings.conversion_ratio)
    return makers(database, store, Conversion(usual(settings.conversion_compression), limits=limits), _means(settings))


def _means(settings: Settings) -> Means:
    return Means(
        memory=settings.conversion_memory_mib << 20,
        seconds=int(settings.conversion_minutes * 60),
        cpu_seconds=int(settings.conversion_minutes * 60 * (settings.conversion_threads + 1)),
        output=settings.conversion_unpacked_gib << 30,
        threads=settings.conversion_threads,
    )


def _patience(settings: Settings) -> Patience:
    return Patience(seconds=settings.conversion_wait_seconds)


async def prepare(settings: Settings) -> str | None:
    """Make what is missing: directory, schema, secret key, the account `admin`, the public project `library`.

    Returns the administrator's password if one was made up. Raises Misconfigured, Unavailable.
    """
    settings.make_data_directory()
    await migrations.upgrade(settings.database)
    async with open_system(settings) as system:
        given = settings.admin_password.get_secret_value() if settings.admin_password else None
        password = await system.access.accounts.ensure_admin(given, system_clock())
        await system.registry.projects.ensure(DEFAULT_PROJECT, public=True)
    return password


def create() -> Application:
    """The ASGI application of one HTTP worker process, which reads the settings that the server was started with."""
    settings = configuration.load()
    set_up_logging(settings.log_level)
    reserve_counters()
    worker = _Worker(settings)
    return Front(worker, settings.site(), worker.failed)


class _Worker:
    """The life of one HTTP worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._audit: Audit | None = None

    def failed(self, error: RoadsteadError) -> None:
        """Note for the audit log what was denied."""
        if self._audit is not None:
            self._audit.refused(error)

    async def start(self) -> Mapping[str, Door]:
        asyncio.get_running_loop().set_default_executor(thread_pool(_STREAMS, "stream"))
        if (folder := os.environ.get(COUNTERS_FOLDER)) is not None:
            self._stack.enter_context(own_core(Path(folder)))
        system = await self._stack.enter_async_context(open_system(self._settings))
        self._audit = system.access.audit
        gathered = {
            "flush pulls": system.registry.pulls.flush,
            "flush uses": system.access.accounts.flush_uses,
            "flush audit": system.access.audit.flush,
            "share limits": system.access.limits.share,
        }
        for what, flush in gathered.items():
            self._stack.push_async_callback(flush)
            await self._stack.enter_async_context(_repeated(what, flush, _FLUSH_SECONDS))
        streams = LiveStreams()
        asyncio.get_running_loop().add_signal_handler(ENDING, streams.end)
        return doors(system, streams)

    async def stop(self) -> None:
        await self._stack.aclose()


def doors(system: System, streams: LiveStreams | None = None) -> Mapping[str, Door]:
    """Every door, by the first component of its paths. Who will stop them has the `streams` of the pages."""
    # FastAPI takes half a second and 20 MB: `serve` imports it before it forks its workers, and no other command does at all.
    from roadstead.apis.harbor.door import HarborDoor  # noqa: PLC0415

    checks = {"database": system.database.check, "store": system.store.check}
    library = LibraryDoor(system.access, system.registry)
    registry, keys = system.registry, system.access.openpgp_keys
    signatures = ShownSignatures(system.database, registry.repositories, registry.image_signatures, keys, system_clock)
    own_authority = isinstance(system.settings.tls_source, SelfSigned)
    compatibility = Compatibility(system.database, system.registry.repositories, system.surveys, system.clusters, system_clock)
    rooms = Rooms(
        system.access,
        system.registry,
        system.jobs,
        system.sif.shown,
        signatures,
        compatibility,
        system.clusters,
        checks,
        system_clock,
        own_authority=own_authority,
        streams=streams or LiveStreams(),
    )
    pages = WebDoor(rooms, PlainDoor(system.access.accounts))
    return {
        "v2": DistributionDoor(system.registry, system.access.accounts, system.access.limits),
        "service": TokenDoor(system.access.accounts, system.access.limits),
        "c": PagesForErrors(LoginDoor(system.access), pages),
        "api": BesideDoor(
            shub.PREFIX,
            shub.ShubDoor(system.access, system.registry),
            HarborDoor(system.access, system.registry, system.sif.shown, signatures, compatibility, system.clusters, checks),
        ),
        "devcenter": DevCenterDoor(),
        "sif": DownloadDoor(system.access, system.registry),
        **dict.fromkeys(("library", "assets", "version", "v1"), library),
        "pks": KeyServerDoor(system.access),
        "health": HealthDoor(checks),
        "metrics": MetricsDoor(),
        **{path: PagesForErrors(door, pages) for path, door in trust_doors(system.settings.tls_source).items()},
        "": pages,
    }


@asynccontextmanager
async def _repeated(what: str, act: Callable[[], Awaitable[object]], every: float) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(repeat(what, act, every, stop), name=what)
    try:
        yield
    finally:
        stop.set()
        await task


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
