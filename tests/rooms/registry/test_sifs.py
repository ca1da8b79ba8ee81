"""SIFs by name, architecture and hash, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import Connection, insert, select

from roadstead.access.actor import Action, Actor, RobotRights
from roadstead.content.memory import MemoryStore
from roadstead.errors import (
    BlobUnknown,
    Denied,
    InUse,
    InvalidInput,
    ManifestUnknown,
    NotConvertible,
    ProjectUnknown,
    ReferenceMissing,
    TagMoved,
    Unauthenticated,
    UploadUnknown,
)
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow
from roadstead.metadata.schema import digests, sif_facts
from roadstead.oci import media_type
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, index_of
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.manifests import Standing
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.registry.seams import Seams
from roadstead.registry.sifs import SifImage
from roadstead.upkeep.collect import collect
from roadstead.upkeep.uploads import expire_uploads
from tests.conftest import MakeRegistry
from tests.rooms.registry.test_seams import Substitution
from tests.support.factories import APP, BEGINNING, COPY, VAULT, Blob, Image, ManualClock, body, image, push_blob, push_image

RULES = Rules()
ONE, TWO = TagName("one"), TagName("two")


class Converter(Substitution):
    """A resolver that knows the virtual tags of `made`."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, Digest] = {}

    async def absent(self, actor: Actor, place: PlaceRow, name: RepositoryName, tag: TagName) -> Digest | None:
        self.asked.append((str(name), str(tag)))
        return self.made.get(tag)


class Meeting:
    """A gate that lets the first two pushes of a tag wait for each other, and lets `last` in when the other's whole act is done."""

    def __init__(self) -> None:
        self.last: str | None = None
        self._arrived: set[str] = set()
        self._both = asyncio.Barrier(2)
        self._done = asyncio.Event()

    async def check(self, actor: Actor, place: PlaceRow, name: RepositoryName, manifest: Manifest, content: bytes) -> None:
        task = asyncio.current_task()
        assert task is not None
        who = task.get_name()
        if self.last is None or who in self._arrived:
            return
        self._arrived.add(who)
        await self._both.wait()
        if who == self.last:
            await self._done.wait()

    async def hold(self, last: str, **acts: Awaitable[None]) -> None:
        """Do both acts, each of which has looked at the tag before either changes it."""
        self.last = last

        async def act(name: str, work: Awaitable[None]) -> None:
            await work
            if name != last:
                self._done.set()

        await asyncio.gather(*(asyncio.create_task(act(name, work), name=name) for name, work in acts.items()))


async def upload(registry: Registry, actor: Actor, name: RepositoryName, text: str) -> Digest:
    return await push_blob(registry, actor, name, Blob(text.encode()))


async def pushed(registry: Registry, actor: Actor, name: RepositoryName, text: str, tag: str = "one", arch: str | None = None) -> SifImage:
    """Push these characters as a SIF, as a client does."""
    file = await upload(registry, actor, name, text)
    recorded = await registry.sifs.record(actor, name, file)
    await registry.sifs.tag(actor, name, TagName(tag), file, arch)
    return recorded


async def know(database: Database, text: str, **facts: object) -> None:
    """Let the SIF of these characters say something of itself."""

    def work(connection: Connection) -> None:
        content_id = connection.execute(select(digests.c.content_id).where(digests.c.digest == Digest.of(text.encode()))).scalar_one()
        told = json.dumps(facts, separators=(",", ":"))
        connection.execute(insert(sif_facts).values(content_id=content_id, facts=told, read_at=BEGINNING))

    await database.write(work)


async def test_what_is_recorded_is_the_artifact_that_oras_pushes(registry: Registry, admin: Actor) -> None:
    found = await pushed(registry, admin, APP, "a SIF")
    row = await registry.manifests.get(admin, APP, ONE)
    assert row.digest == found.manifest
    manifest = json.loads(row.content)
    assert manifest["config"] == {"mediaType": media_type.SIF_CONFIG, "size": 2, "digest": str(Digest.of(b"{}"))}
    (layer,) = manifest["layers"]
    assert (layer["mediaType"], layer["digest"], layer["size"]) == (media_type.SIF_LAYER, str(found.file), 5)
    assert layer["annotations"] == {"org.opencontainers.image.title": "app.sif"}


