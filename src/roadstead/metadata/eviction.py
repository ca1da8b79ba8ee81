"""Taking away what this registry can make again: the contents of derived manifests, out of their repositories. The manifests stay.

A link is the **site's** when a live derived manifest of its repository names its content, no manifest there names it that somebody has
pushed, and its project is not charged for it. What all such links keep, each content once, is what the site's budget is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Connection, Exists, and_, cast, delete, exists, func, or_, select

from roadstead.metadata import contents as content_rows
from roadstead.metadata.contents import referenced_in_repository
from roadstead.metadata.schema import blob_links, contents, manifest_references, manifests, quota_charges, repositories
from roadstead.oci.digest import Digest

# In the words of their index, which is short.
_DERIVED: Final = and_(manifests.c.conversion.is_not(None), manifests.c.deleted_at.is_(None), manifests.c.derived.is_(True))
_used_at: ColumnElement[datetime] = func.coalesce(manifests.c.last_pulled_at, manifests.c.pushed_at)


class Candidate(msgspec.Struct, frozen=True):
    """A derived manifest of which something is here; `used_at` is when it was pulled last, or made."""

    manifest_id: int
    repository_id: int
    subject: Digest
    conversion: str
    used_at: datetime


def _charged() -> Exists:
    """Whether a project that links it is charged for the content of a link."""
    return (
        exists()
        .where(quota_charges.c.content_id == blob_links.c.content_id, quota_charges.c.project_id == repositories.c.project_id)
        .where(repositories.c.id == blob_links.c.repository_id)
    )


def _kept() -> ColumnElement[bool]:
    """Whether a derived manifest names the content of a link in its repository."""
    return and_(
        blob_links.c.repository_id == manifests.c.repository_id,
        blob_links.c.content_id == manifest_references.c.content_id,
        manifest_references.c.manifest_id == manifests.c.id,
    )


def used(connection: Connection) -> int:
    """Bytes that the site's links keep: of contents for which no project is charged, each once."""
    named = (
        select(manifest_references.c.content_id)
        .join_from(manifests, manifest_references, manifest_references.c.manifest_id == manifests.c.id)
        .join(blob_links, _kept())
        .where(_DERIVED)
    )
    charged = exists().where(quota_charges.c.content_id == contents.c.id)
    total = select(cast(func.coalesce(func.sum(contents.c.size), 0), BigInteger)).where(contents.c.id.in_(named), ~charged)
    return int(connection.execute(total).scalar_one())


def candidates(connection: Connection, after: Candidate | None, limit: int) -> Sequence[Candidate]:
    """Up to `limit` derived manifests of which something is here, the longest unused first, after `after`."""
    something = exists().where(manifest_references.c.manifest_id == manifests.c.id, _kept())
    columns = (manifests.c.id, manifests.c.repository_id, manifests.c.subject_digest, manifests.c.conversion, _used_at)
    statement = select(*columns).where(_DERIVED, something.correlate(manifests)).order_by(_used_at, manifests.c.id).limit(limit)
    if after is not None:
        later = and_(_used_at == after.used_at, manifests.c.id > after.manifest_id)
        statement = statement.where(or_(_used_at > after.used_at, later))
    return [Candidate(row[0], row[1], Digest(row[2]), row[3], row[4]) for row in connection.execute(statement)]


def evict(connection: Connection, one: Candidate, untouched_since: datetime, now: datetime) -> int:
    """Unlink what a derived manifest names and nothing else in its repository does, where the link is the site's.

    What somebody has relied on since (see `contents.link`), or works on at the moment, is left. Returns how many links went.
    """
    named = select(manifest_references.c.content_id).where(
        manifest_references.c.manifest_id == one.manifest_id, manifest_references.c.content_id.is_not(None)
    )
    here = and_(blob_links.c.repository_id == one.repository_id, blob_links.c.touched_at < untouched_since)
    idle = (
        select(blob_links.c.content_id)
        .join(contents, contents.c.id == blob_links.c.content_id)
        .where(here, blob_links.c.content_id.in_(named))
        .with_for_update(of=[blob_links, contents], skip_locked=True, key_share=True)
    )
    evicted = 0
    for content_id in connection.execute(idle).scalars().all():
        # A statement of its own: it sees what was committed before the locks were had.
        link = and_(here, blob_links.c.content_id == content_id)
        alone = ~referenced_in_repository(manifests.c.id != one.manifest_id)
        if connection.execute(delete(blob_links).where(link, ~_charged(), alone, _still_derived(one))).rowcount:
            content_rows.doom_if_unlinked(connection, content_id, now)
            evicted += 1
    return evicted


def _still_derived(one: Candidate) -> ColumnElement[bool]:
    return exists().where(manifests.c.id == one.manifest_id, _DERIVED)
