"""The gate before pulls from projects that give out only SIFs, or images, which a key that they trust has signed.

What counts is a signature that is valid at this moment, by a trusted key that is neither revoked nor expired; in a SIF, over the group of
objects in which the root file system is: a signature of something else in the file says nothing of what would run. What a SIF is, its
bytes say, not its media type, and its file goes out by its own digest on the same terms. What this registry made stands for what it was
made of: whichever form somebody asks for, it is what was pushed that somebody has signed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.access.clock import Clock
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.policy import Project
from roadstead.access.public_keys import parse
from roadstead.access.rights import Rights
from roadstead.access.verdicts import State, Verdict
from roadstead.errors import GateRefused, InvalidManifest, NotFound, Unauthenticated
from roadstead.metadata import facts, sifs, trusted_keys
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.metadata.repositories import PlaceRow
from roadstead.metadata.trusted_keys import PemRow
from roadstead.oci import media_type as types
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.oci.sif_manifest import sif_layers
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.sif.beginnings import Beginnings, Kind, doubtful
from roadstead.sif.facts import Facts, SignatureFacts
from roadstead.sif.signatures import judge

_TOLD: Final = 5
_GENERATIONS: Final = 4
"""Of what was made of what was made: more never happens, and would be refused."""
_MOST_PARTS: Final = 256
_NAMING: Final = 8
"""Manifests, the newest, that are asked for one file: each may cost the verification of all its signatures."""
_LONGEST_TYPE: Final = 120
_OPENPGP: Final = "openpgp"
_REMEMBERED: Final = 10_000
_REMEMBERED_FOR: Final = timedelta(seconds=10)
"""So long a file goes out that did: clients fetch one by hundreds of ranges."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class _Missing(msgspec.Struct, frozen=True):
    """What keeps something from going out, in sentences; `of_image` says that it is the signature of an image."""

    why: str
    of_image: bool = False


