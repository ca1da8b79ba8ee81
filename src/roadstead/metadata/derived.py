"""Derived manifests: what this registry has made of others, beside those in their repository.

A derived manifest has a `conversion` (the identity of what made it) and a subject, and is `derived` until somebody pushes the same bytes.
It lives as long as its subject; the contents that it names may be taken away and made again meanwhile, so it can be less than **whole**.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import BindParameter, Connection, and_, bindparam, exists, join, select, update

from roadstead.metadata import contents
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import delete_one, missing
from roadstead.metadata.schema import blob_links, digests, manifest_references, manifests, projects, repositories
from roadstead.metadata.statements import batched
from roadstead.oci.digest import Digest

_LIVE: Final = manifests.c.deleted_at.is_(None)


class DerivedRow(msgspec.Struct, frozen=True):
    """One derived manifest; it is `whole` where its repository sees every blob and manifest that it names."""

    manifest_id: int
    digest: Digest
    whole: bool


class Original(msgspec.Struct, frozen=True):
    """A derived manifest of some repository, with its exact bytes, from which another repository may have its own."""

    manifest_id: int
    repository_id: int
    content: bytes


def find(connection: Connection, repository_id: int, subject: Digest, conversion: str) -> DerivedRow | None:
    """What that conversion has made of the subject in this repository."""
    mine = (manifests.c.conversion == conversion, manifests.c.subject_digest == subject, manifests.c.repository_id == repository_id)
    row = connection.execute(select(manifests.c.id, manifests.c.digest).where(*mine, manifests.c.conversion.is_not(None), _LIVE)).first()
    return None if row is None else DerivedRow(row[0], Digest(row[1]), is_whole(connection, repository_id, row[0]))


def is_whole(connection: Connection, repository_id: int, manifest_id: int) -> bool:
    """Whether the repository sees every blob and manifest that one of its manifests names, and all that those name."""
    if unseen(connection, repository_id, manifest_id):
        return False
    named = select(manifest_references.c.digest).where(
        manifest_references.c.manifest_id == manifest_id, manifest_references.c.role == "manifest"
    )
    children = [Digest(digest) for digest in connection.execute(named).scalars()]
    if missing(connection, repository_id, children):
        return False
    here = select(manifests.c.id).where(manifests.c.repository_id == repository_id, _LIVE)
    ids = [one for some in batched(children) for one in connection.execute(here.where(manifests.c.digest.in_(some))).scalars()]
    return all(is_whole(connection, repository_id, child) for child in ids)


def unseen(connection: Connection, repository_id: int, manifest_id: int) -> bool:
    """Whether a manifest names a blob that the repository does not see."""
    seen = (
        exists()
        .where(digests.c.digest == manifest_references.c.digest)
        .where(blob_links.c.content_id == digests.c.content_id, blob_links.c.repository_id == repository_id)
    )
    blobs = (manifest_references.c.manifest_id == manifest_id, manifest_references.c.role != "manifest")
    return connection.execute(select(manifest_references.c.digest).where(*blobs, ~seen).limit(1)).first() is not None


def originals(connection: Connection, subject: Digest, conversion: str, first: int, limit: int) -> Sequence[Original]:
    """What that conversion has made of the subject, in whatever live repository: up to `limit` of them, that of `first` before all."""
    statement = (
        select(manifests.c.id, manifests.c.repository_id, manifests.c.content)
        .join_from(manifests, repositories, repositories.c.id == manifests.c.repository_id)
        .join(projects, projects.c.id == repositories.c.project_id)
        .where(manifests.c.conversion == conversion, manifests.c.subject_digest == subject, manifests.c.conversion.is_not(None), _LIVE)
        .where(repositories.c.deleted_at.is_(None), projects.c.deleted_at.is_(None))
        .order_by(manifests.c.repository_id != first, manifests.c.id)
        .limit(limit)
    )
    return [Original(*row) for row in connection.execute(statement)]


class NamedRow(msgspec.Struct, frozen=True):
    """A derived manifest that names a blob: what made it of which subject."""

    subject: Digest
    conversion: str


class NamedSelects:
    """The select that is asked for a blob which a repository does not see, as every push of a new one does."""

    def __init__(self, database: Database) -> None:
        here = (manifests.c.repository_id == bindparam("repository_id"), _LIVE, manifests.c.conversion.is_not(None))
        naming = (manifests.c.subject_digest, manifests.c.conversion)
        joined = join(manifest_references, manifests, manifests.c.id == manifest_references.c.manifest_id)
        wanted: BindParameter[str] = bindparam("digest")
        kept = select(digests.c.content_id).where(digests.c.digest == wanted).scalar_subquery()
        # Two halves, each of which has its index: the content is still kept somewhere, or it is collected.
        by_content = select(*naming).select_from(joined).where(manifest_references.c.content_id == kept, *here)
        gone = (manifest_references.c.content_id.is_(None), manifest_references.c.digest == wanted)
        by_digest = select(*naming).select_from(joined).where(*gone, *here)
        self._naming = database.hot(select(*by_content.union(by_digest).subquery("naming").c))

    async def naming(self, repository_id: int, blob: Digest) -> list[NamedRow]:
        """What names the blob in the repository, of all that was ever derived there and is live."""
        return [NamedRow(Digest(row[0]), row[1]) for row in await self._naming.all(repository_id=repository_id, digest=blob)]


def hold(connection: Connection, repository_id: int, subject: Digest) -> int | None:
    """The id of the live subject, which from here on nobody deletes before this transaction ends; None if it is gone."""
    mine = (manifests.c.repository_id == repository_id, manifests.c.digest == subject, _LIVE)
    return connection.execute(select(manifests.c.id).where(*mine).with_for_update(read=True)).scalar()


def name(connection: Connection, manifest_id: int, conversion: str) -> None:
    """Say by which conversion a manifest has been made that is here already: derived by another with the same outcome, or pushed."""
    connection.execute(update(manifests).where(manifests.c.id == manifest_id, _LIVE).values(conversion=conversion))


# --- gone with its subject --------------------------------------------------------------------------------------------------------

Named = dict[int, Digest]
"""Manifests of one repository: id → digest."""


def of(connection: Connection, repository_id: int, subjects: Collection[Digest]) -> Named:
    """Everything derived from these manifests, and from that in turn."""
    found: Named = {}
    level = list(subjects)
    statement = select(manifests.c.id, manifests.c.digest).where(
        manifests.c.repository_id == repository_id, manifests.c.subject_digest.is_not(None), _LIVE, manifests.c.derived.is_(True)
    )
    while level:
        rows = [row for some in batched(level) for row in connection.execute(statement.where(manifests.c.subject_digest.in_(some)))]
        new = {row[0]: Digest(row[1]) for row in rows if row[0] not in found}
        found |= new
        level = list(new.values())
    return found


def delete(connection: Connection, repository_id: int, manifest_id: int, digest: Digest, now: datetime) -> Named | None:
    """Mark a manifest as deleted (see `manifests.delete_one`), with everything derived from it.

    Returns what was, or None if the manifest was deleted already.
    """
    # Links before manifests, as in `delete_one`; who derives something at this moment has the manifest held, and is waited for by it.
    for one in of(connection, repository_id, [digest]):
        contents.touch_named(connection, one, now)
    if not delete_one(connection, manifest_id, now):
        return None
    return {one: named for one, named in of(connection, repository_id, [digest]).items() if delete_one(connection, one, now)}


# --- what is used by itself ---------------------------------------------------------------------------------------------------------


def named_by(connection: Connection, repository_id: int, parents: Collection[int]) -> Named:
    """Those of a repository's derived manifests that these manifests of it name."""
    about = and_(manifests.c.digest == manifest_references.c.digest, manifests.c.repository_id == repository_id)
    statement = (
        select(manifests.c.id, manifests.c.digest)
        .join_from(manifest_references, manifests, about)
        .where(manifest_references.c.role == "manifest", _LIVE, manifests.c.derived.is_(True))
    )
    rows = (row for some in batched(parents) for row in connection.execute(statement.where(manifest_references.c.manifest_id.in_(some))))
    return {row[0]: Digest(row[1]) for row in rows}


def is_derived(connection: Connection, manifest_id: int) -> bool:
    """Whether a live manifest was derived, and nobody has pushed it."""
    mine = (manifests.c.id == manifest_id, _LIVE, manifests.c.derived.is_(True))
    return connection.execute(select(manifests.c.id).where(*mine)).first() is not None


def adopt(connection: Connection, manifest_ids: Collection[int]) -> None:
    """Make derived manifests ordinary ones: they no longer go with their subject. What they name is left to be charged."""
    for some in batched(manifest_ids):
        connection.execute(update(manifests).where(manifests.c.id.in_(some)).values(derived=False))
