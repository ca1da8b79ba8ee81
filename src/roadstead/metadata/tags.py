"""Tags and their append-only history."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, literal, select, update

from roadstead.metadata.listing import Fields, Filter, Listing, Sort, listed, matches
from roadstead.metadata.schema import accounts, manifests, tag_history, tags
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


class TagDetail(msgspec.Struct, frozen=True):
    """One live tag as people browse it; `pushed_by` is the name of an account, None where nobody in particular pushed it."""

    id: int
    repository_id: int
    manifest_id: int
    name: TagName
    pushed_at: datetime
    last_pulled_at: datetime | None
    pushed_by: str | None


_DETAIL = (
    tags.c.id,
    tags.c.repository_id,
    tags.c.manifest_id,
    tags.c.name,
    tags.c.pushed_at,
    tags.c.last_pulled_at,
    select(accounts.c.name).where(accounts.c.id == tags.c.pushed_by).scalar_subquery().label("pushed_by_name"),
)
_FIELDS: Final = Fields(
    columns={"id": tags.c.id, "name": tags.c.name, "pushed_at": tags.c.pushed_at, "pulled_at": tags.c.last_pulled_at},
    key=tags.c.id,
    order=(Sort("pushed_at", descending=True),),
)


def page(connection: Connection, manifest_id: int, listing: Listing) -> tuple[list[TagDetail], int]:
    """A page of the live tags that point to a manifest, and how many there are. Raises InvalidInput."""
    rows, total = listed(
        connection, select(*_DETAIL).where(tags.c.manifest_id == manifest_id, tags.c.deleted_at.is_(None)), _FIELDS, listing
    )
    return [TagDetail(*row) for row in rows], total


class TaggedRow(msgspec.Struct, frozen=True):
    """One live tag with what it points to."""

    tag: TagDetail
    digest: Digest
    media_type: str
    artifact_type: str | None


def page_of_repository(connection: Connection, repository_id: int, listing: Listing) -> tuple[list[TaggedRow], int]:
    """A page of a repository's live tags, and how many there are; it can be filtered by `digest` too. Raises InvalidInput."""

    def of_digest(asked: Filter) -> ColumnElement[bool]:
        wanted = (manifests.c.repository_id == repository_id, matches(manifests.c.digest, asked))
        return tags.c.manifest_id.in_(select(manifests.c.id).where(*wanted))

    # The page is found in the tags alone: their manifests are not read for those that are on other pages.
    live = select(tags.c.id).where(tags.c.repository_id == repository_id, tags.c.deleted_at.is_(None))
    found, total = listed(connection, live, msgspec.structs.replace(_FIELDS, conditions={"digest": of_digest}), listing)
    ids = [row[0] for row in found]
    pointing = (manifests.c.digest, manifests.c.media_type, manifests.c.artifact_type)
    joined = select(*_DETAIL, *pointing).join_from(tags, manifests, manifests.c.id == tags.c.manifest_id).where(tags.c.id.in_(ids))
    rows = {row[0]: TaggedRow(TagDetail(*row[:7]), Digest(row[7]), row[8], row[9]) for row in connection.execute(joined)}
    return [rows[one] for one in ids if one in rows], total


def counts(connection: Connection, manifest_ids: Collection[int]) -> dict[int, int]:
    """By manifest, how many live tags point to it; one without any is left out."""
    counted = select(tags.c.manifest_id, func.count()).where(tags.c.manifest_id.in_(manifest_ids), tags.c.deleted_at.is_(None))
    return {row[0]: row[1] for row in connection.execute(counted.group_by(tags.c.manifest_id))}


def newest_of(connection: Connection, manifest_ids: Collection[int], limit: int) -> dict[int, list[TagDetail]]:
    """By manifest, the live tags that point to it, the newest first, at most `limit` of each."""
    rank = func.row_number().over(partition_by=tags.c.manifest_id, order_by=(tags.c.pushed_at.desc(), tags.c.id.desc())).label("rank")
    ranked = select(*_DETAIL, rank).where(tags.c.manifest_id.in_(manifest_ids), tags.c.deleted_at.is_(None)).subquery("ranked")
    found: dict[int, list[TagDetail]] = {}
    for row in connection.execute(select(ranked).where(ranked.c.rank <= limit).order_by(ranked.c.rank)):
        found.setdefault(row[2], []).append(TagDetail(*row[:7]))
    return found


