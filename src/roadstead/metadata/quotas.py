"""What projects use of their storage: charges, the entries that add up to them, and what uploads hold.

    uses = Σ quota_entries.delta                      what is stored: each content that counts in the project, once
         + Σ max(uploads.offset, uploads.reserved)    what is on its way

* A content is **charged** when it is linked into a repository of the project by push or mount, and again, if it is not charged any more,
  when a manifest is pushed that names it.
* Its charge **ends** when the last live manifest of the project that names it is deleted, and when the last link in the project goes. So
  every charge has a link, every content that a live manifest names where it is linked has a charge, and what was freed with its
  manifest costs nothing until it is used again.
* "Manifest" means one that somebody has pushed. What this registry derives from them charges nothing and keeps no charge alive: the site
  pays for that, until somebody pushes or mounts the same content.
* A charge and its entry are made and ended in one transaction, that of the link or manifest itself. No row is changed by everybody:
  counting one more is an insert, which waits for nobody, and upkeep makes few entries of many.

On PostgreSQL who charges by a manifest and who frees by another meet at the charge's row (`_KEEP`, `_HOLD_NAMED`), who links and who
unlinks at the content's (`contents.link`, `contents.unlink`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    union,
    update,
)

from roadstead.metadata.schema import (
    blob_links,
    contents,
    digests,
    manifest_references,
    manifests,
    quota_charges,
    quota_entries,
    repositories,
    uploads,
)
from roadstead.metadata.statements import Prepared, insert_new


class Usage(msgspec.Struct, frozen=True):
    """What a project uses, in bytes: `stored`, and `uploading` for uploads that are not finished."""

    stored: int
    uploading: int

    @property
    def used(self) -> int:
        """All of it."""
        return self.stored + self.uploading


def _sum(amount: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(func.coalesce(func.sum(amount), literal_column("0")), BigInteger)  # PostgreSQL sums up to NUMERIC


_HELD: Final = case((uploads.c.reserved > uploads.c.offset, uploads.c.reserved), else_=uploads.c.offset)


def stored_in(project_id: ColumnElement[int]) -> ColumnElement[int]:
    """The sum of a project's entries."""
    return select(_sum(quota_entries.c.delta)).where(quota_entries.c.project_id == project_id).scalar_subquery()


def uploading_in(project_id: ColumnElement[int]) -> ColumnElement[int]:
    """The sum of what a project's uploads hold; those into a repository that was deleted meanwhile cannot go on."""
    joined = select(_sum(_HELD)).join_from(uploads, repositories, repositories.c.id == uploads.c.repository_id)
    return joined.where(repositories.c.project_id == project_id, repositories.c.deleted_at.is_(None)).scalar_subquery()


_PROJECT: Final = bindparam("project_id", type_=quota_entries.c.project_id.type)
USAGE: Final[Any] = select(stored_in(_PROJECT), uploading_in(_PROJECT))
"""What the project `project_id` stores and uploads."""
_USAGE = Prepared(USAGE)


def usage(connection: Connection, project_id: int) -> Usage:
    """What the project uses, as this transaction sees it."""
    row = _USAGE.first(connection, {"project_id": project_id})
    assert row is not None
    return Usage(*row)


# --- room -----------------------------------------------------------------------------------------------------------------------

_FAR: Final = 1024
_STILL_FAR: Final = 256
_LOCKS: Final = 0x51554F54 << 32  # "QUOT", above the project's id


def room(connection: Connection, project_id: int, limit: int, more: int) -> int:
    """Bytes that are left of `limit`; below 0 they do not suffice. `more` were added in this transaction, and are counted.

    Call it last in a transaction: on PostgreSQL it may hold a lock until that ends. Two transactions do not see what the other adds, and
    together might pass the limit that each of them keeps. So who might reach it is alone (an exclusive lock of the project), and sees
    what all before it have added. Who adds less than a thousandth of what is left cannot reach it with all that may be under way at the
    same time; it only lets those who are near wait for it (a shared lock), and pushes far from the limit never wait for each other.
    """
    left: int = limit - usage(connection, project_id).used
    if more <= 0 or connection.dialect.name == "sqlite":  # one writer at a time
        return left
    far = more * _FAR <= left
    lock = func.pg_advisory_xact_lock_shared if far else func.pg_advisory_xact_lock
    connection.execute(select(lock(_LOCKS + project_id % 2**32)))
    left = limit - usage(connection, project_id).used
    if far and more * _STILL_FAR > left:
        # Somebody has taken most of it meanwhile, and a shared lock cannot be made exclusive: `Database.write` begins anew.
        connection.exec_driver_sql("DO $$ BEGIN RAISE serialization_failure; END $$")
    return left