async def test_it_is_found_by_tag_and_by_its_file(registry: Registry, admin: Actor) -> None:
    found = await pushed(registry, admin, APP, "a SIF")
    assert await registry.sifs.find(admin, APP, ONE) == found
    assert await registry.sifs.find(admin, APP, found.file, "amd64") == found
    for reference in (TWO, Digest.of(b"another")):
        with pytest.raises(ManifestUnknown):
            await registry.sifs.find(admin, APP, reference)
    with pytest.raises(ManifestUnknown):
        await registry.sifs.find(admin, COPY, found.file)


async def test_recording_twice_changes_nothing(registry: Registry, admin: Actor) -> None:
    first = await pushed(registry, admin, APP, "a SIF")
    assert await registry.sifs.record(admin, APP, first.file) == first


async def test_what_was_not_uploaded_here_is_not_recorded(registry: Registry, admin: Actor) -> None:
    file = await upload(registry, admin, COPY, "a SIF")
    with pytest.raises(ReferenceMissing):
        await registry.sifs.record(admin, APP, file)
    with pytest.raises(ManifestUnknown):
        await registry.sifs.tag(admin, APP, ONE, file, None)


async def test_an_upload_is_announced_as_here_only_to_who_may_pull_it(registry: Registry, admin: Actor, user: Actor) -> None:
    found = await pushed(registry, admin, VAULT, "a SIF")
    assert await registry.sifs.announce(admin, VAULT, found.file) == found
    assert await registry.sifs.announce(admin, APP, found.file) is None
    with pytest.raises(Denied):
        await registry.sifs.announce(user, APP, found.file)
    for nobody in (APP, VAULT):
        with pytest.raises(Unauthenticated):
            await registry.sifs.announce(Actor(None, "anonymous"), nobody, found.file)


async def test_what_is_no_sif_and_cannot_become_one_is_refused(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("layers"), "one")
    with pytest.raises(NotConvertible):
        await registry.sifs.find(admin, APP, ONE)


async def test_an_image_of_layers_is_found_by_what_is_made_of_it(make_registry: MakeRegistry, admin: Actor) -> None:
    resolver = Converter()
    registry = make_registry(seams=Seams(resolver=resolver))
    made = await pushed(registry, admin, APP, "made", "elsewhere")
    resolver.made["one.sif"] = made.manifest
    await push_image(registry, admin, APP, image("layers"), "one")
    assert await registry.sifs.find(admin, APP, ONE) == made
    assert resolver.asked == [(str(APP), "one.sif")]


async def test_a_tag_stands_for_one_image_of_each_architecture(registry: Registry, admin: Actor, database: Database) -> None:
    amd = await upload(registry, admin, APP, "amd")
    await know(database, "amd", architecture="amd64")
    arm = await upload(registry, admin, APP, "arm")
    await know(database, "arm", architecture="arm64")
    for file, arch in ((amd, "amd64"), (arm, "arm64")):
        await registry.sifs.record(admin, APP, file)
        await registry.sifs.tag(admin, APP, ONE, file, arch)
    assert (await registry.manifests.get(admin, APP, ONE)).media_type == media_type.OCI_INDEX
    assert (await registry.sifs.find(admin, APP, ONE, "amd64")).file == amd
    assert (await registry.sifs.find(admin, APP, ONE, "arm64")).file == arm
    with pytest.raises(ManifestUnknown):
        await registry.sifs.find(admin, APP, ONE, "ppc64le")
    newer = await pushed(registry, admin, APP, "newer", "one", "arm64")
    assert (await registry.sifs.find(admin, APP, ONE, "arm64")).file == newer.file
    assert (await registry.sifs.find(admin, APP, ONE, "amd64")).file == amd
    await registry.sifs.delete(admin, APP, ONE, "arm64")
    assert (await registry.manifests.get(admin, APP, ONE)).media_type == media_type.OCI_MANIFEST
    with pytest.raises(ManifestUnknown):
        await registry.sifs.find(admin, APP, ONE, "arm64")


