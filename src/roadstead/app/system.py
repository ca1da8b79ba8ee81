"""The rooms of one process, wired together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from roadstead.access.access import Access
from roadstead.access.clock import system_clock
from roadstead.access.vault import load_or_make
from roadstead.content.observed import ObservedStore
from roadstead.content.opening import open_store
from roadstead.content.store import ContentStore
from roadstead.jobs.queue import Queue
from roadstead.metadata import migrations
from roadstead.metadata.database import Database, open_database
from roadstead.oci.reference import DEFAULT_PROJECT
from roadstead.registry.registry import Registry
from roadstead.settings import Settings
from roadstead.sif.clusters import Clusters
from roadstead.sif.compression import usual
from roadstead.sif.conversions import Patience
from roadstead.sif.convert import Conversion
from roadstead.sif.forms import Form
from roadstead.sif.gate import SifGate
from roadstead.sif.limits import Limits
from roadstead.sif.makers import Maker, Stock
from roadstead.sif.orders import Means
from roadstead.sif.room import SifRoom, makers
from roadstead.sif.signed_only import SignedOnly
from roadstead.sif.surveys import Surveys
from roadstead.upkeep.jobs import Jobs


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
