"""Artifacts: what a repository holds, as people browse it; see `metadata.artifacts` for what is listed by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.errors import InvalidManifest, NotFound
from roadstead.metadata import artifacts, facts, manifests, tags
from roadstead.metadata.artifacts import AccessoryRow, ArtifactRow, ConfigRow
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.repositories import PlaceRow
from roadstead.metadata.tags import TagDetail
from roadstead.oci import media_type
from roadstead.oci.artifact_type import SIF, accessory_kind, is_attestation, kind_of, scheme_of
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.platform import is_attestation as names_attestation
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.registry.configs import CONFIG_LIMIT, LISTED_LIMIT, Attributes, Configs
from roadstead.registry.manifests import unknown
from roadstead.registry.repositories import Repositories
from roadstead.registry.repositories import unknown as unknown_repository

_ATTESTATION: Final = "attestation.in-toto"
_GOING: Final = 1000
"""So many manifests that go with another are counted."""


class Child(msgspec.Struct, frozen=True):
    """What an index names. `id` is None where it is not in the repository."""

    id: int | None
    digest: Digest
    platform: Mapping[str, Any] | None
    annotations: Mapping[str, str]
    urls: tuple[str, ...]


class Accessory(msgspec.Struct, frozen=True):
    """What speaks about an artifact: `kind` as in `oci.artifact_type`, `size` in bytes with all that it names."""

    id: int
    digest: Digest
    kind: str
    artifact_type: str | None
    size: int
    pushed_at: datetime
    subject_id: int
    subject_digest: Digest


class Speaking(msgspec.Struct, frozen=True):
    """What speaks about an artifact, with what speaks about that."""

    row: Accessory
    below: Speakers


class Speakers(msgspec.Struct, frozen=True):
    """The newest of what speaks about one artifact, of so many in all."""

    rows: tuple[Speaking, ...] = ()
    total: int = 0


class Going(msgspec.Struct, frozen=True):
    """What goes with an artifact when that is deleted whole: how many `tags`, and by kind how many `accessories` and parts of an index.

    `more` says that there is more than was counted. What `is_part` of an index cannot be deleted alone.
    """

    tags: int
    accessories: Mapping[str, int]
    parts: Mapping[str, int]
    more: bool
    is_part: bool


class Artifact(msgspec.Struct, frozen=True):
    """One artifact. `size` (bytes) is that of manifest, config and layers, and of all that an index names.

    `media_type` is the manifest's, `config_type` its config's; `attributes` is what the config says, or a SIF of itself, `children`
    what an index names: None and () in a list where manifest, config or that are too large to be read along.

    `accessory` is its kind as an accessory, if it is one: of something that may not be here any more. Of `tags` and `accessories` the
    newest hundred are there; the counts are of all.
    """

    id: int
    project_id: int
    repository_id: int
    repository: RepositoryName
    digest: Digest
    kind: str
    media_type: str
    config_type: str | None
    artifact_type: str | None
    size: int
    pushed_at: datetime
    pulled_at: datetime | None
    annotations: Mapping[str, str]
    attributes: Attributes | None
    children: tuple[Child, ...]
    tags: tuple[TagDetail, ...]
    accessories: tuple[Accessory, ...]
    accessory: str | None
    pushed_by: str | None
    tag_count: int
    accessory_count: int


class _Around(msgspec.Struct, frozen=True):
    """What is shown about the rows of a page, by manifest id (`ids`: by digest)."""

    sizes: Mapping[int, int]
    tags: Mapping[int, Sequence[TagDetail]]
    tag_counts: Mapping[int, int]
    accessories: Mapping[int, Sequence[AccessoryRow]]
    accessory_counts: Mapping[int, int]
    configs: Mapping[int, ConfigRow]
    sifs: Collection[int]
    facts: Mapping[int, str]
    ids: Mapping[str, int]


class Artifacts:
    """Reading needs the permission to see the repository."""

    def __init__(self, database: Database, repositories: Repositories, configs: Configs) -> None:
        self._database = database
        self._repositories = repositories
        self._configs = configs

    async def page(
        self, actor: Actor, name: RepositoryName, listing: Listing, *, accessories: bool = False
    ) -> tuple[Sequence[Artifact], int]:
        """A page of a repository's artifacts, the newest first unless asked otherwise, and how many there are.

        Of each the newest hundred tags are shown, and if `accessories` are wanted as many of those. Raises InvalidInput,
        RepositoryUnknown, and what `locate` raises.
        """
        place, repository_id = await self._there(actor, name)

        def work(connection: Connection) -> tuple[Sequence[ArtifactRow], int, dict[int, Manifest], _Around]:
            rows, total = artifacts.page(connection, repository_id, listing)
            parsed = _parsed(rows)
            around = _around(connection, repository_id, rows, parsed, accessories=accessories, limit=LISTED_LIMIT)
            return rows, total, parsed, around

        rows, total, parsed, around = await self._database.read(work)
        made = [self._artifact(place, name, row, parsed.get(row.id), around, LISTED_LIMIT) for row in rows]
        return await asyncio.gather(*made), total

    async def get(self, actor: Actor, name: RepositoryName, reference: Reference, *, accessories: bool = False) -> Artifact:
        """One artifact, whether it is listed by itself or not. Raises ManifestUnknown, and what `page` raises."""
        place, repository_id = await self._there(actor, name)

        def work(connection: Connection) -> tuple[ArtifactRow, dict[int, Manifest], _Around]:
            row = _find(connection, repository_id, name, reference)
            parsed = _parsed([row])
            return row, parsed, _around(connection, repository_id, [row], parsed, accessories=accessories)

        row, parsed, around = await self._database.read(work)
        return await self._artifact(place, name, row, parsed.get(row.id), around, CONFIG_LIMIT)

    async def digest(self, actor: Actor, name: RepositoryName, reference: Reference) -> Digest:
        """The digest of an artifact. Raises as `get`."""
        _, repository_id = await self._there(actor, name)
        return (await self._database.read(lambda connection: _find(connection, repository_id, name, reference))).digest

    async def tags(self, actor: Actor, name: RepositoryName, reference: Reference, listing: Listing) -> tuple[Sequence[TagDetail], int]:
        """A page of an artifact's tags, the newest first unless asked otherwise, and how many there are. Raises as `get`."""
        _, repository_id = await self._there(actor, name)
        return await self._database.read(
            lambda connection: tags.page(connection, _find(connection, repository_id, name, reference).id, listing)
        )

    async def accessories(
        self, actor: Actor, name: RepositoryName, reference: Reference, listing: Listing
    ) -> tuple[Sequence[Accessory], int]:
        """A page of what speaks about an artifact, the oldest first unless asked otherwise, and how much there is. Raises as `get`."""
        _, repository_id = await self._there(actor, name)

        def work(connection: Connection) -> tuple[Sequence[Accessory], int]:
            row = _find(connection, repository_id, name, reference)
            rows, total = artifacts.accessories(connection, repository_id, row.id, row.digest, listing)
            return _accessories(rows, artifacts.sizes(connection, [one.id for one in rows])), total

        return await self._database.read(work)

    async def speaking(self, actor: Actor, name: RepositoryName, reference: Reference, most: Sequence[int] = (20, 5, 5)) -> Speakers:
        """What speaks about an artifact, as a tree: of each the newest that speak about it, `most` at each step away. Raises as `get`."""
        _, repository_id = await self._there(actor, name)

        def work(connection: Connection) -> Speakers:
            row = _find(connection, repository_id, name, reference)
            level, found, counts = {row.id: row.digest}, dict[int, Sequence[AccessoryRow]](), dict[int, int]()
            for limit in most:
                here = artifacts.accessories_of(connection, repository_id, level, limit)
                found |= here
                counts |= artifacts.accessory_counts(connection, repository_id, level)
                level = {one.id: one.digest for several in here.values() for one in several if one.id not in found}
            sizes = artifacts.sizes(connection, {one.id for several in found.values() for one in several})
            return _speakers(row.id, found, counts, sizes, len(most))

        return await self._database.read(work)

    async def going(self, actor: Actor, name: RepositoryName, reference: Reference) -> Going:
        """What would go with an artifact by `Manifests.delete_whole`. Raises as `get`."""
        _, repository_id = await self._there(actor, name)

        def work(connection: Connection) -> Going:
            row = _find(connection, repository_id, name, reference)
            speaking, parts, more = artifacts.going_with(connection, repository_id, row.id, row.digest, _GOING)
            sifs = artifacts.sifs(connection, [part.id for part in parts])
            said = _attestations(_parsed([row]).get(row.id))
            accessories = [accessory_kind(one.artifact_type, scheme=one.scheme, derived=one.derived) for one in speaking]
            accessories += [_ATTESTATION for part in parts if part.digest in said]
            kinds = [SIF if part.id in sifs else kind_of(part.media_type, part.artifact_type) for part in parts if part.digest not in said]
            tagged = tags.counts(connection, [row.id]).get(row.id, 0)
            is_part = artifacts.is_named(connection, repository_id, row.id)
            return Going(tagged, Counter(accessories), Counter(kinds), more, is_part)

        return await self._database.read(work)

    async def history(self, actor: Actor, name: RepositoryName, reference: Reference) -> Sequence[Attributes]:
        """How an image was built, as its config tells it. Raises NotFound for what is no image or does not tell; else as `get`."""
        _, repository_id = await self._there(actor, name)

        def work(connection: Connection) -> ConfigRow | None:
            row = _find(connection, repository_id, name, reference)
            return artifacts.configs(connection, repository_id, [row.id]).get(row.id)

        config = await self._database.read(work)
        told = None if config is None else await self._configs.history(config)
        if told is None:
            raise NotFound("This artifact does not tell how it was built.")
        return told

    async def _there(self, actor: Actor, name: RepositoryName) -> tuple[PlaceRow, int]:
        place = await self._repositories.locate(actor, name, Action.SEE)
        if place.repository_id is None:
            raise unknown_repository(name)
        return place, place.repository_id

    async def _artifact(
        self, place: PlaceRow, name: RepositoryName, row: ArtifactRow, parsed: Manifest | None, around: _Around, limit: int
    ) -> Artifact:
        config_type = parsed.config.media_type if parsed and parsed.config else None
        config = around.configs.get(row.id)
        image = config_type in (media_type.OCI_CONFIG, media_type.DOCKER_CONFIG)
        said = await self._configs.attributes(config, image=image, limit=limit) if config and config_type else None
        if row.id in around.facts:
            said = msgspec.json.decode(around.facts[row.id], type=Attributes)
            said.pop("version", None)  # of the program that read them
        return Artifact(
            id=row.id,
            project_id=place.project_id,
            repository_id=row.repository_id,
            repository=name,
            digest=row.digest,
            kind=SIF if row.id in around.sifs else kind_of(row.media_type, row.artifact_type),
            media_type=row.media_type,
            config_type=config_type,
            artifact_type=row.artifact_type,
            size=around.sizes[row.id],
            pushed_at=row.pushed_at,
            pulled_at=row.last_pulled_at,
            annotations=row.annotations,
            attributes=said,
            children=_children(parsed, around.ids),
            tags=tuple(around.tags.get(row.id, ())),
            accessories=tuple(_accessories(around.accessories.get(row.id, ()), around.sizes)),
            accessory=_accessory_kind(row, around.tags.get(row.id, ()), parsed),
            pushed_by=row.pushed_by,
            tag_count=around.tag_counts.get(row.id, 0),
            accessory_count=around.accessory_counts.get(row.id, 0),
        )


