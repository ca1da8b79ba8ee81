"""Facts of what was pushed: found by the job that looks, in its own process, kept, shown to who may pull, and found again."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import msgspec
import pytest

from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import InvalidInput, ManifestUnknown, ProjectUnknown, RoadsteadError, Unauthenticated
from roadstead.jobs.queue import Queue
from roadstead.jobs.worker import Pace, Worker
from roadstead.metadata import compatibility, jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow
from roadstead.metadata.listing import Listing, Page
from roadstead.metadata.manifests import ManifestSelects
from roadstead.oci import media_type as types
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.registry import Registry
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.compatibility.verdict import Cluster
from roadstead.sif.compatible import Compatibility
from roadstead.sif.makers import Stock
from roadstead.sif.needs import searched
from roadstead.sif.orders import Means
from roadstead.sif.room import SifRoom
from roadstead.sif.surveys import KIND, Surveys
from tests.rooms.sif.archives import archive, entry
from tests.rooms.sif.house import platform_index
from tests.rooms.sif.sifs import Member, sif, squashfs
from tests.support.elf import glibc, library
from tests.support.factories import APP, COPY, VAULT, Blob, Image, ManualClock, blob, image, push_image, push_manifest
from tests.support.sifs import sif_artifact

LATEST = TagName("latest")
SYSTEM = [
    entry("lib64/libc.so.6", glibc("2.34", level=3)),
    entry("usr/lib64/openmpi/lib/libmpi.so.40", library()),
    entry("etc/os-release", b"ID=rocky\nVERSION_ID=9.4\n"),
]


def of_files(*members: Member, architecture: str = "amd64", environment: tuple[str, ...] = (), layer: bytes | None = None) -> Image:
    """An image with one layer of these files."""
    config = blob(json.dumps({"architecture": architecture, "os": "linux", "config": {"Env": environment}}))
    content = Blob(gzip.compress(archive(members)) if layer is None else layer)
    named = {
        "schemaVersion": 2,
        "mediaType": types.OCI_MANIFEST,
        "config": config.descriptor(types.OCI_CONFIG),
        "layers": [content.descriptor(types.OCI_LAYER_GZIP)],
    }
    return Image(json.dumps(named).encode(), types.OCI_MANIFEST, (config, content))


class Site:
    """A registry that looks into what is pushed, and has a cluster described."""

    def __init__(self, database: Database, store: MemoryStore, clock: ManualClock) -> None:
        self.database = database
        self.queue = Queue(database, clock)
        self.surveys = Surveys(database, Stock(database, store), Means(seconds=60), self.queue, clock)
        room = SifRoom(database, Registry(database, store, clock=clock), self.queue, {}, clock, surveys=self.surveys)
        self.registry = Registry(database, store, seams=room.seams(), clock=clock)
        self.clusters = Clusters(database, clock)
        self.compatibility = Compatibility(database, self.registry.repositories, self.surveys, self.clusters, clock)
        self.clock = clock

    async def jobs(self) -> list[JobRow]:
        rows, _ = await self.database.read(partial(jobs.page, listing=Listing()))
        return [row for row in rows if row.kind == KIND]

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A job worker, until every job has ended."""
        stop = asyncio.Event()
        worker = Worker(self.database, [self.surveys.kind()], clock=self.clock, pace=Pace(look=0.01, grace=0.05))
        task = asyncio.create_task(worker.run(stop))
        try:
            yield
            for job in await self.jobs():
                assert await self.queue.wait(job.id, 60) is not None
        finally:
            stop.set()
            await task


@pytest.fixture
async def site(database: Database, store: MemoryStore, registry: Registry, clock: ManualClock, admin: Actor) -> AsyncIterator[Site]:
    made = Site(database, store, clock)
    await made.clusters.add(admin, Cluster("Kestrel", "amd64", level=2, mpi="libmpi.so.40"))
    yield made
    await made.queue.close()


async def looked_into(site: Site, actor: Actor, pushed: Image, name: RepositoryName = APP) -> None:
    async with site.working():
        await push_image(site.registry, actor, name, pushed, "latest")


