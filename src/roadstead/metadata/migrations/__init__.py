"""Alembic migrations, run in process: `upgrade` brings a database of any age to the present schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, exc, text
from sqlalchemy.engine import make_url

from roadstead.metadata.database import Turnstile, postgres_engine, sqlite_engine, sqlite_path, translate
from roadstead.metadata.location import require_local

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0008"
"""The newest revision; a test compares it with the scripts."""

_UPGRADE_LOCK = 0x526F_6164  # replicas that start together upgrade one after the other


async def upgrade(url: str) -> None:
    """Create or migrate the database at `url`. Costs one select when there is nothing to do. Raises Misconfigured, DatabaseFailed."""
    if make_url(url).get_backend_name() == "sqlite":
        _upgrade_sqlite(sqlite_path(url))
    else:
        await _upgrade_postgres(url)


def _upgrade_sqlite(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    require_local(path.parent)
    engine = sqlite_engine(path, write=True)
    try:
        # One after the other from the first byte on: while a file is new, SQLite itself does not wait (`journal_mode=WAL`), but fails.
        with closing(Turnstile(path)) as turnstile, turnstile.pass_through(wait=True), engine.begin() as connection:
            _run(connection)
    except (exc.DBAPIError, sqlite3.Error) as error:
        raise translate(error) from error
    finally:
        engine.dispose()


async def _upgrade_postgres(url: str) -> None:
    from asyncpg import PostgresError  # noqa: PLC0415 - an SQLite site never pays for it

    engine = postgres_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            await connection.run_sync(_run)
    except (exc.DBAPIError, PostgresError, OSError) as error:
        raise translate(error) from error
    finally:
        await engine.dispose()


def current(connection: Connection) -> str | None:
    """The revision that the database is at, or None for an empty one."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _run(connection: Connection) -> None:
    if current(connection) == HEAD:
        return
    from alembic import command  # noqa: PLC0415 - a start with nothing to migrate does not pay for the import

    command.upgrade(config(connection=connection), "head")


def config(**attributes: Any) -> Config:
    """Alembic's configuration for these scripts."""
    from alembic.config import Config  # noqa: PLC0415 - see _run

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.attributes.update(attributes)
    return settings
