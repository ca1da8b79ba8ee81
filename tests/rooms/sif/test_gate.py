"""A SIF is looked into before the manifest that names it is recorded, once for each content."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.content.store import Opened, Span
from roadstead.errors import ContentDamaged, InvalidManifest, InvalidSif, ManifestUnknown, ReferenceMissing
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match
from roadstead.metadata.schema import sif_facts
from roadstead.oci import media_type
from roadstead.oci.reference import TagName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.registry.seams import Seams
from roadstead.sif.gate import MOST_SIFS, SifGate
from roadstead.upkeep.collect import collect
from tests.conftest import MakeRegistry
from tests.support.factories import APP, COPY, Image, ManualClock, blob, image, index, push_blob, push_image, push_manifest
from tests.support.sifs import DEFINITION, LABELS, OLD_CONFIG, sif, sif_artifact

LATEST = TagName("latest")


class WatchedStore(MemoryStore):
    """A store that counts the bytes that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0

    async def open(self, key: str, size: int, span: Span | None = None, *, elsewhere: bool = False) -> Opened:
        self.read += span.length if span else size
        return await super().open(key, size, span, elsewhere=elsewhere)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def guarded(make_registry: MakeRegistry, database: Database, store: WatchedStore, clock: ManualClock) -> Registry:
    return make_registry(seams=Seams(push_gate=SifGate(database, store, clock)))


@pytest.fixture
def tolerant(make_registry: MakeRegistry, database: Database, store: WatchedStore, clock: ManualClock) -> Registry:
    return make_registry(seams=Seams(push_gate=SifGate(database, store, clock, accept_damaged=True)))


async def told(registry: Registry, actor: Actor, made: Image) -> tuple[str, dict[str, Any] | None]:
    """Kind and attributes, which a list and the artifact itself tell alike."""
    one = await registry.artifacts.get(actor, APP, made.digest)
    page, _ = await registry.artifacts.page(actor, APP, Listing(filters=(Filter("base", Match.EQUAL, ("*",)),)))
    (listed,) = [other for other in page if other.digest == made.digest]
    assert (listed.kind, listed.attributes) == (one.kind, one.attributes)
    return one.kind, one.attributes


async def kept(database: Database) -> int:
    """How many contents have facts."""
    return await database.read(lambda connection: connection.execute(select(func.count()).select_from(sif_facts)).scalar_one())


@pytest.mark.parametrize("layer_type", sorted(media_type.SIF_LAYER_TYPES))
@pytest.mark.parametrize(
    ("config", "config_type"),
    [(blob("{}"), media_type.SIF_CONFIG), (OLD_CONFIG, media_type.SIF_CONFIG), (blob("{}"), media_type.OCI_EMPTY)],
    ids=["apptainer", "old singularity", "oras and podman"],
)
async def test_a_sif_is_told_whatever_pushed_it(guarded: Registry, admin: Actor, layer_type: str, config: Any, config_type: str) -> None:
    made = sif_artifact(sif("arm64"), layer_type=layer_type, config=config, config_type=config_type)
    await push_image(guarded, admin, APP, made, "latest")
    kind, attributes = await told(guarded, admin, made)
    assert kind == "SIF" and attributes is not None
    assert (attributes["architecture"], attributes["definition"], attributes["labels"]) == ("arm64", DEFINITION, LABELS)
    assert "damaged" not in attributes


async def test_a_damaged_sif_is_refused_and_nothing_is_recorded(guarded: Registry, admin: Actor, database: Database) -> None:
    damaged = sif_artifact(sif()[:-1])
    for _ in range(2):
        with pytest.raises(InvalidSif, match="would lie at"):
            await push_image(guarded, admin, APP, damaged, "latest")
    with pytest.raises(ManifestUnknown):
        await guarded.manifests.get(admin, APP, LATEST)
    assert await kept(database) == 0


async def test_one_damaged_sif_of_several_is_enough(guarded: Registry, admin: Actor) -> None:
    with pytest.raises(InvalidSif):
        await push_image(guarded, admin, APP, sif_artifact(sif(), b"no SIF"))


async def test_a_site_may_let_damaged_files_in_and_change_its_mind(guarded: Registry, tolerant: Registry, admin: Actor) -> None:
    damaged = sif_artifact(b"no SIF" * 100)
    await push_image(tolerant, admin, APP, damaged, "latest")
    kind, attributes = await told(tolerant, admin, damaged)
    assert (kind, attributes) == (
        "SIF",
        {"size": 600, "damaged": "This is not a sound SIF file: it does not begin as one (the magic number is missing)."},
    )
    with pytest.raises(InvalidSif, match="magic number"):
        await push_image(guarded, admin, COPY, damaged, "latest")


@pytest.mark.parametrize("said", [0, 1, 10**15])
async def test_a_size_that_is_not_the_files_is_refused(tolerant: Registry, admin: Actor, said: int) -> None:
    with pytest.raises(InvalidManifest, match=f"has {said} bytes; it has {len(sif())}"):
        await push_image(tolerant, admin, APP, sif_artifact(sif(), size=said))