# --- charging ---------------------------------------------------------------------------------------------------------------------

_ENTER = Prepared(quota_entries.insert())


_FIRST_ENTRY = select(func.min(quota_entries.c.id)).where(quota_entries.c.project_id == _PROJECT).scalar_subquery()
_ADD = Prepared(
    update(quota_entries)
    .where(quota_entries.c.id == _FIRST_ENTRY)
    .values(delta=quota_entries.c.delta + bindparam("more", type_=quota_entries.c.delta.type))
)


def _enter(connection: Connection, project_id: int, delta: int) -> None:
    if delta == 0:
        return
    # SQLite has one writer at a time, so nobody waits for a row there: one entry is enough, and the sum is quick.
    if connection.dialect.name == "sqlite" and _ADD.change(connection, {"project_id": project_id, "more": delta}):
        return
    _ENTER.change(connection, {"project_id": project_id, "delta": delta})


def charge(connection: Connection, project_id: int, content_id: int, size: int, now: datetime) -> bool:
    """Count a content in the project; False if it counts there already."""
    row = {"project_id": project_id, "content_id": content_id, "size": size, "charged_at": now}
    if not insert_new(connection, quota_charges, row):
        return False
    _enter(connection, project_id, size)
    return True


_MANIFEST: Final = bindparam("manifest_id", type_=manifest_references.c.manifest_id.type)
_SEEN_BY: Final = select(manifest_references.c.content_id).where(
    manifest_references.c.manifest_id == _MANIFEST, manifest_references.c.content_id.is_not(None)
)
_KEEP = (
    select(quota_charges.c.content_id)
    .where(quota_charges.c.project_id == _PROJECT, quota_charges.c.content_id.in_(_SEEN_BY))
    .order_by(quota_charges.c.content_id)
    .with_for_update(read=True, key_share=True)
)
_UNCHARGED = Prepared(
    select(contents.c.id, contents.c.size)
    .where(contents.c.id.in_(_SEEN_BY))
    .where(~exists().where(quota_charges.c.project_id == _PROJECT, quota_charges.c.content_id == contents.c.id))
    .order_by(contents.c.id)
)


def charge_named(connection: Connection, project_id: int, manifest_id: int, now: datetime) -> int:
    """Count every content in the project that the manifest names and its repository sees; returns how many bytes are new."""
    here = {"project_id": project_id, "manifest_id": manifest_id}
    added = 0
    while True:
        if connection.dialect.name != "sqlite":
            # Until we end, nobody who deletes another manifest ends a charge on which ours relies. Pushes do not wait for each other.
            connection.execute(_KEEP, here)
        uncharged = _UNCHARGED.rows(connection, here)
        new: list[int] = [size for content_id, size in uncharged if charge(connection, project_id, content_id, size, now)]
        added += sum(new)
        if len(new) == len(uncharged):
            return added
        # Somebody else has charged one of them between the two statements (PostgreSQL): keep that too.


# --- freeing ----------------------------------------------------------------------------------------------------------------------


def _named_in_project() -> ColumnElement[bool]:
    """Whether a live manifest of the charge's project names its content."""
    live = (
        manifests.c.id == manifest_references.c.manifest_id,
        manifests.c.deleted_at.is_(None),
        manifests.c.derived.is_(False),
        repositories.c.id == manifests.c.repository_id,
        repositories.c.project_id == quota_charges.c.project_id,
        repositories.c.deleted_at.is_(None),
    )
    by_content = exists().where(manifest_references.c.content_id == quota_charges.c.content_id, *live)
    by_digest = (
        exists()
        .where(digests.c.content_id == quota_charges.c.content_id, manifest_references.c.digest == digests.c.digest)
        .where(manifest_references.c.content_id.is_(None), *live)
    )
    return or_(by_content, by_digest)


def linked_in_project() -> ColumnElement[bool]:
    """Whether a live repository of the charge's project links its content."""
    return (
        exists()
        .where(blob_links.c.content_id == quota_charges.c.content_id, repositories.c.id == blob_links.c.repository_id)
        .where(repositories.c.project_id == quota_charges.c.project_id, repositories.c.deleted_at.is_(None))
    )