def create(
    connection: Connection, repository_id: int, name: TagName, manifest_id: int, digest: Digest, actor_id: int | None, now: datetime
) -> bool:
    """Add a tag that is not there and record it; False if there is one of that name."""
    row = {
        "repository_id": repository_id,
        "name": name,
        "manifest_id": manifest_id,
        "created_at": now,
        "pushed_at": now,
        "pushed_by": actor_id,
    }
    if not insert_new(connection, tags, row):
        return False
    _record(connection, repository_id, name, None, digest, actor_id, now)
    return True


def remove_all(connection: Connection, repository_id: int, actor_id: int | None, now: datetime) -> None:
    """Mark every tag of a repository as deleted and record it."""
    live = (tags.c.repository_id == repository_id, tags.c.deleted_at.is_(None))
    ended = select(
        tags.c.repository_id, tags.c.name, manifests.c.digest, literal(actor_id, tags.c.pushed_by.type), literal(now, tags.c.pushed_at.type)
    ).join_from(tags, manifests, manifests.c.id == tags.c.manifest_id)
    connection.execute(tag_history.insert().from_select(["repository_id", "tag", "old_digest", "actor_id", "at"], ended.where(*live)))
    connection.execute(update(tags).where(*live).values(deleted_at=now))


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
        if (present := locked(connection, repository_id, name)) is not None:
            connection.execute(_MOVE, {"the_id": present.id, **stamp})
            old = present.digest
            break
    if old != digest:
        _record(connection, repository_id, name, old, digest, actor_id, now)
    return old


def locked(connection: Connection, repository_id: int, name: TagName) -> TagRow | None:
    """The live tag of that name, which nobody else changes until the transaction ends."""
    row = connection.execute(_LOCKED, {"repository_id": repository_id, "name": name}).first()
    return row and _row(row)


def remove(connection: Connection, repository_id: int, tag: TagRow, actor_id: int | None, now: datetime) -> bool:
    """Mark a tag as deleted and record it; False if it was deleted already."""
    gone = update(tags).where(tags.c.id == tag.id, tags.c.deleted_at.is_(None)).values(deleted_at=now)
    if connection.execute(gone).rowcount == 0:
        return False
    _record(connection, repository_id, tag.name, tag.digest, None, actor_id, now)
    return True


class TagChangeRow(msgspec.Struct, frozen=True):
    """What happened to a tag: from which digest to which; None where it was not there before, or not afterwards.

    `by` is the name of an account, None where nobody in particular did it. `old_here` and `new_here` say whether these can still be pulled.
    """

    id: int
    tag: TagName
    old: Digest | None
    new: Digest | None
    at: datetime
    by: str | None
    old_here: bool
    new_here: bool


def _is_here(digest: ColumnElement[Any]) -> ColumnElement[bool]:
    same = (manifests.c.repository_id == tag_history.c.repository_id, manifests.c.digest == digest, manifests.c.deleted_at.is_(None))
    return exists().where(*same)


_HISTORY = select(
    tag_history.c.id,
    tag_history.c.tag,
    tag_history.c.old_digest,
    tag_history.c.new_digest,
    tag_history.c.at,
    accounts.c.name,
    _is_here(tag_history.c.old_digest),
    _is_here(tag_history.c.new_digest),
).outerjoin_from(tag_history, accounts, accounts.c.id == tag_history.c.actor_id)
_HISTORY_FIELDS: Final = Fields({"tag": tag_history.c.tag, "id": tag_history.c.id}, tag_history.c.id, (Sort("id", descending=True),))


def history(connection: Connection, repository_id: int, listing: Listing) -> tuple[list[TagChangeRow], int]:
    """A page of what happened to a repository's tags, the newest first, and how much there is; it can be filtered by `tag`."""
    rows, total = listed(connection, _HISTORY.where(tag_history.c.repository_id == repository_id), _HISTORY_FIELDS, listing)
    return [_change(*row) for row in rows], total


def _change(row_id: int, tag: str, old: str | None, new: str | None, at: datetime, by: str | None, *here: bool) -> TagChangeRow:
    return TagChangeRow(
        row_id, TagName(tag), None if old is None else Digest(old), None if new is None else Digest(new), at, by, *map(bool, here)
    )


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
