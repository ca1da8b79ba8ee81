"""Contents, their digests, and the links that make them visible in a repository. The rule of their life is in `schema`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, Exists, and_, bindparam, delete, exists, or_, select, tuple_, update

from roadstead.metadata import quotas
from roadstead.metadata.database import Database
from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.repositories import LIVE
from roadstead.metadata.schema import (
    EPOCH,
    blob_links,
    contents,
    digests,
    from_microseconds,
    manifest_references,
    manifests,
    projects,
    repositories,
    sif_facts,
)
from roadstead.metadata.statements import Prepared, batched, insert_id, insert_new
from roadstead.oci.digest import Digest


class BlobRow(msgspec.Struct, frozen=True):
    """A content as it is visible in one repository."""

    content_id: int
    size: int
    store: str
    key: str
    touched_at: datetime


class ContentRow(msgspec.Struct, frozen=True):
    """A content, wherever it is linked."""

    id: int
    size: int
    store: str
    key: str


_VISIBLE = (
    select(contents.c.id, contents.c.size, contents.c.store, contents.c.key, blob_links.c.touched_at)
    .select_from(digests)
    .join(contents, contents.c.id == digests.c.content_id)
    .join(blob_links, blob_links.c.content_id == contents.c.id)
)


class BlobSelects:
    """The hot select of a blob GET and HEAD."""

    def __init__(self, database: Database) -> None:
        here = (blob_links.c.repository_id == bindparam("repository_id"), digests.c.digest == bindparam("digest"))
        self._blob = database.hot(_VISIBLE.where(*here))

    async def find(self, repository_id: int, digest: Digest) -> BlobRow | None:
        """The blob as this repository sees it."""
        row = await self._blob.first(repository_id=repository_id, digest=digest)
        return None if row is None else BlobRow(row[0], row[1], row[2], row[3], from_microseconds(row[4]))


_FIND = Prepared(
    select(contents.c.id, contents.c.size, contents.c.store, contents.c.key)
    .join_from(digests, contents)
    .where(digests.c.digest == bindparam("digest"))
)


def find(connection: Connection, digest: Digest) -> ContentRow | None:
    """The live content known by `digest`."""
    row = _FIND.first(connection, {"digest": digest})
    return None if row is None else ContentRow(*row)


_VISIBLE_OF = (
    select(digests.c.digest, digests.c.content_id)
    .join_from(digests, blob_links, blob_links.c.content_id == digests.c.content_id)
    .where(blob_links.c.repository_id == bindparam("repository_id"), digests.c.digest.in_(bindparam("digests", expanding=True)))
)


def visible(connection: Connection, repository_id: int, wanted: Iterable[Digest]) -> dict[str, int]:
    """Those of `wanted` that the repository sees: digest → content id."""
    found: dict[str, int] = {}
    for some in batched(wanted):
        rows = connection.execute(_VISIBLE_OF, {"repository_id": repository_id, "digests": some})
        found.update((digest, content_id) for digest, content_id in rows)
    return found


def mountable(connection: Connection, digest: Digest, scope: ProjectScope, repository_id: int | None, project_id: int) -> ContentRow | None:
    """The content, if a live repository of `scope` links it, which is `repository_id` where that is given.

    Where it is not, projects that give out only signed SIFs are passed over, but for `project_id`, into which it is to be mounted.
    """
    statement = (
        select(contents.c.id, contents.c.size, contents.c.store, contents.c.key)
        .select_from(digests)
        .join(contents, contents.c.id == digests.c.content_id)
        .join(blob_links, blob_links.c.content_id == contents.c.id)
        .join(repositories, repositories.c.id == blob_links.c.repository_id)
        .join(projects, projects.c.id == repositories.c.project_id)
        .where(digests.c.digest == digest, LIVE, scope.condition())
        .limit(1)
    )
    if repository_id is not None:
        statement = statement.where(repositories.c.id == repository_id)
    else:
        statement = statement.where(or_(projects.c.only_signed_sifs.is_(False), projects.c.id == project_id))
    row = connection.execute(statement).first()
    return row and ContentRow(*row)


def add(connection: Connection, *, size: int, store: str, key: str, known_by: Iterable[Digest], now: datetime) -> int | None:
    """Record stored bytes and their digests; None, and nothing is changed, if one of the digests names another content already."""
    content_id = insert_id(connection, contents, {"size": size, "store": store, "key": key, "created_at": now})
    for digest in known_by:
        if not insert_new(connection, digests, {"digest": digest, "content_id": content_id}):
            connection.execute(delete(digests).where(digests.c.content_id == content_id))
            connection.execute(delete(contents).where(contents.c.id == content_id))
            return None
    return content_id


def alias(connection: Connection, content_id: int, known_by: Iterable[Digest]) -> None:
    """Let a content be known by these digests too."""
    for digest in known_by:
        insert_new(connection, digests, {"digest": digest, "content_id": content_id})


def replace_key(connection: Connection, content_id: int, old_key: str, new_key: str, store: str) -> bool:
    """Point a content whose bytes were lost to a fresh copy, by compare-and-swap on the key."""
    statement = update(contents).where(contents.c.id == content_id, contents.c.key == old_key)
    return connection.execute(statement.values(key=new_key, store=store)).rowcount == 1


def is_key(connection: Connection, store: str, key: str) -> bool:
    """Whether a content's bytes lie under this key."""
    return connection.execute(select(contents.c.id).where(contents.c.store == store, contents.c.key == key)).first() is not None


