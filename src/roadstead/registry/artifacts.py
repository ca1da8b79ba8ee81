"""Artifacts: what a repository holds, as people browse it; see `metadata.artifacts` for what is listed by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

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
from roadstead.oci.artifact_type import SIF, accessory_kind, kind_of
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.registry.configs import CONFIG_LIMIT, LISTED_LIMIT, Attributes, Configs
from roadstead.registry.manifests import unknown
from roadstead.registry.repositories import Repositories
from roadstead.registry.repositories import unknown as unknown_repository


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
    size: int
    pushed_at: datetime
    subject_id: int
    subject_digest: Digest


class Artifact(msgspec.Struct, frozen=True):
    """One artifact. `size` (bytes) is that of manifest, config and layers, and of all that an index names.

    `media_type` is the manifest's, `config_type` its config's; `attributes` is what the config says, or a SIF of itself, `children`
    what an index names: None and () in a list where manifest, config or that are too large to be read along.
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


class _Around(msgspec.Struct, frozen=True):
    """What is shown about the rows of a page, by manifest id (`ids`: by digest)."""

    sizes: Mapping[int, int]
    tags: Mapping[int, Sequence[TagDetail]]
    accessories: Mapping[int, Sequence[AccessoryRow]]
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
            kind=SIF if row.id in around.sifs else kind_of(row.media_type, config_type or row.artifact_type),
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
    speaking = artifacts.accessories_of(connection, repository_id, {row.id: row.digest for row in rows}) if accessories else {}
    measured = [*ids, *(one.id for several in speaking.values() for one in several)]
    named = dict.fromkeys(child.digest for manifest in parsed.values() for child in manifest.children)
    return _Around(
        sizes=artifacts.sizes(connection, measured),
        tags=tags.newest_of(connection, ids, artifacts.SHOWN),
        accessories=speaking,
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
            kind=accessory_kind(row.artifact_type, by_tag=row.by_tag, derived=row.derived),
            size=sizes[row.id],
            pushed_at=row.pushed_at,
            subject_id=row.subject_id,
            subject_digest=row.subject_digest,
        )
        for row in rows
    ]
