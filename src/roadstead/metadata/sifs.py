"""SIFs in repositories: found by the bytes of the file, by their tags, and by a part of their repository's name."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from roadstead.metadata.artifacts import IS_INDEX, is_sif
from roadstead.metadata.projects import ProjectScope
from roadstead.metadata.repositories import FULL_NAME, LIVE
from roadstead.metadata.schema import digests, manifest_references, manifests, projects, repositories, sif_facts, tags
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName

_LIVE: Final = manifests.c.deleted_at.is_(None)
_UNKNOWN: Final = "unknown"  # what a SIF without a system partition says
_PUSHED: Final = manifests.c.conversion.is_(None)


class SaidRow(msgspec.Struct, frozen=True):
    """What a SIF says of itself, as far as it is asked for: its architecture, None where it is not known, and its signatures."""

    architecture: str | None = None
    signatures: tuple[dict[str, Any], ...] = ()

    @property
    def signed(self) -> bool:
        """Whether it has a signature, which may hold or not."""
        return bool(self.signatures)


class FoundRow(msgspec.Struct, frozen=True):
    """A manifest that is a SIF, with its repository's full name and what its file says of itself."""

    manifest_id: int
    name: RepositoryName
    digest: Digest
    media_type: str
    content: bytes
    said: SaidRow


def _said(facts: str | None) -> SaidRow:
    found = SaidRow() if facts is None else msgspec.json.decode(facts, type=SaidRow)
    return msgspec.structs.replace(found, architecture=None) if found.architecture == _UNKNOWN else found


def of_file(connection: Connection, repository_id: int, file: Digest, limit: int) -> list[Digest]:
    """Manifests of the repository that name a file as a layer, the newest first."""
    statement = (
        select(manifests.c.digest)
        .join_from(digests, manifest_references, manifest_references.c.content_id == digests.c.content_id)
        .join(manifests, manifests.c.id == manifest_references.c.manifest_id)
        .where(digests.c.digest == file, manifest_references.c.role == "layer", manifests.c.repository_id == repository_id, _LIVE)
        .order_by(manifests.c.pushed_at.desc(), manifests.c.id.desc())
        .limit(limit)
    )
    return [Digest(found) for found in connection.execute(statement).scalars()]


def of_absent_file(connection: Connection, repository_id: int, file: Digest, limit: int) -> list[Digest]:
    """As `of_file`, of one that is kept nowhere any more, such as what was derived and has been evicted."""
    gone = (manifest_references.c.content_id.is_(None), manifest_references.c.digest == file, manifest_references.c.role == "layer")
    statement = (
        select(manifests.c.digest)
        .join_from(manifest_references, manifests, manifests.c.id == manifest_references.c.manifest_id)
        .where(*gone, manifests.c.repository_id == repository_id, _LIVE)
        .order_by(manifests.c.pushed_at.desc(), manifests.c.id.desc())
        .limit(limit)
    )
    return [Digest(found) for found in connection.execute(statement).scalars()]


def said(connection: Connection, file: Digest) -> SaidRow:
    """What the SIF of these bytes says of itself; empty where nothing is known of it."""
    statement = select(sif_facts.c.facts).join_from(digests, sif_facts, sif_facts.c.content_id == digests.c.content_id)
    return _said(connection.execute(statement.where(digests.c.digest == file)).scalar())


def tagged(connection: Connection, repository_id: int, limit: int) -> list[tuple[TagName, bytes, str, SaidRow]]:
    """The newest live tags of a repository: the content and media type of what each points to, and what is known of it if it is a SIF."""
    statement = (
        select(tags.c.name, manifests.c.content, manifests.c.media_type, sif_facts.c.facts)
        .join_from(tags, manifests, manifests.c.id == tags.c.manifest_id)
        .outerjoin(manifest_references, (manifest_references.c.manifest_id == manifests.c.id) & (manifest_references.c.role == "layer"))
        .outerjoin(sif_facts, sif_facts.c.content_id == manifest_references.c.content_id)
        .where(tags.c.repository_id == repository_id, tags.c.deleted_at.is_(None))
        .where(or_(manifests.c.artifact_type == media_type.SIF_CONFIG, manifests.c.media_type.in_(media_type.INDEX_TYPES)))
        .order_by(tags.c.pushed_at.desc(), tags.c.id.desc())
        .limit(limit)
    )
    return [(TagName(row[0]), row[1], row[2], _said(row[3])) for row in connection.execute(statement)]


def search(connection: Connection, scope: ProjectScope, text: str, *, architecture: str | None, signed: bool, limit: int) -> list[FoundRow]:
    """SIFs that were pushed to repositories of the scope whose names have `text` in them, whatever the case; the newest first.

    With `architecture` those of that one, and those of which it is not known.
    """
    statement = _found().where(LIVE, scope.condition(), func.lower(FULL_NAME).contains(text.lower(), autoescape=True))
    if architecture is not None:
        known = (_says(f'"architecture":"{one}"') for one in (architecture, _UNKNOWN))
        statement = statement.where(or_(*known, sif_facts.c.facts.is_(None)))
    if signed:
        statement = statement.where(_says('"signatures":[{'))
    rows = connection.execute(statement.order_by(manifests.c.pushed_at.desc(), manifests.c.id.desc()).limit(limit))
    return [FoundRow(row[0], RepositoryName(f"{row[1]}/{row[2]}"), Digest(row[3]), row[4], row[5], _said(row[6])) for row in rows]


def convertible(connection: Connection, scope: ProjectScope, text: str, limit: int) -> list[tuple[RepositoryName, TagName]]:
    """As `search`, the tags of images of layers in projects that convert, the newest first; none by which a client signs."""
    image = or_(manifests.c.artifact_type.in_((media_type.OCI_CONFIG, media_type.DOCKER_CONFIG)), IS_INDEX) & ~is_sif()
    statement = (
        select(projects.c.name, repositories.c.path, tags.c.name)
        .join_from(projects, repositories, repositories.c.project_id == projects.c.id)
        .join(tags, tags.c.repository_id == repositories.c.id)
        .join(manifests, manifests.c.id == tags.c.manifest_id)
        .where(LIVE, scope.condition(), func.lower(FULL_NAME).contains(text.lower(), autoescape=True), projects.c.conversion != "off")
        .where(_LIVE, tags.c.deleted_at.is_(None), ~tags.c.name.startswith("sha256-"), image)
        .order_by(tags.c.pushed_at.desc(), tags.c.id.desc())
    )
    return [(RepositoryName(f"{row[0]}/{row[1]}"), TagName(row[2])) for row in connection.execute(statement.limit(limit))]


def _found() -> Select[Any]:
    what = (manifests.c.digest, manifests.c.media_type, manifests.c.content, sif_facts.c.facts)
    return (
        select(manifests.c.id, projects.c.name, repositories.c.path, *what)
        .join_from(projects, repositories, repositories.c.project_id == projects.c.id)
        .join(manifests, manifests.c.repository_id == repositories.c.id)
        .join(manifest_references, (manifest_references.c.manifest_id == manifests.c.id) & (manifest_references.c.role == "layer"))
        .outerjoin(sif_facts, sif_facts.c.content_id == manifest_references.c.content_id)
        .where(_LIVE, _PUSHED, manifests.c.artifact_type == media_type.SIF_CONFIG)
    )


def _says(member: str) -> ColumnElement[bool]:
    """Whether the facts have this member, as the one encoder that writes them writes it: JSON is text to both databases."""
    # Inside a text (a label, a definition file) a quotation mark is escaped, so what is found is a member and nobody's words.
    return sif_facts.c.facts.contains(member, autoescape=True)
