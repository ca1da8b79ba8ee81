"""Virtual tags: TAG.sif and TAG.oci are the image of TAG in that form, and are never listed, moved or deleted.

    TAG is          TAG.sif                         TAG.oci, and TAG itself for clients that only run images
    a SIF           itself                          converted
    an image        converted                       itself
    an index        of its parts for the project's platforms: one part by itself, several as an index
    anything else   nothing

A real tag of such a name wins, as the resolver is asked for what is absent alone. What is made of an index is a manifest like any other
that is derived: its subject is the index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from roadstead.access.actor import Actor
from roadstead.errors import InvalidManifest, NotConvertible
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.metadata.projects import ConversionPolicy
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, index_of, parse_manifest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.derived import Derived
from roadstead.sif.conversions import Conversions
from roadstead.sif.forms import Form, form_of, parts_for, virtual, written
from roadstead.sif.wanted import Wanted

_SHOWN: Final = 20
_LOOKED_INTO: Final = 2
"""Parts of an index that tell whether it is one of SIFs: who mixes them gets what was pushed."""
_REMEMBERED: Final = 10_000
"""Indexes of which a process remembers that."""


class Asked(msgspec.Struct, frozen=True):
    """Who asks for an image of which repository, and what its project converts."""

    actor: Actor
    place: PlaceRow
    name: RepositoryName
    policy: ConversionPolicy


class Part(msgspec.Struct, frozen=True):
    """An image of which a whole consists, as its manifest and as the whole names it; `wanted` is None where it has the form already."""

    row: ManifestRow
    named: Descriptor
    wanted: Wanted | None


class VirtualTags:
    """The registry's `ReferenceResolver`."""

    def __init__(self, database: Database, derived: Derived, conversions: Conversions) -> None:
        self._manifests = ManifestSelects(database)
        self._derived = derived
        self._conversions = conversions
        self._indexes: dict[int, bool] = {}

    async def absent(self, actor: Actor, place: PlaceRow, name: RepositoryName, tag: TagName) -> Digest | None:
        """See `ReferenceResolver.absent`."""
        meant = virtual(tag)
        found = None if meant is None or place.repository_id is None else await self._manifests.by_tag(name, meant[0])
        if meant is None or found is None:
            return None
        return await self._in_form(Asked(actor, place, name, await self._derived.policy(place.project_id)), found, meant[1])

    async def as_image(self, actor: Actor, name: RepositoryName, found: ManifestRow) -> Digest | None:
        """See `ReferenceResolver.as_image`."""
        if not await self._holds_sif(name, found):
            return None
        policy = await self._derived.policy(found.project_id)
        if not policy.sif_as_image:
            return None
        place = PlaceRow(found.project_id, found.project_name, found.public, found.repository_id)
        return await self._in_form(Asked(actor, place, name, policy), found, Form.OCI)

    async def _holds_sif(self, name: RepositoryName, found: ManifestRow) -> bool:
        """Whether a manifest is that of a SIF, or an index of such. Each index is looked into once, as Docker pulls many."""
        if found.media_type not in types.INDEX_TYPES:
            return _names_sif(found.content)
        known = self._indexes.get(found.manifest_id)
        if known is None:
            children = parse_manifest(found.content, found.media_type).children
            rows = [await self._manifests.by_digest(name, child.digest) for child in children[:_LOOKED_INTO]]
            known = any(row is not None and _names_sif(row.content) for row in rows)
            if len(self._indexes) >= _REMEMBERED:
                self._indexes.clear()
            self._indexes[found.manifest_id] = known
        return known

    async def _in_form(self, asked: Asked, found: ManifestRow, form: Form) -> Digest | None:
        """The manifest that stands for `found` in that form; None where there is nothing to convert, or nothing is to be converted."""
        manifest = parse_manifest(found.content, found.media_type)
        parts = await self.parts(asked, found, manifest, form)
        if not parts:
            return None
        if all(part.wanted is None for part in parts):
            return found.digest
        if asked.policy.when == "off":
            return None
        made = await self._made(asked, parts)
        return made[0].digest if len(made) == 1 else await self._index(asked, found, parts, made, form)

    async def parts(self, asked: Asked, found: ManifestRow, manifest: Manifest, form: Form) -> Sequence[Part]:
        """The images that are meant, none for what is no image. Raises NotConvertible if an index has none for the project's platforms."""
        if manifest.media_type not in types.INDEX_TYPES:
            named = Descriptor(found.media_type, found.digest, len(found.content))
            own = self._part(asked, found, named, form)
            return () if own is None else (own,)
        chosen = parts_for(asked.policy.platforms, manifest.children)
        rows = [await self._manifests.by_digest(asked.name, child.digest) for child in chosen]
        parts = [self._part(asked, row, child, form) for row, child in zip(rows, chosen, strict=True) if row is not None]
        if not parts and asked.policy.when != "off":
            raise _no_platform(asked.policy, manifest)
        return [part for part in parts if part is not None]

    def _part(self, asked: Asked, row: ManifestRow, named: Descriptor, form: Form) -> Part | None:
        try:
            present = form_of(parse_manifest(row.content, row.media_type))
        except InvalidManifest:
            return None
        if present is None or present is form:
            return None if present is None else Part(row, named, None)
        return Part(row, named, self._conversions.wanted(asked.place, asked.name, row.digest, form))

    async def _made(self, asked: Asked, parts: Sequence[Part]) -> list[Descriptor]:
        """Each part in its new form, as an index names it."""
        several = [part.wanted for part in parts if part.wanted is not None]
        digests = iter(await self._conversions.ensure(asked.actor, asked.place, asked.policy, several))
        return [part.named if part.wanted is None else await self._described(asked, part, next(digests)) for part in parts]

    async def _described(self, asked: Asked, part: Part, digest: Digest) -> Descriptor:
        row = await self._manifests.by_digest(asked.name, digest)
        if row is None:
            raise NotConvertible("The image was deleted while it was being converted.")
        return Descriptor(row.media_type, digest, len(row.content), platform=_platform(part.named))

    async def _index(self, asked: Asked, found: ManifestRow, parts: Sequence[Part], made: Sequence[Descriptor], form: Form) -> Digest:
        """An index of what was made, recorded beside the one that it was made of."""
        identity = self._conversions.wanted(asked.place, asked.name, found.digest, form).conversion
        platforms = ",".join(written(part.named.platform or {}) for part in parts)
        conversion = f"{identity} for {platforms}"
        earlier = await self._derived.find(found.repository_id, found.digest, conversion)
        if earlier is not None:
            return earlier.digest
        content = index_of(made, subject=Descriptor(found.media_type, found.digest, len(found.content)))
        return await self._derived.record(asked.place, asked.name, found.digest, conversion, content)


def _platform(named: Descriptor) -> dict[str, str] | None:
    """Of a platform object what apptainer and docker choose by."""
    found = named.platform or {}
    return {key: str(found[key]) for key in ("architecture", "os", "variant") if found.get(key)} or None


def _names_sif(content: bytes) -> bool:
    """Whether a manifest may be that of a SIF: a look that costs the pull of an image a microsecond."""
    return types.SIF_LAYER.encode() in content or types.SIF_LAYER_MISSPELT.encode() in content


def _no_platform(policy: ConversionPolicy, manifest: Manifest) -> NotConvertible:
    there = sorted({written(child.platform or {}) for child in manifest.children if child.platform} - {"unknown/unknown", ""})
    has = ", ".join(there[:_SHOWN]) or "no platform that it names"
    return NotConvertible(
        f"The image is for {has}; this project converts {', '.join(policy.platforms) or 'none'}.", platforms=there[:_SHOWN]
    )