_NAMED_BY: Final = union(
    _SEEN_BY,
    select(digests.c.content_id)
    .join_from(manifest_references, digests, digests.c.digest == manifest_references.c.digest)
    .where(manifest_references.c.manifest_id == _MANIFEST, manifest_references.c.content_id.is_(None)),
)
_IN_PROJECT_OF_MANIFEST: Final = (
    select(repositories.c.project_id)
    .join_from(manifests, repositories, repositories.c.id == manifests.c.repository_id)
    .where(manifests.c.id == _MANIFEST)
    .scalar_subquery()
)
_OF_MANIFEST: Final = (quota_charges.c.project_id == _IN_PROJECT_OF_MANIFEST, quota_charges.c.content_id.in_(_NAMED_BY))
_HOLD_NAMED = select(quota_charges.c.content_id).where(*_OF_MANIFEST).order_by(quota_charges.c.content_id).with_for_update()
_RETURNED: Final = (quota_charges.c.project_id, quota_charges.c.size)
_FREE_NAMED = delete(quota_charges).where(*_OF_MANIFEST, ~_named_in_project()).returning(*_RETURNED)


def free_named(connection: Connection, manifest_id: int) -> int:
    """End the charges of what this manifest, deleted a moment ago, named, and no live manifest of its project names. Returns the bytes."""
    # First wait for who relies on these charges or ends them too; only the next statement sees what they have done.
    connection.execute(_HOLD_NAMED, {"manifest_id": manifest_id})
    return _ended(connection, connection.execute(_FREE_NAMED, {"manifest_id": manifest_id}).all())


_REPOSITORY: Final = bindparam("repository_id", type_=repositories.c.id.type)
_IN_PROJECT: Final = (
    quota_charges.c.project_id == select(repositories.c.project_id).where(repositories.c.id == _REPOSITORY).scalar_subquery()
)
_FREE_UNLINKED = Prepared(
    delete(quota_charges)
    .where(_IN_PROJECT, quota_charges.c.content_id == bindparam("content_id"), ~linked_in_project())
    .returning(*_RETURNED)
)


def free_unlinked(connection: Connection, repository_id: int, content_id: int) -> int:
    """End the charge of a content that this repository linked until now, if no other repository of the project links it."""
    return _ended(connection, _FREE_UNLINKED.rows(connection, {"repository_id": repository_id, "content_id": content_id}))


_LINKED_HERE: Final = select(blob_links.c.content_id).where(blob_links.c.repository_id == _REPOSITORY)
# The manifests that went with their repository carry its own time of deletion.
_NAMED_HERE: Final = union(
    *(
        named.join(manifests, manifests.c.id == manifest_references.c.manifest_id)
        .join(repositories, repositories.c.id == manifests.c.repository_id)
        .where(repositories.c.id == _REPOSITORY, manifests.c.deleted_at == repositories.c.deleted_at)
        for named in (
            select(manifest_references.c.content_id).select_from(manifest_references).where(manifest_references.c.content_id.is_not(None)),
            select(digests.c.content_id)
            .join_from(manifest_references, digests, digests.c.digest == manifest_references.c.digest)
            .where(manifest_references.c.content_id.is_(None)),
        )
    )
)
_HOLD_LINKED = select(contents.c.id).where(contents.c.id.in_(_LINKED_HERE)).order_by(contents.c.id).with_for_update(key_share=True)
_HOLD_NAMED_HERE = (
    select(quota_charges.c.content_id)
    .where(_IN_PROJECT, quota_charges.c.content_id.in_(_NAMED_HERE))
    .order_by(quota_charges.c.content_id)
    .with_for_update()
)
_FREE_OF_REPOSITORY = (
    delete(quota_charges)
    .where(_IN_PROJECT)
    .where(
        or_(
            and_(quota_charges.c.content_id.in_(_LINKED_HERE), ~linked_in_project()),
            and_(quota_charges.c.content_id.in_(_NAMED_HERE), ~_named_in_project()),
        )
    )
    .returning(*_RETURNED)
)


def free_repository(connection: Connection, repository_id: int) -> int:
    """End the charges of what, in its project, only this repository linked or named, with its manifests deleted a moment ago.

    Returns the bytes.
    """
    connection.execute(_HOLD_LINKED, {"repository_id": repository_id})
    connection.execute(_HOLD_NAMED_HERE, {"repository_id": repository_id})
    return _ended(connection, connection.execute(_FREE_OF_REPOSITORY, {"repository_id": repository_id}).all())


def _ended(connection: Connection, rows: Sequence[Row[int, int] | tuple[Any, ...]]) -> int:
    """Enter what these charges have given back; all of them are of one project."""
    freed: int = sum(size for _, size in rows)
    if rows:
        _enter(connection, rows[0][0], -freed)
    return freed