async def test_a_content_is_read_once(guarded: Registry, admin: Actor, store: WatchedStore, database: Database) -> None:
    data = sif()
    await push_image(guarded, admin, APP, sif_artifact(data), "latest")
    once = store.read
    assert 0 < once <= 2 * len(data)  # what it says, and once more what its signature is about
    await push_manifest(guarded, admin, APP, sif_artifact(data), "again")
    await push_image(guarded, admin, APP, sif_artifact(data, config=OLD_CONFIG), "another")
    await push_image(guarded, admin, COPY, sif_artifact(data), "elsewhere")
    assert await guarded.copies.copy(admin, APP, LATEST, COPY)
    assert (store.read, await kept(database)) == (once, 1)


async def test_what_names_no_sif_is_not_looked_into(guarded: Registry, admin: Actor, store: WatchedStore, database: Database) -> None:
    await push_image(guarded, admin, APP, image("one"), "latest")
    await push_manifest(guarded, admin, APP, index(image("one")), "both")
    assert (store.read, await kept(database)) == (0, 0)


async def test_a_file_that_is_not_here_is_missed_as_ever(guarded: Registry, admin: Actor, make_registry: MakeRegistry) -> None:
    made = sif_artifact(sif())
    for _ in range(2):  # At first there is not even a repository.
        with pytest.raises(ReferenceMissing):
            await push_manifest(guarded, admin, APP, made)
        await push_image(guarded, admin, APP, image("something"))
    await push_image(guarded, admin, COPY, made)
    with pytest.raises(ReferenceMissing):
        await push_manifest(guarded, admin, APP, made)


async def test_a_manifest_of_very_many_sifs_is_refused(guarded: Registry, admin: Actor, store: WatchedStore) -> None:
    await push_image(guarded, admin, APP, image("something"))
    with pytest.raises(InvalidManifest, match=f"at most {MOST_SIFS}"):
        await push_manifest(guarded, admin, APP, sif_artifact(*[b"%d" % number for number in range(MOST_SIFS + 1)]))
    assert store.read == 0


async def test_a_file_whose_bytes_are_lost_is_our_fault(guarded: Registry, admin: Actor, store: WatchedStore) -> None:
    made = sif_artifact(sif())
    for one in made.blobs:
        await push_blob(guarded, admin, APP, one)
    for content in store.medium.values():
        del content.data[10:]
    with pytest.raises(ContentDamaged):
        await push_manifest(guarded, admin, APP, made)


async def test_facts_go_with_their_content(
    guarded: Registry, admin: Actor, database: Database, store: WatchedStore, clock: ManualClock
) -> None:
    made, rules = sif_artifact(sif()), Rules()
    await push_image(guarded, admin, APP, made, "latest")
    await guarded.manifests.delete(admin, APP, made.digest)
    for grace in (rules.link_grace, rules.content_grace):
        clock.advance(grace + timedelta(microseconds=1))
        await collect(database, store, rules, clock)
    assert (store.medium, await kept(database)) == ({}, 0)


async def test_an_index_of_sifs_is_a_sif_and_one_with_an_image_is_none(guarded: Registry, admin: Actor) -> None:
    both = [sif_artifact(sif(architecture), config_type=media_type.OCI_EMPTY) for architecture in ("amd64", "arm64")]
    plain = image("one")
    for one in (*both, plain):
        await push_image(guarded, admin, APP, one)
    pure, mixed, empty = index(*both), index(*both, plain), index()
    for one in (pure, mixed, empty):
        await push_manifest(guarded, admin, APP, one)
    assert [await told(guarded, admin, one) for one in (pure, mixed, empty)] == [("SIF", None), ("IMAGE", None), ("IMAGE", None)]

    async def asked(kind: str) -> set[str]:
        page, _ = await guarded.artifacts.page(admin, APP, Listing(filters=(Filter("type", Match.EQUAL, (kind,)),)))
        return {str(one.digest) for one in page}

    assert await asked("SIF") == {pure.digest}
    assert await asked("IMAGE") == {mixed.digest, empty.digest}


async def test_facts_of_a_file_that_was_taken_out_are_not_told(guarded: Registry, admin: Actor) -> None:
    made = sif_artifact(sif())
    await push_image(guarded, admin, APP, made, "latest")
    await push_image(guarded, admin, COPY, made, "latest")
    await guarded.blobs.delete(admin, APP, made.blobs[1].digest)
    _, attributes = await told(guarded, admin, made)
    assert not attributes


async def test_long_facts_are_told_of_the_artifact_itself_alone(guarded: Registry, admin: Actor) -> None:
    made = sif_artifact(sif(labels={f"label{number}": "x" * 100 for number in range(580)}))
    await push_image(guarded, admin, APP, made, "latest")
    page, _ = await guarded.artifacts.page(admin, APP, Listing())
    one = await guarded.artifacts.get(admin, APP, made.digest)
    assert page[0].attributes is None or "labels" not in page[0].attributes
    assert one.attributes is not None and len(one.attributes["labels"]) == 580
