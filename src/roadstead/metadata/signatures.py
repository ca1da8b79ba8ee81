"""Manifests that may be signatures of others, and the indexes that name one: what a look for signatures begins with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, or_, select

from roadstead.metadata.schema import manifest_references, manifests, tags
from roadstead.oci.digest import Digest
from roadstead.oci.media_type import INDEX_TYPES
from roadstead.oci.reference import TagName, referrers_tag


class SpeakingRow(msgspec.Struct, frozen=True):
    """A manifest that speaks about another, with its exact bytes."""

    manifest_id: int
    digest: Digest
    media_type: str
    content: bytes


_WHAT = (manifests.c.id, manifests.c.digest, manifests.c.media_type, manifests.c.content)
_LIVE = manifests.c.deleted_at.is_(None)


class Speaking(msgspec.Struct, frozen=True):
    """Which referrers are asked for: of one of these artifact types, and of at most so many bytes, the newest `most`.

    Of those that are annotated with the first word of `said`, only where it says the second.
    """

    artifact_types: tuple[str, ...]
    said: tuple[str, str]
    longest: int
    most: int

    def condition(self) -> ColumnElement[bool]:
        """As one on `manifests`, without `most`."""
        name, value = (msgspec.json.encode(word).decode() for word in self.said)
        # Annotations are JSON as one encoder writes it; in a text a quotation mark is escaped, so that what is found is a member.
        says, other = (manifests.c.annotations.contains(text, autoescape=True) for text in (f"{name}:{value}", f"{name}:"))
        return and_(manifests.c.size <= self.longest, manifests.c.artifact_type.in_(self.artifact_types), or_(says, ~other))


def about(connection: Connection, repository_id: int, digest: Digest, wanted: Speaking) -> Sequence[SpeakingRow]:
    """The live manifests that are `wanted` and name `digest` as their subject, and the one under the tag that cosign gives signatures of
    it; the newest first."""
    mine = (manifests.c.repository_id == repository_id, _LIVE, manifests.c.derived.is_(False))
    referring = (*mine, manifests.c.subject_digest == digest, wanted.condition())
    by_subject = select(*_WHAT).where(*referring).order_by(manifests.c.id.desc()).limit(wanted.most)
    small = manifests.c.size <= wanted.longest
    tag = (tags.c.repository_id == repository_id, tags.c.name == signatures_tag(digest), tags.c.deleted_at.is_(None))
    by_tag = select(*_WHAT).join_from(tags, manifests, manifests.c.id == tags.c.manifest_id).where(*tag, *mine, small)
    rows = {row[0]: row for statement in (by_tag, by_subject) for row in connection.execute(statement)}
    return [SpeakingRow(row[0], Digest(row[1]), row[2], row[3]) for _, row in sorted(rows.items(), reverse=True)]


def signatures_tag(digest: Digest) -> TagName:
    """Where cosign keeps signatures of `digest` as a tag (specs/SIGNATURE_SPEC.md)."""
    return TagName(f"{referrers_tag(digest)}.sig")


def naming(connection: Connection, repository_id: int, digest: Digest, most: int) -> Sequence[Digest]:
    """The newest `most` live indexes of a repository that name the manifest `digest`."""
    here = (manifests.c.repository_id == repository_id, _LIVE, manifests.c.media_type.in_(INDEX_TYPES))
    named = (manifest_references.c.role == "manifest", manifest_references.c.digest == digest, manifests.c.derived.is_(False))
    statement = (
        select(manifests.c.digest)
        .join_from(manifests, manifest_references, manifest_references.c.manifest_id == manifests.c.id)
        .where(*here, *named)
        .order_by(manifests.c.id.desc())
        .limit(most)
    )
    return [Digest(row[0]) for row in connection.execute(statement)]