_REVIVE = Prepared(update(contents).where(contents.c.id == bindparam("the_id"), contents.c.state == "stored").values(doomed_at=None))


def link(
    connection: Connection, repository_id: int, content_id: int, account_id: int | None, now: datetime, *, relied_on: bool = True
) -> bool:
    """Make a content visible in a repository and clear its doom; False if the collector has taken it meanwhile.

    A new link that nobody has `relied_on` yet has no grace.
    """
    if _REVIVE.change(connection, {"the_id": content_id}) == 0:
        return False
    touched = now if relied_on else EPOCH
    row = {"repository_id": repository_id, "content_id": content_id, "linked_by": account_id, "linked_at": now, "touched_at": touched}
    if not insert_new(connection, blob_links, row):
        touch(connection, repository_id, content_id, now)
    return True


def touch(connection: Connection, repository_id: int, content_id: int, now: datetime) -> bool:
    """Give a link its full grace again; False if it is gone."""
    return touch_all(connection, repository_id, [content_id], now) == 1


_TOUCH = (
    update(blob_links)
    .where(blob_links.c.repository_id == bindparam("the_repository_id"))
    .where(blob_links.c.content_id.in_(bindparam("content_ids", expanding=True)))
    .values(touched_at=bindparam("touched_at"))
)


def touch_all(connection: Connection, repository_id: int, content_ids: Collection[int], now: datetime) -> int:
    """Give these links their full grace again; returns how many of them are there."""
    fixed = {"the_repository_id": repository_id, "touched_at": now}
    return sum(connection.execute(_TOUCH, {**fixed, "content_ids": some}).rowcount for some in batched(content_ids))


def rely_on(connection: Connection, repository_id: int, wanted: Collection[Digest], now: datetime) -> dict[str, int]:
    """As `visible`, and touch the links in this transaction: from here on nobody else takes them away before it ends."""
    while True:
        seen = visible(connection, repository_id, wanted)
        content_ids = set(seen.values())
        if touch_all(connection, repository_id, content_ids, now) == len(content_ids):
            return seen
        # One of them was unlinked between the two statements (PostgreSQL): look again.


def unlink(connection: Connection, repository_id: int, digest: Digest, now: datetime) -> bool:
    """Take a blob out of a repository, at the user's word; doom it if that was its last link. False if it was not there."""
    content_id = connection.execute(select(digests.c.content_id).where(digests.c.digest == digest)).scalar()
    here = (blob_links.c.repository_id == repository_id, blob_links.c.content_id == content_id)
    if content_id is None:
        return False
    _lock(connection, content_id)
    if connection.execute(delete(blob_links).where(*here)).rowcount == 0:
        return False
    quotas.free_unlinked(connection, repository_id, content_id)
    doom_if_unlinked(connection, content_id, now)
    return True


def _lock(connection: Connection, content_id: int) -> None:
    """Wait for other transactions on this content, so that two unlinks at once cannot each take the other's link for a reason to live."""
    # FOR NO KEY UPDATE: rows that refer to the content may still be inserted, or a push that waits for us could be waited for by us.
    connection.execute(select(contents.c.id).where(contents.c.id == content_id).with_for_update(key_share=True))


def doom_if_unlinked(connection: Connection, content_id: int, now: datetime) -> None:
    """Begin the grace of a content that this transaction, which has it locked, took the last link from."""
    linked = exists().where(blob_links.c.content_id == contents.c.id)
    connection.execute(update(contents).where(contents.c.id == content_id, contents.c.doomed_at.is_(None), ~linked).values(doomed_at=now))


def touch_named(connection: Connection, manifest_id: int, now: datetime) -> None:
    """Give the links of what a manifest names, in its repository, their full grace again."""
    repository = select(manifests.c.repository_id).where(manifests.c.id == manifest_id).scalar_subquery()
    this = manifest_references.c.manifest_id == manifest_id
    mine = or_(_named_by_content().where(this), _named_by_digest().where(this))
    connection.execute(update(blob_links).where(blob_links.c.repository_id == repository, mine).values(touched_at=now))


