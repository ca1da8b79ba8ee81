"""Accounts of people and robots, as authentication sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, bindparam, func, select, update

from roadstead.metadata.database import Database
from roadstead.metadata.listing import Fields, Listing, Sort, listed
from roadstead.metadata.schema import accounts, credentials, from_microseconds, robots
from roadstead.metadata.statements import insert_new

LOCAL = "local"
"""The source of an account whose password is kept here."""


class CredentialState(msgspec.Struct, frozen=True):
    """A credential that is not revoked; whether it has expired is the reader's to see."""

    id: int
    level: str
    project_ids: frozenset[int] | None
    expires_at: datetime | None


class AccountState(msgspec.Struct, frozen=True):
    """An account that is neither disabled nor deleted, the credential that was asked for with it, and a robot's permissions."""

    id: int
    name: str
    kind: str
    source: str
    is_admin: bool
    password_hash: str | None
    valid_from: datetime | None
    credential: CredentialState | None
    permissions: str | None
    robot_expires_at: datetime | None


class AccountSelects:
    """The hot selects: the present state of account and credential, asked for at every request."""

    def __init__(self, database: Database) -> None:
        account = (
            accounts.c.id,
            accounts.c.name,
            accounts.c.kind,
            accounts.c.source,
            accounts.c.is_admin,
            accounts.c.password_hash,
            accounts.c.valid_from,
        )
        credential = (credentials.c.id, credentials.c.level, credentials.c.project_ids, credentials.c.expires_at)
        columns = (*account, *credential, robots.c.permissions, robots.c.expires_at)
        active = (accounts.c.disabled_at.is_(None), accounts.c.deleted_at.is_(None))
        mine = and_(
            credentials.c.account_id == accounts.c.id, credentials.c.id == bindparam("credential_id"), credentials.c.revoked_at.is_(None)
        )
        either = accounts.outerjoin(credentials, mine).outerjoin(robots, robots.c.account_id == accounts.c.id)
        by_id = select(*columns).select_from(either).where(accounts.c.id == bindparam("id"), *active)
        by_name = select(*columns).select_from(either).where(accounts.c.name == bindparam("name"), *active)
        with_secret = credentials.join(accounts, accounts.c.id == credentials.c.account_id).outerjoin(
            robots, robots.c.account_id == accounts.c.id
        )
        by_secret = (
            select(*columns)
            .select_from(with_secret)
            .where(credentials.c.secret_hash == bindparam("secret_hash"), credentials.c.revoked_at.is_(None), *active)
        )
        self._by_id = database.hot(by_id)
        self._by_name = database.hot(by_name)
        self._by_secret = database.hot(by_secret)

    async def by_id(self, account_id: int, credential_id: int | None = None) -> AccountState | None:
        """The account, with the credential if that is its own and not revoked."""
        return _state(await self._by_id.first(id=account_id, credential_id=credential_id))

    async def by_name(self, name: str) -> AccountState | None:
        """The account of that name, with no credential."""
        return _state(await self._by_name.first(name=name, credential_id=None))

    async def by_secret(self, secret_hash: str) -> AccountState | None:
        """The account and the credential whose secret has this hash."""
        return _state(await self._by_secret.first(secret_hash=secret_hash))


def _moment(stored: int | None) -> datetime | None:
    return None if stored is None else from_microseconds(stored)


def _state(row: tuple[Any, ...] | None) -> AccountState | None:
    if row is None:
        return None
    credential = None
    if row[7] is not None:
        limits = None if row[9] is None else frozenset(msgspec.json.decode(row[9], type=list[int]))
        credential = CredentialState(row[7], row[8], limits, _moment(row[10]))
    return AccountState(
        id=row[0],
        name=row[1],
        kind=row[2],
        source=row[3],
        is_admin=bool(row[4]),
        password_hash=row[5],
        valid_from=_moment(row[6]),
        credential=credential,
        permissions=row[11],
        robot_expires_at=_moment(row[12]),
    )


class AccountRow(msgspec.Struct, frozen=True):
    """One account as administrators see it."""

    id: int
    name: str
    kind: str
    source: str
    is_admin: bool
    email: str | None
    real_name: str | None
    comment: str | None
    created_at: datetime
    disabled_at: datetime | None


_ROW = tuple(accounts.c[field] for field in AccountRow.__struct_fields__)


def exists(connection: Connection, name: str) -> bool:
    """Whether an account of that name is there, disabled or not."""
    return connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first() is not None


def find(connection: Connection, name: str) -> AccountRow | None:
    """The account of that name that is not deleted."""
    row = connection.execute(select(*_ROW).where(accounts.c.name == name, accounts.c.deleted_at.is_(None))).first()
    return None if row is None else AccountRow(*tuple(row))


def in_any_case(connection: Connection, name: str) -> AccountRow | None:
    """The account of that name that is not deleted, written in upper or lower case."""
    row = connection.execute(select(*_ROW).where(func.lower(accounts.c.name) == name.lower(), accounts.c.deleted_at.is_(None))).first()
    return None if row is None else AccountRow(*tuple(row))


def get(connection: Connection, account_id: int) -> AccountRow | None:
    """The account of that id that is not deleted."""
    row = connection.execute(select(*_ROW).where(accounts.c.id == account_id, accounts.c.deleted_at.is_(None))).first()
    return None if row is None else AccountRow(*tuple(row))


_FIELDS = Fields(
    {
        field: accounts.c[field]
        for field in ("id", "name", "source", "is_admin", "email", "real_name", "comment", "created_at", "disabled_at")
    },
    accounts.c.id,
    (Sort("name"),),
)
_PERSON = (accounts.c.kind == "user", accounts.c.deleted_at.is_(None))


def page(connection: Connection, listing: Listing) -> tuple[list[AccountRow], int]:
    """The accounts of people that the listing asks for, and how many there are on all pages. Raises InvalidInput."""
    rows, total = listed(connection, select(*_ROW).where(*_PERSON), _FIELDS, listing)
    return [AccountRow(*tuple(row)) for row in rows], total


def people(connection: Connection) -> list[AccountRow]:
    """Every account of a person, by name."""
    return [AccountRow(*tuple(row)) for row in connection.execute(select(*_ROW).where(*_PERSON).order_by(accounts.c.name))]


def add(
    connection: Connection,
    name: str,
    *,
    password_hash: str | None,
    is_admin: bool,
    now: datetime,
    kind: str = "user",
    email: str | None = None,
    real_name: str | None = None,
    comment: str | None = None,
    source: str = LOCAL,
) -> bool:
    """Add an account; False if the name is taken."""
    values = {"source": source, "name": name, "password_hash": password_hash, "is_admin": is_admin, "created_at": now, "kind": kind}
    return insert_new(connection, accounts, {**values, "email": email, "real_name": real_name, "comment": comment})


def change(connection: Connection, account_id: int, **values: object) -> bool:
    """Set columns of an account that is not deleted; False if there is none."""
    mine = (accounts.c.id == account_id, accounts.c.deleted_at.is_(None))
    return connection.execute(update(accounts).where(*mine).values(**values)).rowcount == 1


def delete(connection: Connection, account_id: int, now: datetime) -> bool:
    """Mark an account as deleted and free its name; its id stays, as history refers to it. False if there is none."""
    row = get(connection, account_id)
    return row is not None and change(connection, account_id, deleted_at=now, name=f"{row.name}#{row.id}")
