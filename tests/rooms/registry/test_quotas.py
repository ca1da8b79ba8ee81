"""What a project may store: what counts, what is refused, and who sees and sets it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import select, update

from roadstead.access.actor import Actor, Role
from roadstead.access.configuration import Configuration
from roadstead.content.memory import MemoryStore
from roadstead.errors import (
    ClientGone,
    Denied,
    DigestMismatch,
    InvalidAccount,
    InvalidInput,
    OutOfOrder,
    ProjectUnknown,
    QuotaExceeded,
    SizeMismatch,
    Unauthenticated,
    UploadUnknown,
)
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from roadstead.metadata.schema import audit_log, uploads
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry import reservations
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.registry.uploads import Body
from roadstead.upkeep.uploads import expire_uploads
from tests.conftest import MakeRegistry, add_account
from tests.support.factories import APP, COPY, VAULT, ManualClock, blob, body, broken, chunks, image, push_blob, push_image, push_manifest

LIBRARY = APP.project
TEN = blob("0123456789")


async def used(registry: Registry, actor: Actor, project: str = LIBRARY) -> int:
    return (await registry.quotas.get(actor, project)).used


async def start_with(registry: Registry, actor: Actor, content: bytes) -> str:
    token = (await registry.uploads.start(actor, APP)).token
    await registry.uploads.write(actor, APP, token, body(content))
    return token


def sized(size: int, seed: str = "") -> bytes:
    return (seed.encode() + b"x" * size)[:size]


# --- what counts --------------------------------------------------------------------------------------------------------------------


async def test_a_content_counts_once_in_a_project(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, APP, TEN)
    await push_blob(registry, admin, APP, TEN)
    await push_blob(registry, admin, COPY, TEN)
    await registry.blobs.mount(admin, RepositoryName(f"{LIBRARY}/third"), TEN.digest, APP)
    await registry.uploads.push(admin, APP, Digest.of(TEN.content, "sha512"), body(TEN.content))
    assert await used(registry, admin) == 10
    assert await used(registry, admin, VAULT.project) == 0


async def test_a_content_counts_in_every_project_that_has_it(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, APP, TEN)
    assert await registry.blobs.mount(admin, VAULT, TEN.digest, APP)
    assert (await used(registry, admin), await used(registry, admin, VAULT.project)) == (10, 10)


async def test_an_unfinished_upload_counts_for_what_it_holds(registry: Registry, admin: Actor) -> None:
    token = await start_with(registry, admin, b"01234")
    row = await registry.quotas.get(admin, LIBRARY)
    assert (row.stored, row.uploading, row.used) == (0, 5, 5)
    await registry.uploads.finish(admin, APP, token, TEN.digest, body(b"56789"))
    row = await registry.quotas.get(admin, LIBRARY)
    assert (row.stored, row.uploading, row.used) == (10, 0, 10)


async def test_an_announced_length_counts_before_it_has_come(registry: Registry, admin: Actor) -> None:
    seen = []

    async def watched() -> AsyncIterator[bytes]:
        seen.append(await used(registry, admin))
        yield sized(1000)

    token = (await registry.uploads.start(admin, APP)).token
    await registry.uploads.write(admin, APP, token, Body(watched(), 1000))
    assert seen == [1000]
    assert await used(registry, admin) == 1000


async def test_what_was_announced_and_did_not_come_counts_no_longer(registry: Registry, admin: Actor) -> None:
    token = (await registry.uploads.start(admin, APP)).token
    with pytest.raises(ClientGone):
        await registry.uploads.write(admin, APP, token, Body(broken(b"01234", error=ClientGone()), 1000))
    assert await used(registry, admin) == 5
    with pytest.raises(SizeMismatch):
        await registry.uploads.write(admin, APP, token, body(b"56789", length=1000))
    assert await used(registry, admin) == 5
    await registry.uploads.cancel(admin, APP, token)
    assert await used(registry, admin) == 0


async def test_an_upload_that_expires_counts_no_longer(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, clock: ManualClock
) -> None:
    await start_with(registry, admin, b"01234")
    clock.advance(Rules().upload_lifetime * 2)
    await expire_uploads(database, store, Rules(), clock)
    assert await used(registry, admin) == 0


async def test_an_upload_into_a_deleted_repository_counts_no_longer(registry: Registry, admin: Actor) -> None:
    await start_with(registry, admin, b"01234")
    await registry.repositories.remove(admin, APP)
    assert await used(registry, admin) == 0


async def test_a_wrong_digest_gives_everything_back(registry: Registry, admin: Actor) -> None:
    token = await start_with(registry, admin, b"01234")
    with pytest.raises(DigestMismatch):
        await registry.uploads.finish(admin, APP, token, blob("other").digest, body(b"56789"))
    assert await used(registry, admin) == 0


async def test_a_manifest_itself_does_not_count(registry: Registry, admin: Actor) -> None:
    made = image("0123456789", config="{}")
    await push_image(registry, admin, APP, made, "latest")
    assert await used(registry, admin) == 12


# --- freeing ------------------------------------------------------------------------------------------------------------------------


async def test_deleting_the_last_manifest_frees_at_once_and_pushing_it_again_counts_again(registry: Registry, admin: Actor) -> None:
    made = image("0123456789", config="{}")
    await push_image(registry, admin, APP, made, "latest")
    await registry.manifests.delete(admin, APP, made.digest)
    assert await used(registry, admin) == 0
    await push_manifest(registry, admin, APP, made)
    assert await used(registry, admin) == 12


async def test_deleting_a_tag_frees_nothing(registry: Registry, admin: Actor) -> None:
    pushed = await push_image(registry, admin, APP, image("0123456789"), "latest")
    before = await used(registry, admin)
    await registry.manifests.delete(admin, APP, pushed.tags[0])
    assert await used(registry, admin) == before > 10


async def test_what_another_manifest_of_the_project_names_stays_charged(registry: Registry, admin: Actor) -> None:
    one, two = image("shared", "one", config="{}"), image("shared", "two", config="{}")
    await push_image(registry, admin, APP, one)
    await push_image(registry, admin, COPY, two)
    assert await used(registry, admin) == 2 + 6 + 3 + 3
    await registry.manifests.delete(admin, APP, one.digest)
    assert await used(registry, admin) == 2 + 6 + 3
    await registry.manifests.delete(admin, COPY, two.digest)
    assert await used(registry, admin) == 0


async def test_a_manifest_of_another_project_keeps_nothing_charged_here(registry: Registry, admin: Actor) -> None:
    made = image("0123456789", config="{}")
    for name in (APP, VAULT):
        await push_image(registry, admin, name, made)
    await registry.manifests.delete(admin, APP, made.digest)
    assert (await used(registry, admin), await used(registry, admin, VAULT.project)) == (0, 12)


async def test_what_is_named_by_a_manifest_that_came_before_it_stays_charged(make_registry: MakeRegistry, admin: Actor) -> None:
    """A manifest that named absent content names it by its digest alone."""
    registry = make_registry(Rules(accept_absent_content=True))
    first, second = image("0123456789", config="{}"), image("0123456789", config="[]")
    await push_manifest(registry, admin, APP, first)
    await push_image(registry, admin, APP, second)
    await push_blob(registry, admin, APP, first.blobs[0])
    assert await used(registry, admin) == 14
    await registry.manifests.delete(admin, APP, second.digest)
    assert await used(registry, admin) == 12
    await registry.manifests.delete(admin, APP, first.digest)
    assert await used(registry, admin) == 0


async def test_a_blob_that_is_deleted_counts_while_another_repository_has_it(registry: Registry, admin: Actor) -> None:
    for name in (APP, COPY):
        await push_blob(registry, admin, name, TEN)
    await registry.blobs.delete(admin, APP, TEN.digest)
    assert await used(registry, admin) == 10
    await registry.blobs.delete(admin, COPY, TEN.digest)
    assert await used(registry, admin) == 0


# --- refusing -----------------------------------------------------------------------------------------------------------------------


async def test_a_full_project_refuses_at_the_start(registry: Registry, admin: Actor, database: Database) -> None:
    await push_blob(registry, admin, APP, TEN)
    await registry.quotas.set(admin, LIBRARY, 10)
    with pytest.raises(QuotaExceeded) as raised:
        await registry.uploads.start(admin, APP)
    assert raised.value.detail == {"project": LIBRARY, "used": 10, "limit": 10, "wanted": 1}
    assert "10 bytes" in raised.value.message
    assert "full" in raised.value.message
    await registry.uploads.start(admin, VAULT)


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


@pytest.mark.parametrize("way", ["push", "write", "finish"])
async def test_an_announced_length_that_does_not_fit_is_refused_before_the_body_is_read(
    registry: Registry, admin: Actor, store: MemoryStore, way: str
) -> None:
    await registry.quotas.set(admin, LIBRARY, 3 << 20)
    token = await start_with(registry, admin, sized(1 << 20))
    announced = Body(unread(), 5 << 20)
    with pytest.raises(QuotaExceeded) as raised:
        if way == "push":
            await registry.uploads.push(admin, APP, TEN.digest, announced)
        elif way == "write":
            await registry.uploads.write(admin, APP, token, announced)
        else:
            await registry.uploads.finish(admin, APP, token, TEN.digest, announced)
    assert raised.value.detail == {"project": LIBRARY, "used": 1 << 20, "limit": 3 << 20, "wanted": 5 << 20}
    assert "'library' uses 1.0 MiB of the 3.0 MiB that it may use, and this needs 5.0 MiB more" in raised.value.message
    # Who is refused loses the upload, so that a push that was given up keeps nobody out.
    assert await used(registry, admin) == (1 << 20 if way == "push" else 0)
    assert len(store.medium) == (1 if way == "push" else 0)


async def test_a_stream_of_unknown_length_stops_at_the_limit(
    registry: Registry, admin: Actor, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "STEP", 100)
    await registry.quotas.set(admin, LIBRARY, 1000)
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 10
            yield sized(10)

    token = (await registry.uploads.start(admin, APP)).token
    with pytest.raises(QuotaExceeded) as raised:
        await registry.uploads.write(admin, APP, token, Body(endless()))
    assert taken == 1010
    assert raised.value.detail["limit"] == 1000
    assert await used(registry, admin) == 0
    assert store.medium == {}
    with pytest.raises(UploadUnknown):
        await registry.uploads.status(admin, APP, token)


async def test_what_streams_in_counts_step_by_step(registry: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "STEP", 100)
    await registry.quotas.set(admin, LIBRARY, 10_000)
    seen = []

    async def watched() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield sized(10)
            seen.append(await used(registry, admin))

    token = (await registry.uploads.start(admin, APP)).token
    await registry.uploads.write(admin, APP, token, Body(watched()))
    assert sorted(set(seen)) == [10, 120, 230]
    assert await used(registry, admin) == 300


async def test_a_stream_that_fits_exactly_is_taken(registry: Registry, admin: Actor) -> None:
    await registry.quotas.set(admin, LIBRARY, 10)
    token = (await registry.uploads.start(admin, APP)).token
    await registry.uploads.write(admin, APP, token, Body(chunks(b"01234", b"56789")))
    await registry.uploads.finish(admin, APP, token, TEN.digest, Body(chunks()))
    assert await used(registry, admin) == 10


@pytest.mark.parametrize("length", [None, 1 << 10], ids=["unannounced", "long"])
async def test_a_large_blob_at_once_is_reserved_as_it_comes(
    registry: Registry, admin: Actor, database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    for module in ("reservations", "uploads"):
        monkeypatch.setattr(f"roadstead.registry.{module}.STEP", 100)
    await registry.quotas.set(admin, LIBRARY, 2048)
    content = sized(1 << 10)
    seen = []

    async def watched() -> AsyncIterator[bytes]:
        yield content[:512]
        yield content[512:]
        seen.append(await used(registry, admin))

    await registry.uploads.push(admin, APP, Digest.of(content), Body(watched(), length))
    assert seen == [1024]
    assert await used(registry, admin) == 1024
    for error in (ClientGone(), DigestMismatch()):
        with pytest.raises(type(error)):
            await registry.uploads.push(admin, APP, TEN.digest, Body(broken(sized(512), error=error), length))
    with pytest.raises(QuotaExceeded):
        await registry.uploads.push(admin, APP, TEN.digest, Body(chunks(*[sized(512)] * 3), length and 3 * 512))
    row = await registry.quotas.get(admin, LIBRARY)
    assert (row.stored, row.uploading) == (1024, 0)
    assert len(store.medium) == 1
    assert await database.read(lambda connection: connection.execute(select(uploads.c.id)).all()) == []


async def test_a_mount_that_does_not_fit_is_refused(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, VAULT, TEN)
    await registry.quotas.set(admin, LIBRARY, 9)
    with pytest.raises(QuotaExceeded) as raised:
        await registry.blobs.mount(admin, APP, TEN.digest, VAULT)
    assert raised.value.detail == {"project": LIBRARY, "used": 0, "limit": 9, "wanted": 10}
    assert await used(registry, admin) == 0
    await registry.quotas.set(admin, LIBRARY, 10)
    assert await registry.blobs.mount(admin, APP, TEN.digest, VAULT)


async def test_a_mount_of_what_the_project_has_already_costs_nothing(registry: Registry, admin: Actor) -> None:
    await push_blob(registry, admin, APP, TEN)
    await registry.quotas.set(admin, LIBRARY, 5)
    assert await registry.blobs.mount(admin, COPY, TEN.digest, APP)
    assert await used(registry, admin) == 10


async def test_a_manifest_of_freed_content_that_fits_no_longer_is_refused(registry: Registry, admin: Actor) -> None:
    made = image("0123456789", config="{}")
    await push_image(registry, admin, APP, made)
    await registry.manifests.delete(admin, APP, made.digest)
    await registry.quotas.set(admin, LIBRARY, 11)
    with pytest.raises(QuotaExceeded) as raised:
        await push_manifest(registry, admin, APP, made, "latest")
    assert raised.value.detail == {"project": LIBRARY, "used": 0, "limit": 11, "wanted": 12}
    assert await used(registry, admin) == 0
    assert await registry.tags.names(admin, APP, "", 10) == []


async def test_the_same_manifest_again_is_taken_by_a_full_project(registry: Registry, admin: Actor) -> None:
    made = image("0123456789")
    await push_image(registry, admin, APP, made)
    await registry.quotas.set(admin, LIBRARY, 1)
    await push_manifest(registry, admin, APP, made, "latest")


async def test_a_lower_limit_takes_nothing_away_and_refuses_until_there_is_room(registry: Registry, admin: Actor) -> None:
    for text in ("one", "two"):
        await push_image(registry, admin, APP, image(text, config="{}"), text)
    await registry.quotas.set(admin, LIBRARY, 6)
    assert await used(registry, admin) == 8
    with pytest.raises(QuotaExceeded):
        await push_blob(registry, admin, APP, blob("!"))
    await registry.manifests.delete(admin, APP, image("one", config="{}").digest)
    await push_blob(registry, admin, APP, blob("!"))
    assert await used(registry, admin) == 6


async def test_an_upload_whose_claim_was_lost_while_it_streams_is_not_acknowledged(
    registry: Registry, admin: Actor, database: Database
) -> None:
    await registry.quotas.set(admin, LIBRARY, 1000)
    token = (await registry.uploads.start(admin, APP)).token

    async def overtaken() -> AsyncIterator[bytes]:
        await database.write(lambda connection: connection.execute(update(uploads).values(version=uploads.c.version + 1)))
        yield b"01234"

    with pytest.raises(OutOfOrder):
        await registry.uploads.write(admin, APP, token, Body(overtaken()))


# --- seeing and setting -------------------------------------------------------------------------------------------------------------


async def test_only_administrators_set_a_quota(registry: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    await registry.projects.add_member(admin, LIBRARY, user.name, Role.PROJECT_ADMIN)
    with pytest.raises(Denied):
        await registry.quotas.set(user, LIBRARY, 10)
    with pytest.raises(Unauthenticated):
        await registry.quotas.set(anonymous, LIBRARY, 10)
    with pytest.raises(ProjectUnknown):
        await registry.quotas.set(admin, "nowhere", 10)
    for limit in (-2, 2**63):
        with pytest.raises(InvalidAccount):
            await registry.quotas.set(admin, LIBRARY, limit)
    assert (await registry.quotas.get(admin, LIBRARY)).limit is None


async def test_a_change_is_audited(registry: Registry, admin: Actor, database: Database) -> None:
    await registry.quotas.set(admin, LIBRARY, 10)
    await registry.quotas.set(admin, LIBRARY, -1)
    columns = (audit_log.c.actor, audit_log.c.action, audit_log.c.resource, audit_log.c.detail)
    wanted = select(*columns).where(audit_log.c.resource_type == "quota").order_by(audit_log.c.id)
    rows = await database.read(lambda connection: [tuple(row) for row in connection.execute(wanted)])
    assert rows == [
        (admin.name, "update", LIBRARY, "no limit to 10 bytes"),
        (admin.name, "update", LIBRARY, "10 bytes to no limit"),
    ]


async def test_members_see_their_projects_quota_and_others_do_not(registry: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    with pytest.raises(Denied):
        await registry.quotas.get(user, LIBRARY)
    with pytest.raises(ProjectUnknown):
        await registry.quotas.get(user, VAULT.project)
    with pytest.raises(ProjectUnknown):
        await registry.quotas.get(user, "nowhere")
    with pytest.raises(Unauthenticated):
        await registry.quotas.get(anonymous, LIBRARY)
    await registry.projects.add_member(admin, VAULT.project, user.name, Role.LIMITED_GUEST)
    await registry.quotas.set(admin, VAULT.project, 10)
    assert (await registry.quotas.get(user, VAULT.project)).limit == 10


async def test_the_list_is_for_administrators_and_comes_in_pages(registry: Registry, admin: Actor, user: Actor) -> None:
    await push_blob(registry, admin, VAULT, TEN)
    await registry.quotas.set(admin, VAULT.project, 10)
    with pytest.raises(Denied):
        await registry.quotas.list(user, Listing())
    rows, total = await registry.quotas.list(admin, Listing())
    assert [(row.project, row.limit, row.used) for row in rows] == [("library", None, 0), ("vault", 10, 10)]
    assert total == 2
    rows, total = await registry.quotas.list(admin, Listing(sort=(Sort("used", descending=True),), page=Page(size=1)))
    assert ([row.project for row in rows], total) == (["vault"], 2)
    rows, _ = await registry.quotas.list(admin, Listing(filters=(Filter("used", Match.BETWEEN, ("1", "")),)))
    assert [row.project for row in rows] == ["vault"]
    with pytest.raises(InvalidInput):
        await registry.quotas.list(admin, Listing(sort=(Sort("colour"),)))


async def test_a_new_project_has_the_configured_limit_unless_an_administrator_says_otherwise(
    database: Database, store: MemoryStore, clock: ManualClock, admin: Actor
) -> None:
    configuration = Configuration(database, clock)
    await configuration.change(admin, {"storage_per_project": 100, "project_creation_restriction": "everyone"})
    registry = Registry(database, store, Rules(create_projects_on_push=True), clock=clock, configuration=configuration)
    user = await add_account(database, "grace", is_admin=False)
    await registry.projects.add(user, "one")
    await registry.projects.add(admin, "two", storage_limit=-1)
    await registry.projects.add(admin, "three", storage_limit=7)
    with pytest.raises(Denied):
        await registry.projects.add(user, "four", storage_limit=7)
    await registry.uploads.start(admin, RepositoryName("five/app"))
    rows, _ = await registry.quotas.list(admin, Listing(sort=(Sort("id"),)))
    assert [(row.project, row.limit) for row in rows] == [("one", 100), ("two", None), ("three", 7), ("five", 100)]


def test_a_refusal_is_plain_to_read() -> None:
    from roadstead.metadata.repositories import PlaceRow
    from roadstead.registry.quotas import exceeded

    place = PlaceRow(1, "climate", False, None, 100 << 30)
    said = msgspec.to_builtins(exceeded(place, (99 << 30) + (512 << 20), 1 << 30).detail)
    assert said == {"project": "climate", "used": 106837311488, "limit": 107374182400, "wanted": 1073741824}
    assert exceeded(place, 99 << 30, 2 << 30).message == (
        "The project 'climate' uses 99.0 GiB of the 100.0 GiB that it may use, and this needs 2.0 GiB more."
    )
    assert exceeded(place, 100 << 30, 1).message == "The project 'climate' uses 100.0 GiB of the 100.0 GiB that it may use, and is full."
