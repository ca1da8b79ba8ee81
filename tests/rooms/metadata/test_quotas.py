"""The ledger of quotas: transactions at the same time on PostgreSQL, step by step; keeping it short and true on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

import asyncpg
import pytest
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from roadstead.access.actor import Actor
from roadstead.metadata import contents, manifests, projects, quota_upkeep, quotas, repositories
from roadstead.metadata.database import Database, open_database, postgres_engine
from roadstead.metadata.manifests import NewManifest, ReferenceRow
from roadstead.metadata.quota_upkeep import Discrepancy
from roadstead.metadata.schema import blob_links, quota_charges, quota_entries
from roadstead.metadata.schema import contents as content_table
from roadstead.metadata.schema import projects as project_table
from roadstead.metadata.schema import repositories as repository_table
from roadstead.metadata.statements import insert_id
from roadstead.oci.digest import Digest
from roadstead.registry.registry import Registry
from roadstead.upkeep import quotas as quota_chores
from tests.conftest import empty
from tests.support.factories import APP, BEGINNING, COPY, VAULT, ManualClock, blob, image, push_blob, push_image

T = TypeVar("T")
Work = Callable[[Connection], T]
WAIT_SECONDS = 20.0


class Stage:
    """A PostgreSQL database with one project of the limit, and transactions that go on when the test says so."""

    def __init__(self, url: str, database: Database, stack: AsyncExitStack) -> None:
        self.database = database
        self._engine = postgres_engine(url)
        self._url = url
        self._stack = stack
        self._stack.push_async_callback(self._engine.dispose)
        self._made = 0
        self.project_id = 0

    async def set(self) -> None:
        """Make the project."""
        await self.database.write(lambda c: projects.ensure(c, "climate", public=False, owner_id=None, now=BEGINNING))
        self.project_id = await self.database.read(lambda c: c.execute(select(project_table.c.id)).scalar_one())

    async def transaction(self) -> AsyncConnection:
        """One that has begun; the test ends it, or else it is undone."""
        connection = await self._stack.enter_async_context(self._engine.connect())
        await connection.begin()
        return connection

    async def waiting(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """The task, once PostgreSQL says that its transaction waits for another's lock."""
        watcher = await asyncpg.connect(self._url)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                while not await watcher.fetchval(query):
                    assert not task.done(), "it did not wait"
                    await asyncio.sleep(0.005)
        finally:
            await watcher.close()
        return task

    def add(self, size: int, limit: int) -> Work[int]:
        """Charges a new content and says what is left of the limit."""
        self._made += 1
        key = f"{self._made}"

        def work(connection: Connection) -> int:
            row = {"size": size, "store": "memory", "key": key, "created_at": BEGINNING}
            content_id = insert_id(connection, content_table, row)
            assert quotas.charge(connection, self.project_id, content_id, size, BEGINNING)
            return quotas.room(connection, self.project_id, limit, size)

        return work

    async def used(self) -> int:
        return (await self.database.read(partial(quotas.usage, project_id=self.project_id))).used


@pytest.fixture
async def stage(migrated_postgres: str) -> AsyncIterator[Stage]:
    await empty(migrated_postgres)
    async with AsyncExitStack() as stack:
        database = await open_database(migrated_postgres)
        stack.push_async_callback(database.close)
        made = Stage(migrated_postgres, database, stack)
        await made.set()
        yield made


# --- room ---------------------------------------------------------------------------------------------------------------------------


async def test_far_from_the_limit_nobody_waits(stage: Stage) -> None:
    first, second = await stage.transaction(), await stage.transaction()
    assert await first.run_sync(stage.add(1, 100_000)) == 99_999
    async with asyncio.timeout(WAIT_SECONDS):
        assert await second.run_sync(stage.add(1, 100_000)) == 99_999
        await second.commit()
    await first.commit()
    assert await stage.used() == 2


