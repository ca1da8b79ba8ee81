"""Lists: tags, repositories, referrers; and the counts of pulls."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select

from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.errors import DatabaseFailed, ProjectUnknown, RepositoryUnknown, Unauthenticated
from roadstead.metadata import audit
from roadstead.metadata.database import Database, open_database
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from roadstead.metadata.schema import manifests, repositories, tags
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName, referrers_tag
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from tests.conftest import MakeRegistry
from tests.support.factories import APP, BEGINNING, COPY, VAULT, Image, ManualClock, image, index, push_blob, push_image, push_manifest

BASE = image("base")


# --- tags ---------------------------------------------------------------------------------------------------------------------------


async def test_tags_come_in_the_order_of_their_bytes(registry: Registry, admin: Actor, anonymous: Actor) -> None:
    names = ["1.0", "10", "2", "A", "Z", "_x", "a", "a-b", "a.b", "a_b", "b"]
    await push_image(registry, admin, APP, BASE, *reversed(names))
    ordered = sorted(names)
    assert await registry.tags.names(anonymous, APP, "", 100) == ordered
    assert await registry.tags.names(anonymous, APP, "", 3) == ordered[:3]
    assert await registry.tags.names(anonymous, APP, "Z", 2) == ordered[ordered.index("Z") + 1 :][:2]
    assert await registry.tags.names(anonymous, APP, "Zzz", 1) == ["_x"]
    assert await registry.tags.names(anonymous, APP, "b", 5) == []
    assert await registry.tags.names(anonymous, APP, "", 0) == []


async def test_tags_of_a_repository_that_cannot_be_seen(registry: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    await push_image(registry, admin, VAULT, BASE, "latest")
    for actor, name, error in (
        (admin, RepositoryName("library/never"), RepositoryUnknown),
        (admin, RepositoryName("nowhere/app"), ProjectUnknown),
        (user, VAULT, ProjectUnknown),
        (anonymous, VAULT, Unauthenticated),
    ):
        with pytest.raises(error):
            await registry.tags.names(actor, name, "", 10)


# --- the catalog --------------------------------------------------------------------------------------------------------------------


async def test_the_catalog_shows_what_the_actor_may_see_and_is_not_empty(
    registry: Registry, admin: Actor, user: Actor, anonymous: Actor
) -> None:
    for name in (VAULT, COPY, APP):
        await push_image(registry, admin, name, BASE)
    await registry.uploads.start(admin, RepositoryName("library/begun"))
    await push_blob(registry, admin, RepositoryName("library/blob-only"), BASE.blobs[0])
    gone = RepositoryName("library/gone")
    await push_image(registry, admin, gone, BASE)
    await registry.manifests.delete(admin, gone, BASE.digest)
    assert await registry.repositories.catalog(admin, None, 10) == [APP, COPY, VAULT]
    for actor in (user, anonymous):
        assert await registry.repositories.catalog(actor, None, 10) == [APP, COPY]


async def test_the_catalog_in_pages(registry: Registry, admin: Actor) -> None:
    await registry.projects.ensure("library-2", public=True)
    names = [RepositoryName(name) for name in ("library/a", "library/a-b", "library/a/b", "library/ab", "library-2/a", "vault/a")]
    for name in names:
        await push_image(registry, admin, name, BASE)
    # By project, then by path: the order in which pages continue.
    ordered = sorted(names, key=lambda name: (name.project, name.path))
    found: list[str] = []
    while page := await registry.repositories.catalog(admin, RepositoryName(found[-1]) if found else None, 2):
        found += page
    assert found == ordered
    assert await registry.repositories.catalog(admin, RepositoryName("library/a-a"), 1) == ["library/a-b"]


# --- referrers ----------------------------------------------------------------------------------------------------------------------


async def listed(registry: Registry, actor: Actor, subject: Digest, kind: str | None = None, limit: int = 100) -> list[Digest]:
    """All pages."""
    found: list[Digest] = []
    after: int | None = 0
    while after is not None:
        page = await registry.referrers.list(actor, APP, subject, kind, after, limit)
        found += [one.digest for one in page.referrers]
        after = page.continue_after
    return found


async def test_referrers_are_described(registry: Registry, admin: Actor, anonymous: Actor) -> None:
    signature = image("signature", subject=BASE, artifact_type="application/x.signature", annotations={"who": "ada"})
    plain = image("plain", subject=BASE)
    for one in (signature, plain):
        await push_image(registry, admin, APP, one)
    page = await registry.referrers.list(anonymous, APP, BASE.digest, None, 0, 10)
    first, second = page.referrers
    assert (first.digest, first.media_type, first.size) == (signature.digest, signature.media_type, len(signature.content))
    assert (first.artifact_type, first.annotations) == ("application/x.signature", {"who": "ada"})
    assert (second.digest, second.artifact_type, second.annotations) == (plain.digest, "application/vnd.oci.image.config.v1+json", {})
    assert page.continue_after is None


async def test_referrers_are_filtered_and_deleted_ones_leave(registry: Registry, admin: Actor) -> None:
    made = [image(f"s{number}", subject=BASE, artifact_type=f"x/{number % 2}") for number in range(4)]
    for one in made:
        await push_image(registry, admin, APP, one)
    assert await listed(registry, admin, BASE.digest) == [one.digest for one in made]
    assert await listed(registry, admin, BASE.digest, "x/1") == [made[1].digest, made[3].digest]
    assert await listed(registry, admin, BASE.digest, "x/none") == []
    await registry.manifests.delete(admin, APP, made[1].digest)
    assert await listed(registry, admin, BASE.digest, "x/1") == [made[3].digest]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
async def test_referrers_in_pages(registry: Registry, admin: Actor, limit: int) -> None:
    made = [image(f"s{number}", subject=BASE) for number in range(5)]
    for one in made:
        await push_image(registry, admin, APP, one)
    assert await listed(registry, admin, BASE.digest, limit=limit) == [one.digest for one in made]


async def test_an_index_may_refer_too(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, BASE)
    bundle = index(BASE, subject=BASE)
    await push_manifest(registry, admin, APP, bundle)
    assert await listed(registry, admin, BASE.digest) == [bundle.digest]


async def test_nothing_refers_in_a_repository_that_is_not_there_yet(registry: Registry, admin: Actor, user: Actor) -> None:
    assert await listed(registry, admin, BASE.digest) == []
    with pytest.raises(ProjectUnknown):
        await registry.referrers.list(user, VAULT, BASE.digest, None, 0, 10)


async def test_the_fallback_tag_adds_what_names_no_subject_itself(registry: Registry, admin: Actor) -> None:
    """Distribution-spec, "Enabling the Referrers API": what clients kept under the tag before must stay listed."""
    old, new = image("old"), image("new", subject=BASE)
    for one in (old, new):
        await push_image(registry, admin, APP, one)
    fallback = index(old, new)
    await push_manifest(registry, admin, APP, fallback, referrers_tag(BASE.digest))
    assert await listed(registry, admin, BASE.digest) == [old.digest, new.digest]
    assert await listed(registry, admin, BASE.digest, limit=1) == [old.digest, new.digest]
    assert await listed(registry, admin, BASE.digest, "x/none") == []


async def test_a_fallback_tag_with_absent_entries_or_on_an_image_adds_nothing(make_registry: MakeRegistry, admin: Actor) -> None:
    registry = make_registry(Rules(accept_absent_content=True))
    await push_manifest(registry, admin, APP, index(image("absent")), referrers_tag(BASE.digest))
    assert await listed(registry, admin, BASE.digest) == []
    await push_image(registry, admin, APP, BASE, referrers_tag(BASE.digest))
    assert await listed(registry, admin, BASE.digest) == []


async def test_annotations_of_any_characters_come_back(registry: Registry, admin: Actor) -> None:
    notes = {"what": "ümläut ☃ \U0001f6a2", "json": json.dumps({"a": [1]}), "empty": ""}
    await push_image(registry, admin, APP, image("s", subject=BASE, annotations=notes))
    [one] = (await registry.referrers.list(admin, APP, BASE.digest, None, 0, 10)).referrers
    assert one.annotations == notes


# --- counts of pulls ----------------------------------------------------------------------------------------------------------------


async def counts(database: Database) -> dict[str, list[tuple[int, object]]]:
    return {
        table.name: await database.read(
            lambda connection, table=table: [  # type: ignore[misc]
                tuple(row) for row in connection.execute(select(table.c.pull_count, table.c.last_pulled_at).order_by(table.c.id))
            ]
        )
        for table in (repositories, manifests, tags)
    }


async def test_pulls_are_counted_in_batches(registry: Registry, admin: Actor, database: Database, clock: ManualClock) -> None:
    other: Image = image("other")
    await push_image(registry, admin, APP, BASE, "latest")
    await push_image(registry, admin, APP, other)
    for reference in (TagName("latest"), TagName("latest"), BASE.digest, other.digest):
        await registry.manifests.get(admin, APP, reference)
    await registry.manifests.get(admin, APP, BASE.digest, count=False)
    assert (await counts(database))["repositories"] == [(0, None)]
    await registry.pulls.flush()
    expected = {"repositories": [(4, BEGINNING)], "manifests": [(3, BEGINNING), (1, BEGINNING)], "tags": [(2, BEGINNING)]}
    assert await counts(database) == expected
    clock.advance(timedelta(hours=1))
    await registry.pulls.flush()
    assert await counts(database) == expected
    await registry.manifests.get(admin, APP, other.digest)
    await registry.pulls.flush()
    assert (await counts(database))["manifests"] == [(3, BEGINNING), (2, BEGINNING + timedelta(hours=1))]


async def test_counts_that_cannot_be_written_wait_for_the_next_time(
    make_registry: MakeRegistry, admin: Actor, database: Database, database_url: str, clock: ManualClock
) -> None:
    registry = make_registry()
    await push_image(registry, admin, APP, BASE)
    another = await open_database(database_url)
    counter = type(registry.pulls)(another, clock)
    counter.count(admin, APP, BASE.digest, await registry.manifests.get(admin, APP, BASE.digest))
    # The table is away for the moment of the first flush.
    await database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE manifests RENAME TO manifests_away"))
    try:
        with pytest.raises(DatabaseFailed, match="manifests"):
            await counter.flush()
    finally:
        await database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE manifests_away RENAME TO manifests"))
    assert (await counts(database))["repositories"] == [(0, None)]
    await counter.flush()
    assert (await counts(database))["manifests"] == [(1, BEGINNING)]
    await another.close()


async def pulls_audited(database: Database) -> list[tuple[str, str, str, int]]:
    """Of each entry of a pull in the audit log: actor, address, resource, amount."""
    listing = Listing((Filter("action", Match.EQUAL, ("pull",)),), (Sort("id"),), Page(size=1000))
    found, _ = await database.read(lambda connection: audit.page(connection, listing))
    assert {(row.resource_type, row.result) for row in found} <= {("artifact", "success")}
    return [(row.actor, row.address, row.resource, row.amount) for row in found]


async def test_pulls_are_audited_with_their_counts(registry: Registry, admin: Actor, database: Database) -> None:
    await push_image(registry, admin, APP, BASE, "latest")
    node = msgspec.structs.replace(ANONYMOUS, address="192.0.2.7")
    for actor, reference in ((node, TagName("latest")), (node, TagName("latest")), (node, BASE.digest), (admin, TagName("latest"))):
        await registry.manifests.get(actor, APP, reference)
    await registry.manifests.get(admin, APP, BASE.digest, count=False)
    await registry.pulls.flush()
    await registry.pulls.flush()
    assert await pulls_audited(database) == [
        ("anonymous", "192.0.2.7", "library/app:latest", 2),
        ("anonymous", "192.0.2.7", f"library/app@{BASE.digest}", 1),
        ("admin", "", "library/app:latest", 1),
    ]
    assert (await counts(database))["repositories"] == [(4, BEGINNING)]


async def test_a_flood_of_addresses_is_summed_up_and_counted_whole(
    registry: Registry, admin: Actor, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadstead.registry.pulls._DISTINCT", 3)
    await push_image(registry, admin, APP, BASE, "latest")
    for number in range(10):
        await registry.manifests.get(msgspec.structs.replace(ANONYMOUS, address=f"192.0.2.{number}"), APP, TagName("latest"))
    assert len(registry.pulls._pulls) == 4
    await registry.pulls.flush()
    assert (await pulls_audited(database))[2:] == [
        ("anonymous", "192.0.2.2", "library/app:latest", 1),
        ("*", "*", "library/app:latest", 7),
    ]
    assert (await counts(database))["tags"] == [(10, BEGINNING)]


async def test_a_cancelled_flush_counts_once(registry: Registry, admin: Actor, database: Database) -> None:
    await push_image(registry, admin, APP, BASE, "latest")
    for turns in range(6):
        await registry.manifests.get(admin, APP, TagName("latest"))
        task = asyncio.create_task(registry.pulls.flush())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await registry.pulls.flush()
    assert (await counts(database))["tags"] == [(6, BEGINNING)]
    assert sum(amount for *_, amount in await pulls_audited(database)) == 6
