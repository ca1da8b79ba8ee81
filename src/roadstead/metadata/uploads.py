"""Uploads in progress. `version` grows with every change, so that each change is a compare-and-swap."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, case, delete, or_, select, update

from roadstead.metadata.schema import accounts, uploads
from roadstead.metadata.statements import Prepared, insert_id


class UploadRow(msgspec.Struct, frozen=True):
    """One upload: `offset` and `reserved` in bytes (the quota counts the greater), `state` for the content store alone to read."""

    id: int
    token: str
    repository_id: int
    account_id: int | None
    offset: int
    state: bytes
    version: int
    claimed_until: datetime | None
    reserved: int


_COLUMNS = (
    uploads.c.id,
    uploads.c.token,
    uploads.c.repository_id,
    uploads.c.account_id,
    uploads.c.offset,
    uploads.c.state,
    uploads.c.version,
    uploads.c.claimed_until,
    uploads.c.reserved,
)


def add(connection: Connection, token: str, repository_id: int, account_id: int | None, state: bytes, now: datetime) -> int:
    """Record a new upload at offset 0; returns its id."""
    row = {"token": token, "repository_id": repository_id, "account_id": account_id, "state": state}
    return insert_id(connection, uploads, {**row, "offset": 0, "version": 0, "started_at": now, "touched_at": now})


_FIND = Prepared(select(*_COLUMNS).where(uploads.c.token == bindparam("token"), uploads.c.repository_id == bindparam("repository_id")))


def find(connection: Connection, repository_id: int, token: str) -> UploadRow | None:
    """The upload of that token in that repository."""
    row = _FIND.first(connection, {"token": token, "repository_id": repository_id})
    return None if row is None else UploadRow(*row)


_START = bindparam("start", type_=uploads.c.offset.type)
_CLAIM = Prepared(
    update(uploads)
    .where(uploads.c.token == bindparam("the_token"), uploads.c.repository_id == bindparam("the_repository_id"))
    .where(or_(uploads.c.claimed_until.is_(None), uploads.c.claimed_until < bindparam("now", type_=uploads.c.touched_at.type)))
    .where(or_(_START.is_(None), uploads.c.offset == _START))
    .values(
        version=uploads.c.version + 1,
        claimed_until=bindparam("claimed_until"),
        touched_at=bindparam("touched_at"),
        reserved=uploads.c.offset + bindparam("announced", type_=uploads.c.offset.type),
    )
    .returning(*_COLUMNS)
)


def claim(
    connection: Connection, repository_id: int, token: str, *, start: int | None, announced: int, until: datetime, now: datetime
) -> UploadRow | None:
    """Become the one writer of an upload for a while, and reserve the `announced` bytes for it; the row carries the new version.

    None if there is no such upload, it has a writer, or it does not stand at `start` (None: wherever it stands).
    """
    wanted = {"the_token": token, "the_repository_id": repository_id, "start": start, "now": now, "announced": announced}
    row = _CLAIM.first(connection, {**wanted, "claimed_until": until, "touched_at": now})
    return None if row is None else UploadRow(*row)


def renew(connection: Connection, upload_id: int, version: int, until: datetime, now: datetime, arrived: int) -> bool:
    """Keep a claim, without changing the version, and tell how far its writer is (bytes); False if it was lost."""
    mine = (uploads.c.id == upload_id, uploads.c.version == version)
    values = {"claimed_until": until, "touched_at": now, "arrived": arrived}
    return connection.execute(update(uploads).where(*mine).values(values)).rowcount == 1


class RunningRow(msgspec.Struct, frozen=True):
    """An upload that was written to a moment ago: `arrived` in bytes, `by` the name of an account if it has one."""

    id: int
    arrived: int
    started_at: datetime
    by: str | None


def running(connection: Connection, repository_id: int, touched_since: datetime, limit: int) -> list[RunningRow]:
    """The uploads to a repository that were touched since then, the newest first."""
    arrived = case((uploads.c.arrived > uploads.c.offset, uploads.c.arrived), else_=uploads.c.offset)
    statement = (
        select(uploads.c.id, arrived, uploads.c.started_at, accounts.c.name)
        .outerjoin_from(uploads, accounts, accounts.c.id == uploads.c.account_id)
        .where(uploads.c.repository_id == repository_id, uploads.c.touched_at >= touched_since)
        .order_by(uploads.c.id.desc())
        .limit(limit)
    )
    return [RunningRow(*row) for row in connection.execute(statement)]


_RESERVE = Prepared(
    update(uploads)
    .where(uploads.c.id == bindparam("the_id"), uploads.c.version == bindparam("the_version"))
    .values(reserved=bindparam("reserved"))
)


def reserve(connection: Connection, upload_id: int, version: int, reserved: int) -> bool:
    """Let a claimed upload count for that many bytes, without changing the version; False if the claim was lost."""
    return _RESERVE.change(connection, {"the_id": upload_id, "the_version": version, "reserved": reserved}) == 1


_ADVANCE = Prepared(
    update(uploads)
    .where(uploads.c.id == bindparam("the_id"), uploads.c.version == bindparam("the_version"))
    .values(
        version=uploads.c.version + 1,
        offset=bindparam("offset"),
        state=bindparam("state"),
        claimed_until=None,
        touched_at=bindparam("touched_at"),
        reserved=0,
    )
)


def advance(connection: Connection, upload_id: int, version: int, offset: int, state: bytes, now: datetime) -> bool:
    """Record progress and give up claim and reservation; False if somebody else changed the upload meanwhile."""
    values = {"the_id": upload_id, "the_version": version, "offset": offset, "state": state, "touched_at": now}
    return _ADVANCE.change(connection, values) == 1


_MINE = uploads.c.id == bindparam("the_id")
_REMOVE = Prepared(delete(uploads).where(_MINE))


def remove(connection: Connection, upload_id: int) -> bool:
    """Forget an upload; False if it was forgotten already."""
    return _REMOVE.change(connection, {"the_id": upload_id}) == 1


_REMOVE_CLAIMED = Prepared(delete(uploads).where(_MINE, uploads.c.version == bindparam("the_version")))


def remove_claimed(connection: Connection, upload_id: int, version: int) -> bool:
    """Forget an upload that this claim holds; False if somebody else changed it."""
    return _REMOVE_CLAIMED.change(connection, {"the_id": upload_id, "the_version": version}) == 1


def stale(connection: Connection, untouched_since: datetime, limit: int) -> list[UploadRow]:
    """Up to `limit` uploads that nobody has touched since."""
    statement = select(*_COLUMNS).where(uploads.c.touched_at < untouched_since).order_by(uploads.c.touched_at).limit(limit)
    return [UploadRow(*row) for row in connection.execute(statement)]


def remove_stale(connection: Connection, row: UploadRow, untouched_since: datetime) -> bool:
    """Forget an upload unless it was touched again."""
    gone = delete(uploads).where(uploads.c.id == row.id, uploads.c.version == row.version, uploads.c.touched_at < untouched_since)
    return connection.execute(gone).rowcount == 1
