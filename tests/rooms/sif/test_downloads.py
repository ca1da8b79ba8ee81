"""Which file a download is: what its tag stands for in the form of a SIF, of an index the one for an architecture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import ManifestUnknown, NotConvertible, ProjectUnknown
from roadstead.metadata.database import Database
from roadstead.metadata.projects import ConversionPolicy
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, TagName
from tests.rooms.sif.house import LONG, SIF, House, opened, push_index
from tests.support.factories import APP, VAULT, ManualClock, image, push_image, push_manifest
from tests.support.sifs import sif, sif_artifact

ONE = image("one")
AMD64, ARM64 = (sif_artifact(sif(architecture)) for architecture in ("amd64", "arm64"))
LONGEST = "t" * 128


@pytest.fixture
async def house(database: Database, store: MemoryStore, clock: ManualClock) -> AsyncIterator[House]:
    async with opened(database, store, clock) as house, house.work():
        yield house


async def file(house: House, actor: Actor, reference: str, architecture: str | None = None) -> Digest:
    """The digest of the file."""
    named: Reference = Digest.parse(reference) if ":" in reference else TagName.parse(reference)
    async with asyncio.timeout(LONG):
        return (await house.registry.sifs.download(actor, APP, named, architecture)).file


async def test_a_sif_is_itself_and_an_image_is_what_is_made_of_it(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, SIF, "sif")
    await push_image(house.registry, admin, APP, ONE, "image")
    assert await file(house, admin, "sif") == SIF.blobs[1].digest
    assert await file(house, admin, "image") == Digest.of(house.maker.file(ONE.digest))


async def test_a_real_tag_with_the_suffix_wins_and_needs_no_other(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, AMD64, "1.sif", "2.sif")
    await push_image(house.registry, admin, APP, ARM64, "1")
    await push_image(house.registry, admin, APP, ONE, "2")
    assert {await file(house, admin, tag) for tag in ("1", "2", "1.sif")} == {AMD64.blobs[1].digest}
    assert house.maker.made == []


async def test_a_tag_that_is_too_long_for_the_suffix_is_itself_alone(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, SIF, LONGEST)
    assert await file(house, admin, LONGEST) == SIF.blobs[1].digest
    await push_image(house.registry, admin, APP, ONE, LONGEST)
    with pytest.raises(NotConvertible, match="is not a SIF"):
        await file(house, admin, LONGEST)


@pytest.mark.parametrize("platforms", [("linux/amd64",), ("linux/amd64", "linux/arm64"), ("linux/riscv64",), ()])
async def test_of_an_index_of_sifs_each_can_be_had_whatever_the_project_converts(
    house: House, admin: Actor, platforms: tuple[str, ...]
) -> None:
    await push_index(house.registry, admin, APP, "both", amd64=AMD64, arm64=ARM64)
    await house.decide("library", ConversionPolicy(platforms=platforms))
    assert await file(house, admin, "both", "amd64") == AMD64.blobs[1].digest
    assert await file(house, admin, "both", "arm64") == ARM64.blobs[1].digest
    with pytest.raises(ManifestUnknown, match="for s390x"):
        await file(house, admin, "both", "s390x")


async def test_of_an_index_of_images_those_that_the_project_converts(house: House, admin: Actor) -> None:
    other = image("two")
    await push_index(house.registry, admin, APP, "both", amd64=ONE, arm64=other)
    await house.decide("library", ConversionPolicy(platforms=("linux/amd64", "linux/arm64")))
    for architecture, made in (("amd64", ONE), ("arm64", other)):
        assert await file(house, admin, "both", architecture) == Digest.of(house.maker.file(made.digest))


async def test_a_digest_is_a_manifests_or_a_files(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, AMD64)
    both = await push_index(house.registry, admin, APP, "both", amd64=AMD64, arm64=ARM64)
    for digest in (AMD64.digest, AMD64.blobs[1].digest):
        assert await file(house, admin, str(digest)) == AMD64.blobs[1].digest
    assert await file(house, admin, str(both.digest), "arm64") == ARM64.blobs[1].digest
    with pytest.raises(ManifestUnknown):
        await file(house, admin, str(ONE.digest))


async def test_an_image_is_converted_by_tag_alone(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, ONE, "1")
    with pytest.raises(NotConvertible, match="named by a tag"):
        await file(house, admin, str(ONE.digest))
    made = (await house.registry.manifests.get(admin, APP, TagName("1.sif"))).digest
    assert await file(house, admin, str(made)) == Digest.of(house.maker.file(ONE.digest))


async def test_what_is_not_there_or_is_not_converted_is_told(house: House, admin: Actor, user: Actor) -> None:
    with pytest.raises(ManifestUnknown):
        await file(house, admin, "absent")
    await push_image(house.registry, admin, APP, ONE, "1")
    await house.decide("library", ConversionPolicy(when="off"))
    with pytest.raises(NotConvertible, match="none can be made"):
        await file(house, admin, "1")
    await push_image(house.registry, admin, VAULT, SIF, "1")
    with pytest.raises(ProjectUnknown):
        await house.registry.sifs.download(user, VAULT, TagName("1"))


async def test_a_download_is_a_pull_of_the_sif(house: House, admin: Actor) -> None:
    await push_image(house.registry, admin, APP, AMD64, "1")
    await push_manifest(house.registry, admin, APP, AMD64, "2")
    await house.registry.sifs.download(admin, APP, TagName("1"))
    await house.registry.pulls.flush()
    assert (await house.registry.artifacts.get(admin, APP, TagName("1"))).pulled_at is None
    await house.registry.sifs.download(admin, APP, TagName("1"), count=True)
    await house.registry.pulls.flush()
    assert (await house.registry.artifacts.get(admin, APP, TagName("2"))).pulled_at == house.clock()
