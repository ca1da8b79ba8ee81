"""Keys that sign bearer tokens; the private halves are encrypted before they come here."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, select

from roadstead.metadata.schema import signing_keys


class SigningKeyRow(msgspec.Struct, frozen=True):
    """One key: it signs until `signs_until`, and what it signed is accepted until `verifies_until`."""

    kid: str
    public_jwk: str
    private_key: bytes
    encryption_key_id: str
    created_at: datetime
    signs_until: datetime
    verifies_until: datetime


_COLUMNS = tuple(signing_keys.c[field] for field in SigningKeyRow.__struct_fields__)


def add(connection: Connection, row: SigningKeyRow) -> None:
    """Record a new key."""
    connection.execute(signing_keys.insert().values(msgspec.structs.asdict(row)))


def accepted(connection: Connection, now: datetime) -> list[SigningKeyRow]:
    """The keys whose signatures are accepted now, newest first."""
    statement = select(*_COLUMNS).where(signing_keys.c.verifies_until > now).order_by(signing_keys.c.created_at.desc())
    return [SigningKeyRow(*row) for row in connection.execute(statement)]