def _find(connection: Connection, repository_id: int, name: RepositoryName, reference: Reference) -> ArtifactRow:
    """The artifact of that tag or digest. Raises ManifestUnknown."""
    if isinstance(reference, Digest):
        manifest_id = manifests.find_id(connection, repository_id, reference)
    else:
        tag = tags.find(connection, repository_id, reference)
        manifest_id = None if tag is None else tag.manifest_id
    row = None if manifest_id is None else artifacts.find(connection, repository_id, manifest_id)
    if row is None:
        raise unknown(name, reference)
    return row


def _parsed(rows: Sequence[ArtifactRow]) -> dict[int, Manifest]:
    """What the manifests say, of those that came with their content. All were valid when they were pushed; rules may have changed since."""
    found: dict[int, Manifest] = {}
    for row in rows:
        if row.content is not None:
            try:
                found[row.id] = parse_manifest(row.content, row.media_type)
            except InvalidManifest:
                continue
    return found


def _around(
    connection: Connection,
    repository_id: int,
    rows: Sequence[ArtifactRow],
    parsed: Mapping[int, Manifest],
    *,
    accessories: bool,
    limit: int | None = None,
) -> _Around:
    ids = [row.id for row in rows]
    subjects = {row.id: row.digest for row in rows} if accessories else {}
    speaking = artifacts.accessories_of(connection, repository_id, subjects)
    measured = [*ids, *(one.id for several in speaking.values() for one in several)]
    named = dict.fromkeys(child.digest for manifest in parsed.values() for child in manifest.children)
    return _Around(
        sizes=artifacts.sizes(connection, measured),
        tags=tags.newest_of(connection, ids, artifacts.SHOWN),
        tag_counts=tags.counts(connection, ids),
        accessories=speaking,
        accessory_counts=artifacts.accessory_counts(connection, repository_id, subjects),
        configs=artifacts.configs(connection, repository_id, ids),
        sifs=artifacts.sifs(connection, ids),
        facts=facts.of_manifests(connection, repository_id, ids, limit),
        ids=artifacts.ids_of(connection, repository_id, named),
    )


