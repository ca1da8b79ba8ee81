"""The gate before pulls from projects that give out only SIFs, or images, which a key that they trust has signed.

What counts is a signature that is valid at this moment, by a trusted key that is neither revoked nor expired; in a SIF, over the group of
objects in which the root file system is: a signature of something else in the file says nothing of what would run. What this registry
made stands for what it was made of: whichever form somebody asks for, it is what was pushed that somebody has signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from roadstead.access.actor import Action, Actor
from roadstead.access.clock import Clock
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.policy import Project
from roadstead.access.public_keys import PublicKey, parse
from roadstead.access.rights import Rights
from roadstead.access.verdicts import State, Verdict
from roadstead.errors import GateRefused, InvalidManifest, NotFound, Unauthenticated
from roadstead.metadata import facts, trusted_keys
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.metadata.trusted_keys import TrustedKeyRow
from roadstead.oci import media_type as types
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.sif.facts import Facts, SignatureFacts
from roadstead.sif.forms import Form, form_of
from roadstead.sif.signatures import judge

_TOLD: Final = 5
_GENERATIONS: Final = 4
"""Of what was made of what was made: more never happens, and would be refused."""


class SignedOnly(msgspec.Struct, frozen=True):
    """The registry's `PullGate`. A pull from a project that asks for no signatures costs it two comparisons."""

    database: Database
    keys: OpenPgpKeys
    images: ImageSignatures
    clock: Clock

    async def manifest(self, actor: Actor, name: RepositoryName, manifest: ManifestRow) -> None:
        """See `PullGate.manifest`."""
        if not (manifest.only_signed_sifs or manifest.only_signed_images):
            return
        why = await self._missing(name, manifest, _GENERATIONS)
        if why is None:
            return
        signable = await self._is_signable(manifest)
        if signable and await self._may_push(actor, name, manifest):
            return
        known = await self.database.read(partial(trusted_keys.of_project, project_id=manifest.project_id))
        told = _refusal(manifest, why, known)
        # Who has not said who they are may be a signer: some clients show their credentials only when they are asked for.
        raise (
            Unauthenticated(told) if signable and actor.anonymous else GateRefused(told, trusted=[one.fingerprint for one in known[:_TOLD]])
        )

    async def blob(self, actor: Actor, name: RepositoryName, digest: Digest) -> None:
        """Lets every blob out: who knows its digest has had the manifest, or has pushed it."""

    async def _is_signable(self, row: ManifestRow) -> bool:
        """Whether it is an image that was asked for by its digest: whoever signs it has to fetch it so."""
        if not row.only_signed_images or row.tag_id is not None or _is_sif(row):
            return False
        return await self.database.read(partial(trusted_keys.made_of, manifest_id=row.manifest_id)) is None

    async def _may_push(self, actor: Actor, name: RepositoryName, row: ManifestRow) -> bool:
        project = Project(row.project_id, row.project_name, row.public)
        return not actor.anonymous and Action.PUSH in await Rights(self.database).permitted(actor, project, name)

    async def _missing(self, name: RepositoryName, row: ManifestRow, generations: int) -> str | None:
        """What keeps a manifest from going out, in a sentence."""
        source = await self.database.read(partial(trusted_keys.made_of, manifest_id=row.manifest_id))
        if source is None:
            return await self._pushed(name, row)
        found = await ManifestSelects(self.database).by_digest(name, source) if generations else None
        if found is None:
            return "What this was made of is not here any more."
        if _is_sif(row) and not _is_sif(found):
            why = await self.images.unsigned(found.project_id, found.repository_id, found.digest)
            return why and f"This SIF was made of an image by the registry, and that image has no signature that counts. {why}"
        if _is_sif(found) and found.only_signed_images and not found.only_signed_sifs:
            # What runs is an image, and nothing else has asked for a signature of it: that of the SIF is as good as one beside it.
            why = await self._unsigned(found)
            return why and await self.images.unsigned(found.project_id, found.repository_id, found.digest) and why
        return await self._missing(name, found, generations - 1)

    async def _pushed(self, name: RepositoryName, row: ManifestRow) -> str | None:
        """What keeps in what somebody has pushed."""
        if row.only_signed_sifs and _is_sif(row) and (why := await self._unsigned(row)):
            return why
        return await self.images.missing(name, row) if row.only_signed_images and not _is_sif(row, alone=True) else None

    async def _unsigned(self, row: ManifestRow) -> str | None:
        read = partial(facts.of_manifests, repository_id=row.repository_id, manifest_ids=[row.manifest_id])
        known = (await self.database.read(read)).get(row.manifest_id)
        signatures = () if known is None else msgspec.json.decode(known, type=Facts).signatures
        if not signatures:
            return "This one is not signed."
        trusted = {key.fingerprint for key in await self.database.read(partial(trusted_keys.of_project, project_id=row.project_id))}
        in_pem = [parse(pem.pem.encode()) for pem in await self.database.read(partial(trusted_keys.in_pem, project_id=row.project_id))]
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
        return " ".join(dict.fromkeys(reasons[:_TOLD]))

    async def _judged(self, one: SignatureFacts, in_pem: Sequence[PublicKey]) -> Verdict:
        return judge(one, [] if one.kind == "dsse" else await self._certificates(one.fingerprint or ""), self.clock, in_pem)

    async def _certificates(self, fingerprint: str) -> list[bytes]:
        try:
            return await self.keys.certificates(fingerprint)
        except NotFound:
            return []


def _refusal(row: ManifestRow, why: str, known: Sequence[TrustedKeyRow]) -> str:
    told = [f"{key.fingerprint} ({key.name})" for key in known[:_TOLD]] + ["…"] * (len(known) > _TOLD)
    asked = [what for what, only in (("SIFs", row.only_signed_sifs), ("images", row.only_signed_images)) if only]
    return (
        f"The project {row.project_name!r} gives out only {' and '.join(asked)} that a key which it trusts has signed. {why} "
        f"It trusts: {', '.join(told) or 'no key'}."
    )


def _is_sif(row: ManifestRow, *, alone: bool = False) -> bool:
    """Whether a manifest is that of a SIF, with no other layer if `alone`. Of an index of SIFs each is asked about when it is pulled."""
    try:
        manifest = parse_manifest(row.content, row.media_type)
    except InvalidManifest:
        return False
    if row.media_type not in types.IMAGE_TYPES or form_of(manifest) is not Form.SIF:
        return False
    return not alone or all(layer.media_type in types.SIF_LAYER_TYPES for layer in manifest.layers)
