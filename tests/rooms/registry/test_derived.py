"""What this registry makes of a manifest: recorded beside it, charged to nobody, shared where the source is seen, gone with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Row, select

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.content.store import Sealed
from roadstead.errors import Conflict, InvalidManifest, ManifestUnknown, NotFound, QuotaExceeded, ReferenceMissing
from roadstead.metadata import projects, quota_upkeep
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow, RepositorySelects
from roadstead.metadata.schema import events
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.listing import Listing
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from tests.conftest import MakeRegistry
from tests.support.factories import APP, COPY, VAULT, Image, ManualClock, image, index, push_image, push_manifest, read_blob

SOURCE = image("layer", config="{}")
OTHER = image("arm", config="{}")
CONVERSION = "converter 1"
ROUNDS = 12


def made_of(source: Image, text: str = "sif") -> Image:
    """What a conversion makes of it: one blob of these characters and an empty config."""
    return image(text, config="{}", subject=source)


async def place_of(database: Database, name: RepositoryName) -> PlaceRow:
    place = await RepositorySelects(database).place(name)
    assert place is not None
    return place


async def repository_of(database: Database, name: RepositoryName) -> int:
    repository_id = (await place_of(database, name)).repository_id
    assert repository_id is not None
    return repository_id


async def seal(store: MemoryStore, content: bytes) -> Sealed:
    """Bytes that a converter has written into the store."""
    writer = await store.resume((await store.begin()).state)
    await writer.write(content)
    return await writer.seal()


async def derive(
    registry: Registry, database: Database, name: RepositoryName, source: Image, made: Image, conversion: str = CONVERSION
) -> Digest:
    """Record what a conversion has made."""
    blobs = [one.content for one in made.blobs]
    return await registry.derived.record(await place_of(database, name), name, source.digest, conversion, made.content, blobs)


async def used(registry: Registry, admin: Actor, name: RepositoryName = APP) -> int:
    return (await registry.quotas.get(admin, name.project)).stored


async def keys(store: MemoryStore) -> set[str]:
    return {one.key async for one in store.keys()}  # noqa: SIM118 - a store is no mapping


async def test_is_found_pulled_and_listed_as_a_referrer_but_by_no_tag(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    made = made_of(SOURCE)

    assert await derive(registry, database, APP, SOURCE, made) == made.digest

    found = await registry.derived.find(await repository_of(database, APP), SOURCE.digest, CONVERSION)
    assert found is not None
    assert (found.digest, found.whole) == (made.digest, True)
    assert (await registry.manifests.get(admin, APP, made.digest)).content == made.content
    assert await read_blob(registry, admin, APP, made.blobs[1].digest) == b"sif"
    referrers = await registry.referrers.list(admin, APP, SOURCE.digest, None, 0, 10)
    assert [one.digest for one in referrers.referrers] == [made.digest]
    assert await registry.tags.names(admin, APP, "", 10) == ["v1"]


async def test_what_nobody_made_is_not_found(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    await derive(registry, database, APP, SOURCE, made_of(SOURCE))
    here = await repository_of(database, APP)

    assert await registry.derived.find(here, SOURCE.digest, "converter 2") is None
    assert await registry.derived.find(here, made_of(SOURCE).digest, CONVERSION) is None
    assert await registry.derived.find(here + 1, SOURCE.digest, CONVERSION) is None


async def test_may_be_recorded_again(registry: Registry, database: Database, admin: Actor, store: MemoryStore) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    made = made_of(SOURCE)
    await derive(registry, database, APP, SOURCE, made)
    before = await keys(store)

    assert await derive(registry, database, APP, SOURCE, made) == made.digest

    assert await keys(store) == before
    assert [one.type for one in await _events(database)].count("manifest.derived") == 1


async def test_takes_sealed_bytes_and_keeps_one_copy(registry: Registry, database: Database, admin: Actor, store: MemoryStore) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    made = made_of(SOURCE)
    place, before = await place_of(database, APP), await keys(store)
    first = await seal(store, b"sif")

    await registry.derived.record(place, APP, SOURCE.digest, CONVERSION, made.content, [first, b"{}"])
    await registry.derived.record(place, APP, SOURCE.digest, CONVERSION, made.content, [await seal(store, b"sif"), b"{}"])

    assert await keys(store) - before == {first.key}


async def test_a_conversion_that_makes_something_else_is_not_believed(
    registry: Registry, database: Database, admin: Actor, store: MemoryStore
) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    await derive(registry, database, APP, SOURCE, made_of(SOURCE))
    before = await keys(store)

    with pytest.raises(Conflict):
        await derive(registry, database, APP, SOURCE, made_of(SOURCE, "other"))

    assert await keys(store) == before


async def test_nothing_is_recorded_where_the_source_is_gone(
    registry: Registry, database: Database, admin: Actor, store: MemoryStore
) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    place = await place_of(database, APP)
    await registry.manifests.delete(admin, APP, SOURCE.digest)
    before = await keys(store)

    with pytest.raises(ManifestUnknown):
        await registry.derived.record(place, APP, SOURCE.digest, CONVERSION, made_of(SOURCE).content, [b"{}", b"sif"])
    await registry.repositories.remove(admin, APP)
    with pytest.raises(ManifestUnknown):
        await registry.derived.record(place, APP, SOURCE.digest, CONVERSION, made_of(SOURCE).content, [b"{}", b"sif"])

    assert await keys(store) == before


async def test_what_is_recorded_must_name_its_subject_and_be_whole(
    registry: Registry, database: Database, admin: Actor, store: MemoryStore
) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    place, before = await place_of(database, APP), await keys(store)

    with pytest.raises(InvalidManifest):
        await registry.derived.record(place, APP, SOURCE.digest, CONVERSION, image("sif").content, [b"{}", b"sif"])
    with pytest.raises(ReferenceMissing):
        await registry.derived.record(place, APP, SOURCE.digest, CONVERSION, made_of(SOURCE).content, [b"{}"])
    with pytest.raises(ReferenceMissing):
        await registry.derived.record(place, APP, SOURCE.digest, CONVERSION, index(made_of(SOURCE), subject=SOURCE).content)

    assert await keys(store) == before


async def test_an_index_of_what_was_made_is_whole_with_its_parts(registry: Registry, database: Database, admin: Actor) -> None:
    several, whole, parts = await derive_several(registry, database, admin)

    here = await repository_of(database, APP)
    found = await registry.derived.find(here, several.digest, "both")
    assert found is not None
    assert (found.digest, found.whole) == (whole.digest, True)
    await registry.blobs.delete(admin, APP, parts[1].blobs[1].digest)
    found = await registry.derived.find(here, several.digest, "both")
    assert found is not None
    assert not found.whole


# --- sharing ------------------------------------------------------------------------------------------------------------------------


async def test_another_repository_has_what_was_made_before(registry: Registry, database: Database, admin: Actor) -> None:
    for name in (APP, VAULT):
        await push_image(registry, admin, name, SOURCE, "v1")
    made = made_of(SOURCE)
    await derive(registry, database, APP, SOURCE, made)

    shared = await registry.derived.share(await place_of(database, VAULT), VAULT, SOURCE.digest, CONVERSION)

    assert shared == made.digest
    assert await read_blob(registry, admin, VAULT, made.blobs[1].digest) == b"sif"
    found = await registry.derived.find(await repository_of(database, VAULT), SOURCE.digest, CONVERSION)
    assert found is not None
    assert found.whole


async def test_knowing_the_digest_of_a_source_grants_nothing(make_registry: MakeRegistry, database: Database, admin: Actor) -> None:
    registry = make_registry(Rules(accept_absent_content=True))
    await push_image(registry, admin, VAULT, SOURCE, "v1")
    await derive(registry, database, VAULT, SOURCE, made_of(SOURCE))
    # The manifest without its layer: that is what somebody has who only knows it.
    await push_manifest(registry, admin, APP, SOURCE, "v1")

    assert await registry.derived.share(await place_of(database, APP), APP, SOURCE.digest, CONVERSION) is None

    with pytest.raises(ManifestUnknown):
        await registry.manifests.get(admin, APP, made_of(SOURCE).digest)


async def test_nothing_is_shared_that_nobody_has(registry: Registry, database: Database, admin: Actor) -> None:
    for name in (APP, COPY):
        await push_image(registry, admin, name, SOURCE, "v1")
    place = await place_of(database, COPY)

    assert await registry.derived.share(place, COPY, SOURCE.digest, CONVERSION) is None
    await derive(registry, database, APP, SOURCE, made_of(SOURCE))
    assert await registry.derived.share(place, COPY, SOURCE.digest, "converter 2") is None
    await registry.blobs.delete(admin, APP, made_of(SOURCE).blobs[1].digest)
    assert await registry.derived.share(place, COPY, SOURCE.digest, CONVERSION) is None
    with pytest.raises(ManifestUnknown):
        await registry.derived.share(place, COPY, image("unknown").digest, CONVERSION)


async def test_what_was_taken_away_is_back_at_once_while_its_bytes_are_there(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    made = made_of(SOURCE)
    await derive(registry, database, APP, SOURCE, made)
    await registry.blobs.delete(admin, APP, made.blobs[1].digest)

    assert await registry.derived.share(await place_of(database, APP), APP, SOURCE.digest, CONVERSION) == made.digest

    assert await read_blob(registry, admin, APP, made.blobs[1].digest) == b"sif"


# --- quotas -------------------------------------------------------------------------------------------------------------------------


async def test_is_charged_to_nobody(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    before = await used(registry, admin)
    await registry.quotas.set(admin, APP.project, before)

    await derive(registry, database, APP, SOURCE, made_of(SOURCE))

    assert await used(registry, admin) == before


async def test_who_pushes_the_same_bytes_has_them_as_their_own(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    before, made = await used(registry, admin), made_of(SOURCE)
    await derive(registry, database, APP, SOURCE, made)

    await push_manifest(registry, admin, APP, made, "mine")

    assert await used(registry, admin) == before + len(b"sif")
    found = await registry.derived.find(await repository_of(database, APP), SOURCE.digest, CONVERSION)
    assert found is not None
    assert found.digest == made.digest
    await registry.manifests.delete(admin, APP, SOURCE.digest)
    assert (await registry.manifests.get(admin, APP, TagName("mine"))).digest == made.digest


async def test_what_somebody_has_pushed_is_known_as_made_when_it_is_made(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    made = made_of(SOURCE)
    await push_image(registry, admin, APP, made, "mine")
    before = await used(registry, admin)

    await derive(registry, database, APP, SOURCE, made)

    assert await used(registry, admin) == before
    found = await registry.derived.find(await repository_of(database, APP), SOURCE.digest, CONVERSION)
    assert found is not None
    await registry.manifests.delete(admin, APP, SOURCE.digest)
    assert (await registry.manifests.get(admin, APP, made.digest)).digest == made.digest


# --- gone with its source -------------------------------------------------------------------------------------------------------------


async def test_goes_with_its_source_and_so_does_what_was_made_of_it(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    made = made_of(SOURCE)
    again = made_of(made, "again")
    await derive(registry, database, APP, SOURCE, made)
    await derive(registry, database, APP, made, again, "converter 2")

    await registry.manifests.delete(admin, APP, SOURCE.digest)

    for one in (SOURCE, made, again):
        with pytest.raises(ManifestUnknown):
            await registry.manifests.get(admin, APP, one.digest)
    deleted = [one.old_digest for one in await _events(database) if one.type == "manifest.deleted"]
    assert deleted == [str(one.digest) for one in (SOURCE, made, again)]
    assert await used(registry, admin) == 0


async def test_may_be_deleted_by_itself_and_made_again(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    before, made = await used(registry, admin), made_of(SOURCE)
    await derive(registry, database, APP, SOURCE, made)

    await registry.manifests.delete(admin, APP, made.digest)

    assert await registry.derived.find(await repository_of(database, APP), SOURCE.digest, CONVERSION) is None
    assert await used(registry, admin) == before
    await derive(registry, database, APP, SOURCE, made)
    assert (await registry.manifests.get(admin, APP, made.digest)).digest == made.digest


async def test_goes_with_its_source_however_that_goes(registry: Registry, database: Database, admin: Actor) -> None:
    for name in (APP, COPY):
        await push_image(registry, admin, name, SOURCE, "v1")
        await derive(registry, database, name, SOURCE, made_of(SOURCE))

    await registry.manifests.delete_whole(admin, APP, SOURCE.digest)
    await registry.repositories.remove(admin, COPY)

    for name in (APP, COPY):
        with pytest.raises(NotFound):
            await registry.manifests.get(admin, name, made_of(SOURCE).digest)
    assert await used(registry, admin) == 0


async def test_what_was_made_of_a_part_stays_with_that_when_the_index_goes(registry: Registry, database: Database, admin: Actor) -> None:
    several, whole, parts = await derive_several(registry, database, admin)
    await registry.manifests.add_tag(admin, APP, SOURCE.digest, TagName("kept"))

    await registry.manifests.delete_whole(admin, APP, several.digest)

    assert (await registry.manifests.get(admin, APP, parts[0].digest)).digest == parts[0].digest
    for one in (several, whole, OTHER, parts[1]):
        with pytest.raises(ManifestUnknown):
            await registry.manifests.get(admin, APP, one.digest)


# --- used by itself -------------------------------------------------------------------------------------------------------------------


async def test_who_tags_it_has_it_as_their_own(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    before, made = await used(registry, admin), made_of(SOURCE)
    await derive(registry, database, APP, SOURCE, made)
    await registry.quotas.set(admin, APP.project, before)
    with pytest.raises(QuotaExceeded):
        await registry.manifests.add_tag(admin, APP, made.digest, TagName("mine"))
    await registry.quotas.set(admin, APP.project, -1)

    await registry.manifests.add_tag(admin, APP, made.digest, TagName("mine"))

    assert await used(registry, admin) == before + len(b"sif")
    await registry.manifests.delete(admin, APP, SOURCE.digest)
    assert (await registry.manifests.get(admin, APP, TagName("mine"))).digest == made.digest


async def test_who_names_it_in_an_index_has_it_as_their_own(registry: Registry, database: Database, admin: Actor) -> None:
    several, whole, parts = await derive_several(registry, database, admin)
    before = await used(registry, admin)

    await push_manifest(registry, admin, APP, index(whole), "mine")

    assert await used(registry, admin) == before + len(b"sif") + len(b"arm sif")
    for one in (several, SOURCE, OTHER):
        await registry.manifests.delete(admin, APP, one.digest)
    for one in (whole, *parts):
        assert (await registry.manifests.get(admin, APP, one.digest)).digest == one.digest


async def test_what_was_evicted_must_be_made_again_before_it_is_tagged(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE, "v1")
    made = made_of(SOURCE)
    await derive(registry, database, APP, SOURCE, made)
    await registry.blobs.delete(admin, APP, made.blobs[1].digest)

    with pytest.raises(ReferenceMissing):
        await registry.manifests.add_tag(admin, APP, made.digest, TagName("mine"))
    await derive(registry, database, APP, SOURCE, made)
    await registry.manifests.add_tag(admin, APP, made.digest, TagName("mine"))


# --- lists ------------------------------------------------------------------------------------------------------------------------------


async def test_is_an_accessory_of_its_source_and_in_no_list_by_itself(
    registry: Registry, database: Database, admin: Actor, clock: ManualClock
) -> None:
    several, whole, parts = await derive_several(registry, database, admin)
    made = image("sif", config="sif", config_type=media_type.SIF_CONFIG, subject=OTHER)
    pushed_at = clock()
    clock.advance(timedelta(hours=1))
    await derive(registry, database, APP, OTHER, made, "converter 2")

    listed, total = await registry.artifacts.page(admin, APP, Listing(), accessories=True)

    assert ([one.digest for one in listed], total) == ([several.digest], 1)
    assert [(one.digest, one.kind) for one in listed[0].accessories] == [(whole.digest, "conversion.oci")]
    about, _ = await registry.artifacts.accessories(admin, APP, OTHER.digest, Listing())
    assert [(one.digest, one.kind) for one in about] == [(parts[1].digest, "conversion.oci"), (made.digest, "conversion.sif")]
    row = await registry.repositories.get(admin, APP)
    assert (row.artifacts, row.updated_at) == (1, pushed_at)


async def test_an_index_of_sifs_is_told_as_such(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, APP, SOURCE)
    several = index(SOURCE)
    await push_manifest(registry, admin, APP, several, "v1")
    made = image("sif", config="sif", config_type=media_type.SIF_CONFIG, subject=SOURCE)
    await derive(registry, database, APP, SOURCE, made)
    await derive(registry, database, APP, several, index(made, subject=several))

    about, _ = await registry.artifacts.accessories(admin, APP, several.digest, Listing())

    assert [one.kind for one in about] == ["conversion.sif"]


async def test_a_copy_leaves_it_where_it_is(registry: Registry, database: Database, admin: Actor) -> None:
    several, whole, parts = await derive_several(registry, database, admin)

    await registry.copies.copy(admin, APP, TagName("v1"), VAULT)

    assert (await registry.manifests.get(admin, VAULT, several.digest)).digest == several.digest
    for one in (whole, *parts):
        with pytest.raises(ManifestUnknown):
            await registry.manifests.get(admin, VAULT, one.digest)


# --- at the same time -----------------------------------------------------------------------------------------------------------------


async def test_nothing_is_left_of_a_source_that_is_deleted_while_something_is_made_of_it(
    registry: Registry, database: Database, admin: Actor
) -> None:
    for number in range(ROUNDS):
        source = image(f"layer {number}")
        made = made_of(source, f"sif {number}")
        await push_image(registry, admin, APP, source)
        deriving = derive(registry, database, APP, source, made)
        done, deleted = await asyncio.gather(deriving, registry.manifests.delete(admin, APP, source.digest), return_exceptions=True)
        assert deleted is None
        assert done == made.digest or isinstance(done, ManifestUnknown), done
        with pytest.raises(ManifestUnknown):
            await registry.manifests.get(admin, APP, made.digest)
    assert await used(registry, admin) == 0


async def test_the_same_is_recorded_shared_and_pushed_at_the_same_time(registry: Registry, database: Database, admin: Actor) -> None:
    await push_image(registry, admin, COPY, SOURCE)
    await derive(registry, database, COPY, SOURCE, made_of(SOURCE))
    for number in range(ROUNDS):
        name = RepositoryName(f"library/app{number}")
        await push_image(registry, admin, name, SOURCE)
        made = made_of(SOURCE)
        outcomes = await asyncio.gather(
            *(derive(registry, database, name, SOURCE, made) for _ in range(3)),
            registry.derived.share(await place_of(database, name), name, SOURCE.digest, CONVERSION),
            push_image(registry, admin, name, made, "mine"),
        )
        assert set(outcomes[:4]) == {made.digest}
        found = await registry.derived.find(await repository_of(database, name), SOURCE.digest, CONVERSION)
        assert found is not None
        assert found.whole
        await registry.manifests.delete(admin, name, SOURCE.digest)
        # It was pushed, whenever that was.
        assert (await registry.manifests.get(admin, name, TagName("mine"))).digest == made.digest
    assert await used(registry, admin) == len(b"sif") + len(b"{}") + len(b"layer")
    assert await database.read(lambda connection: quota_upkeep.discrepancy(connection, project_id_of(connection))) is None


def project_id_of(connection: Connection) -> int:
    found = projects.find(connection, APP.project)
    assert found is not None
    return found.id


async def derive_several(registry: Registry, database: Database, admin: Actor) -> tuple[Image, Image, tuple[Image, Image]]:
    """An index of two images, an index of what is made of them, and its parts."""
    several = index(SOURCE, OTHER)
    await push_image(registry, admin, APP, SOURCE)
    await push_image(registry, admin, APP, OTHER)
    await push_manifest(registry, admin, APP, several, "v1")
    parts = (made_of(SOURCE, "sif"), made_of(OTHER, "arm sif"))
    for source, part in zip((SOURCE, OTHER), parts, strict=True):
        await derive(registry, database, APP, source, part)
    whole = index(*parts, subject=several)
    await derive(registry, database, APP, several, whole, "both")
    return several, whole, parts


async def _events(database: Database) -> Sequence[Row[Any]]:
    return await database.read(lambda connection: connection.execute(select(events).order_by(events.c.id)).all())
