"""What an HTTP worker process is: every door, over the rooms."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from roadstead import settings as configuration
from roadstead.access.audit import Audit
from roadstead.access.clock import system_clock
from roadstead.apis.distribution.door import DistributionDoor
from roadstead.apis.distribution.tokens import TokenDoor
from roadstead.apis.download.door import DownloadDoor
from roadstead.apis.harbor.devcenter import DevCenterDoor
from roadstead.apis.keyserver.door import KeyServerDoor
from roadstead.apis.library import shub
from roadstead.apis.library.door import LibraryDoor
from roadstead.apis.login.door import LoginDoor
from roadstead.app.system import System, open_system
from roadstead.content.threads import thread_pool
from roadstead.errors import RoadsteadError
from roadstead.serving.affinity import own_core
from roadstead.serving.ending import ENDING
from roadstead.serving.front import Application, BesideDoor, Door, Front, PlainDoor
from roadstead.serving.health import HealthDoor, MetricsDoor
from roadstead.serving.live import LiveStreams
from roadstead.serving.observation import COUNTERS_FOLDER, reserve_counters, set_up_logging
from roadstead.serving.tls_authority import SelfSigned
from roadstead.serving.trust import trust_doors
from roadstead.settings import Settings
from roadstead.sif.compatible import Compatibility
from roadstead.sif.signed import ShownSignatures
from roadstead.upkeep.schedule import repeat
from roadstead.web.door import PagesForErrors, WebDoor
from roadstead.web.rooms import Rooms

_STREAMS = 16  # threads of a worker that read ranges of files
_FLUSH_SECONDS = 1.0  # what a process that is killed may lose of pulls, last uses and notes of the audit log


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
    # FastAPI takes half a second and 20 MB: `serve` imports it before it forks its workers.
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
