"""Identities: who an account is at a login source."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, select, update

from roadstead.metadata.schema import accounts, identities, login_sources
from roadstead.metadata.statements import insert_new


class IdentityRow(msgspec.Struct, frozen=True):
    """One identity: `subject` never changes at the source, `name` is what it was called there at the last login."""

    id: int
    account_id: int
    source_id: int
    source: str
    subject: str
    name: str
    linked_at: datetime
    last_login_at: datetime | None
    gone_at: datetime | None


_ROWS = select(
    identities.c.id,
    identities.c.account_id,
    identities.c.source_id,
    login_sources.c.name,
    identities.c.subject,
    identities.c.name,
    identities.c.linked_at,
    identities.c.last_login_at,
    identities.c.gone_at,
).join(login_sources, login_sources.c.id == identities.c.source_id)


def find(connection: Connection, source_id: int, subject: str) -> IdentityRow | None:
    """The identity of that subject at the source."""
    row = connection.execute(_ROWS.where(identities.c.source_id == source_id, identities.c.subject == subject)).first()
    return None if row is None else IdentityRow(*row)


def of_account(connection: Connection, account_id: int) -> list[IdentityRow]:
    """Every identity of an account, in the order in which they were linked."""
    return [IdentityRow(*row) for row in connection.execute(_ROWS.where(identities.c.account_id == account_id).order_by(identities.c.id))]


def of_source(connection: Connection, source_id: int) -> list[IdentityRow]:
    """Every identity at a source whose account is not deleted."""
    living = _ROWS.join(accounts, accounts.c.id == identities.c.account_id).where(accounts.c.deleted_at.is_(None))
    return [IdentityRow(*row) for row in connection.execute(living.where(identities.c.source_id == source_id).order_by(identities.c.id))]


def add(connection: Connection, *, account_id: int, source_id: int, subject: str, name: str, now: datetime) -> bool:
    """Link a subject of a source to an account; False if it is linked already."""
    whose = {"account_id": account_id, "source_id": source_id, "subject": subject, "name": name}
    return insert_new(connection, identities, {**whose, "linked_at": now})


def change(connection: Connection, identity_id: int, **values: object) -> None:
    """Set columns of an identity."""
    connection.execute(update(identities).where(identities.c.id == identity_id).values(**values))


def remove(connection: Connection, account_id: int, identity_id: int) -> bool:
    """Unlink one identity of the account; False if it has none of that id."""
    mine = (identities.c.account_id == account_id, identities.c.id == identity_id)
    return connection.execute(delete(identities).where(*mine)).rowcount == 1


def remove_of_account(connection: Connection, account_id: int) -> None:
    """Unlink every identity of an account."""
    connection.execute(delete(identities).where(identities.c.account_id == account_id))


def remove_of_source(connection: Connection, source_id: int) -> None:
    """Unlink every identity at a source."""
    connection.execute(delete(identities).where(identities.c.source_id == source_id))