async def of_architectures(registry: Registry, actor: Actor, database: Database, *architectures: str) -> dict[str, Digest]:
    """Record a SIF for each, which says so of itself; the digests of their files."""
    files = {}
    for arch in architectures:
        files[arch] = await upload(registry, actor, APP, arch)
        await know(database, arch, architecture=arch)
        await registry.sifs.record(actor, APP, files[arch])
    return files


async def at_one(registry: Registry, actor: Actor) -> dict[str, Digest]:
    """What the tag has for each architecture."""
    return {arch: tags[ONE] for arch, tags in (await registry.sifs.tags(actor, APP)).items() if ONE in tags}


@pytest.mark.parametrize("last", ["amd64", "arm64"])
async def test_two_architectures_tagged_at_once_are_both_there(
    make_registry: MakeRegistry, admin: Actor, database: Database, last: str
) -> None:
    meeting = Meeting()
    registry = make_registry(seams=Seams(push_gate=meeting))
    files = await of_architectures(registry, admin, database, "amd64", "arm64")
    await meeting.hold(last, **{arch: registry.sifs.tag(admin, APP, ONE, file, arch) for arch, file in files.items()})
    assert await at_one(registry, admin) == files


@pytest.mark.parametrize("last", ["delete", "tag"])
async def test_one_architecture_is_deleted_while_another_is_tagged(
    make_registry: MakeRegistry, admin: Actor, database: Database, last: str
) -> None:
    meeting = Meeting()
    registry = make_registry(seams=Seams(push_gate=meeting))
    files = await of_architectures(registry, admin, database, "amd64", "arm64", "riscv64")
    for arch in ("amd64", "arm64"):
        await registry.sifs.tag(admin, APP, ONE, files[arch], arch)
    await meeting.hold(
        last,
        delete=registry.sifs.delete(admin, APP, ONE, "arm64"),
        tag=registry.sifs.tag(admin, APP, ONE, files["riscv64"], "riscv64"),
    )
    assert await at_one(registry, admin) == {arch: files[arch] for arch in ("amd64", "riscv64")}


async def test_a_tag_that_is_changed_all_the_time_is_given_up(make_registry: MakeRegistry, admin: Actor, database: Database) -> None:
    """By others who push to it in another way, each time that it has been looked at."""

    class Busy:
        pushed = 0

        async def check(self, actor: Actor, place: PlaceRow, name: RepositoryName, manifest: Manifest, content: bytes) -> None:
            self.pushed += 1
            await push_image(others, admin, APP, image(f"{self.pushed}"), "one")

    busy, others = Busy(), make_registry()
    files = await of_architectures(others, admin, database, "amd64")
    with pytest.raises(TagMoved):
        await make_registry(seams=Seams(push_gate=busy)).sifs.tag(admin, APP, ONE, files["amd64"], "amd64")
    assert busy.pushed == 10
    await others.sifs.tag(admin, APP, ONE, files["amd64"], "amd64")
    assert await at_one(others, admin) == files


async def test_a_tag_is_changed_only_where_it_stands(registry: Registry, admin: Actor) -> None:
    first, second = await pushed(registry, admin, APP, "first"), await pushed(registry, admin, APP, "second", "two")
    content = (await registry.manifests.get(admin, APP, second.manifest)).content
    for standing in (Standing(None), Standing(second.manifest)):
        with pytest.raises(TagMoved):
            await registry.manifests.put(admin, APP, ONE, content, media_type.OCI_MANIFEST, standing=standing)
        with pytest.raises(TagMoved):
            await registry.manifests.delete(admin, APP, ONE, standing)
    with pytest.raises(TagMoved):
        await registry.manifests.put(admin, APP, TagName("new"), content, media_type.OCI_MANIFEST, standing=Standing(second.manifest))
    assert await registry.sifs.tags(admin, APP) == {"": {ONE: first.file, TWO: second.file}}
    await registry.manifests.put(admin, APP, ONE, content, media_type.OCI_MANIFEST, standing=Standing(first.manifest))
    await registry.manifests.delete(admin, APP, ONE, Standing(second.manifest))
    assert await registry.sifs.tags(admin, APP) == {"": {TWO: second.file}}


