"""Manifests: what is accepted, what is recorded, what is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table, func, select

from roadstead.access.actor import Action, Actor
from roadstead.errors import (
    Denied,
    DigestMismatch,
    InsufficientScope,
    InvalidManifest,
    ManifestTooLarge,
    ManifestUnknown,
    ProjectUnknown,
    ReferenceMissing,
    TooManyTags,
    Unauthenticated,
    UnsupportedManifestType,
)
from roadstead.metadata.database import Database
from roadstead.metadata.schema import events, manifest_references, manifests, tag_history, tags
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import MANIFEST_LIMIT
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from tests.conftest import MakeRegistry
from tests.support.factories import (
    APP,
    BEGINNING,
    COPY,
    VAULT,
    Image,
    ManualClock,
    image,
    index,
    narrowed,
    push_blob,
    push_image,
    push_manifest,
)

LATEST, STABLE = TagName("latest"), TagName("stable")
HOUR = timedelta(hours=1)
PUSHED = image("one")
OTHER = image("two")


async def table(database: Database, wanted: Table, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of every row, by id."""
    statement = select(*(wanted.c[column] for column in columns)).order_by(wanted.c.id)
    return await database.read(lambda connection: [tuple(row) for row in connection.execute(statement)])


async def count(database: Database, wanted: Table) -> int:
    return int(await database.read(lambda connection: connection.execute(select(func.count()).select_from(wanted)).scalar_one()))


async def refused(error: type[Exception], *acts: Callable[[], Awaitable[object]]) -> None:
    for act in acts:
        with pytest.raises(error):
            await act()


# --- put and get --------------------------------------------------------------------------------------------------------------------


async def test_a_manifest_comes_back_byte_for_byte(registry: Registry, admin: Actor) -> None:
    odd = Image(PUSHED.content.replace(b"{", b'{ \n "unknown": [1, {}], ', 1), PUSHED.media_type, PUSHED.blobs)
    pushed = await push_image(registry, admin, APP, odd, "latest")
    assert (pushed.digest, pushed.subject, pushed.tags) == (odd.digest, None, (LATEST,))
    for reference in (odd.digest, LATEST):
        row = await registry.manifests.get(admin, APP, reference)
        assert (row.content, row.digest, row.media_type) == (odd.content, odd.digest, media_type.OCI_MANIFEST)


async def test_a_manifest_by_tag_has_its_sha256(registry: Registry, admin: Actor) -> None:
    for one in PUSHED.blobs:
        await push_blob(registry, admin, APP, one)
    pushed = await registry.manifests.put(admin, APP, LATEST, PUSHED.content, PUSHED.media_type)
    assert pushed.digest == PUSHED.digest
    assert (await registry.manifests.get(admin, APP, PUSHED.digest)).tag_id is None


async def test_identity_is_the_digest_as_pushed(registry: Registry, admin: Actor) -> None:
    long = Digest.of(PUSHED.content, "sha512")
    for one in PUSHED.blobs:
        await push_blob(registry, admin, APP, one)
    assert (await registry.manifests.put(admin, APP, long, PUSHED.content, None)).digest == long
    assert (await registry.manifests.get(admin, APP, long)).content == PUSHED.content
    await refused(ManifestUnknown, lambda: registry.manifests.get(admin, APP, PUSHED.digest))


async def test_the_media_type_is_the_one_it_was_pushed_with(registry: Registry, admin: Actor) -> None:
    docker = image("one", kind=media_type.DOCKER_MANIFEST)
    await push_image(registry, admin, APP, docker)
    assert (await registry.manifests.get(admin, APP, docker.digest)).media_type == media_type.DOCKER_MANIFEST
    untyped = Image(PUSHED.content.replace(f'"mediaType": "{media_type.OCI_MANIFEST}", '.encode(), b"", 1), media_type.OCI_MANIFEST)
    await push_manifest(registry, admin, APP, untyped)
    assert (await registry.manifests.get(admin, APP, untyped.digest)).media_type == media_type.OCI_MANIFEST
    await push_manifest(registry, admin, APP, Image(untyped.content, media_type.DOCKER_MANIFEST))
    assert (await registry.manifests.get(admin, APP, untyped.digest)).media_type == media_type.DOCKER_MANIFEST


