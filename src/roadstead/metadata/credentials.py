"""Credentials that stand in for passwords: found by the hash of their secret, which alone is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Row, delete, exists, select, update

from roadstead.metadata.listing import Fields, Listing, Sort, Values, listed
from roadstead.metadata.schema import credentials
from roadstead.metadata.statements import insert_id


class CredentialRow(msgspec.Struct, frozen=True):
    """One credential as its owner sees it; `hint` is the beginning of its secret."""

    id: int
    account_id: int
    kind: str
    name: str
    hint: str
    level: str
    project_ids: tuple[int, ...] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None


_COLUMNS = tuple(credentials.c[field] for field in CredentialRow.__struct_fields__)


def _row(row: Row[*tuple[object, ...]] | Values) -> CredentialRow:
    values = dict(zip(CredentialRow.__struct_fields__, row, strict=True))
    if values["project_ids"] is not None:
        values["project_ids"] = msgspec.json.decode(str(values["project_ids"]), type=tuple[int, ...])
    return CredentialRow(**values)


def add(
    connection: Connection,
    *,
    account_id: int,
    kind: str,
    name: str,
    secret_hash: str,
    hint: str,
    level: str,
    project_ids: tuple[int, ...] | None,
    expires_at: datetime | None,
    now: datetime,
    parent_id: int | None = None,
) -> int:
    """Record a credential; returns its id."""
    limits = None if project_ids is None else msgspec.json.encode(project_ids).decode()
    row: dict[str, object] = {
        "account_id": account_id,
        "kind": kind,
        "name": name,
        "secret_hash": secret_hash,
        "hint": hint,
        "level": level,
    }
    row["parent_id"] = parent_id
    return insert_id(connection, credentials, {**row, "project_ids": limits, "expires_at": expires_at, "created_at": now})


def of_account(connection: Connection, account_id: int, kind: str) -> list[CredentialRow]:
    """An account's credentials of one kind that are not revoked, newest first."""
    mine = (credentials.c.account_id == account_id, credentials.c.kind == kind, credentials.c.revoked_at.is_(None))
    return [_row(row) for row in connection.execute(select(*_COLUMNS).where(*mine).order_by(credentials.c.id.desc()))]


_FIELDS = Fields({"id": credentials.c.id, "name": credentials.c.name}, credentials.c.id, (Sort("id", descending=True),))


def page(connection: Connection, account_id: int, kind: str, listing: Listing) -> tuple[list[CredentialRow], int]:
    """As `of_account`, a page of them, and how many there are. Raises InvalidInput."""
    mine = (credentials.c.account_id == account_id, credentials.c.kind == kind, credentials.c.revoked_at.is_(None))
    rows, total = listed(connection, select(*_COLUMNS).where(*mine), _FIELDS, listing)
    return [_row(row) for row in rows], total


def find(connection: Connection, account_id: int, credential_id: int) -> CredentialRow | None:
    """One credential of an account, revoked or not."""
    mine = (credentials.c.account_id == account_id, credentials.c.id == credential_id)
    row = connection.execute(select(*_COLUMNS).where(*mine)).first()
    return None if row is None else _row(row)


def by_hash(connection: Connection, secret_hash: str) -> CredentialRow | None:
    """The credential whose secret has this hash, if it is not revoked."""
    row = connection.execute(select(*_COLUMNS).where(credentials.c.secret_hash == secret_hash, credentials.c.revoked_at.is_(None))).first()
    return None if row is None else _row(row)


def held(connection: Connection, account_id: int, credential_id: int) -> CredentialRow | None:
    """One credential of an account that is not revoked, and will not be before this transaction ends."""
    mine = (credentials.c.account_id == account_id, credentials.c.id == credential_id, credentials.c.revoked_at.is_(None))
    row = connection.execute(select(*_COLUMNS).where(*mine).with_for_update()).first()
    return None if row is None else _row(row)


def revoke(connection: Connection, account_id: int, now: datetime, *, credential_id: int | None = None, kind: str | None = None) -> int:
    """Revoke an account's credentials: one with what was given for it, those of a kind, or all; returns how many."""
    statement = update(credentials).where(credentials.c.account_id == account_id, credentials.c.revoked_at.is_(None))
    if credential_id is not None:
        mine = statement.where(credentials.c.id == credential_id)
        ended = connection.execute(mine.values(revoked_at=now)).rowcount
        # A second statement: it sees what was given for the credential until the first one could lock it.
        return ended + connection.execute(statement.where(credentials.c.parent_id == credential_id).values(revoked_at=now)).rowcount
    if kind is not None:
        statement = statement.where(credentials.c.kind == kind)
    return connection.execute(statement.values(revoked_at=now)).rowcount


def used(connection: Connection, uses: Mapping[int, tuple[datetime, str]]) -> None:
    """Record the last use of credentials: id → when, and from what address; in the order of ids, so that two replicas cannot deadlock."""
    for credential_id in sorted(uses):
        at, address = uses[credential_id]
        mine = (credentials.c.id == credential_id, credentials.c.last_used_at.is_(None) | (credentials.c.last_used_at < at))
        connection.execute(update(credentials).where(*mine).values(last_used_at=at, last_used_from=address))


def purge(connection: Connection, kind: str, before: datetime) -> int:
    """Remove credentials of a kind that ended before that time, and for which no other was given; returns how many."""
    children = credentials.alias()
    ended = (credentials.c.expires_at < before) | (credentials.c.revoked_at < before)
    childless = ~exists().where(children.c.parent_id == credentials.c.id)
    return connection.execute(delete(credentials).where(credentials.c.kind == kind, ended, childless)).rowcount