# --- what a tag of several had ----------------------------------------------------------------------------------------------------------


async def test_what_a_tag_had_for_several_architectures_is_deleted_in_whole(registry: Registry, admin: Actor, database: Database) -> None:
    before = await registry.quotas.get(admin, APP.project)
    files = await of_architectures(registry, admin, database, "amd64", "arm64", "riscv64")
    for arch, file in files.items():
        await registry.sifs.tag(admin, APP, ONE, file, arch)
    for arch in ("arm64", "riscv64", "amd64"):
        await registry.sifs.delete(admin, APP, ONE, arch)
        with pytest.raises(ManifestUnknown):
            await registry.sifs.find(admin, APP, files[arch])
    assert (await registry.quotas.get(admin, APP.project)).stored == before.stored


async def test_a_hash_takes_an_image_that_was_one_of_several(registry: Registry, admin: Actor, database: Database) -> None:
    files = await of_architectures(registry, admin, database, "amd64", "arm64")
    for arch, file in files.items():
        await registry.sifs.tag(admin, APP, ONE, file, arch)
    with pytest.raises(InUse):
        await registry.sifs.delete(admin, APP, files["arm64"])
    await registry.sifs.tag(admin, APP, ONE, files["amd64"], None)
    await registry.sifs.delete(admin, APP, files["arm64"])
    with pytest.raises(ManifestUnknown):
        await registry.sifs.find(admin, APP, files["arm64"])
    assert (await registry.sifs.find(admin, APP, ONE)).file == files["amd64"]


async def test_an_index_that_somebody_else_wrote_keeps_what_it_names(registry: Registry, admin: Actor) -> None:
    found = await pushed(registry, admin, APP, "a SIF")
    size = len((await registry.manifests.get(admin, APP, found.manifest)).content)
    for descriptor in (
        Descriptor(media_type.OCI_MANIFEST, found.manifest, size),
        Descriptor(media_type.OCI_MANIFEST, found.manifest, size, artifact_type=media_type.SIF_CONFIG),
    ):
        content = index_of([descriptor], annotations={"whose": "mine"} if descriptor.artifact_type else None)
        index = Digest.of(content)
        await registry.manifests.put(admin, APP, index, content, media_type.OCI_INDEX)
        await registry.sifs.tag(admin, APP, ONE, found.file, None)
        await registry.sifs.delete(admin, APP, ONE)
        assert await registry.manifests.get(admin, APP, index)
        assert await registry.sifs.find(admin, APP, found.file)


async def test_without_an_architecture_a_tag_is_replaced(registry: Registry, admin: Actor) -> None:
    await pushed(registry, admin, APP, "first")
    second = await pushed(registry, admin, APP, "second")
    assert (await registry.sifs.find(admin, APP, ONE)).file == second.file


async def test_an_image_is_not_tagged_for_what_it_is_not(registry: Registry, admin: Actor, database: Database) -> None:
    file = await upload(registry, admin, APP, "amd")
    await know(database, "amd", architecture="amd64")
    await registry.sifs.record(admin, APP, file)
    with pytest.raises(InvalidInput, match="for amd64"):
        await registry.sifs.tag(admin, APP, ONE, file, "arm64")
    with pytest.raises(ManifestUnknown):
        await registry.sifs.find(admin, APP, file, "arm64")


async def test_tags_are_listed_by_architecture(registry: Registry, admin: Actor, database: Database) -> None:
    found = await pushed(registry, admin, APP, "a SIF")
    await registry.sifs.tag(admin, APP, TWO, found.file, None)
    await push_image(registry, admin, APP, image("layers"), "layers")
    assert await registry.sifs.tags(admin, APP) == {"": {ONE: found.file, TWO: found.file}}
    await know(database, "a SIF", architecture="amd64")
    assert await registry.sifs.tags(admin, APP) == {"amd64": {ONE: found.file, TWO: found.file}}