async def test_of_two_that_together_do_not_fit_the_second_sees_the_first(stage: Stage) -> None:
    first, second = await stage.transaction(), await stage.transaction()
    assert await first.run_sync(stage.add(60, 100)) == 40
    later = await stage.waiting(asyncio.create_task(second.run_sync(stage.add(60, 100))))
    await first.commit()
    assert await later == -20


async def test_of_two_that_together_do_not_fit_the_second_may_have_it_if_the_first_gives_up(stage: Stage) -> None:
    first, second = await stage.transaction(), await stage.transaction()
    assert await first.run_sync(stage.add(60, 100)) == 40
    later = await stage.waiting(asyncio.create_task(second.run_sync(stage.add(60, 100))))
    await first.rollback()
    assert await later == 40


async def test_who_may_reach_the_limit_waits_for_those_who_cannot(stage: Stage) -> None:
    small, large = await stage.transaction(), await stage.transaction()
    assert await small.run_sync(stage.add(1, 100_000)) == 99_999
    later = await stage.waiting(asyncio.create_task(large.run_sync(stage.add(100_000, 100_000))))
    await small.commit()
    assert await later == -1


async def test_who_was_far_from_the_limit_and_no_longer_is_begins_anew(stage: Stage) -> None:
    large = await stage.transaction()
    assert await large.run_sync(stage.add(99_999, 100_000)) == 1
    add, tries = stage.add(2, 100_000), 0

    def work(connection: Connection) -> int:
        nonlocal tries
        tries += 1
        return add(connection)

    later = await stage.waiting(asyncio.create_task(stage.database.write(work)))
    await large.commit()
    assert await later == -1
    assert tries == 2


async def test_projects_do_not_wait_for_each_other(stage: Stage) -> None:
    first, second = await stage.transaction(), await stage.transaction()
    add = stage.add(60, 100)
    assert await first.run_sync(stage.add(60, 100)) == 40
    async with asyncio.timeout(WAIT_SECONDS):
        stage.project_id = await second.run_sync(_another_project)
        assert await second.run_sync(add) == 40


def _another_project(connection: Connection) -> int:
    return insert_id(connection, project_table, {"name": "weather", "created_at": BEGINNING})


# --- charges ------------------------------------------------------------------------------------------------------------------------


