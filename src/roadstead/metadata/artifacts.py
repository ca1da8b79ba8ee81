"""Artifacts: manifests as people browse them, a page of a repository at a time and everything about that page in a few queries.

What is listed of a repository are its roots. A manifest that an index of the repository names is a part of that index, unless it has a tag
of its own; one that speaks about another manifest there (by its subject, or by a tag of
cosign's form, `sha256-….sig`) is an accessory of that one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    String,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
)

from roadstead.errors import InvalidInput
from roadstead.metadata.listing import Fields, Filter, Listing, Match, Sort, Values, listed, matches
from roadstead.metadata.schema import IS_LIVE_INDEX, accounts, blob_links, contents, manifest_references, manifests, sif_facts, tags
from roadstead.metadata.statements import batched
from roadstead.oci import media_type
from roadstead.oci.artifact_type import BY_CONFIG, SCHEMES, SIF
from roadstead.oci.digest import Digest

LISTED_CONTENT: Final = 64 * 1024
"""The largest manifest (bytes) that comes with its content in a list; a page of a hundred then stays below 7 MB."""

SHOWN: Final = 100
"""At most so many tags, or accessories, of each artifact of a list: the newest."""

_CHILDREN_COUNTED: Final = 1000
"""At most so many manifests of one index count for its size."""


class ArtifactRow(msgspec.Struct, frozen=True):
    """One live manifest. `content` is None where it was too large to be read along; `size` is that of the manifest alone (bytes).

    `pushed_by` is the name of an account, None where nobody in particular pushed it.
    """

    id: int
    repository_id: int
    digest: Digest
    media_type: str
    artifact_type: str | None
    annotations: dict[str, str]
    size: int
    pushed_at: datetime
    last_pulled_at: datetime | None
    pull_count: int
    subject_digest: str | None
    derived: bool
    pushed_by: str | None
    content: bytes | None


class ConfigRow(msgspec.Struct, frozen=True):
    """Where the bytes of a manifest's config lie."""

    manifest_id: int
    content_id: int
    size: int
    store: str
    key: str


class AccessoryRow(msgspec.Struct, frozen=True):
    """A manifest that speaks about another, by its subject or by a tag of that `scheme` (see `oci.artifact_type.SCHEMES`).

    `derived` says that this registry has made it; of an index of such `artifact_type` is then what its parts have.
    """

    id: int
    digest: Digest
    artifact_type: str | None
    pushed_at: datetime
    derived: bool
    subject_id: int
    subject_digest: Digest
    scheme: str


_LIVE = manifests.c.deleted_at.is_(None)
_parents = manifests.alias("parents")
_subjects = manifests.alias("subjects")
_speakers = manifests.alias("speakers")


_IS_LIVE_PARENT = text(IS_LIVE_INDEX.replace("deleted_at", "parents.deleted_at").replace("media_type IN", "parents.media_type IN"))