async def test_every_architecture_of_a_tag_is_listed(registry: Registry, admin: Actor, database: Database) -> None:
    for text, arch in (("amd", "amd64"), ("arm", "arm64")):
        await upload(registry, admin, APP, text)
        await know(database, text, architecture=arch)
    files = {arch: {ONE: (await pushed(registry, admin, APP, text, arch=arch)).file} for text, arch in (("amd", "amd64"), ("arm", "arm64"))}
    assert await registry.sifs.tags(admin, APP) == files


async def test_what_is_of_no_known_architecture_is_replaced_by_what_is(registry: Registry, admin: Actor) -> None:
    await pushed(registry, admin, APP, "some", arch="amd64")
    arm = await pushed(registry, admin, APP, "arm", arch="arm64")
    assert await registry.sifs.tags(admin, APP) == {"": {ONE: arm.file}}


@pytest.mark.parametrize("kind", [media_type.OCI_MANIFEST, media_type.DOCKER_MANIFEST, media_type.OCI_ARTIFACT_MANIFEST])
async def test_search_finds_sifs_in_every_kind_of_manifest(registry: Registry, admin: Actor, kind: str) -> None:
    file, config = Blob(b"a SIF"), Blob(b"{}")
    layer = file.descriptor(media_type.SIF_LAYER)
    if kind == media_type.OCI_ARTIFACT_MANIFEST:
        said: dict[str, object] = {"artifactType": media_type.SIF_CONFIG, "blobs": [layer]}
    else:
        said = {"schemaVersion": 2, "config": config.descriptor(media_type.SIF_CONFIG), "layers": [layer]}
    made = Image(json.dumps({"mediaType": kind, **said}).encode(), kind, (config, file))
    await push_image(registry, admin, APP, made, "one")
    (found,) = await registry.sifs.search(admin, "app")
    assert (found.file, found.manifest) == (file.digest, made.digest)
    assert (await registry.sifs.find(admin, APP, ONE)).file == file.digest


async def test_search_shows_what_one_may_see(registry: Registry, admin: Actor, user: Actor, database: Database) -> None:
    shown = await pushed(registry, admin, APP, "a SIF")
    hidden = await pushed(registry, admin, VAULT, "secret")
    await push_image(registry, admin, APP, image("layers"), "layers")
    assert {one.file for one in await registry.sifs.search(admin, "AP")} == {shown.file, hidden.file}
    (found,) = await registry.sifs.search(user, "library/ap")
    assert (found.name, found.file, found.tags) == (APP, shown.file, (ONE,))
    assert await registry.sifs.search(user, "vault") == []
    assert await registry.sifs.search(user, "a%p") == []
    assert await registry.sifs.search(user, "library", signed=True) == []
    await know(database, "a SIF", architecture="amd64", signatures=[{"hash": "sha256"}])
    assert len(await registry.sifs.search(user, "library", architecture="amd64", signed=True)) == 1
    assert await registry.sifs.search(user, "library", architecture="arm64") == []


async def test_a_word_in_a_label_is_no_fact(registry: Registry, admin: Actor, database: Database) -> None:
    await pushed(registry, admin, APP, "a SIF")
    await know(database, "a SIF", architecture="amd64", labels={"x": '"architecture":"arm64","signatures":[{'})
    assert await registry.sifs.search(admin, "library", architecture="arm64") == []
    assert await registry.sifs.search(admin, "library", signed=True) == []


async def test_the_last_tag_takes_the_image_with_it(registry: Registry, admin: Actor, user: Actor) -> None:
    found = await pushed(registry, admin, APP, "a SIF")
    await registry.sifs.tag(admin, APP, TWO, found.file, None)
    with pytest.raises(Denied):
        await registry.sifs.delete(user, APP, ONE)
    await registry.sifs.delete(admin, APP, ONE)
    assert await registry.sifs.find(admin, APP, found.file) == found
    await registry.sifs.delete(admin, APP, TWO)
    with pytest.raises(ManifestUnknown):
        await registry.sifs.find(admin, APP, found.file)
    with pytest.raises(ManifestUnknown):
        await registry.sifs.delete(admin, APP, TWO)


