"""Repositories as people browse them: who sees which, what is told of each, description, removal; search and numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import func, select

from roadstead.access.actor import Action, Actor, Level, Limits, RobotRights, Role
from roadstead.content.memory import MemoryStore
from roadstead.errors import Denied, InsufficientScope, InvalidInput, ProjectUnknown, RepositoryUnknown, RoadsteadError, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from roadstead.metadata.overview import Counts
from roadstead.metadata.quotas import usage
from roadstead.metadata.schema import audit_log, blob_links, events, manifests, repositories, tag_history, tags
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.upkeep.collect import collect
from tests.support.factories import APP, COPY, VAULT, Image, ManualClock, image, index, narrowed, push_blob, push_image, push_manifest

BASE = image("base")
TEAM, OTHER = RepositoryName("vault/team/app"), RepositoryName("vault/other")
ALL = Listing(page=Page(1, 100))


@pytest.fixture
async def filled(registry: Registry, admin: Actor) -> Registry:
    """A registry with an image in two public and three private repositories, and one that has blobs only."""
    for name in (VAULT, COPY, APP, TEAM, OTHER):
        await push_image(registry, admin, name, BASE, "latest")
    await push_blob(registry, admin, RepositoryName("library/blob-only"), BASE.blobs[0])
    return registry


async def names(registry: Registry, actor: Actor, listing: Listing = ALL) -> list[str]:
    rows, total = await registry.repositories.visible(actor, listing)
    assert total >= len(rows)
    return [row.name for row in rows]


def robot(*projects: str) -> Actor:
    return Actor(99, "robot$ci", robot=RobotRights({name: frozenset({Action.PULL, Action.SEE}) for name in projects}))


# --- who sees which -----------------------------------------------------------------------------------------------------------------


async def test_everybody_sees_what_is_public_and_administrators_all(filled: Registry, admin: Actor, user: Actor, anonymous: Actor) -> None:
    assert await names(filled, admin) == [APP, COPY, VAULT, OTHER, TEAM]
    assert await names(filled, user) == await names(filled, anonymous) == [APP, COPY]


async def test_a_grant_on_a_path_shows_that_path_alone(filled: Registry, admin: Actor, user: Actor) -> None:
    await filled.projects.add_member(admin, "vault", "ada", Role.LIMITED_GUEST, "team/*")
    assert await names(filled, user) == [APP, COPY, TEAM]
    rows, total = await filled.repositories.of_project(user, "vault", ALL)
    assert ([row.name for row in rows], total) == ([TEAM], 1)
    assert (await filled.repositories.get(user, TEAM)).artifacts == 1
    assert (await filled.statistics.get(user)).private == Counts(1, 1)
    for name in (VAULT, OTHER, RepositoryName("vault/never")):
        with pytest.raises(ProjectUnknown) as refused:
            await filled.repositories.get(user, name)
        assert "vault/" not in refused.value.message


async def test_robots_and_tokens_see_what_they_are_for(filled: Registry, admin: Actor) -> None:
    vault = (await filled.projects.get(admin, "vault")).id
    assert await names(filled, robot("vault")) == [APP, COPY, VAULT, OTHER, TEAM]
    assert await names(filled, robot("library")) == [APP, COPY]
    assert await names(filled, robot("*")) == [APP, COPY, VAULT, OTHER, TEAM]
    for ids, shown in ((frozenset({vault}), 5), (frozenset({vault + 1000}), 2)):
        limited = msgspec.structs.replace(admin, limits=Limits(Level.READ, ids))
        assert len(await names(filled, limited)) == shown
    with pytest.raises(InsufficientScope):
        await names(filled, narrowed(admin, {APP: "pull"}))
    with pytest.raises(InsufficientScope):
        await filled.repositories.of_project(narrowed(admin, {APP: "pull"}), "vault", ALL)


async def test_a_token_that_may_pull_may_look(filled: Registry, admin: Actor) -> None:
    assert (await filled.repositories.get(narrowed(admin, {VAULT: "pull"}), VAULT)).name == VAULT
    with pytest.raises(InsufficientScope):
        await filled.repositories.get(narrowed(admin, {VAULT: "pull"}), OTHER)


Act = Callable[[Registry, Actor, RepositoryName], Awaitable[object]]
ACTS: dict[str, Act] = {
    "get": lambda registry, actor, name: registry.repositories.get(actor, name),
    "describe": lambda registry, actor, name: registry.repositories.describe(actor, name, "x"),
    "remove": lambda registry, actor, name: registry.repositories.remove(actor, name),
    "artifacts": lambda registry, actor, name: registry.artifacts.page(actor, name, ALL),
    "artifact": lambda registry, actor, name: registry.artifacts.get(actor, name, BASE.digest),
    "digest": lambda registry, actor, name: registry.artifacts.digest(actor, name, BASE.digest),
    "tags": lambda registry, actor, name: registry.artifacts.tags(actor, name, BASE.digest, ALL),
    "accessories": lambda registry, actor, name: registry.artifacts.accessories(actor, name, BASE.digest, ALL),
    "history": lambda registry, actor, name: registry.artifacts.history(actor, name, BASE.digest),
    "delete": lambda registry, actor, name: registry.manifests.delete_whole(actor, name, BASE.digest),
    "add tag": lambda registry, actor, name: registry.manifests.add_tag(actor, name, BASE.digest, TagName("new")),
    "remove tag": lambda registry, actor, name: registry.manifests.remove_tag(actor, name, BASE.digest, TagName("latest")),
    "copy from": lambda registry, actor, name: registry.copies.copy(actor, name, BASE.digest, RepositoryName("own/copy")),
    "copy to": lambda registry, actor, name: registry.copies.copy(actor, APP, BASE.digest, name),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
async def test_a_hidden_repository_is_as_one_that_is_not_there(
    filled: Registry, admin: Actor, user: Actor, anonymous: Actor, act: Act
) -> None:
    """For the anonymous, for a stranger, and for somebody with a grant elsewhere in the project; nothing is changed."""
    await filled.projects.add(admin, "own")
    await filled.projects.add_member(admin, "own", "ada", Role.DEVELOPER)

    async def answer(actor: Actor, name: str) -> tuple[type[RoadsteadError], str]:
        with pytest.raises(RoadsteadError) as refused:
            await act(filled, actor, RepositoryName(name))
        return type(refused.value), refused.value.message.replace(name.partition("/")[0], "…")

    for actor, error in ((anonymous, Unauthenticated), (user, ProjectUnknown)):
        hidden = await answer(actor, OTHER)
        assert hidden == await answer(actor, "vault/never") == await answer(actor, "nowhere/other")
        assert hidden[0] is error
    await filled.projects.add_member(admin, "vault", "ada", Role.PROJECT_ADMIN, "team/*")
    assert await answer(user, OTHER) == await answer(user, "vault/never") == await answer(user, "nowhere/other")
    assert (await filled.repositories.get(admin, OTHER)).description == ""


# --- what is told -------------------------------------------------------------------------------------------------------------------


async def test_what_a_list_tells_of_a_repository(registry: Registry, admin: Actor, clock: ManualClock) -> None:
    made = clock()
    part, signature = image("part"), image("s", subject=BASE)
    await push_image(registry, admin, APP, BASE, "latest")
    for one in (part, signature):
        await push_image(registry, admin, APP, one)
    clock.advance(timedelta(days=1))
    await push_manifest(registry, admin, APP, index(part), "both")
    pushed = clock()
    await registry.manifests.get(admin, APP, BASE.digest)
    await registry.pulls.flush()
    rows, total = await registry.repositories.visible(admin, ALL)
    assert total == 1
    row = rows[0]
    assert (row.name, row.project_name, row.public, row.description) == (APP, "library", True, "")
    assert (row.artifacts, row.pull_count, row.created_at, row.updated_at) == (2, 1, made, pushed)
    assert await registry.repositories.get(admin, APP) == row


async def test_an_emptied_repository_is_not_listed_but_there(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, BASE)
    await registry.manifests.delete(admin, APP, BASE.digest)
    assert await registry.repositories.visible(admin, ALL) == ([], 0)
    assert (await registry.repositories.get(admin, APP)).artifacts == 0
    await registry.repositories.remove(admin, APP)
    with pytest.raises(RepositoryUnknown):
        await registry.repositories.get(admin, APP)


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (Listing((Filter("name", Match.CONTAINS, ("ARY/C",)),)), [COPY]),
        (Listing((Filter("name", Match.EQUAL, (APP,)),)), [APP]),
        (Listing((Filter("path", Match.CONTAINS, ("team",)),)), [TEAM]),
        (Listing((Filter("project", Match.EQUAL, ("vault",)),), (Sort("path", True),)), [TEAM, OTHER, VAULT]),
        (Listing(sort=(Sort("updated_at", True), Sort("name"))), [TEAM, APP, COPY, VAULT, OTHER]),
        (Listing((Filter("pull_count", Match.BETWEEN, ("1", "")),)), [COPY]),
        (Listing(page=Page(2, 2)), [VAULT, OTHER]),
    ],
)
async def test_lists_are_filtered_sorted_and_paged(
    filled: Registry, admin: Actor, clock: ManualClock, listing: Listing, expected: list[str]
) -> None:
    clock.advance(timedelta(hours=1))
    await push_image(filled, admin, TEAM, image("newer"))
    await filled.manifests.get(admin, COPY, BASE.digest)
    await filled.pulls.flush()
    assert await names(filled, admin, listing) == expected


async def test_pages_of_equals_have_each_once(filled: Registry, admin: Actor) -> None:
    pages = [await names(filled, admin, Listing(sort=(Sort("pull_count"),), page=Page(number, 2))) for number in (1, 2, 3)]
    assert sorted(name for page in pages for name in page) == sorted([APP, COPY, VAULT, OTHER, TEAM])


# --- changing -----------------------------------------------------------------------------------------------------------------------


async def test_a_description_is_for_those_who_push(
    filled: Registry, database: Database, admin: Actor, user: Actor, clock: ManualClock
) -> None:
    with pytest.raises(Denied):
        await filled.repositories.describe(user, APP, "mine")
    await filled.projects.add_member(admin, "library", "ada", Role.DEVELOPER)
    changed = clock.advance(timedelta(hours=1))
    await filled.repositories.describe(user, APP, "Climate model, see <http://example.org/>")
    row = await filled.repositories.get(user, APP)
    assert (row.description, row.updated_at) == ("Climate model, see <http://example.org/>", changed)
    with pytest.raises(RepositoryUnknown):
        await filled.repositories.describe(user, RepositoryName("library/never"), "x")
    with pytest.raises(InvalidInput):
        await filled.repositories.describe(user, APP, "ä" * 40_000)
    said = await database.read(lambda c: c.execute(select(audit_log.c.actor, audit_log.c.action).where(audit_log.c.resource == APP)).all())
    assert ("ada", "update") in [tuple(row) for row in said]


async def test_a_removed_repository_is_gone_and_its_history_stays(filled: Registry, database: Database, admin: Actor, user: Actor) -> None:
    await filled.projects.add_member(admin, "library", "ada", Role.DEVELOPER)
    with pytest.raises(Denied):
        await filled.repositories.remove(user, APP)
    await push_image(filled, admin, APP, image("second"), "2")
    gone = await filled.repositories.get(admin, APP)
    await filled.repositories.remove(admin, APP)
    assert APP not in await names(filled, admin)
    for act in (filled.repositories.get, filled.repositories.remove):
        with pytest.raises(RepositoryUnknown):
            await act(admin, APP)
    counts = {table.name: select(func.count()).where(table.c.repository_id == gone.id) for table in (manifests, tags, blob_links)}
    there = await database.read(lambda connection: {name: connection.execute(count).scalar_one() for name, count in counts.items()})
    assert there == {"manifests": 2, "tags": 2, "blob_links": 3}
    ended = select(tag_history.c.tag, tag_history.c.old_digest).where(tag_history.c.new_digest.is_(None)).order_by(tag_history.c.tag)
    log = await database.read(lambda c: c.execute(ended).all())
    assert [tuple(row) for row in log] == [("2", image("second").digest), ("latest", BASE.digest)]
    told = await database.read(lambda c: c.execute(select(events.c.actor_id).where(events.c.type == "repository.deleted")).all())
    assert [row[0] for row in told] == [admin.account_id]
    await push_image(filled, admin, APP, BASE, "again")
    again = await filled.repositories.get(admin, APP)
    assert (again.id != gone.id, again.artifacts, again.pull_count) == (True, 1, 0)
    assert await filled.tags.names(admin, APP, "", 10) == ["again"]


async def test_the_blobs_of_a_removed_repository_go_after_their_grace(
    registry: Registry, database: Database, store: MemoryStore, admin: Actor, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, BASE, "latest")
    clock.advance(timedelta(days=30))
    await registry.repositories.remove(admin, APP)

    async def links() -> int:
        await collect(database, store, Rules(), clock)
        return await database.read(lambda connection: connection.execute(select(func.count()).select_from(blob_links)).scalar_one())

    assert await links() == 2
    clock.advance(timedelta(days=2))
    assert await links() == 0


async def test_a_removed_repository_frees_its_quota_at_once(filled: Registry, database: Database, admin: Actor) -> None:
    async def stored() -> int:
        project = await filled.projects.get(admin, "vault")
        return (await database.read(lambda connection: usage(connection, project.id))).stored

    own = image("of one repository")
    await push_image(filled, admin, TEAM, own)
    shared = sum(len(one.content) for one in BASE.blobs)
    assert await stored() == shared + len(own.blobs[1].content)
    await filled.repositories.remove(admin, TEAM)
    assert await stored() == shared
    for name in (VAULT, OTHER):
        await filled.repositories.remove(admin, name)
    assert await stored() == 0


async def test_a_push_and_a_removal_at_once_leave_nothing_in_a_removed_repository(
    registry: Registry, database: Database, admin: Actor
) -> None:
    made = [image(f"layer {number}") for number in range(12)]
    await push_image(registry, admin, APP, BASE)
    for one in made:
        for each in one.blobs:
            await push_blob(registry, admin, COPY, each)
    await push_image(registry, admin, COPY, BASE, "latest")

    async def push(one: Image) -> None:
        await push_image(registry, admin, APP, one, one.digest.encoded[:8])

    async def remove() -> None:
        with suppress(RepositoryUnknown):
            await registry.repositories.remove(admin, APP)

    for few in (made[:4], made[4:8], made[8:]):
        await asyncio.gather(*(push(one) for one in few), remove(), return_exceptions=True)
    lost = (
        select(func.count())
        .join_from(manifests, repositories, repositories.c.id == manifests.c.repository_id)
        .where(manifests.c.deleted_at.is_(None), repositories.c.deleted_at.is_not(None))
    )
    assert await database.read(lambda c: c.execute(lost).scalar()) == 0


# --- numbers -------------------------------------------------------------------------------------------------------------------


async def test_statistics_count_what_is_seen_and_bytes_for_administrators(filled: Registry, admin: Actor, user: Actor) -> None:
    told = await filled.statistics.get(admin)
    assert (told.public.projects, told.public.repositories, told.private.projects, told.private.repositories) == (1, 2, 1, 3)
    assert told.stored == sum(len(one.content) for one in BASE.blobs)
    told = await filled.statistics.get(user)
    assert (told.public.repositories, told.private.projects, told.private.repositories, told.stored) == (2, 0, 0, None)