@pytest.mark.parametrize(
    ("content", "content_type", "error"),
    [
        (b"{", None, InvalidManifest),
        (b"{}", "application/vnd.example+json", UnsupportedManifestType),
        (PUSHED.content, media_type.OCI_INDEX, InvalidManifest),
        (b" " * MANIFEST_LIMIT + PUSHED.content, PUSHED.media_type, ManifestTooLarge),
    ],
)
async def test_what_is_no_manifest_is_refused(
    registry: Registry, admin: Actor, database: Database, content: bytes, content_type: str | None, error: type[Exception]
) -> None:
    await refused(error, lambda: registry.manifests.put(admin, APP, LATEST, content, content_type))
    assert await count(database, manifests) == 0


async def test_a_wrong_digest_is_refused(registry: Registry, admin: Actor, database: Database) -> None:
    await push_image(registry, admin, APP, OTHER)
    for wrong in (OTHER.digest, Digest.of(OTHER.content, "sha512")):
        with pytest.raises(DigestMismatch) as raised:
            await registry.manifests.put(admin, APP, wrong, PUSHED.content, PUSHED.media_type, [LATEST])
        assert raised.value.detail["actual"] == str(Digest.of(PUSHED.content, wrong.algorithm))
    assert (await count(database, manifests), await count(database, tags)) == (1, 0)


async def test_a_manifest_in_one_repository_is_not_in_another(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, PUSHED, "latest")
    await push_image(registry, admin, COPY, OTHER)
    for name in (COPY, RepositoryName("library/never")):
        await refused(
            ManifestUnknown,
            lambda name=name: registry.manifests.get(admin, name, PUSHED.digest),  # type: ignore[misc]
            lambda name=name: registry.manifests.get(admin, name, LATEST),  # type: ignore[misc]
            lambda name=name: registry.manifests.delete(admin, name, PUSHED.digest),  # type: ignore[misc]
            lambda name=name: registry.manifests.delete(admin, name, LATEST),  # type: ignore[misc]
        )


# --- what a manifest names ----------------------------------------------------------------------------------------------------------


async def test_absent_blobs_are_named_in_the_refusal(registry: Registry, admin: Actor, database: Database) -> None:
    config, layer = PUSHED.blobs
    with pytest.raises(ReferenceMissing) as raised:
        await push_manifest(registry, admin, APP, PUSHED, "latest")
    assert raised.value.detail == {"digests": [str(config.digest), str(layer.digest)], "missing": 2}
    await push_blob(registry, admin, APP, config)
    await push_blob(registry, admin, COPY, layer)
    with pytest.raises(ReferenceMissing) as raised:
        await push_manifest(registry, admin, APP, PUSHED, "latest")
    assert raised.value.detail == {"digests": [str(layer.digest)], "missing": 1}
    assert (await count(database, manifests), await count(database, tags), await count(database, events)) == (0, 0, 0)


async def test_a_non_distributable_layer_need_not_be_here(registry: Registry, admin: Actor) -> None:
    foreign = image("elsewhere", layer_type=media_type.OCI_LAYER_NONDISTRIBUTABLE)
    await push_blob(registry, admin, APP, foreign.blobs[0])
    await push_manifest(registry, admin, APP, foreign)
    assert (await registry.manifests.get(admin, APP, foreign.digest)).content == foreign.content


