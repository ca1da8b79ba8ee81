"""What SIFs say of themselves, kept with their content and gone with it: JSON that `sif.facts` writes and the doors show."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, and_, func, select, update

from roadstead.metadata.schema import blob_links, contents, digests, manifest_references, sif_facts
from roadstead.metadata.statements import batched, insert_new
from roadstead.oci.digest import Digest


def record(connection: Connection, content_id: int, facts: str, now: datetime) -> bool:
    """Keep the facts of a content, in place of earlier ones. False if the content is being deleted."""
    # The collector waits for us, and we for it: it forgets a content only after what refers to it.
    stored = select(contents.c.id).where(contents.c.id == content_id, contents.c.state == "stored").with_for_update(read=True)
    if connection.execute(stored).first() is None:
        return False
    values = {"facts": facts, "read_at": now}
    if not insert_new(connection, sif_facts, {"content_id": content_id, **values}):
        connection.execute(update(sif_facts).where(sif_facts.c.content_id == content_id).values(values))
    return True


def find(connection: Connection, content_id: int) -> str | None:
    """The facts of a content, if they have been read."""
    return connection.execute(select(sif_facts.c.facts).where(sif_facts.c.content_id == content_id)).scalar()


def of_file(connection: Connection, repository_id: int, file: Digest) -> str | None:
    """The facts of the file of that digest, if the repository sees it."""
    here = and_(blob_links.c.content_id == sif_facts.c.content_id, blob_links.c.repository_id == repository_id)
    known_by = sif_facts.c.content_id == digests.c.content_id
    statement = select(sif_facts.c.facts).join_from(digests, sif_facts, known_by).join(blob_links, here).where(digests.c.digest == file)
    return connection.execute(statement).scalar()


def of_manifests(connection: Connection, repository_id: int, manifest_ids: Collection[int], most: int | None = None) -> dict[int, str]:
    """By manifest, the facts of its first SIF that the repository sees, where they have at most `most` characters."""
    here = and_(blob_links.c.content_id == sif_facts.c.content_id, blob_links.c.repository_id == repository_id)
    statement = (
        select(manifest_references.c.manifest_id, sif_facts.c.facts)
        .join_from(manifest_references, sif_facts, sif_facts.c.content_id == manifest_references.c.content_id)
        .join(blob_links, here)
        .where(manifest_references.c.role == "layer")
        .order_by(manifest_references.c.position.desc())
    )
    if most is not None:
        statement = statement.where(func.length(sif_facts.c.facts) <= most)
    found: dict[int, str] = {}
    for some in batched(manifest_ids):
        found.update((row[0], row[1]) for row in connection.execute(statement.where(manifest_references.c.manifest_id.in_(some))))
    return found
