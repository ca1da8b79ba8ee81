"""Uploads in progress. `version` grows with every change, so that each change is a compare-and-swap."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, or_, select, update

from roadstead.metadata.schema import uploads
from roadstead.metadata.statements import insert_id


class UploadRow(msgspec.Struct, frozen=True):
    """One upload: `offset` in bytes, `state` for the content store alone to read."""

    id: int
    token: str
    repository_id: int
    account_id: int | None
    offset: int
    state: bytes
    version: int
    claimed_until: datetime | None


_COLUMNS = (
    uploads.c.id,
    uploads.c.token,
    uploads.c.repository_id,
    uploads.c.account_id,
    uploads.c.offset,
    uploads.c.state,
    uploads.c.version,
    uploads.c.claimed_until,
)


def add(connection: Connection, token: str, repository_id: int, account_id: int | None, state: bytes, now: datetime) -> int:
    """Record a new upload at offset 0; returns its id."""
    row = {"token": token, "repository_id": repository_id, "account_id": account_id, "state": state}
    return insert_id(connection, uploads, {**row, "offset": 0, "version": 0, "started_at": now, "touched_at": now})


def find(connection: Connection, repository_id: int, token: str) -> UploadRow | None:
    """The upload of that token in that repository."""
    statement = select(*_COLUMNS).where(uploads.c.token == token, uploads.c.repository_id == repository_id)
    row = connection.execute(statement).first()
    return row and UploadRow(*row)


def claim(connection: Connection, row: UploadRow, until: datetime, now: datetime) -> bool:
    """Become the one writer of an upload for a while; False if it changed since `row` was read or has a writer."""
    free = or_(uploads.c.claimed_until.is_(None), uploads.c.claimed_until < now)
    return _swap(connection, row.id, row.version, free, claimed_until=until, touched_at=now)


def renew(connection: Connection, upload_id: int, version: int, until: datetime, now: datetime) -> bool:
    """Keep a claim, without changing the version; False if it was lost."""
    mine = (uploads.c.id == upload_id, uploads.c.version == version)
    return connection.execute(update(uploads).where(*mine).values(claimed_until=until, touched_at=now)).rowcount == 1


def advance(connection: Connection, upload_id: int, version: int, offset: int, state: bytes, now: datetime) -> bool:
    """Record progress and give up the claim; False if somebody else changed the upload meanwhile."""
    return _swap(connection, upload_id, version, offset=offset, state=state, claimed_until=None, touched_at=now)


def _swap(connection: Connection, upload_id: int, version: int, *conditions: object, **values: object) -> bool:
    statement = update(uploads).where(uploads.c.id == upload_id, uploads.c.version == version, *conditions)  # type: ignore[arg-type]
    return connection.execute(statement.values(version=version + 1, **values)).rowcount == 1


def remove(connection: Connection, upload_id: int) -> bool:
    """Forget an upload; False if it was forgotten already."""
    return connection.execute(delete(uploads).where(uploads.c.id == upload_id)).rowcount == 1


def remove_claimed(connection: Connection, upload_id: int, version: int) -> bool:
    """Forget an upload that this claim holds; False if somebody else changed it."""
    mine = (uploads.c.id == upload_id, uploads.c.version == version)
    return connection.execute(delete(uploads).where(*mine)).rowcount == 1


def stale(connection: Connection, untouched_since: datetime, limit: int) -> list[UploadRow]:
    """Up to `limit` uploads that nobody has touched since."""
    statement = select(*_COLUMNS).where(uploads.c.touched_at < untouched_since).order_by(uploads.c.touched_at).limit(limit)
    return [UploadRow(*row) for row in connection.execute(statement)]


def remove_stale(connection: Connection, row: UploadRow, untouched_since: datetime) -> bool:
    """Forget an upload unless it was touched again."""
    gone = delete(uploads).where(uploads.c.id == row.id, uploads.c.version == row.version, uploads.c.touched_at < untouched_since)
    return connection.execute(gone).rowcount == 1