def _tagged(repository_ids: Collection[int], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a manifest of one of these repositories has a tag of which the conditions hold."""
    # Conditions on a whole repository are asked once and not row by row: PostgreSQL would rather read every tag that there is.
    live = (tags.c.repository_id.in_(repository_ids), tags.c.deleted_at.is_(None))
    return manifests.c.id.in_(select(tags.c.manifest_id).where(*live, *conditions))


def _named_by_index(repository_ids: Collection[int], without: Collection[int] = ()) -> ColumnElement[bool]:
    """Whether a live index of the same repository, `without` these, names a manifest of one of these repositories."""
    named = (
        select(_parents.c.repository_id, manifest_references.c.digest)
        .join_from(_parents, manifest_references, manifest_references.c.manifest_id == _parents.c.id)
        .where(
            _parents.c.repository_id.in_(repository_ids),
            _IS_LIVE_PARENT,
            manifest_references.c.role == "manifest",
            *([_parents.c.id.not_in(without)] if without else []),
        )
    )
    return tuple_(manifests.c.repository_id, manifests.c.digest).in_(named)


def _is_accessory(repository_ids: Collection[int]) -> ColumnElement[bool]:
    """Whether a manifest of one of these repositories speaks about another live one there."""
    # Both lists are short, and lie together in an index.
    about = and_(_subjects.c.repository_id == _speakers.c.repository_id, _subjects.c.digest == _speakers.c.subject_digest)
    by_subject = (
        select(_speakers.c.id)
        .join_from(_speakers, _subjects, and_(about, _subjects.c.deleted_at.is_(None)))
        .where(_speakers.c.repository_id.in_(repository_ids), _speakers.c.subject_digest.is_not(None), _speakers.c.deleted_at.is_(None))
    )
    signed = and_(_subjects.c.repository_id == tags.c.repository_id, _subjects.c.digest == _signed_digest())
    by_tag = (
        select(tags.c.manifest_id)
        .join_from(tags, _subjects, and_(signed, _subjects.c.deleted_at.is_(None), _subjects.c.id != tags.c.manifest_id))
        .where(tags.c.repository_id.in_(repository_ids), tags.c.deleted_at.is_(None), tags.c.name >= "sha256-", tags.c.name < "sha256.")
        .where(or_(*(tags.c.name.endswith(f".{scheme}") for scheme in SCHEMES)))
    )
    return or_(manifests.c.id.in_(by_subject), manifests.c.id.in_(by_tag))


def _signed_digest() -> ColumnElement[str]:
    """The digest that a tag of cosign's form names."""
    return literal("sha256:") + func.substr(tags.c.name, 8, 64)


def _scheme() -> ColumnElement[str]:
    """How a tag of cosign's form ends."""
    return func.substr(tags.c.name, 73)


def _is_root(repository_ids: Collection[int]) -> ColumnElement[bool]:
    """Whether a manifest of one of these repositories is listed by itself."""
    return and_(or_(_tagged(repository_ids), ~_named_by_index(repository_ids)), ~_is_accessory(repository_ids))


def _by_tags(repository_id: int, asked: Filter) -> ColumnElement[bool]:
    """`*` is any tag, `nil` is none."""
    if asked.match is Match.EQUAL and asked.values[0] == "*":
        return _tagged([repository_id])
    if asked.match is Match.EQUAL and asked.values[0] == "nil":
        return ~_tagged([repository_id])
    return _tagged([repository_id], matches(tags.c.name, asked))


IS_INDEX = manifests.c.media_type.in_(media_type.INDEX_TYPES)


def _by_type(asked: Filter) -> ColumnElement[bool]:
    if asked.match not in (Match.EQUAL, Match.ANY):
        raise InvalidInput("The filter 'type' takes one type, or several in braces.")
    return or_(false(), *map(_is_of_type, asked.values))


def _is_of_type(kind: str) -> ColumnElement[bool]:
    """As `artifact_type.kind_of`, in SQL."""
    if kind.upper() == SIF:
        return is_sif()
    known = [config for config, name in BY_CONFIG.items() if name == kind.upper()]
    named = matches(manifests.c.artifact_type, Filter("type", Match.CONTAINS, (f".{kind}.config.",)))
    of_config = or_(manifests.c.artifact_type.in_(known), and_(named, manifests.c.artifact_type.not_in(BY_CONFIG)))
    of_kind = or_(of_config, IS_INDEX) if kind.upper() == "IMAGE" else and_(of_config, ~IS_INDEX)
    return and_(of_kind, ~is_sif())


_parts = manifests.alias("parts")
_named = manifest_references.alias("named")


def is_sif() -> ColumnElement[bool]:
    """Whether a manifest is one of a SIF, or an index of nothing else."""
    parts = (
        exists()
        .where(_named.c.manifest_id == manifests.c.id, _named.c.role == "manifest")
        .where(_parts.c.repository_id == manifests.c.repository_id, _parts.c.digest == _named.c.digest, _parts.c.deleted_at.is_(None))
    )
    of_sifs = and_(parts.where(_holds_sif(_parts)), ~parts.where(~_holds_sif(_parts)))
    return or_(and_(~IS_INDEX, _holds_sif(manifests)), and_(IS_INDEX, of_sifs))


def _holds_sif(table: FromClause) -> ColumnElement[bool]:
    """Whether a manifest has the config of a SIF, or a layer that is known to be one."""
    layers = exists().where(
        manifest_references.c.manifest_id == table.c.id,
        manifest_references.c.role == "layer",
        sif_facts.c.content_id == manifest_references.c.content_id,
    )
    return or_(func.coalesce(table.c.artifact_type, "") == media_type.SIF_CONFIG, layers)


def sifs(connection: Connection, manifest_ids: Collection[int]) -> set[int]:
    """Those of these manifests that are of a SIF, or an index of nothing else."""
    return {row[0] for row in connection.execute(select(manifests.c.id).where(manifests.c.id.in_(manifest_ids), is_sif()))}


def _by_label(_asked: Filter) -> ColumnElement[bool]:
    return false()  # nothing has a label


_FIELDS: Final = Fields(
    columns={
        "id": manifests.c.id,
        "digest": manifests.c.digest,
        "artifact_type": manifests.c.artifact_type,
        "media_type": manifests.c.media_type,
        "pushed_at": manifests.c.pushed_at,
        "pulled_at": manifests.c.last_pulled_at,
    },
    key=manifests.c.id,
    order=(Sort("pushed_at", descending=True),),
    conditions={"type": _by_type, "labels": _by_label},
)


def _rows(content: ColumnElement[Any]) -> Select[Any]:
    own = [manifests.c[field] for field in ArtifactRow.__struct_fields__[:-2]]
    pushed_by = select(accounts.c.name).where(accounts.c.id == manifests.c.pushed_by).scalar_subquery()
    return select(*own, pushed_by.label("pushed_by_name"), content).where(_LIVE)


_LISTED = _rows(case((manifests.c.size <= LISTED_CONTENT, manifests.c.content)))
_WHOLE = _rows(manifests.c.content)


def page(connection: Connection, repository_id: int, listing: Listing) -> tuple[list[ArtifactRow], int]:
    """A page of the repository's roots, and how many there are; with the filter `base=*` of all its manifests. Raises InvalidInput."""
    base = [one for one in listing.filters if one.field == "base"]
    if any(one.match is not Match.EQUAL or one.values[0] != "*" for one in base):
        raise InvalidInput("The filter 'base' takes only '*', for all manifests.")
    asked = msgspec.structs.replace(listing, filters=tuple(one for one in listing.filters if one.field != "base"))
    statement = _LISTED.where(manifests.c.repository_id == repository_id)
    fields = msgspec.structs.replace(_FIELDS, conditions={**_FIELDS.conditions, "tags": partial(_by_tags, repository_id)})
    rows, total = listed(connection, statement if base else statement.where(_is_root([repository_id])), fields, asked)
    return [_artifact(row) for row in rows], total


def roots(connection: Connection, repository_ids: Iterable[int]) -> dict[int, int]:
    """How many roots each repository has; one that has none is left out."""
    counted = select(manifests.c.repository_id, func.count()).where(_LIVE).group_by(manifests.c.repository_id)
    found: dict[int, int] = {}
    for some in batched(repository_ids):
        here = (manifests.c.repository_id.in_(some), _is_root(some))
        found.update((row[0], row[1]) for row in connection.execute(counted.where(*here)))
    return found


def find(connection: Connection, repository_id: int, manifest_id: int) -> ArtifactRow | None:
    """One live manifest, with its content."""
    row = connection.execute(_WHOLE.where(manifests.c.repository_id == repository_id, manifests.c.id == manifest_id)).first()
    return None if row is None else _artifact(tuple(row))


def _artifact(row: Values) -> ArtifactRow:
    annotations = msgspec.json.decode(row[5], type=dict[str, str])
    return ArtifactRow(row[0], row[1], Digest(row[2]), row[3], row[4], annotations, *row[6:])


def sizes(connection: Connection, manifest_ids: Collection[int]) -> dict[int, int]:
    """What each manifest comes to in bytes: itself, its config and layers as far as they are here, and the same of what an index names."""
    named: dict[int, set[int]] = {}
    level = set(manifest_ids)
    while level:
        found = _children(connection, level)
        named |= {manifest_id: found.get(manifest_id, set()) for manifest_id in level}
        level = {child for children in found.values() for child in children} - named.keys()
    alone = _alone(connection, named)
    return {manifest_id: sum(alone.get(one, 0) for one in _below(manifest_id, named)) for manifest_id in manifest_ids}


def _children(connection: Connection, manifest_ids: Collection[int]) -> dict[int, set[int]]:
    """By index, the first `_CHILDREN_COUNTED` manifests that it names."""
    statement = (
        select(manifest_references.c.manifest_id, manifests.c.id)
        .join_from(_parents, manifest_references, manifest_references.c.manifest_id == _parents.c.id)
        .join(manifests, and_(manifests.c.repository_id == _parents.c.repository_id, manifests.c.digest == manifest_references.c.digest))
        .where(manifest_references.c.role == "manifest", manifest_references.c.position < _CHILDREN_COUNTED, _LIVE)
    )
    found: dict[int, set[int]] = {}
    for some in batched(manifest_ids):
        for parent, child in connection.execute(
            statement.where(_parents.c.id.in_(some), _parents.c.media_type.in_(media_type.INDEX_TYPES))
        ):
            found.setdefault(parent, set()).add(child)
    return found


def _alone(connection: Connection, manifest_ids: Collection[int]) -> dict[int, int]:
    """The size of each manifest with its config and layers."""
    own = select(manifests.c.id, manifests.c.size)
    blobs = (
        select(manifest_references.c.manifest_id, func.sum(contents.c.size))
        .join_from(manifest_references, contents, contents.c.id == manifest_references.c.content_id)
        .group_by(manifest_references.c.manifest_id)
    )
    found: dict[int, int] = {}
    for some in batched(manifest_ids):
        found |= {row[0]: row[1] for row in connection.execute(own.where(manifests.c.id.in_(some)))}
        for manifest_id, total in connection.execute(blobs.where(manifest_references.c.manifest_id.in_(some))):
            found[manifest_id] += int(total)
    return found


def _below(manifest_id: int, named: Mapping[int, set[int]]) -> set[int]:
    """A manifest and all that it names, whatever number of indexes lies between."""
    found: set[int] = set()
    level = {manifest_id}
    while level:
        found |= level
        level = {child for one in level for child in named.get(one, ())} - found
    return found


def configs(connection: Connection, repository_id: int, manifest_ids: Collection[int]) -> dict[int, ConfigRow]:
    """By manifest, its config, where the repository sees that."""
    statement = (
        select(manifest_references.c.manifest_id, contents.c.id, contents.c.size, contents.c.store, contents.c.key)
        .join_from(manifest_references, contents, contents.c.id == manifest_references.c.content_id)
        .join(blob_links, and_(blob_links.c.content_id == contents.c.id, blob_links.c.repository_id == repository_id))
        .where(manifest_references.c.manifest_id.in_(manifest_ids), manifest_references.c.role == "config")
    )
    return {row[0]: ConfigRow(*row) for row in connection.execute(statement)}


def ids_of(connection: Connection, repository_id: int, wanted: Iterable[Digest]) -> dict[str, int]:
    """Digest → id, of those that are live manifests of the repository."""
    statement = select(manifests.c.digest, manifests.c.id).where(manifests.c.repository_id == repository_id, _LIVE)
    return {row[0]: row[1] for some in batched(wanted) for row in connection.execute(statement.where(manifests.c.digest.in_(some)))}


def is_named(connection: Connection, repository_id: int, manifest_id: int) -> bool:
    """Whether a live index of the manifest's repository names it."""
    named = _named_by_index([repository_id])
    return connection.execute(select(manifests.c.id).where(manifests.c.id == manifest_id, _LIVE, named)).first() is not None


Named = dict[int, Digest]


def untagged_indexes_of(connection: Connection, repository_id: int, digest: Digest, limit: int) -> list[tuple[Digest, bytes]]:
    """Live indexes of the repository that name a manifest and have no tag: their digests and their exact bytes, the newest first."""
    named = select(manifest_references.c.manifest_id).where(
        manifest_references.c.digest == digest, manifest_references.c.role == "manifest", manifest_references.c.content_id.is_(None)
    )
    lonely = (manifests.c.repository_id == repository_id, _LIVE, manifests.c.id.in_(named), ~_tagged([repository_id]))
    rows = select(manifests.c.digest, manifests.c.content).where(*lonely).order_by(manifests.c.id.desc()).limit(limit)
    return [(Digest(row[0]), row[1]) for row in connection.execute(rows)]


def dependents(connection: Connection, repository_id: int, manifest_id: int, digest: Digest) -> tuple[Named, Named]:
    """What speaks about a manifest, and what it names as an index: id → digest of live manifests of the repository."""
    speaking = _speaking(repository_id, [digest]).c
    about = {row[0]: Digest(row[1]) for row in connection.execute(select(speaking.id, speaking.digest))}
    named = select(manifest_references.c.digest).where(
        manifest_references.c.manifest_id == manifest_id, manifest_references.c.role == "manifest"
    )
    parts = select(manifests.c.id, manifests.c.digest).where(
        manifests.c.repository_id == repository_id, _LIVE, manifests.c.digest.in_(named)
    )
    return about, {row[0]: Digest(row[1]) for row in connection.execute(parts)}


def unused(connection: Connection, repository_id: int, manifest_ids: Named) -> Named:
    """Those of these manifests of a repository that have no tag and that no index names; what is derived goes with its subject."""
    own = (_LIVE, manifests.c.derived.is_(False))
    lonely = select(manifests.c.id, manifests.c.digest).where(*own, ~_tagged([repository_id]), ~_named_by_index([repository_id]))
    rows = (row for some in batched(manifest_ids) for row in connection.execute(lonely.where(manifests.c.id.in_(some))))
    return {row[0]: Digest(row[1]) for row in rows}


# --- accessories --------------------------------------------------------------------------------------------------------------------

_parts = manifests.alias("parts")
_PART_TYPE = (
    select(_parts.c.artifact_type)
    .join_from(manifest_references, _parts, _parts.c.digest == manifest_references.c.digest)
    .where(manifest_references.c.manifest_id == manifests.c.id, manifest_references.c.role == "manifest")
    .where(_parts.c.repository_id == manifests.c.repository_id, _parts.c.deleted_at.is_(None))
    .order_by(manifest_references.c.position)
    .limit(1)
    .correlate(manifests)
    .scalar_subquery()
)
_TYPE = case((and_(manifests.c.derived.is_(True), manifests.c.artifact_type.is_(None)), _PART_TYPE), else_=manifests.c.artifact_type).label(
    "artifact_type"
)
_ACCESSORY = (manifests.c.id, manifests.c.digest, _TYPE, manifests.c.pushed_at, manifests.c.derived)


def _speaking(repository_id: int, subjects: Collection[Digest]) -> Any:
    """Everything that speaks about these live manifests, as a subquery with one row for each pair; `about` is the subject's digest."""
    # Subjects are not joined from their table: PostgreSQL would rather compare each with every other manifest.
    here = (manifests.c.repository_id == repository_id, _LIVE)
    by_subject = select(
        *_ACCESSORY, cast(manifests.c.subject_digest, String).label("about"), cast(literal(""), String).label("scheme")
    ).where(*here, manifests.c.subject_digest.in_(subjects), manifests.c.subject_digest != manifests.c.digest)
    names = [signature_tag(digest, scheme) for digest in subjects for scheme in SCHEMES]
    signing = (tags.c.repository_id == repository_id, tags.c.name.in_(names), tags.c.deleted_at.is_(None))
    about = _signed_digest()
    only_by_tag = (manifests.c.subject_digest.is_distinct_from(about), manifests.c.digest != about)
    by_tag = select(*_ACCESSORY, about.label("about"), _scheme().label("scheme")).where(
        *signing, manifests.c.id == tags.c.manifest_id, *here, *only_by_tag
    )
    return by_subject.union_all(by_tag).subquery("speaking")


def signature_tag(digest: Digest, scheme: str = "sig") -> str:
    """The tag under which cosign keeps what it says of a manifest where it does not use referrers."""
    return f"{digest.algorithm}-{digest.encoded}.{scheme}"


def accessories(
    connection: Connection, repository_id: int, subject_id: int, subject: Digest, listing: Listing
) -> tuple[list[AccessoryRow], int]:
    """A page of what speaks about a manifest, and how much there is. Raises InvalidInput."""
    speaking = _speaking(repository_id, [subject]).c
    columns = {"id": speaking.id, "digest": speaking.digest, "artifact_type": speaking.artifact_type, "pushed_at": speaking.pushed_at}
    rows, total = listed(connection, select(*speaking), Fields(columns, speaking.id, (Sort("pushed_at"),)), listing)
    return [_accessory(row, {subject: subject_id}) for row in rows], total


def accessories_of(
    connection: Connection, repository_id: int, subjects: Mapping[int, Digest], most: int = SHOWN
) -> dict[int, list[AccessoryRow]]:
    """By subject, the newest of what speaks about it, at most so many of each, in the order in which they came."""
    if not subjects:
        return {}
    ids = {digest: one for one, digest in subjects.items()}
    speaking = _speaking(repository_id, ids).c
    rank = func.row_number().over(partition_by=speaking.about, order_by=speaking.id.desc()).label("rank")
    ranked = select(*speaking, rank).subquery("ranked")
    found: dict[int, list[AccessoryRow]] = {}
    for row in connection.execute(select(ranked).where(ranked.c.rank <= most).order_by(ranked.c.id)):
        one = _accessory(tuple(row), ids)
        found.setdefault(one.subject_id, []).append(one)
    return found


def accessory_counts(connection: Connection, repository_id: int, subjects: Mapping[int, Digest]) -> dict[int, int]:
    """By subject, how much speaks about it; one of which nothing does is left out."""
    if not subjects:
        return {}
    ids = {digest: one for one, digest in subjects.items()}
    speaking = _speaking(repository_id, ids).c
    counted = select(speaking.about, func.count()).group_by(speaking.about)
    return {ids[Digest(row[0])]: row[1] for row in connection.execute(counted)}


def _accessory(row: Values, ids: Mapping[Digest, int]) -> AccessoryRow:
    about = Digest(row[5])
    return AccessoryRow(row[0], Digest(row[1]), row[2], row[3], bool(row[4]), ids[about], about, row[6])


# --- what goes with a manifest --------------------------------------------------------------------------------------------------------


class PartRow(msgspec.Struct, frozen=True):
    """A manifest that an index names."""

    id: int
    digest: Digest
    media_type: str
    artifact_type: str | None


def going_with(
    connection: Connection, repository_id: int, manifest_id: int, digest: Digest, most: int
) -> tuple[list[AccessoryRow], list[PartRow], bool]:
    """What would be deleted with a manifest: what speaks about any of it, and the parts of an index that nothing else names.

    And whether there is more, beyond so many. A few queries for each step away from the manifest.
    """
    level, speaking, parts = {manifest_id: digest}, dict[int, AccessoryRow](), dict[int, PartRow]()
    gone: set[int] = set()
    while level and len(gone) < most:
        gone |= level.keys()
        ids = {digest: one for one, digest in level.items()}
        about = [_accessory(tuple(row), ids) for row in connection.execute(select(*_speaking(repository_id, ids).c).limit(most))]
        named = _unused_parts(connection, repository_id, level, gone, most)
        speaking |= {row.id: row for row in about if row.id not in gone}
        parts |= {row.id: row for row in named if row.id not in gone and row.id not in speaking}
        level = {row.id: row.digest for row in about if row.id not in gone} | {row.id: row.digest for row in named if row.id not in gone}
    return list(speaking.values()), list(parts.values()), bool(level)


def _unused_parts(connection: Connection, repository_id: int, indexes: Collection[int], gone: Collection[int], most: int) -> list[PartRow]:
    """What these indexes name, and no tag nor any index beside those that are `gone`."""
    named = select(manifest_references.c.digest).where(
        manifest_references.c.manifest_id.in_(indexes), manifest_references.c.role == "manifest"
    )
    if connection.execute(named.limit(1)).first() is None:
        return []
    own = (manifests.c.repository_id == repository_id, _LIVE, manifests.c.derived.is_(False), manifests.c.digest.in_(named))
    lonely = (~_tagged([repository_id]), ~_named_by_index([repository_id], gone))
    columns = (manifests.c.id, manifests.c.digest, manifests.c.media_type, manifests.c.artifact_type)
    return [PartRow(row[0], Digest(row[1]), *row[2:]) for row in connection.execute(select(*columns).where(*own, *lonely).limit(most))]
