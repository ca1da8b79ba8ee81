"""The migrations make what `metadata.schema` declares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from roadstead.errors import DatabaseFailed
from roadstead.metadata import migrations
from roadstead.metadata.database import Database, Turnstile, open_database
from roadstead.metadata.schema import Moment, metadata, projects, to_microseconds
from tests.support.factories import BEGINNING
from tests.support.postgres import Postgres
from tests.support.server import free_port

T = TypeVar("T")


async def test_the_migrated_schema_is_the_declared_one(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        # SQLite has no identity columns: there AUTOINCREMENT does the same, as test_queries proves.
        defaults = connection.dialect.name == "postgresql"
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": defaults})
        return list(compare_metadata(context, metadata))

    assert await database.write(differences) == []


async def test_checks_and_collations_are_there_too(database: Database) -> None:
    """What Alembic's comparison does not look at."""

    def look(connection: Connection) -> tuple[set[str | None], set[str | None]]:
        inspector = inspect(connection)
        checks = {check["name"] for table in inspector.get_table_names() for check in inspector.get_check_constraints(table)}
        unique = {index["name"] for table in inspector.get_table_names() for index in inspector.get_indexes(table) if index["unique"]}
        return checks, unique

    checks, unique = await database.write(look)
    assert {"ck_contents_state", "ck_manifest_references_role"} <= checks
    assert {name for table in metadata.tables.values() for name in (str(i.name) for i in table.indexes if i.unique)} <= unique


async def test_the_partial_indexes_are_partial(database: Database) -> None:
    declared = {str(index.name): index for table in metadata.tables.values() for index in table.indexes}
    partial = {name for name, index in declared.items() if index.dialect_options["sqlite"].get("where") is not None}
    found = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index'",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes",
    }
    rows = await database.read(lambda connection: connection.execute(text(found[database.dialect])).all())
    assert len(partial) >= 7
    assert {name for name, definition in rows if definition and " WHERE " in definition} & set(declared) == partial


def test_head_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(migrations.config()).get_heads() == [migrations.HEAD]


async def test_upgrading_again_changes_nothing(database: Database, database_url: str) -> None:
    values = {"name": "kept", "created_at": BEGINNING}
    await database.write(lambda connection: connection.execute(projects.insert().values(values)))
    await asyncio.to_thread(lambda: asyncio.run(migrations.upgrade(database_url)))
    assert await database.read(migrations.current) == migrations.HEAD
    assert await database.read(lambda connection: connection.execute(projects.select()).first() is not None)


async def test_an_empty_database_has_no_revision(tmp_path: Path) -> None:
    database = await open_database(f"sqlite:///{tmp_path}/empty.sqlite")
    try:
        assert await database.write(migrations.current) is None
    finally:
        await database.close()


async def test_upgrading_at_the_same_time_makes_the_schema_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new/roadstead.sqlite"
    await asyncio.gather(*(asyncio.to_thread(lambda: asyncio.run(migrations.upgrade(url))) for _ in range(3)))
    database = await open_database(url)
    try:
        assert await database.read(migrations.current) == migrations.HEAD
    finally:
        await database.close()


async def test_a_new_file_is_touched_by_nobody_out_of_turn(tmp_path: Path) -> None:
    path = tmp_path / "roadstead.sqlite"
    with closing(Turnstile(path)) as turnstile, turnstile.pass_through(wait=True):
        upgrade = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(migrations.upgrade(f"sqlite:///{path}"))))
        await asyncio.wait([upgrade], timeout=0.5)
        assert (upgrade.done(), path.exists()) == (False, False)
    await upgrade
    assert path.exists()


async def test_replicas_that_start_together_upgrade_postgresql_once(postgres: Postgres) -> None:
    url = postgres.fresh_database()
    await asyncio.gather(*(migrations.upgrade(url) for _ in range(3)))
    assert postgres.execute("SELECT version_num FROM alembic_version", url.rpartition("/")[2]) == migrations.HEAD


async def test_a_database_that_cannot_be_had_is_said_to_be_failing(tmp_path: Path, postgres: Postgres) -> None:
    (tmp_path / "garbage").write_bytes(b"this is no database" * 100)
    for url in (f"sqlite:///{tmp_path}/garbage", postgres.url("no_such_database"), f"postgresql://roadstead@127.0.0.1:{free_port()}/x"):
        with pytest.raises(DatabaseFailed):
            await migrations.upgrade(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def first_version(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of each kind as the first version left it."""
    url = f"sqlite:///{tmp_path}/old.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres").fresh_database()
    upgrade = command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        asyncio.run(migrations.upgrade(str(url)))
    return str(url)


async def _write(url: str, work: Callable[[Connection], T]) -> T:
    database = await open_database(url)
    try:
        return await database.write(work)
    finally:
        await database.close()


def test_an_upgrade_keeps_what_is_there(first_version: str) -> None:
    """Accounts and projects of the first version have what later ones added, and work as they did; what a project holds counts in it."""
    old = (
        "INSERT INTO accounts (name, password_hash, is_admin, created_at) VALUES ('admin', 'x', TRUE, 7)",
        "INSERT INTO projects (name, public, owner_id, created_at) VALUES ('library', TRUE, (SELECT min(id) FROM accounts), 8)",
        "INSERT INTO repositories (project_id, path, created_at) VALUES ((SELECT min(id) FROM projects), 'app', 9)",
        "INSERT INTO repositories (project_id, path, created_at) VALUES ((SELECT min(id) FROM projects), 'twin', 9)",
        "INSERT INTO contents (size, store, key, created_at) VALUES (40, 'memory', 'a', 9)",
        "INSERT INTO contents (size, store, key, created_at) VALUES (2, 'memory', 'b', 9)",
        "INSERT INTO blob_links (repository_id, content_id, linked_at, touched_at) "
        "SELECT repositories.id, contents.id, 10, 10 FROM repositories CROSS JOIN contents",
    )

    new = (
        "SELECT name, password_hash, created_at, kind, source, email, deleted_at, valid_from FROM accounts",
        "SELECT name, created_at, description, updated_at FROM projects",
        "SELECT repositories.path, repositories.created_at FROM repositories JOIN projects ON projects.id = project_id ORDER BY 1",
        "SELECT size, charged_at FROM quota_charges ORDER BY size",
        "SELECT delta FROM quota_entries",
    )

    def fill(connection: Connection) -> None:
        assert migrations.current(connection) == "0001"
        for statement in old:
            connection.execute(text(statement))

    def look(connection: Connection) -> list[list[tuple[object, ...]]]:
        assert migrations.current(connection) == migrations.HEAD
        return [[tuple(row) for row in connection.execute(text(query))] for query in new]

    async def upgrade_and_look() -> list[list[tuple[object, ...]]]:
        await _write(first_version, fill)
        await asyncio.to_thread(lambda: asyncio.run(migrations.upgrade(first_version)))
        return await _write(first_version, look)

    assert asyncio.run(upgrade_and_look()) == [
        [("admin", "x", 7, "user", "local", None, None, None)],
        [("library", 8, "", None)],
        [("app", 9), ("twin", 9)],
        [(2, 10), (40, 10)],
        [(42,)],
    ]


def test_a_moment_is_exact_to_the_microsecond() -> None:
    moment = BEGINNING.replace(microsecond=123457)
    assert to_microseconds(moment) == 1767225600123457
    stored = Moment().process_bind_param(moment, None)  # type: ignore[arg-type]
    assert Moment().process_result_value(stored, None) == moment  # type: ignore[arg-type]
