"""Manifests, with their exact bytes, and what they refer to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, delete, select, update

from roadstead.metadata import contents, quotas
from roadstead.metadata.database import Database
from roadstead.metadata.schema import manifest_references, manifests, projects, repositories, tags
from roadstead.metadata.statements import Prepared, batched, insert_id
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName, TagName


class ManifestRow(msgspec.Struct, frozen=True):
    """One live manifest as a pull needs it, with the project and the repository that it was found in."""

    project_id: int
    project_name: str
    public: bool
    repository_id: int
    manifest_id: int
    tag_id: int | None
    digest: Digest
    media_type: str
    content: bytes
    only_signed_sifs: bool = False
    only_signed_images: bool = False


class ReferrerRow(msgspec.Struct, frozen=True):
    """One manifest as the referrers list describes it."""

    manifest_id: int
    digest: Digest
    media_type: str
    artifact_type: str | None
    annotations: dict[str, str]
    size: int
    subject: Digest | None


class ReferenceRow(msgspec.Struct, frozen=True):
    """One thing that a manifest refers to: `role` is config, layer or manifest."""

    role: str
    digest: Digest
    content_id: int | None


class NewManifest(msgspec.Struct, frozen=True):
    """A manifest to be recorded. `conversion` is the one by which this registry has made it, None of what is pushed."""

    repository_id: int
    digest: Digest
    media_type: str
    artifact_type: str | None
    subject: Digest | None
    annotations: dict[str, str]
    content: bytes
    references: tuple[ReferenceRow, ...]
    pushed_by: int | None
    pushed_at: datetime
    conversion: str | None = None


class ManifestSelects:
    """The hot selects of a manifest GET and HEAD."""

    def __init__(self, database: Database) -> None:
        place = (projects.c.id, projects.c.name, projects.c.public, repositories.c.id, manifests.c.id)
        asked = (projects.c.only_signed_sifs, projects.c.only_signed_images)
        what = (manifests.c.digest, manifests.c.media_type, manifests.c.content, *asked)
        repository = and_(
            projects.c.name == bindparam("project"),
            projects.c.deleted_at.is_(None),
            repositories.c.project_id == projects.c.id,
            repositories.c.path == bindparam("path"),
            repositories.c.deleted_at.is_(None),
        )
        live_tag = and_(tags.c.repository_id == repositories.c.id, tags.c.name == bindparam("tag"), tags.c.deleted_at.is_(None))
        by_tag = select(*place, tags.c.id, *what).where(repository, live_tag, manifests.c.id == tags.c.manifest_id)
        by_digest = select(*place, manifests.c.id, *what).where(
            repository,
            manifests.c.repository_id == repositories.c.id,
            manifests.c.digest == bindparam("digest"),
            manifests.c.deleted_at.is_(None),
        )
        self._by_tag = database.hot(by_tag)
        self._by_digest = database.hot(by_digest)

    async def find(self, name: RepositoryName, reference: Reference) -> ManifestRow | None:
        """The manifest of that digest, or that the tag points to."""
        return await (self.by_digest(name, reference) if isinstance(reference, Digest) else self.by_tag(name, reference))

    async def by_tag(self, name: RepositoryName, tag: TagName) -> ManifestRow | None:
        """The manifest that the tag points to."""
        row = await self._by_tag.first(project=name.project, path=name.path, tag=tag)
        return None if row is None else _row(row, row[5])

    async def by_digest(self, name: RepositoryName, digest: Digest) -> ManifestRow | None:
        """The manifest of that digest."""
        row = await self._by_digest.first(project=name.project, path=name.path, digest=digest)
        return None if row is None else _row(row, None)


def _row(row: Sequence[Any], tag_id: int | None) -> ManifestRow:
    return ManifestRow(row[0], row[1], bool(row[2]), row[3], row[4], tag_id, Digest(row[6]), row[7], row[8], bool(row[9]), bool(row[10]))


_LIVE = manifests.c.deleted_at.is_(None)


_FIND_ID = Prepared(
    select(manifests.c.id).where(manifests.c.repository_id == bindparam("repository_id"), manifests.c.digest == bindparam("digest"), _LIVE)
)


def find_id(connection: Connection, repository_id: int, digest: Digest) -> int | None:
    """The id of the live manifest of that digest."""
    row = _FIND_ID.first(connection, {"repository_id": repository_id, "digest": digest})
    return None if row is None else row[0]


def add(connection: Connection, new: NewManifest) -> int:
    """Record a manifest and its references; returns its id. Raises IntegrityError if a live one of the same digest is there."""
    values = {
        "repository_id": new.repository_id,
        "digest": new.digest,
        "media_type": new.media_type,
        "artifact_type": new.artifact_type,
        "subject_digest": new.subject,
        "annotations": msgspec.json.encode(new.annotations).decode(),
        "size": len(new.content),
        "pushed_at": new.pushed_at,
        "pushed_by": new.pushed_by,
        "content": new.content,
        "conversion": new.conversion,
        "derived": new.conversion is not None,
    }
    manifest_id = insert_id(connection, manifests, values)
    _add_references(connection, manifest_id, new.references)
    return manifest_id


def repush(connection: Connection, manifest_id: int, new: NewManifest) -> bool:
    """The same manifest came again: its media type is the newest push's, and content that was absent then may be here now.

    What was derived until now is so no longer. False if it was deleted meanwhile.
    """
    values = {
        "media_type": new.media_type,
        "artifact_type": new.artifact_type,
        "pushed_at": new.pushed_at,
        "pushed_by": new.pushed_by,
        "derived": False,
    }
    if connection.execute(update(manifests).where(manifests.c.id == manifest_id, _LIVE).values(values)).rowcount == 0:
        return False
    set_references(connection, manifest_id, new.references)
    return True


def set_references(connection: Connection, manifest_id: int, references: Iterable[ReferenceRow]) -> None:
    """Say anew what a manifest refers to."""
    connection.execute(delete(manifest_references).where(manifest_references.c.manifest_id == manifest_id))
    _add_references(connection, manifest_id, references)


_ADD_REFERENCES = Prepared(manifest_references.insert())


def _add_references(connection: Connection, manifest_id: int, references: Iterable[ReferenceRow]) -> None:
    rows = [
        {"manifest_id": manifest_id, "position": position, "role": one.role, "digest": one.digest, "content_id": one.content_id}
        for position, one in enumerate(references)
    ]
    if rows:
        _ADD_REFERENCES.change_each(connection, rows)


def missing(connection: Connection, repository_id: int, wanted: Collection[Digest]) -> list[Digest]:
    """Those of `wanted` that are not live manifests of the repository."""
    present: set[str] = set()
    for some in batched(wanted):
        here = (manifests.c.repository_id == repository_id, manifests.c.digest.in_(some), _LIVE)
        present.update(connection.execute(select(manifests.c.digest).where(*here)).scalars())
    return [digest for digest in wanted if digest not in present]


def delete_one(connection: Connection, manifest_id: int, now: datetime) -> bool:
    """Mark a manifest as deleted, give the links of its contents a last full grace, and free what nothing names any more.

    False if it was deleted already. What was derived from it is left to `derived.delete`.
    """
    # Links before manifests before charges, as a push does: the other way round, the two could wait for each other.
    contents.touch_named(connection, manifest_id, now)
    gone = update(manifests).where(manifests.c.id == manifest_id, _LIVE).values(deleted_at=now).returning(manifests.c.derived)
    row = connection.execute(gone).first()
    if row is not None and not row[0]:
        quotas.free_named(connection, manifest_id)
    return row is not None


def delete_all(connection: Connection, repository_id: int, now: datetime) -> int:
    """Mark every manifest of a repository as deleted; returns how many."""
    live = (manifests.c.repository_id == repository_id, _LIVE)
    return connection.execute(update(manifests).where(*live).values(deleted_at=now)).rowcount


_REFERRER = (
    manifests.c.id,
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.artifact_type,
    manifests.c.annotations,
    manifests.c.size,
    manifests.c.subject_digest,
)


def referrers(
    connection: Connection, repository_id: int, subject: Digest, artifact_type: str | None, after: int, limit: int
) -> list[ReferrerRow]:
    """Live manifests whose subject is `subject`, by id, at most `limit` of them after the id `after`."""
    statement = (
        select(*_REFERRER)
        .where(manifests.c.repository_id == repository_id, manifests.c.subject_digest == subject, _LIVE, manifests.c.id > after)
        .order_by(manifests.c.id)
        .limit(limit)
    )
    if artifact_type is not None:
        statement = statement.where(manifests.c.artifact_type == artifact_type)
    return [_referrer(row) for row in connection.execute(statement)]


def described(connection: Connection, repository_id: int, wanted: Iterable[Digest]) -> list[ReferrerRow]:
    """Those of `wanted` that are live manifests of the repository, described as referrers."""
    statement = select(*_REFERRER).where(manifests.c.repository_id == repository_id, _LIVE).order_by(manifests.c.id)
    return [_referrer(row) for some in batched(wanted) for row in connection.execute(statement.where(manifests.c.digest.in_(some)))]


def _referrer(row: Row[int, str, str, str | None, str, int, str | None]) -> ReferrerRow:
    annotations = msgspec.json.decode(row[4], type=dict[str, str])
    return ReferrerRow(row[0], Digest(row[1]), row[2], row[3], annotations, row[5], None if row[6] is None else Digest(row[6]))


def content_by_tag(connection: Connection, repository_id: int, tag: TagName) -> bytes | None:
    """The bytes of the manifest that a tag points to."""
    statement = (
        select(manifests.c.content)
        .join_from(tags, manifests, manifests.c.id == tags.c.manifest_id)
        .where(tags.c.repository_id == repository_id, tags.c.name == tag, tags.c.deleted_at.is_(None))
    )
    return connection.execute(statement).scalar()


def content_by_digest(connection: Connection, repository_id: int, digest: Digest) -> tuple[str, bytes] | None:
    """The media type and the bytes of a live manifest."""
    here = (manifests.c.repository_id == repository_id, manifests.c.digest == digest, _LIVE)
    row = connection.execute(select(manifests.c.media_type, manifests.c.content).where(*here)).first()
    return None if row is None else (row[0], row[1])