async def test_children_must_be_in_the_same_repository(registry: Registry, admin: Actor) -> None:
    both = index(PUSHED, OTHER)
    await push_image(registry, admin, APP, PUSHED)
    await push_image(registry, admin, COPY, OTHER)
    with pytest.raises(ReferenceMissing) as raised:
        await push_manifest(registry, admin, APP, both)
    assert raised.value.detail["digests"] == [str(OTHER.digest)]
    await push_image(registry, admin, APP, OTHER)
    await push_manifest(registry, admin, APP, both)
    await push_manifest(registry, admin, APP, index(both))
    await registry.manifests.delete(admin, APP, OTHER.digest)
    await refused(ReferenceMissing, lambda: push_manifest(registry, admin, APP, both))


async def test_the_site_may_accept_absent_content(make_registry: MakeRegistry, admin: Actor) -> None:
    sparse = make_registry(Rules(accept_absent_content=True))
    await push_manifest(sparse, admin, APP, PUSHED)
    await push_manifest(sparse, admin, APP, index(OTHER), "latest")
    assert (await sparse.manifests.get(admin, APP, LATEST)).digest == index(OTHER).digest


async def test_a_subject_need_not_be_here_and_is_told(registry: Registry, admin: Actor) -> None:
    signature = image("signature", subject=PUSHED)
    assert (await push_image(registry, admin, APP, signature)).subject == PUSHED.digest


# --- tags ---------------------------------------------------------------------------------------------------------------------------


async def test_several_tags_in_one_push(registry: Registry, admin: Actor, database: Database) -> None:
    for one in PUSHED.blobs:
        await push_blob(registry, admin, APP, one)
    pushed = await registry.manifests.put(admin, APP, LATEST, PUSHED.content, PUSHED.media_type, [STABLE, LATEST, STABLE])
    assert pushed.tags == (LATEST, STABLE)
    for tag in pushed.tags:
        assert (await registry.manifests.get(admin, APP, tag)).digest == PUSHED.digest
    assert await count(database, tags) == 2


async def test_tags_are_all_or_nothing(registry: Registry, admin: Actor, database: Database) -> None:
    await push_image(registry, admin, APP, OTHER, "latest")
    many = [TagName(f"t{number}") for number in range(101)]
    await refused(TooManyTags, lambda: registry.manifests.put(admin, APP, PUSHED.digest, PUSHED.content, PUSHED.media_type, many))
    await refused(ReferenceMissing, lambda: push_manifest(registry, admin, APP, PUSHED, "latest", "stable"))
    assert await registry.tags.names(admin, APP, "", 10) == ["latest"]
    assert (await registry.manifests.get(admin, APP, LATEST)).digest == OTHER.digest
    await push_image(registry, admin, APP, PUSHED, *many[:100])
    assert await count(database, tags) == 101


async def test_a_tag_moves_and_its_history_is_exact(registry: Registry, admin: Actor, database: Database, clock: ManualClock) -> None:
    await push_image(registry, admin, APP, PUSHED, "latest")
    clock.advance(HOUR)
    await push_image(registry, admin, APP, OTHER, "latest", "stable")
    clock.advance(HOUR)
    await push_manifest(registry, admin, APP, OTHER, "latest")
    clock.advance(HOUR)
    await registry.manifests.delete(admin, APP, LATEST)
    clock.advance(HOUR)
    await push_manifest(registry, admin, APP, PUSHED, "latest")
    one, two, who = PUSHED.digest, OTHER.digest, admin.account_id
    assert await table(database, tag_history, "tag", "old_digest", "new_digest", "actor_id", "at") == [
        ("latest", None, one, who, BEGINNING),
        ("latest", one, two, who, BEGINNING + HOUR),
        ("stable", None, two, who, BEGINNING + HOUR),
        ("latest", two, None, who, BEGINNING + 3 * HOUR),
        ("latest", None, one, who, BEGINNING + 4 * HOUR),
    ]
    live = select(tags.c.name, tags.c.pushed_at, tags.c.pushed_by).where(tags.c.deleted_at.is_(None)).order_by(tags.c.name)
    rows = await database.read(lambda connection: [tuple(row) for row in connection.execute(live)])
    assert rows == [("latest", BEGINNING + 4 * HOUR, who), ("stable", BEGINNING + HOUR, who)]


