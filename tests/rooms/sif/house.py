"""A registry in which images are converted, by makers of the test's that need no process: they make small files, and write down what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import msgspec
from sqlalchemy import Connection, update

from roadstead.access.actor import Actor
from roadstead.content.store import ContentStore
from roadstead.jobs.queue import Queue
from roadstead.jobs.worker import Pace, Worker
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow
from roadstead.metadata.listing import Listing
from roadstead.metadata.projects import ConversionPolicy
from roadstead.metadata.schema import projects
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, image_of, index_of
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.sif.conversions import Patience
from roadstead.sif.forms import Form
from roadstead.sif.makers import Made, Source, Tell
from roadstead.sif.room import SifRoom
from tests.support.factories import Image, ManualClock, blob, image, push_image, push_manifest

LONG = 60.0
SIF = image("a SIF", layer_type=types.SIF_LAYER)
"""What somebody pushed as a SIF, as the manifest tells."""


class HandMaker:
    """Makes a manifest with one layer that names the source. It waits for `open`, and fails with `error` if there is one."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.version = "1"
        self.made: list[Digest] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()

    def identity(self, source: Digest) -> str:
        return f"by hand {self.version} {source}"

    async def make(self, source: Source, tell: Tell) -> Made:
        tell(0.5, "half of it")
        self.begun.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.made.append(source.subject.digest)
        return Made(self.manifest(source.subject), (b"{}", self.file(source.subject.digest)))

    def file(self, source: Digest) -> bytes:
        """What is made of the source."""
        return f"{self.identity(source)} as {self.form}".encode()

    def manifest(self, subject: Descriptor) -> bytes:
        """The manifest that names it."""
        config, layer = (types.SIF_CONFIG, types.SIF_LAYER) if self.form is Form.SIF else (types.OCI_CONFIG, types.OCI_LAYER)
        file = self.file(subject.digest)
        layers = [Descriptor(layer, Digest.of(file), len(file))]
        return image_of(Descriptor(config, blob("{}").digest, 2), layers, subject=subject)


class House:
    """`registry` is what users see, `room` what converts in it; nobody works at jobs until `work` is entered."""

    def __init__(self, database: Database, store: ContentStore, clock: ManualClock, patience: Patience | None = None) -> None:
        self.database = database
        self.store = store
        self.clock = clock
        self.queue = Queue(database, clock)
        self.makers = {form: HandMaker(form) for form in Form}
        plain = Registry(database, store, clock=clock)
        self.room = SifRoom(database, plain, self.queue, dict(self.makers), clock, patience or Patience(seconds=LONG))
        self.registry = Registry(database, store, seams=self.room.seams(), clock=clock)
        self.stored = 0
        self.examined: list[Manifest] = []

    @property
    def maker(self) -> HandMaker:
        """Who makes SIFs."""
        return self.makers[Form.SIF]

    async def _made(self) -> None:
        self.stored += 1

    async def _examine(self, repository_id: int, manifest: Manifest) -> None:
        self.examined.append(manifest)

    @asynccontextmanager
    async def work(self, at_once: int = 4) -> AsyncIterator[Worker]:
        """A job worker."""
        stop = asyncio.Event()
        kind = self.room.kind(at_once, self._made, self._examine)
        worker = Worker(self.database, [kind], clock=self.clock, pace=Pace(look=0.01, grace=0.05))
        task = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await task

    async def close(self) -> None:
        await self.queue.close()

    async def decide(self, project: str, policy: ConversionPolicy) -> None:
        """Set what the project converts."""
        values = {
            "conversion": policy.when,
            "anonymous_conversion": policy.anonymous,
            "conversion_platforms": ",".join(policy.platforms),
            "sif_as_image": policy.sif_as_image,
        }

        def work(connection: Connection) -> None:
            connection.execute(update(projects).where(projects.c.name == project).values(values))

        await self.database.write(work)

    async def jobs(self) -> list[JobRow]:
        """Every job, the newest first."""
        return (await self.database.read(partial(jobs.page, listing=Listing())))[0]

    async def ended(self, job_id: int) -> JobRow:
        """The job, when it has ended."""
        assert await self.queue.wait(job_id, LONG) is not None
        row = await self.database.read(partial(jobs.find, job_id=job_id))
        assert row is not None
        return row


@asynccontextmanager
async def opened(database: Database, store: ContentStore, clock: ManualClock, patience: Patience | None = None) -> AsyncIterator[House]:
    """A house with the public project `library` and the private one `vault`."""
    house = House(database, store, clock, patience)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(house.close)
        await house.registry.projects.ensure("library", public=True)
        await house.registry.projects.ensure("vault", public=False)
        yield house


def subject(one: Image) -> Descriptor:
    """How what is derived of a manifest names it."""
    return msgspec.convert(one.descriptor(), Descriptor, dec_hook=lambda _, value: Digest.parse(value))


def platform_index(**parts: Image) -> Image:
    """An index of these images for linux, by their architectures."""
    children = [
        msgspec.structs.replace(subject(one), platform={"os": "linux", "architecture": architecture}) for architecture, one in parts.items()
    ]
    return Image(index_of(children), types.OCI_INDEX)


async def push_index(registry: Registry, actor: Actor, name: RepositoryName, tag: str, **parts: Image) -> Image:
    """Push images, and an index of them under a tag."""
    for one in parts.values():
        await push_image(registry, actor, name, one)
    whole = platform_index(**parts)
    await push_manifest(registry, actor, name, whole, tag)
    return whole
