"""Tags and their append-only history."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from roadstead.metadata.schema import manifests, tag_history, tags
from roadstead.metadata.statements import Prepared, insert_new
from roadstead.oci.digest import Digest
from roadstead.oci.reference import TagName


class TagRow(msgspec.Struct, frozen=True):
    """One live tag and what it points to."""

    id: int
    name: TagName
    manifest_id: int
    digest: Digest


_COLUMNS = (tags.c.id, tags.c.name, tags.c.manifest_id, manifests.c.digest)
_TAGS = select(*_COLUMNS).join_from(tags, manifests, manifests.c.id == tags.c.manifest_id).where(tags.c.deleted_at.is_(None))


def _row(row: tuple[int, str, int, str]) -> TagRow:
    return TagRow(row[0], TagName(row[1]), row[2], Digest(row[3]))


def find(connection: Connection, repository_id: int, name: TagName) -> TagRow | None:
    """The live tag of that name."""
    row = connection.execute(_TAGS.where(tags.c.repository_id == repository_id, tags.c.name == name)).first()
    return row and _row(row)


def of_manifest(connection: Connection, manifest_id: int) -> list[TagRow]:
    """The live tags that point to a manifest."""
    return [_row(row) for row in connection.execute(_TAGS.where(tags.c.manifest_id == manifest_id))]


def names(connection: Connection, repository_id: int, after: str, limit: int) -> list[str]:
    """Names of live tags in the order of their bytes, at most `limit` of them after `after`."""
    statement = (
        select(tags.c.name)
        .where(tags.c.repository_id == repository_id, tags.c.deleted_at.is_(None), tags.c.name > after)
        .order_by(tags.c.name)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


_NAMED = _TAGS.where(tags.c.repository_id == bindparam("repository_id"), tags.c.name == bindparam("name"))
_LOCKED = _NAMED.with_for_update(of=tags)
_MOVE = update(tags).where(tags.c.id == bindparam("the_id"))


def point(
    connection: Connection, repository_id: int, name: TagName, manifest_id: int, digest: Digest, actor_id: int | None, now: datetime
) -> Digest | None:
    """Let a tag point to a manifest and record it; returns the digest that it pointed to before, None for a new tag."""
    stamp = {"manifest_id": manifest_id, "pushed_at": now, "pushed_by": actor_id}
    old = None
    # The loop turns a second time only if the tag is deleted by somebody else between the two statements.
    while not insert_new(connection, tags, {"repository_id": repository_id, "name": name, "created_at": now, **stamp}):
        if (present := _locked(connection, repository_id, name)) is not None:
            connection.execute(_MOVE, {"the_id": present.id, **stamp})
            old = present.digest
            break
    if old != digest:
        _record(connection, repository_id, name, old, digest, actor_id, now)
    return old


def _locked(connection: Connection, repository_id: int, name: TagName) -> TagRow | None:
    row = connection.execute(_LOCKED, {"repository_id": repository_id, "name": name}).first()
    return row and _row(row)


def remove(connection: Connection, repository_id: int, tag: TagRow, actor_id: int | None, now: datetime) -> bool:
    """Mark a tag as deleted and record it; False if it was deleted already."""
    gone = update(tags).where(tags.c.id == tag.id, tags.c.deleted_at.is_(None)).values(deleted_at=now)
    if connection.execute(gone).rowcount == 0:
        return False
    _record(connection, repository_id, tag.name, tag.digest, None, actor_id, now)
    return True


_RECORD = Prepared(tag_history.insert())


def _record(
    connection: Connection,
    repository_id: int,
    tag: TagName,
    old: Digest | None,
    new: Digest | None,
    actor_id: int | None,
    now: datetime,
) -> None:
    row = {"repository_id": repository_id, "tag": tag, "old_digest": old, "new_digest": new, "actor_id": actor_id, "at": now}
    _RECORD.change(connection, row)