async def test_a_hash_takes_the_image_with_all_its_tags(registry: Registry, admin: Actor) -> None:
    found = await pushed(registry, admin, APP, "a SIF")
    await registry.sifs.delete(admin, APP, found.file)
    with pytest.raises(ManifestUnknown):
        await registry.sifs.find(admin, APP, ONE)


async def test_an_image_of_layers_is_not_deleted_by_the_library(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("layers"), "one")
    with pytest.raises(ManifestUnknown):
        await registry.sifs.delete(admin, APP, ONE)
    assert await registry.manifests.get(admin, APP, ONE)


async def test_a_pull_is_counted_with_its_tag(registry: Registry, admin: Actor, database: Database) -> None:
    await pushed(registry, admin, APP, "a SIF")
    await registry.sifs.find(admin, APP, ONE)
    await registry.sifs.find(admin, APP, ONE, count=True)
    await registry.pulls.flush()
    place = await registry.repositories.get(admin, APP)
    assert place.pull_count == 1


async def test_a_blob_that_is_gone_is_not_served(registry: Registry, admin: Actor) -> None:
    found = await pushed(registry, admin, APP, "a SIF")
    await registry.blobs.delete(admin, APP, found.file)
    with pytest.raises(BlobUnknown):
        await registry.blobs.open(admin, APP, found.file)


async def test_what_is_uploaded_and_never_recorded_is_cleared_away(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    parts = await registry.uploads.start(admin, APP)
    await registry.uploads.write(admin, APP, parts.token, body(b"the first part"))
    file = await upload(registry, admin, APP, "whole, and never completed")
    clock.advance(max(RULES.upload_lifetime, RULES.link_grace) + timedelta(seconds=1))
    assert await expire_uploads(database, store, RULES, clock) == 1
    with pytest.raises(UploadUnknown):
        await registry.uploads.status(admin, APP, parts.token)
    await collect(database, store, RULES, clock)
    with pytest.raises(ReferenceMissing):
        await registry.sifs.record(admin, APP, file)


async def test_images_of_layers_are_found_where_they_are_converted(
    registry: Registry, admin: Actor, user: Actor, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, image("base"), "one", f"sha256-{'0' * 64}.sig")
    clock.advance(timedelta(hours=1))
    await push_image(registry, admin, APP, image("newer"), "two")
    await push_image(registry, admin, VAULT, image("base"), "secret")
    await pushed(registry, admin, COPY, "a SIF")
    assert await registry.sifs.convertible(user, "LIB") == [(APP, "two"), (APP, "one")]
    assert await registry.sifs.convertible(admin, "vault/") == [(VAULT, "secret")]
    assert await registry.sifs.convertible(admin, "%") == []
    await registry.manifests.delete(admin, APP, TagName("two"))
    assert await registry.sifs.convertible(user, "app") == [(APP, "one")]


async def test_what_is_to_be_pushed_is_introduced_once(registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.repositories.introduce(admin, APP, "The first words")
    await registry.repositories.introduce(admin, APP, "Other words")
    assert (await registry.repositories.get(admin, APP)).description == "The first words"
    with pytest.raises(Denied):
        await registry.repositories.introduce(user, APP, "Mine")


async def test_who_pushes_and_does_not_pull_is_told_of_nothing(registry: Registry, admin: Actor) -> None:
    """But records what they have uploaded: of that only the size is looked up."""
    found = await pushed(registry, admin, VAULT, "a SIF")
    rights = RobotRights({VAULT.project: frozenset({Action.PUSH})})
    robot = msgspec.structs.replace(admin, is_admin=False, robot=rights)
    assert await registry.sifs.announce(robot, VAULT, found.file) is None
    assert await registry.sifs.record(robot, VAULT, found.file) == found
    with pytest.raises((Denied, ProjectUnknown)):
        await registry.blobs.size(robot, VAULT, found.file)