async def test_every_change_is_an_event_in_its_own_transaction(
    registry: Registry, admin: Actor, database: Database, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, PUSHED, "latest")
    await push_image(registry, admin, APP, OTHER, "latest")
    clock.advance(HOUR)
    await registry.manifests.delete(admin, APP, OTHER.digest)
    one, two = str(PUSHED.digest), str(OTHER.digest)
    rows = await table(database, events, "type", "manifest_id", "tag", "old_digest", "new_digest", "at", "actor_id")
    first, second = sorted({row[1] for row in rows})
    who = admin.account_id
    assert rows == [
        ("manifest.pushed", first, None, None, one, BEGINNING, who),
        ("tag.pointed", first, "latest", None, one, BEGINNING, who),
        ("manifest.pushed", second, None, None, two, BEGINNING, who),
        ("tag.pointed", second, "latest", one, two, BEGINNING, who),
        ("tag.deleted", second, "latest", two, None, BEGINNING + HOUR, who),
        ("manifest.deleted", second, None, two, None, BEGINNING + HOUR, who),
    ]
    places = set(await table(database, events, "project_id", "repository_id"))
    place = await registry.repositories.locate(admin, APP, Action.PULL)
    assert places == {(place.project_id, place.repository_id)}


# --- deletion -----------------------------------------------------------------------------------------------------------------------


async def test_deleting_a_tag_leaves_manifest_and_other_tags(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, PUSHED, "latest", "stable")
    await registry.manifests.delete(admin, APP, LATEST)
    await refused(
        ManifestUnknown,
        lambda: registry.manifests.get(admin, APP, LATEST),
        lambda: registry.manifests.delete(admin, APP, LATEST),
    )
    assert (await registry.manifests.get(admin, APP, STABLE)).digest == PUSHED.digest


async def test_deleting_a_manifest_takes_its_tags_and_no_others(registry: Registry, admin: Actor, clock: ManualClock) -> None:
    await push_image(registry, admin, APP, PUSHED, "latest", "stable")
    await push_image(registry, admin, APP, OTHER, "other")
    await push_image(registry, admin, COPY, PUSHED, "latest")
    await registry.manifests.delete(admin, APP, PUSHED.digest)
    await refused(
        ManifestUnknown,
        lambda: registry.manifests.get(admin, APP, PUSHED.digest),
        lambda: registry.manifests.get(admin, APP, STABLE),
        lambda: registry.manifests.delete(admin, APP, PUSHED.digest),
    )
    assert await registry.tags.names(admin, APP, "", 10) == ["other"]
    assert (await registry.manifests.get(admin, COPY, LATEST)).digest == PUSHED.digest


async def test_a_deleted_manifest_is_kept_and_pushed_again_is_a_new_one(
    registry: Registry, admin: Actor, database: Database, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, PUSHED, "latest")
    clock.advance(HOUR)
    await registry.manifests.delete(admin, APP, PUSHED.digest)
    clock.advance(HOUR)
    await push_manifest(registry, admin, APP, PUSHED, "latest")
    rows = await table(database, manifests, "id", "digest", "pushed_at", "deleted_at")
    assert [row[1:] for row in rows] == [
        (PUSHED.digest, BEGINNING, BEGINNING + HOUR),
        (PUSHED.digest, BEGINNING + 2 * HOUR, None),
    ]
    assert (await registry.manifests.get(admin, APP, LATEST)).manifest_id == rows[1][0]


async def test_pushing_again_keeps_the_row_and_renews_who_and_when(
    registry: Registry, admin: Actor, database: Database, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, PUSHED)
    clock.advance(HOUR)
    await push_manifest(registry, admin, APP, PUSHED)
    assert await table(database, manifests, "digest", "size", "pushed_at", "pushed_by", "deleted_at") == [
        (PUSHED.digest, len(PUSHED.content), BEGINNING + HOUR, admin.account_id, None)
    ]
    assert await count(database, manifest_references) == 2