def touch_repository(connection: Connection, repository_id: int, now: datetime) -> None:
    """Give every link of a repository its full grace again."""
    connection.execute(update(blob_links).where(blob_links.c.repository_id == repository_id).values(touched_at=now))


def _named_by_content() -> Exists:
    """Whether a manifest names the content of a link."""
    return exists().where(manifest_references.c.content_id == blob_links.c.content_id)


def _named_by_digest() -> Exists:
    """Whether a manifest names it that was pushed before the content was here, or before it came again."""
    return (
        exists()
        .where(digests.c.content_id == blob_links.c.content_id)
        .where(manifest_references.c.digest == digests.c.digest, manifest_references.c.content_id.is_(None))
    )


def referenced_in_repository(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a live manifest of a link's repository, of which the `conditions` hold, names its content."""
    live = (
        manifests.c.id == manifest_references.c.manifest_id,
        manifests.c.repository_id == blob_links.c.repository_id,
        manifests.c.deleted_at.is_(None),
        *conditions,
    )
    return or_(_named_by_content().where(*live), _named_by_digest().where(*live))


Link = tuple[int, int]
"""A repository's id and a content's."""


def loose(connection: Connection, untouched_since: datetime, after: Link, limit: int) -> list[Link]:
    """Up to `limit` loose links that nobody has touched since, in their order, after `after`."""
    key = tuple_(blob_links.c.repository_id, blob_links.c.content_id)
    statement = (
        select(blob_links.c.repository_id, blob_links.c.content_id)
        .where(key > tuple_(*after), _loose(untouched_since))
        .order_by(blob_links.c.repository_id, blob_links.c.content_id)
        .limit(limit)
    )
    return [(repository_id, content_id) for repository_id, content_id in connection.execute(statement)]


def _loose(untouched_since: datetime) -> ColumnElement[bool]:
    return and_(blob_links.c.touched_at < untouched_since, ~referenced_in_repository())


def unlink_loose(connection: Connection, links: Collection[Link], untouched_since: datetime, now: datetime) -> int:
    """Unlink those of `links` that are still loose and untouched; doom contents that thereby lost their last link. Returns how many.

    What somebody else works on at the moment is left for the next time, so that pushes never wait in a circle with this.
    """
    wanted = tuple_(blob_links.c.repository_id, blob_links.c.content_id).in_(links)
    joined = select(blob_links.c.repository_id, blob_links.c.content_id).join(contents, contents.c.id == blob_links.c.content_id)
    idle = joined.where(wanted).with_for_update(of=[blob_links, contents], skip_locked=True, key_share=True)
    unlinked = 0
    for repository_id, content_id in connection.execute(idle).all():
        here = (blob_links.c.repository_id == repository_id, blob_links.c.content_id == content_id)
        if connection.execute(delete(blob_links).where(*here, _loose(untouched_since))).rowcount:
            quotas.free_unlinked(connection, repository_id, content_id)
            doom_if_unlinked(connection, content_id, now)
            unlinked += 1
    return unlinked


def take_doomed(connection: Connection, doomed_before: datetime, limit: int) -> list[ContentRow]:
    """Mark up to `limit` contents whose grace is over as being deleted, and forget what they are called; also those a crash left marked.

    Compare-and-swap: a content that was linked meanwhile is not taken.
    """
    over = and_(contents.c.state == "stored", contents.c.doomed_at < doomed_before)
    candidates = select(contents.c.id, contents.c.size, contents.c.store, contents.c.key, contents.c.state)
    taken = []
    for row in connection.execute(candidates.where(or_(contents.c.state == "deleting", over)).limit(limit)).all():
        linked = exists().where(blob_links.c.content_id == contents.c.id)
        swap = update(contents).where(contents.c.id == row.id, over, ~linked).values(state="deleting")
        if row.state == "deleting" or connection.execute(swap).rowcount:
            connection.execute(delete(digests).where(digests.c.content_id == row.id))
            connection.execute(update(manifest_references).where(manifest_references.c.content_id == row.id).values(content_id=None))
            taken.append(ContentRow(row.id, row.size, row.store, row.key))
    return taken


def forget(connection: Connection, content_id: int) -> None:
    """Remove the row of a content whose bytes have been deleted, and what is known of it."""
    connection.execute(delete(sif_facts).where(sif_facts.c.content_id == content_id))
    connection.execute(delete(contents).where(contents.c.id == content_id, contents.c.state == "deleting"))
