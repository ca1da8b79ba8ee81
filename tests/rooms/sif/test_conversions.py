"""Virtual tags, and the jobs behind them: one conversion for however many ask, failures that are not repeated, content made again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial

import msgspec
import pytest

from roadstead.access.actor import ANONYMOUS, SYSTEM, Action, Actor
from roadstead.access.audit import Audit
from roadstead.content.memory import MemoryStore
from roadstead.errors import (
    BlobUnknown,
    Denied,
    InvalidLayer,
    ManifestUnknown,
    NotConvertible,
    NotReady,
    ProjectUnknown,
    StoreFailed,
    Unauthenticated,
)
from roadstead.metadata import contents, jobs
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.manifests import ManifestRow
from roadstead.metadata.projects import ConversionPolicy
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.rules import Rules
from roadstead.sif.conversions import Patience
from roadstead.sif.forms import Form
from roadstead.sif.shown import ShownConversion
from roadstead.upkeep.collect import collect
from tests.rooms.sif.house import LONG, SIF, House, opened, platform_index, push_index, subject
from tests.support.factories import APP, COPY, VAULT, Image, ManualClock, image, push_image, push_manifest, read_blob

ONE = image("one")
TWO = image("two")
ONE_SIF = TagName("1.sif")
MANY = 200

Open = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def open_house(database: Database, store: MemoryStore, clock: ManualClock) -> Open:
    return partial(opened, database, store, clock)


@pytest.fixture
async def house(open_house: Open) -> AsyncIterator[House]:
    async with open_house() as house:
        yield house


@asynccontextmanager
async def working(house: House) -> AsyncIterator[House]:
    async with house.work():
        yield house


async def get(house: House, actor: Actor, tag: str, name: RepositoryName = APP) -> ManifestRow:
    async with asyncio.timeout(LONG):
        return await house.registry.manifests.get(actor, name, TagName(tag))


def made_of(house: House, one: Image, form: Form = Form.SIF) -> bytes:
    """The manifest that is made of an image."""
    return house.makers[form].manifest(subject(one))


# --- what a virtual tag stands for ------------------------------------------------------------------------------------------------


async def test_an_image_is_converted_when_its_virtual_tag_is_asked_for(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    async with house.work():
        row = await get(house, admin, "1.sif")
    assert row.content == made_of(house, ONE)
    assert await read_blob(house.registry, admin, APP, parse_manifest(row.content, None).layers[0].digest) == house.maker.file(ONE.digest)
    assert (await get(house, admin, "1.sif")).digest == row.digest
    assert house.maker.made == [ONE.digest]
    assert house.stored == 1
    assert house.examined == [parse_manifest(row.content, None)]


async def test_the_job_says_what_it_did(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    async with house.work():
        row = await get(house, admin, "1.sif")
    (job,) = await house.jobs()
    assert (job.kind, job.project, job.state) == ("convert", "library", "succeeded")
    assert msgspec.json.decode(job.result or "") == {"digest": str(row.digest), "shared": False}
    lines = [one.line for one in await house.database.read(partial(jobs.lines, job_id=job.id))]
    assert lines == [f"Converting library/app@{ONE.digest} to SIF.", "half of it", f"Made {row.digest}."]


async def test_a_real_tag_of_that_name_wins(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    await push_image(house.registry, admin, APP, TWO, "1.sif")
    assert (await get(house, admin, "1.sif")).digest == TWO.digest
    assert await house.jobs() == []


async def test_virtual_tags_are_not_listed_and_cannot_be_deleted(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    async with house.work():
        await get(house, admin, "1.sif")
    assert await house.registry.tags.names(admin, APP, "", 10) == ["1"]
    with pytest.raises(ManifestUnknown):
        await house.registry.manifests.delete(admin, APP, ONE_SIF)


async def test_what_has_the_form_already_is_itself(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, SIF, "sif")
    await push_image(house.registry, admin, APP, ONE, "image")
    sifs = await push_index(house.registry, admin, APP, "sifs", amd64=SIF)
    images = await push_index(house.registry, admin, APP, "images", amd64=ONE)
    assert (await get(house, admin, "sif.sif")).digest == SIF.digest
    assert (await get(house, admin, "image.oci")).digest == ONE.digest
    assert (await get(house, admin, "sifs.sif")).digest == sifs.digest
    assert (await get(house, admin, "images.oci")).digest == images.digest
    assert await house.jobs() == []


@pytest.mark.parametrize("tag", ["absent.sif", "1.sif.sif", "1.sif.oci", "artifact.sif", "artifact.oci", "artifacts.sif"])
async def test_there_are_no_virtual_tags_of_what_is_not_there_or_no_image(house: House, admin: Actor, tag: str) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    chart = Image(ONE.content.replace(b"vnd.oci.image.config.v1+json", b"vnd.cncf.helm.config.v1+json"), ONE.media_type, ONE.blobs)
    await push_image(house.registry, admin, APP, chart, "artifact")
    await push_manifest(house.registry, admin, APP, platform_index(amd64=chart), "artifacts")
    with pytest.raises(ManifestUnknown):
        await get(house, admin, tag)
    assert await house.jobs() == []


async def test_of_an_index_one_platform_gives_a_plain_manifest(house: House, admin: Actor) -> None:
    await push_index(house.registry, admin, APP, "1", arm64=TWO, amd64=ONE)
    async with house.work():
        assert (await get(house, admin, "1.sif")).content == made_of(house, ONE)
    assert house.maker.made == [ONE.digest]


async def test_of_an_index_several_platforms_give_an_index(house: House, admin: Actor) -> None:
    await house.decide("library", ConversionPolicy(platforms=("linux/amd64", "linux/arm64", "linux/s390x")))
    whole = await push_index(house.registry, admin, APP, "1", arm64=TWO, amd64=ONE)
    async with house.work():
        row = await get(house, admin, "1.sif")
    index = parse_manifest(row.content, row.media_type)
    assert [child.digest for child in index.children] == [Digest.of(made_of(house, one)) for one in (ONE, TWO)]
    assert [child.platform for child in index.children] == [{"os": "linux", "architecture": one} for one in ("amd64", "arm64")]
    assert index.subject is not None
    assert index.subject.digest == whole.digest
    assert (await get(house, admin, "1.sif")).digest == row.digest


async def test_an_index_without_the_projects_platforms_says_which_it_has(house: House, admin: Actor) -> None:
    await push_index(house.registry, admin, APP, "1", arm64=TWO, s390x=ONE)
    with pytest.raises(NotConvertible, match="for linux/arm64, linux/s390x; this project converts linux/amd64"):
        await get(house, admin, "1.sif")


async def test_a_sif_is_given_as_an_image_to_who_only_runs_images(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, SIF, "1")
    async with house.work():
        assert (await get(house, admin, "1.oci")).content == made_of(house, SIF, Form.OCI)
        row = await house.registry.manifests.get(admin, APP, TagName("1"), runs_images=True)
    assert row.content == made_of(house, SIF, Form.OCI)
    assert (await get(house, admin, "1")).digest == SIF.digest
    assert (await house.registry.manifests.get(admin, APP, SIF.digest, runs_images=True)).digest == SIF.digest
    await house.decide("library", ConversionPolicy(sif_as_image=False))
    assert (await house.registry.manifests.get(admin, APP, TagName("1"), runs_images=True)).digest == SIF.digest


async def test_an_index_of_sifs_is_given_as_an_image_too(house: House, admin: Actor) -> None:
    await push_index(house.registry, admin, APP, "sifs", amd64=SIF)
    images = await push_index(house.registry, admin, APP, "images", amd64=ONE)
    async with house.work():
        for _ in range(2):
            row = await house.registry.manifests.get(admin, APP, TagName("sifs"), runs_images=True)
            assert row.content == made_of(house, SIF, Form.OCI)
    for _ in range(2):
        assert (await house.registry.manifests.get(admin, APP, TagName("images"), runs_images=True)).digest == images.digest


async def test_a_project_that_converts_nothing_has_no_virtual_tags(house: House, admin: Actor) -> None:
    await house.decide("library", ConversionPolicy(when="off"))
    await push_image(house.registry, admin, APP, ONE, "1")
    await push_image(house.registry, admin, APP, SIF, "sif")
    await push_index(house.registry, admin, APP, "index", s390x=TWO)
    for tag in ("1.sif", "index.sif"):
        with pytest.raises(ManifestUnknown):
            await get(house, admin, tag)
    assert (await get(house, admin, "sif.sif")).digest == SIF.digest
    assert (await house.registry.manifests.get(admin, APP, TagName("sif"), runs_images=True)).digest == SIF.digest


# --- who may, and how many ------------------------------------------------------------------------------------------------------------


async def test_the_anonymous_start_conversions_only_where_the_project_lets_them(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    with pytest.raises(Unauthenticated, match="Log in"):
        await get(house, ANONYMOUS, "1.sif")
    assert await house.jobs() == []
    await house.decide("library", ConversionPolicy(anonymous=True))
    async with house.work():
        assert (await get(house, ANONYMOUS, "1.sif")).content == made_of(house, ONE)
    await house.decide("library", ConversionPolicy())
    assert (await get(house, ANONYMOUS, "1.sif")).content == made_of(house, ONE)


async def test_many_who_wait_cause_one_conversion(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    house.maker.open.clear()
    async with house.work(), asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(get(house, admin, "1.sif")) for _ in range(MANY)]
        await house.maker.begun.wait()
        house.maker.open.set()
    assert {task.result().content for task in asked} == {made_of(house, ONE)}
    assert len(await house.jobs()) == 1
    assert house.maker.made == [ONE.digest]


async def test_who_waits_too_long_is_told_how_far_it_is(open_house: Open, admin: Actor) -> None:
    async with open_house(Patience(seconds=0.05)) as house:
        await push_image(house.registry, admin, APP, ONE, "1")
        with pytest.raises(NotReady, match="is waiting") as refused:
            await get(house, admin, "1.sif")
        (job,) = await house.jobs()
        assert refused.value.detail == {"retry_after": 10, "job": job.id, "state": "waiting", "progress": None}


async def test_beyond_so_many_nobody_waits(open_house: Open, admin: Actor) -> None:
    async with open_house(Patience(seconds=LONG, waiters=3)) as house:
        await push_image(house.registry, admin, APP, ONE, "1")
        house.maker.open.clear()
        async with house.work(), asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(get(house, admin, "1.sif")) for _ in range(3)]
            await house.maker.begun.wait()
            with pytest.raises(NotReady):
                await get(house, admin, "1.sif")
            house.maker.open.set()
        assert {task.result().content for task in waiting} == {made_of(house, ONE)}
        assert (await get(house, admin, "1.sif")).content == made_of(house, ONE)


# --- failures -------------------------------------------------------------------------------------------------------------------------


async def test_a_failure_is_the_answer_for_an_hour(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    house.maker.error = InvalidLayer("The layer is a picture.")
    async with house.work():
        for _ in range(2):
            with pytest.raises(NotConvertible, match="The layer is a picture"):
                await get(house, admin, "1.sif")
        assert len(await house.jobs()) == 1
        house.maker.error = None
        house.clock.advance(timedelta(minutes=61))
        assert (await get(house, admin, "1.sif")).content == made_of(house, ONE)


async def test_a_failure_that_somebody_has_tried_again_is_waited_for(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    house.maker.error = InvalidLayer("The layer is a picture.")
    async with house.work():
        with pytest.raises(NotConvertible):
            await get(house, admin, "1.sif")
        (job,) = await house.jobs()
        house.maker.error = None
        assert await house.database.write(partial(jobs.again, job_id=job.id, now=house.clock()))
        assert (await get(house, admin, "1.sif")).content == made_of(house, ONE)


async def test_what_failed_because_of_the_moment_is_begun_again_soon(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    house.maker.error = StoreFailed("The store is away.")
    async with house.work() as worker, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(_refused(house, admin))
        await house.maker.begun.wait()
        for _ in range(2):
            await _until_waiting(house)
            house.clock.advance(timedelta(minutes=2))
            worker.wake()
        assert "The store is away" in (await asked).message
    house.maker.error = None
    house.clock.advance(timedelta(minutes=2))
    async with house.work():
        assert (await get(house, admin, "1.sif")).content == made_of(house, ONE)


async def _refused(house: House, admin: Actor) -> NotReady:
    with pytest.raises(NotReady) as refused:
        await get(house, admin, "1.sif")
    return refused.value


async def _until_waiting(house: House) -> None:
    async with asyncio.timeout(LONG):
        while (row := (await house.jobs())[0]).state != "waiting" or row.run_after <= house.clock():  # noqa: ASYNC110 - a row changes
            await asyncio.sleep(0.01)


async def test_a_cancelled_conversion_is_told(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    house.maker.open.clear()
    async with house.work(), asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(_not_convertible(house, admin))
        await house.maker.begun.wait()
        (job,) = await house.jobs()
        await house.database.write(partial(jobs.cancel, job_id=job.id, reason="Cancelled by admin.", now=house.clock()))
        assert (await asked).message == "Cancelled by admin."
    assert house.maker.made == []


async def _not_convertible(house: House, admin: Actor) -> NotConvertible:
    with pytest.raises(NotConvertible) as refused:
        await get(house, admin, "1.sif")
    return refused.value


async def test_an_image_that_is_deleted_meanwhile_ends_its_conversion(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    house.maker.open.clear()
    async with house.work(), asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(_not_convertible(house, admin))
        await house.maker.begun.wait()
        await house.registry.manifests.delete(admin, APP, ONE.digest)
        house.maker.open.set()
        assert "not in library/app any more" in (await asked).message


# --- elsewhere, and again ---------------------------------------------------------------------------------------------------------------


async def test_what_another_repository_has_is_not_made_again(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, VAULT, ONE, "1")
    async with house.work():
        await get(house, admin, "1.sif", VAULT)
    await push_image(house.registry, admin, COPY, ONE, "1")
    assert (await get(house, admin, "1.sif", COPY)).content == made_of(house, ONE)
    assert house.maker.made == [ONE.digest]
    assert len(await house.jobs()) == 1


async def test_a_new_converter_moves_the_virtual_tag_and_the_old_digest_stays(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    async with house.work():
        old = await get(house, admin, "1.sif")
        house.maker.version = "2"
        new = await get(house, admin, "1.sif")
    assert new.digest != old.digest
    assert (await house.registry.manifests.get(admin, APP, old.digest)).content == old.content


async def test_a_worker_of_another_version_leaves_the_job_to_others(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(get(house, admin, "1.sif"))
        while not await house.jobs():  # noqa: ASYNC110 - a row appears
            await asyncio.sleep(0.01)
        house.maker.version = "2"
        async with house.work():
            await _until_waiting(house)
        house.maker.version = "1"
        house.clock.advance(timedelta(minutes=2))
        async with house.work():
            assert (await asked).content == made_of(house, ONE)


async def evict(house: House, digest: Digest) -> None:
    """Take a blob out of the repository, and let the collector take its bytes."""
    place = await house.registry.repositories.locate(SYSTEM, APP, Action.PULL)
    assert place.repository_id is not None
    await house.database.write(partial(contents.unlink, repository_id=place.repository_id, digest=digest, now=house.clock()))
    house.clock.advance(timedelta(days=3))
    assert await collect(house.database, house.store, Rules(), house.clock) > 0


async def test_evicted_content_is_made_again_when_its_blob_is_asked_for(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    async with house.work():
        row = await get(house, admin, "1.sif")
        layer = parse_manifest(row.content, None).layers[0]
        await evict(house, layer.digest)
        assert await read_blob(house.registry, admin, APP, layer.digest) == house.maker.file(ONE.digest)
        await evict(house, layer.digest)
        assert await house.registry.blobs.size(admin, APP, layer.digest) == layer.size
        with pytest.raises(BlobUnknown):
            await read_blob(house.registry, admin, APP, Digest.of(b"unheard of"))


# --- on push ------------------------------------------------------------------------------------------------------------------------


async def test_what_a_tag_points_to_is_converted_when_it_is_pushed(house: House, admin: Actor) -> None:
    await house.decide("library", ConversionPolicy(when="push"))
    await push_image(house.registry, admin, APP, ONE)
    assert await house.jobs() == []
    await push_manifest(house.registry, admin, APP, ONE, "1")
    (job,) = await house.jobs()
    async with house.work():
        assert (await house.ended(job.id)).state == "succeeded"
    assert (await get(house, ANONYMOUS, "1.sif")).content == made_of(house, ONE)
    await push_manifest(house.registry, admin, APP, ONE, "2")
    assert len(await house.jobs()) == 1


async def test_of_a_pushed_index_the_projects_platforms_are_converted(house: House, admin: Actor) -> None:
    await house.decide("library", ConversionPolicy(when="push"))
    await push_index(house.registry, admin, APP, "1", arm64=TWO, amd64=ONE)
    assert [msgspec.json.decode(job.payload)["source"] for job in await house.jobs()] == [str(ONE.digest)]


async def test_who_waits_for_a_pushed_image_hastens_its_conversion(open_house: Open, admin: Actor) -> None:
    async with open_house(Patience(seconds=0.01)) as house:
        await house.decide("library", ConversionPolicy(when="push"))
        await push_image(house.registry, admin, APP, ONE, "1")
        (before,) = await house.jobs()
        with pytest.raises(NotReady):
            await get(house, admin, "1.sif")
        (after,) = await house.jobs()
        assert (before.id, before.priority) == (after.id, 0)
        assert after.priority > 0


@pytest.mark.parametrize("when", ["demand", "off"])
async def test_nothing_follows_a_push_where_the_project_does_not_want_it(house: House, admin: Actor, when: str) -> None:
    await house.decide("library", ConversionPolicy(when=when))
    await push_image(house.registry, admin, APP, ONE, "1")
    assert await house.jobs() == []


async def test_sifs_and_artifacts_are_not_converted_on_push(house: House, admin: Actor) -> None:
    await house.decide("library", ConversionPolicy(when="push"))
    await push_image(house.registry, admin, APP, SIF, "sif")
    await push_index(house.registry, admin, APP, "sifs", amd64=SIF)
    await push_index(house.registry, admin, APP, "elsewhere", s390x=ONE)
    assert await house.jobs() == []


# --- as people see them -----------------------------------------------------------------------------------------------------------------


async def test_what_is_converted_is_shown_with_its_job(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    tag, shown = TagName("1"), house.room.shown
    assert await shown.all(ANONYMOUS, APP, tag) == [ShownConversion(Form.SIF, None, ONE.digest, "none")]
    (begun,) = await shown.start(admin, APP, tag)
    (job,) = await house.jobs()
    assert begun == ShownConversion(Form.SIF, None, ONE.digest, "waiting", job=job.id)
    async with house.work():
        await house.ended(job.id)
    made = made_of(house, ONE)
    (converted,) = await shown.all(admin, APP, ONE.digest)
    size = len(made) + 2 + len(house.maker.file(ONE.digest))
    assert converted == ShownConversion(Form.SIF, None, ONE.digest, "converted", Digest.of(made), size)
    assert await shown.start(admin, APP, tag) == [converted]
    assert len(await house.jobs()) == 1
    await evict(house, parse_manifest(made, None).layers[0].digest)
    assert [one.state for one in await shown.all(admin, APP, tag)] == ["evicted"]


async def test_a_failure_is_shown_and_can_be_begun_again(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    house.maker.error = InvalidLayer("The layer is a picture.")
    tag = TagName("1")
    async with house.work():
        for count in (1, 2):
            await house.room.shown.start(admin, APP, tag)
            failed = (await house.jobs())[0]
            await house.ended(failed.id)
            (shown,) = await house.room.shown.all(admin, APP, tag)
            assert (shown.state, shown.job, shown.reason) == ("failed", failed.id, "The layer is a picture.")
            assert len(await house.jobs()) == count


async def test_of_an_index_the_parts_are_shown_that_the_project_converts(house: House, admin: Actor) -> None:
    await house.decide("library", ConversionPolicy(platforms=("linux/arm64", "linux/amd64")))
    await push_index(house.registry, admin, APP, "1", amd64=ONE, arm64=TWO, s390x=image("three"))
    shown = await house.room.shown.all(admin, APP, TagName("1"))
    assert [(one.platform, one.source) for one in shown] == [("linux/arm64", TWO.digest), ("linux/amd64", ONE.digest)]


async def test_a_sif_is_shown_with_its_image(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, SIF, "1")
    assert [one.form for one in await house.room.shown.all(admin, APP, TagName("1"))] == [Form.OCI]


async def test_who_may_pull_sees_conversions_and_who_may_push_begins_them(house: House, admin: Actor, user: Actor) -> None:
    tag, shown = TagName("1"), house.room.shown
    for name in (APP, VAULT):
        await push_image(house.registry, admin, name, ONE, "1")
    assert len(await shown.all(user, APP, tag)) == 1
    with pytest.raises(Denied):
        await shown.start(user, APP, tag)
    with pytest.raises(ProjectUnknown):
        await shown.all(user, VAULT, tag)
    with pytest.raises(ManifestUnknown):
        await shown.all(user, APP, TagName("absent"))
    assert await house.jobs() == []


async def test_nothing_is_begun_where_nothing_is_converted(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    await push_index(house.registry, admin, APP, "s390x", s390x=ONE)
    with pytest.raises(NotConvertible, match="nothing in this"):
        await house.room.shown.start(admin, APP, TagName("s390x"))
    await house.decide("library", ConversionPolicy(when="off"))
    with pytest.raises(NotConvertible, match="converts no images"):
        await house.room.shown.start(admin, APP, TagName("1"))
    assert await house.jobs() == []


async def test_beginning_a_conversion_is_in_the_audit_log(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    await house.room.shown.start(admin, APP, TagName("1"))
    (job,) = await house.jobs()
    rows, _ = await Audit(house.database, house.clock).list(admin, Listing())
    assert (rows[0].action, rows[0].resource, rows[0].detail) == ("update", "library/app:1", f"conversion begun by job {job.id}")