@pytest.mark.parametrize("form", ["image", "SIF"])
async def test_what_is_pushed_is_looked_into_and_held_against_the_clusters(site: Site, admin: Actor, form: str) -> None:
    await looked_into(site, admin, of_files(*SYSTEM) if form == "image" else sif_artifact(sif(squashfs(*SYSTEM))))
    (shown,) = await site.compatibility.of(ANONYMOUS, APP, LATEST)
    assert shown.state == "known"
    assert shown.facts is not None
    assert (shown.facts.architecture, shown.facts.level, shown.facts.glibc, shown.facts.base) == ("amd64", 3, "2.34", "rocky")
    (verdict,) = shown.verdicts
    assert (verdict.cluster, verdict.runs) == ("Kestrel", "no")
    assert verdict.reasons == ("The image's libraries need x86-64-v3, and the processors of Kestrel have x86-64-v2.",)


async def test_the_parts_of_an_index_are_looked_into_one_by_one(site: Site, admin: Actor) -> None:
    parts = {"amd64": of_files(*SYSTEM), "arm64": of_files(architecture="arm64"), "unknown": of_files(architecture="x")}
    async with site.working():
        for one in parts.values():
            await push_image(site.registry, admin, APP, one)
        await push_manifest(site.registry, admin, APP, platform_index(**parts), "latest")
    shown = await site.compatibility.of(ANONYMOUS, APP, LATEST)
    assert [one.facts and one.facts.architecture for one in shown] == ["amd64", "arm64"]


async def test_labels_and_annotations_are_found_by_search_once_it_is_looked_into(site: Site, admin: Actor) -> None:
    config = '{"architecture": "amd64", "os": "linux", "config": {"Labels": {"title": "zebrafish"}}}'
    pushed = image("no layer that could be read", config=config, annotations={"org.example.team": "aquarium"})
    await looked_into(site, admin, pushed)
    for text, said in (("zebrafish", "title=zebrafish"), ("aquarium", "org.example.team=aquarium")):
        hits, _ = await site.registry.search.find(ANONYMOUS, text)
        assert [(hit.kind, hit.digest, hit.said) for hit in hits] == [("label", pushed.digest, said)]


async def test_an_image_from_before_labels_were_kept_is_looked_into_again(site: Site, admin: Actor) -> None:
    pushed = of_files(*SYSTEM)
    await looked_into(site, admin, pushed)
    row = await ManifestSelects(site.database).by_digest(APP, pushed.digest)
    assert row is not None
    old = ImageFacts("amd64", glibc="2.17")
    text = msgspec.json.encode(old).decode()
    record = partial(compatibility.record, manifest_id=row.manifest_id, facts=text, searched=searched(old), now=site.clock())
    await site.database.write(record)
    site.clock.advance(timedelta(hours=2))
    (anonymous,) = await site.compatibility.of(ANONYMOUS, APP, LATEST)
    assert (anonymous.state, len(await site.jobs())) == ("known", 1)  # nobody begins nothing
    (shown,) = await site.compatibility.of(admin, APP, LATEST)
    assert (shown.state, shown.facts, len(await site.jobs())) == ("known", old, 2)
    async with site.working():
        pass
    (shown,) = await site.compatibility.of(admin, APP, LATEST)
    assert shown.facts is not None
    assert (shown.facts.glibc, shown.facts.labels) == ("2.34", {})
    assert len(await site.jobs()) == 2


async def test_what_is_no_image_has_no_facts(site: Site, admin: Actor) -> None:
    await looked_into(site, admin, image(config_type="application/vnd.example+json"))
    assert await site.compatibility.of(admin, APP, LATEST) == []
    assert await site.jobs() == []