def _children(parsed: Manifest | None, ids: Mapping[str, int]) -> tuple[Child, ...]:
    named = parsed.children if parsed else ()
    return tuple(Child(ids.get(one.digest), one.digest, one.platform, one.annotations, one.urls) for one in named)


def _accessories(rows: Collection[AccessoryRow], sizes: Mapping[int, int]) -> list[Accessory]:
    return [
        Accessory(
            id=row.id,
            digest=row.digest,
            kind=accessory_kind(row.artifact_type, scheme=row.scheme, derived=row.derived),
            artifact_type=row.artifact_type,
            size=sizes[row.id],
            pushed_at=row.pushed_at,
            subject_id=row.subject_id,
            subject_digest=row.subject_digest,
        )
        for row in rows
    ]


def _accessory_kind(row: ArtifactRow, tagged: Iterable[TagDetail], parsed: Manifest | None) -> str | None:
    """The kind of an accessory, by what a manifest says of itself; None for one that says nothing about another."""
    scheme = next((found for tag in tagged if (found := scheme_of(tag.name))), "")
    if row.subject_digest is not None or scheme:
        return accessory_kind(row.artifact_type, scheme=scheme, derived=row.derived)
    return _ATTESTATION if parsed is not None and is_attestation([layer.media_type for layer in parsed.layers]) else None


def _attestations(parsed: Manifest | None) -> set[Digest]:
    """What an index names that is no image."""
    return {child.digest for child in (parsed.children if parsed else ()) if names_attestation(child.platform, child.annotations)}


def _speakers(
    subject: int, found: Mapping[int, Sequence[AccessoryRow]], counts: Mapping[int, int], sizes: Mapping[int, int], depth: int
) -> Speakers:
    """The tree below a manifest; what cosign's tags name may speak about each other, so that its depth has an end."""
    rows = found.get(subject, ()) if depth else ()
    made = zip(rows, _accessories(rows, sizes), strict=True)
    below = tuple(Speaking(one, _speakers(row.id, found, counts, sizes, depth - 1)) for row, one in made)
    return Speakers(below, counts.get(subject, 0))
