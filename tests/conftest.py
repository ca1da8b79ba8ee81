"""What tests of every kind stand on: a database of each kind, a content store, a clock, a registry over them, and who may ask it.

A test that takes `database`, or anything that stands on it, runs once on SQLite and once on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import hypothesis
import pytest
from sqlalchemy import Connection, select

from roadstead.access.accounts import ADMIN, Accounts
from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.vault import Vault
from roadstead.content.memory import MemoryStore
from roadstead.metadata import accounts as account_rows
from roadstead.metadata import migrations
from roadstead.metadata.database import Database, open_database
from roadstead.metadata.schema import accounts as account_table
from roadstead.metadata.schema import metadata
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.registry.seams import Seams
from tests.support.factories import APP, BEGINNING, VAULT, ManualClock

if TYPE_CHECKING:
    from tests.support.postgres import Postgres  # imported by pytest as a plugin, after this module

pytest_plugins = ["tests.support.postgres", "tests.support.seaweedfs", "tests.support.slapd", "tests.support.oidc_provider"]

# A shared machine is slow at times, and what failed once is written into the test as an example: no deadline, no database of examples.
hypothesis.settings.register_profile("roadstead", deadline=None, database=None)
hypothesis.settings.load_profile("roadstead")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the present schema and no rows, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "roadstead.sqlite"
    _run_apart(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The address of a PostgreSQL database with the present schema, which every test empties before it begins."""
    url = postgres.fresh_database()
    _run_apart(url)
    return url


def _run_apart(url: str) -> None:
    """Migrate in a thread: the one that sets up a session's fixtures may have an event loop already."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(migrations.upgrade(url))).result()


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite database."""
    return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'roadstead.sqlite')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of each kind. It is empty once `database` has been opened."""
    fixture = "sqlite_url" if request.param == "sqlite" else "migrated_postgres"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database of each kind, open."""
    if database_url.startswith("postgresql:"):
        await empty(database_url)
    database = await open_database(database_url)
    try:
        yield database
    finally:
        await database.close()


async def empty(url: str) -> None:
    """Delete all rows, by one message to the server: every test begins with this."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables)))
    finally:
        await connection.close()


@pytest.fixture
def store() -> MemoryStore:
    """An empty content store in memory."""
    return MemoryStore()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at `factories.BEGINNING`."""
    return ManualClock()


MakeRegistry = Callable[..., Registry]


@pytest.fixture
async def make_registry(database: Database, store: MemoryStore, clock: ManualClock) -> MakeRegistry:
    """Makes a registry with `rules` and `seams` of the test's choice. There is a public project `library` and a private one `vault`."""

    def make(rules: Rules | None = None, seams: Seams | None = None) -> Registry:
        return Registry(database, store, rules, seams, clock)

    projects = make().projects
    await projects.ensure(APP.project, public=True)
    await projects.ensure(VAULT.project, public=False)
    return make


@pytest.fixture
def registry(make_registry: MakeRegistry) -> Registry:
    """A registry with the default rules and nothing plugged in."""
    return make_registry()


@pytest.fixture
def accounts(database: Database) -> Accounts:
    """Authentication over the test's database."""
    return Accounts(database, Vault([b"k" * 32]), create_projects_on_push=False)


@pytest.fixture
async def admin(database: Database) -> Actor:
    """An administrator, who has no password."""
    return await add_account(database, ADMIN, is_admin=True)


@pytest.fixture
async def user(database: Database) -> Actor:
    """An account without any rights of its own."""
    return await add_account(database, "ada", is_admin=False)


@pytest.fixture
def anonymous() -> Actor:
    """Nobody known."""
    return ANONYMOUS


async def add_account(database: Database, name: str, *, is_admin: bool) -> Actor:
    """An account that cannot log in, as an actor."""

    def work(connection: Connection) -> int:
        account_rows.add(connection, name, password_hash=None, is_admin=is_admin, now=BEGINNING)
        account_id: int = connection.execute(select(account_table.c.id).where(account_table.c.name == name)).scalar_one()
        return account_id

    return Actor(await database.write(work), name, is_admin)