async def test_the_same_push_many_times_at_once_is_one_manifest(registry: Registry, admin: Actor, database: Database) -> None:
    for one in PUSHED.blobs:
        await push_blob(registry, admin, APP, one)
    every = await asyncio.gather(*(push_manifest(registry, admin, APP, PUSHED, "latest") for _ in range(12)))
    assert {one.digest for one in every} == {PUSHED.digest}
    assert (await count(database, manifests), await count(database, tags), await count(database, tag_history)) == (1, 1, 1)
    assert await count(database, manifest_references) == 2


async def test_first_pushes_into_a_new_repository_at_once(registry: Registry, admin: Actor) -> None:
    made = [image(f"layer {number}") for number in range(8)]
    await asyncio.gather(*(push_image(registry, admin, APP, one, f"t{number}") for number, one in enumerate(made)))
    assert len(await registry.tags.names(admin, APP, "", 20)) == 8


async def test_one_tag_pushed_by_many_at_once_has_an_unbroken_history(registry: Registry, admin: Actor, database: Database) -> None:
    made = [image(f"layer {number}") for number in range(6)]
    for one in made:
        await push_image(registry, admin, APP, one)
    await asyncio.gather(*(push_manifest(registry, admin, APP, one, "latest") for one in made))
    history = await table(database, tag_history, "old_digest", "new_digest")
    links = dict(history)
    walked = [links[None]]
    while walked[-1] in links:
        walked.append(links[walked[-1]])
    assert (len(walked), sorted(walked)) == (6, sorted(one.digest for one in made))
    assert (await registry.manifests.get(admin, APP, LATEST)).digest == walked[-1]


# --- who may ------------------------------------------------------------------------------------------------------------------------


async def test_public_and_private(registry: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    for name in (APP, VAULT):
        await push_image(registry, admin, name, PUSHED, "latest")
    for actor in (user, anonymous, narrowed(admin, {COPY: "pull"})):
        assert (await registry.manifests.get(actor, APP, LATEST)).digest == PUSHED.digest
    for reference in (LATEST, PUSHED.digest, TagName("none")):
        await refused(Unauthenticated, lambda reference=reference: registry.manifests.get(anonymous, VAULT, reference))  # type: ignore[misc]
        await refused(ProjectUnknown, lambda reference=reference: registry.manifests.get(user, VAULT, reference))  # type: ignore[misc]
    await refused(InsufficientScope, lambda: registry.manifests.get(narrowed(admin, {COPY: "pull"}), VAULT, LATEST))
    assert (await registry.manifests.get(narrowed(admin, {VAULT: "pull"}), VAULT, LATEST)).digest == PUSHED.digest


async def test_nobody_pushes_or_deletes_without_the_right(registry: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    await push_image(registry, admin, APP, PUSHED, "latest")
    narrow = narrowed(admin, {APP: "pull"})
    for actor, error in ((anonymous, Unauthenticated), (user, Denied), (narrow, InsufficientScope)):
        await refused(
            error,
            lambda actor=actor: push_manifest(registry, actor, APP, PUSHED),  # type: ignore[misc]
            lambda actor=actor: registry.manifests.delete(actor, APP, LATEST),  # type: ignore[misc]
            lambda actor=actor: registry.manifests.delete(actor, APP, PUSHED.digest),  # type: ignore[misc]
        )


async def test_a_digest_that_the_actor_may_not_see_cannot_be_named(registry: Registry, admin: Actor) -> None:
    """A child of another repository is absent here, even to one who may read it there."""
    await push_image(registry, admin, VAULT, PUSHED)
    await refused(ReferenceMissing, lambda: push_manifest(registry, admin, APP, index(PUSHED)))
    await refused(ReferenceMissing, lambda: push_manifest(registry, admin, APP, PUSHED))
