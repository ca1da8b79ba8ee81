"""Accounts."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, select

from roadstead.metadata.database import Database
from roadstead.metadata.schema import accounts
from roadstead.metadata.statements import insert_new


class AccountRow(msgspec.Struct, frozen=True):
    """One account that is not disabled."""

    id: int
    name: str
    is_admin: bool
    password_hash: str | None


_COLUMNS = (accounts.c.id, accounts.c.name, accounts.c.is_admin, accounts.c.password_hash)


class AccountSelects:
    """The hot selects: present state of an account, asked for at every request."""

    def __init__(self, database: Database) -> None:
        active = select(*_COLUMNS).where(accounts.c.disabled_at.is_(None))
        self._by_id = database.hot(active.where(accounts.c.id == bindparam("id")))
        self._by_name = database.hot(active.where(accounts.c.name == bindparam("name")))

    async def by_id(self, account_id: int) -> AccountRow | None:
        """The account, or None if there is none or it is disabled."""
        return _row(await self._by_id.first(id=account_id))

    async def by_name(self, name: str) -> AccountRow | None:
        """The account, or None if there is none or it is disabled."""
        return _row(await self._by_name.first(name=name))


def _row(row: tuple[int, str, bool, str | None] | None) -> AccountRow | None:
    return row and AccountRow(row[0], row[1], bool(row[2]), row[3])


def exists(connection: Connection, name: str) -> bool:
    """Whether an account of that name is there, disabled or not."""
    return connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first() is not None


def add(connection: Connection, name: str, *, password_hash: str | None, is_admin: bool, now: datetime) -> bool:
    """Add an account; False if the name is taken."""
    values = {"name": name, "password_hash": password_hash, "is_admin": is_admin, "created_at": now}
    return insert_new(connection, accounts, values)