class Shelf:
    """Two repositories of the stage's project that link one content of ten bytes, and manifests that name it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.digest = Digest.of(b"0123456789")
        self.content_id = 0
        self._repositories: list[int] = []

    async def set(self) -> None:
        await self._stage.database.write(self._set)

    def _set(self, connection: Connection) -> None:
        added = contents.add(connection, size=10, store="memory", key="ten", known_by=[self.digest], now=BEGINNING)
        assert added is not None
        self.content_id = added
        self._repositories = [repositories.ensure(connection, self._stage.project_id, path, BEGINNING) for path in ("one", "two")]
        for repository_id in self._repositories:
            contents.link(connection, repository_id, added, None, BEGINNING)

    def put(self, place: int) -> Work[tuple[int, int]]:
        """Records a manifest; its id, and the bytes that are newly charged."""
        new = NewManifest(
            repository_id=self._repositories[place],
            digest=Digest.of(b"{}"),
            media_type="m",
            artifact_type=None,
            subject=None,
            annotations={},
            content=b"{}",
            references=(ReferenceRow("layer", self.digest, self.content_id),),
            pushed_by=None,
            pushed_at=BEGINNING,
        )

        def work(connection: Connection) -> tuple[int, int]:
            manifest_id = manifests.add(connection, new)
            return manifest_id, quotas.charge_named(connection, self._stage.project_id, manifest_id, BEGINNING)

        return work

    def delete(self, manifest_id: int) -> Work[bool]:
        return lambda connection: manifests.delete_one(connection, manifest_id, BEGINNING)


@pytest.fixture
async def shelf(stage: Stage) -> Shelf:
    shelf = Shelf(stage)
    await shelf.set()
    return shelf


async def test_a_push_that_relies_on_a_charge_keeps_it_from_the_deletion_of_another_manifest(stage: Stage, shelf: Shelf) -> None:
    old, charged = await stage.database.write(shelf.put(0))
    assert charged == 10
    push, deletion = await stage.transaction(), await stage.transaction()
    assert (await push.run_sync(shelf.put(1)))[1] == 0
    later = await stage.waiting(asyncio.create_task(deletion.run_sync(shelf.delete(old))))
    await push.commit()
    assert await later
    await deletion.commit()
    assert await stage.used() == 10


async def test_a_push_beside_a_deletion_that_frees_its_content_charges_it_again(stage: Stage, shelf: Shelf) -> None:
    old, _ = await stage.database.write(shelf.put(0))
    push, deletion = await stage.transaction(), await stage.transaction()
    assert await deletion.run_sync(shelf.delete(old))
    later = await stage.waiting(asyncio.create_task(push.run_sync(shelf.put(1))))
    await deletion.commit()
    assert (await later)[1] == 10
    await push.commit()
    assert await stage.used() == 10


async def test_two_pushes_that_rely_on_one_charge_do_not_wait_for_each_other(stage: Stage, shelf: Shelf) -> None:
    await stage.database.write(lambda connection: quotas.charge(connection, stage.project_id, shelf.content_id, 10, BEGINNING))
    first, second = await stage.transaction(), await stage.transaction()
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await first.run_sync(shelf.put(0)))[1] == 0
        assert (await second.run_sync(shelf.put(1)))[1] == 0


async def test_two_deletions_at_once_free_what_neither_would_alone(stage: Stage, shelf: Shelf) -> None:
    one, _ = await stage.database.write(shelf.put(0))
    two, _ = await stage.database.write(shelf.put(1))
    first, second = await stage.transaction(), await stage.transaction()
    assert await first.run_sync(shelf.delete(one))
    later = await stage.waiting(asyncio.create_task(second.run_sync(shelf.delete(two))))
    await first.commit()
    assert await later
    await second.commit()
    assert await stage.used() == 0


# --- compacting ---------------------------------------------------------------------------------------------------------------------


async def project_id_of(database: Database, name: str) -> int:
    row = await database.read(partial(projects.find, name=name))
    assert row is not None
    return row.id


async def entries_of(database: Database, project_id: int) -> list[int]:
    mine = select(quota_entries.c.delta).where(quota_entries.c.project_id == project_id).order_by(quota_entries.c.id)
    return list(await database.read(lambda connection: connection.execute(mine).scalars().all()))


async def test_many_entries_become_one(registry: Registry, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    many, few = [await project_id_of(database, name.project) for name in (APP, VAULT)]
    rows = [{"project_id": many, "delta": delta} for delta in range(-50, 100)] + [{"project_id": few, "delta": 7}] * 3
    await database.write(lambda connection: connection.execute(quota_entries.insert(), rows))
    monkeypatch.setattr(quota_chores, "_BATCH", 60)
    await quota_chores.compact_entries(database)
    assert await entries_of(database, many) == [sum(range(-50, 100))]
    assert await entries_of(database, few) == [7] * 3


async def test_entries_that_cancel_each_other_leave_nothing(registry: Registry, database: Database) -> None:
    project_id = await project_id_of(database, APP.project)
    rows = [{"project_id": project_id, "delta": delta} for delta in (5, -5)]
    await database.write(lambda connection: connection.execute(quota_entries.insert(), rows))
    assert await database.write(partial(quota_upkeep.compact, project_id=project_id, limit=10)) == 2
    assert await entries_of(database, project_id) == []


async def test_compacting_beside_pushes_and_itself_loses_nothing(registry: Registry, admin: Actor, database: Database) -> None:
    project_id = await project_id_of(database, APP.project)
    compact = partial(quota_upkeep.compact, project_id=project_id, limit=1000)
    for number in range(5):
        pushes = [push_blob(registry, admin, APP, blob(f"{number} {one}")) for one in range(10)]
        await asyncio.gather(*pushes, *(database.write(compact) for _ in range(5)))
    assert (await registry.quotas.get(admin, APP.project)).stored == 50 * 3
    await database.write(compact)
    assert await entries_of(database, project_id) == [150]


# --- recounting ---------------------------------------------------------------------------------------------------------------------


async def test_a_ledger_that_is_right_is_left_alone(registry: Registry, admin: Actor, database: Database, clock: ManualClock) -> None:
    await push_image(registry, admin, APP, image("one"))
    await push_blob(registry, admin, COPY, blob("loose"))
    made = await push_image(registry, admin, VAULT, image("freed"))
    await registry.manifests.delete(admin, VAULT, made.digest)
    assert await quota_chores.recount(database, clock) == []


async def test_whatever_is_wrong_with_a_ledger_is_found_and_mended(
    registry: Registry, admin: Actor, database: Database, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, image("kept", "missing", config="{}"))
    await push_image(registry, admin, VAULT, image("kept", config="{}"))
    right = (await registry.quotas.get(admin, APP.project)).stored
    other = (await registry.quotas.get(admin, VAULT.project)).stored
    await push_blob(registry, admin, APP, blob("unlinked"))

    def spoil(connection: Connection) -> None:
        ids = {size: content_id for content_id, size in connection.execute(select(content_table.c.id, content_table.c.size))}
        project = select(project_table.c.id).where(project_table.c.name == APP.project).scalar_subquery()
        mine = quota_charges.c.project_id == project
        connection.execute(delete(quota_charges).where(mine, quota_charges.c.content_id == ids[len("missing")]))
        connection.execute(delete(blob_links).where(blob_links.c.content_id == ids[len("unlinked")]))
        connection.execute(update(quota_charges).where(mine, quota_charges.c.content_id == ids[len("kept")]).values(size=1000))
        connection.execute(insert(quota_entries).values(project_id=project, delta=5))

    await database.write(spoil)
    difference = (2 + 1000 + 8) - (2 + 4 + 7 + 8 + 5)
    assert await quota_chores.recount(database, clock) == [Discrepancy(APP.project, 1, 1, 1, difference)]
    assert (await registry.quotas.get(admin, APP.project)).stored == right == 13
    assert (await registry.quotas.get(admin, VAULT.project)).stored == other == 6
    assert await quota_chores.recount(database, clock) == []


# --- a repository that goes ---------------------------------------------------------------------------------------------------------


async def test_a_repository_that_is_deleted_frees_what_only_its_manifests_named(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one", "three", "freed", config="{}"))
    await push_image(registry, admin, COPY, image("three", config="[]"))
    await push_blob(registry, admin, COPY, blob("freed"))
    await push_blob(registry, admin, COPY, blob("loose"))
    await push_blob(registry, admin, APP, blob("loose"))
    await registry.repositories.remove(admin, APP)
    assert (await registry.quotas.get(admin, APP.project)).stored == len("three") + len("[]") + len("loose")
    await registry.repositories.remove(admin, COPY)
    assert (await registry.quotas.get(admin, APP.project)).stored == 0


async def test_a_repository_that_is_deleted_frees_what_only_it_had(registry: Registry, admin: Actor, database: Database) -> None:
    await push_blob(registry, admin, APP, blob("shared"))
    await push_blob(registry, admin, COPY, blob("shared"))
    await push_blob(registry, admin, APP, blob("alone"))

    def remove(connection: Connection) -> int:
        here = repository_table.c.path == APP.path
        repository_id: int = connection.execute(select(repository_table.c.id).where(here)).scalar_one()
        connection.execute(update(repository_table).where(here).values(deleted_at=BEGINNING))
        return quotas.free_repository(connection, repository_id)

    assert await database.write(remove) == len("alone")
    assert (await registry.quotas.get(admin, APP.project)).stored == len("shared")