async def test_who_may_not_pull_learns_nothing(site: Site, admin: Actor, user: Actor) -> None:
    await looked_into(site, admin, of_files(*SYSTEM), VAULT)
    errors: list[tuple[Actor, type[RoadsteadError]]] = [(user, ProjectUnknown), (ANONYMOUS, Unauthenticated)]
    for actor, error in errors:
        with pytest.raises(error):
            await site.compatibility.of(actor, VAULT, LATEST)
        assert await site.compatibility.search(actor, "arch:amd64") == ([], False)
    assert len((await site.compatibility.search(admin, "arch:amd64"))[0]) == 1
    with pytest.raises(ManifestUnknown):
        await site.compatibility.of(admin, VAULT, TagName("other"))


@pytest.mark.parametrize("layer", [b"no archive", gzip.compress(b"\xff" * 2000), b""])
async def test_an_image_that_cannot_be_read_says_so_and_is_not_tried_again(site: Site, admin: Actor, layer: bytes) -> None:
    await looked_into(site, admin, of_files(environment=("CUDA_VERSION=12.4",), layer=layer))
    (job,) = await site.jobs()
    assert (job.state, job.attempt) == ("succeeded", 1)
    (shown,) = await site.compatibility.of(admin, APP, LATEST)
    assert shown.facts is not None
    assert (shown.facts.cuda, shown.facts.problem is None) == ("12.4", layer == b"")
    assert shown.verdicts[0].runs == "unknown"


async def test_what_was_pushed_before_is_looked_into_when_somebody_asks(site: Site, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, of_files(*SYSTEM), "latest")
    assert [one.state for one in await site.compatibility.of(ANONYMOUS, APP, LATEST)] == ["none"]
    assert await site.jobs() == []
    for _ in range(2):
        assert [one.state for one in await site.compatibility.of(admin, APP, LATEST)] == ["waiting"]
    assert len(await site.jobs()) == 1
    async with site.working():
        pass
    assert [one.state for one in await site.compatibility.of(ANONYMOUS, APP, LATEST)] == ["known"]


async def test_what_failed_is_not_tried_at_every_look(site: Site, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, of_files(*SYSTEM), "latest")
    await site.compatibility.of(admin, APP, LATEST)
    (job,) = await site.jobs()
    await site.database.write(lambda connection: jobs.cancel(connection, job.id, "enough", site.clock()))
    assert [one.state for one in await site.compatibility.of(admin, APP, LATEST)] == ["cancelled"]
    site.clock.advance(timedelta(hours=2))
    assert [one.state for one in await site.compatibility.of(admin, APP, LATEST)] == ["waiting"]


async def test_an_image_that_is_gone_is_not_looked_into(site: Site, admin: Actor) -> None:
    pushed = of_files(*SYSTEM)
    await push_image(site.registry, admin, APP, pushed, "latest")
    await site.registry.manifests.delete_whole(admin, APP, pushed.digest)
    async with site.working():
        pass
    assert [(job.state, job.result) for job in await site.jobs()] == [("succeeded", "false")]


async def test_images_are_found_by_what_they_need(site: Site, admin: Actor) -> None:
    cuda = of_files(architecture="arm64", environment=("CUDA_VERSION=12.4.1",))
    await looked_into(site, admin, of_files(*SYSTEM))
    await looked_into(site, admin, cuda, COPY)

    async def found(text: str) -> list[str]:
        return [str(one.repository) for one in (await site.compatibility.search(ANONYMOUS, text))[0]]

    assert await found("mpi:openmpi") == await found("mpi:libmpi.so.40") == await found("level:3 glibc>=2.34 os:rocky") == [str(APP)]
    assert await found("cuda:12") == await found("arch:arm64") == await found("cuda>=12.4 cuda<13") == [str(COPY)]
    assert await found("mpi:open") == await found("cuda:11") == await found("cuda>12.4") == await found("mpi:open_pi") == []
    first, more = await site.compatibility.search(ANONYMOUS, "glibc>=2.1 glibc<3", Page(1, 1))
    assert (len(first), more) == (1, False)
    await site.registry.manifests.delete_whole(admin, COPY, cuda.digest)
    assert await found("cuda:12") == []
    with pytest.raises(InvalidInput):
        await found("nothing:known")