class SignedOnly:
    """The registry's `PullGate`. A pull from a project that asks for no signatures costs it two comparisons."""

    def __init__(self, database: Database, keys: OpenPgpKeys, images: ImageSignatures, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._images = images
        self._clock = clock
        self._beginnings = Beginnings(images)
        self._manifests = ManifestSelects(database)
        self._rights = Rights(database)
        self._out: dict[tuple[int, Digest], datetime] = {}

    async def manifest(self, actor: Actor, name: RepositoryName, reference: Reference, manifest: ManifestRow) -> None:
        """See `PullGate.manifest`."""
        if not (manifest.only_signed_sifs or manifest.only_signed_images):
            return
        missing = await self._missing(name, manifest, _GENERATIONS)
        if missing is None:
            return
        project = Project(manifest.project_id, manifest.project_name, manifest.public)
        signable = await self._is_signable(reference, manifest)
        if signable and await self._may_push(actor, name, project):
            return
        refused = await self._refusal(project, missing, sifs=manifest.only_signed_sifs, images=manifest.only_signed_images)
        # Who has not said who they are may be a signer: some clients show their credentials only when they are asked for.
        raise Unauthenticated(refused.message) if signable and actor.anonymous else refused

    async def blob(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest) -> None:
        """Lets out what could not be run as it is, and of SIFs those that a manifest names which goes out; to who may push, all.

        Layers of images go out by their digests, which the manifest tells to who may have it.
        """
        if not place.only_signed_sifs or place.repository_id is None:
            return
        kind = await self._beginnings.kind(place.repository_id, digest)
        if kind is Kind.OTHER or self._out.get((place.repository_id, digest), _NEVER) > self._clock():
            return
        missing = await self._file_missing(name, place.repository_id, digest, kind)
        if missing is None:
            if kind is not None:
                self._remember(place.repository_id, digest)
            return
        project = Project(place.project_id, place.project_name, place.public)
        if not await self._may_push(actor, name, project):
            raise await self._refusal(project, missing, sifs=True, images=False)

    def _remember(self, repository_id: int, digest: Digest) -> None:
        if len(self._out) >= _REMEMBERED:
            self._out.clear()
        self._out[repository_id, digest] = self._clock() + _REMEMBERED_FOR

    async def _file_missing(self, name: RepositoryName, repository_id: int, digest: Digest, kind: Kind | None) -> _Missing | None:
        """What keeps in a file that could be run; or one that is not here (None) and might be made again, if it is called a SIF."""

        def work(connection: Connection) -> list[Digest]:
            kept = sifs.of_file(connection, repository_id, digest, _NAMING)
            return kept + sifs.of_absent_file(connection, repository_id, digest, _NAMING)

        rows = await self._rows(name, await self._database.read(work))
        if kind is None:
            rows = [row for row in rows if _is_sif(row)]
        elif not rows:
            return _Missing("No image here names it.")
        return await self._best(name, rows)

    async def _rows(self, name: RepositoryName, named: Sequence[Digest]) -> list[ManifestRow]:
        found = [await self._manifests.by_digest(name, each) for each in named]
        return [row for row in found if row is not None]

    async def _best(self, name: RepositoryName, rows: Sequence[ManifestRow]) -> _Missing | None:
        """None if one of the manifests goes out, or there is none; else what keeps in the last."""
        missing = None
        for row in rows:
            missing = await self._missing(name, row, _GENERATIONS)
            if missing is None:
                return None
        return missing

    async def _is_signable(self, reference: Reference, row: ManifestRow) -> bool:
        """Whether it is an image that was asked for by its digest: whoever signs it has to fetch it so."""
        if not row.only_signed_images or reference != row.digest or _is_sif(row):
            return False
        return await self._database.read(partial(trusted_keys.made_of, manifest_id=row.manifest_id)) is None

    async def _may_push(self, actor: Actor, name: RepositoryName, project: Project) -> bool:
        return not actor.anonymous and Action.PUSH in await self._rights.permitted(actor, project, name)

    async def _refusal(self, project: Project, missing: _Missing, *, sifs: bool, images: bool) -> GateRefused:
        known = await self._database.read(partial(trusted_keys.of_project, project_id=project.id))
        # Nobody signs images by OpenPGP.
        helpful = [key for key in known if key.kind != _OPENPGP or not missing.of_image]
        told = [f"{key.fingerprint} ({key.name})" for key in helpful[:_TOLD]] + ["…"] * (len(helpful) > _TOLD)
        asked = " and ".join(what for what, only in (("SIFs", sifs), ("images", images)) if only)
        return GateRefused(
            f"The project {project.name!r} gives out only {asked} that a key which it trusts has signed. {missing.why} "
            f"It trusts: {', '.join(told) or 'no key'}.",
            trusted=[one.fingerprint for one in helpful[:_TOLD]],
        )

    async def _missing(self, name: RepositoryName, row: ManifestRow, generations: int) -> _Missing | None:
        """What keeps a manifest from going out."""
        source = await self._database.read(partial(trusted_keys.made_of, manifest_id=row.manifest_id))
        if source is None:
            return await self._pushed(name, row)
        found = await self._manifests.by_digest(name, source) if generations else None
        if found is None:
            return _Missing("What this was made of is not here any more.")
        if _is_sif(row) and not _is_sif(found):
            why = await self._images.unsigned(found.project_id, found.repository_id, found.digest)
            said = f"This SIF was made of an image by the registry, and that image has no signature that counts. {why}"
            return None if why is None else _Missing(said, of_image=True)
        if _is_sif(found) and found.only_signed_images and not found.only_signed_sifs:
            # What runs is an image, and nothing else has asked for a signature of it: that of the SIF is as good as one beside it.
            missing = await self._unsigned_sif(found)
            beside = missing and await self._images.unsigned(found.project_id, found.repository_id, found.digest)
            return missing if beside else None
        return await self._missing(name, found, generations - 1)

    async def _pushed(self, name: RepositoryName, row: ManifestRow) -> _Missing | None:
        """What keeps in what somebody has pushed."""
        if row.only_signed_sifs and (missing := await self._unsigned_sif(row)):
            return missing
        why = await self._images.missing(name, row) if row.only_signed_images and not _is_sif(row, alone=True) else None
        return None if why is None else _Missing(why, of_image=True)

    async def _unsigned_sif(self, row: ManifestRow) -> _Missing | None:
        """Why the SIF in a manifest does not count as signed, whatever it is called there; None if it does, or if there is none."""
        manifest = _parsed(row)
        if manifest is None:
            return None
        found = {layer.digest: layer for layer in sif_layers(manifest)}
        several = doubtful(manifest)
        if len(several) > _MOST_PARTS:
            return _Missing(f"It has {len(several)} parts; of at most {_MOST_PARTS} it is looked whether they are SIFs.")
        for blob in several:
            kind = await self._beginnings.kind(row.repository_id, blob.digest)
            if kind is Kind.FILE_SYSTEM:
                return _Missing(f"{blob.digest} is a file system that could be run as it is, and has no place for a signature.")
            if kind is Kind.SIF:
                found.setdefault(blob.digest, blob)
        if len(found) > 1:
            return _Missing(f"It names {len(found)} SIFs, and which one would be run is not known: push each by itself.")
        return await self._unsigned(row, next(iter(found.values()))) if found else None

    async def _unsigned(self, row: ManifestRow, layer: Descriptor) -> _Missing | None:
        known = await self._database.read(partial(facts.of_file, repository_id=row.repository_id, file=layer.digest))
        if known is None and layer.media_type not in types.SIF_LAYER_TYPES:
            said = f"It is a SIF, and is called {layer.media_type[:_LONGEST_TYPE]}, so that nobody has looked for signatures in it"
            return _Missing(f"{said}: push it as apptainer does, with the media type {types.SIF_LAYER}.")
        signatures = () if known is None else msgspec.json.decode(known, type=Facts).signatures
        if not signatures:
            return _Missing("This one is not signed.")
        trusted = {key.fingerprint for key in await self._database.read(partial(trusted_keys.of_project, project_id=row.project_id))}
        in_pem = await self._database.read(partial(trusted_keys.in_pem, project_id=row.project_id))
        reasons = []
        for one in signatures:
            key = one.fingerprint or "an unknown key"
            if one.kind != "dsse" and key not in trusted:
                reasons.append(f"The project does not trust {key}.")
                continue
            verdict = await self._judged(one, in_pem)
            key = verdict.fingerprint or key
            if verdict.state is not State.VALID:
                reasons.append(f"The signature by {key} does not count: {verdict.reason}")
            elif not one.primary:
                reasons.append(f"The signature by {key} does not cover the root file system.")
            else:
                return None
        return _Missing(" ".join(dict.fromkeys(reasons[:_TOLD])))

    async def _judged(self, one: SignatureFacts, in_pem: Sequence[PemRow]) -> Verdict:
        certificates = [] if one.kind == "dsse" else await self._certificates(one.fingerprint or "")
        return await asyncio.to_thread(_judge, one, certificates, self._clock, in_pem)

    async def _certificates(self, fingerprint: str) -> list[bytes]:
        try:
            return await self._keys.certificates(fingerprint)
        except NotFound:
            return []


def _judge(one: SignatureFacts, certificates: Sequence[bytes], clock: Clock, in_pem: Sequence[PemRow]) -> Verdict:
    """Costs a millisecond for each key that is asked, so it is done beside the loop."""
    return judge(one, certificates, clock, [parse(row.pem.encode()) for row in in_pem] if one.kind == "dsse" else [])


def _parsed(row: ManifestRow) -> Manifest | None:
    try:
        return parse_manifest(row.content, row.media_type)
    except InvalidManifest:
        return None


def _is_sif(row: ManifestRow, *, alone: bool = False) -> bool:
    """Whether a manifest says that it is one of a SIF, with no other layer if `alone`. Of an index of SIFs each is asked about when it is
    pulled."""
    manifest = _parsed(row)
    if manifest is None or not sif_layers(manifest):
        return False
    return not alone or all(layer.media_type in types.SIF_LAYER_TYPES for layer in manifest.layers)
