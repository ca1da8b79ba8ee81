"""The gate before pulls from projects that give out only SIFs which a key that they trust has signed.

What counts is a signature that is valid at this moment, by a trusted key that is neither revoked nor expired, over the group of objects
in which the root file system is: a signature of something else in the file says nothing of what would run. What this registry made
stands for what it was made of: an image that was made of a signed SIF goes out, a SIF that was made of an image has no signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from roadstead.access.actor import Actor
from roadstead.access.clock import Clock
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.public_keys import PublicKey, parse
from roadstead.access.verdicts import State, Verdict
from roadstead.errors import GateRefused, InvalidManifest, NotFound
from roadstead.metadata import facts, trusted_keys
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.oci import media_type as types
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import RepositoryName
from roadstead.sif.facts import Facts, SignatureFacts
from roadstead.sif.forms import Form, form_of
from roadstead.sif.signatures import judge

_TOLD: Final = 5
_GENERATIONS: Final = 4
"""Of what was made of what was made: more never happens, and would be refused."""


class SignedOnly(msgspec.Struct, frozen=True):
    """The registry's `PullGate`. A pull from a project that asks for no signatures costs it one comparison."""

    database: Database
    keys: OpenPgpKeys
    clock: Clock

    async def manifest(self, actor: Actor, name: RepositoryName, manifest: ManifestRow) -> None:
        """See `PullGate.manifest`."""
        if not manifest.only_signed_sifs:
            return
        why = await self._missing(name, manifest, _GENERATIONS)
        if why is not None:
            known = await self.database.read(partial(trusted_keys.of_project, project_id=manifest.project_id))
            told = [f"{key.fingerprint} ({key.name})" for key in known[:_TOLD]] + ["…"] * (len(known) > _TOLD)
            raise GateRefused(
                f"The project {manifest.project_name!r} gives out only SIFs that a key which it trusts has signed. {why} "
                f"It trusts: {', '.join(told) or 'no key'}.",
                trusted=[key.fingerprint for key in known[:_TOLD]],
            )

    async def blob(self, actor: Actor, name: RepositoryName, digest: Digest) -> None:
        """Lets every blob out: who knows its digest has had the manifest, or has pushed it."""

    async def _missing(self, name: RepositoryName, row: ManifestRow, generations: int) -> str | None:
        """What keeps a manifest from going out, in a sentence."""
        source = await self.database.read(partial(trusted_keys.made_of, manifest_id=row.manifest_id))
        if source is None:
            return await self._unsigned(row) if _is_sif(row) else None
        found = await ManifestSelects(self.database).by_digest(name, source) if generations else None
        if found is None:
            return "What this was made of is not here any more."
        if _is_sif(row) and not _is_sif(found):
            return "This SIF was made of an image by the registry, and nobody has signed it."
        return await self._missing(name, found, generations - 1)

    async def _unsigned(self, row: ManifestRow) -> str | None:
        read = partial(facts.of_manifests, repository_id=row.repository_id, manifest_ids=[row.manifest_id])
        known = (await self.database.read(read)).get(row.manifest_id)
        signatures = () if known is None else msgspec.json.decode(known, type=Facts).signatures
        if not signatures:
            return "This one is not signed."
        trusted = {key.fingerprint for key in await self.database.read(partial(trusted_keys.of_project, project_id=row.project_id))}
        in_pem = [parse(pem.encode()) for pem in await self.database.read(partial(trusted_keys.in_pem, project_id=row.project_id))]
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


def _is_sif(row: ManifestRow) -> bool:
    """Whether a manifest is that of a SIF. Of an index of SIFs each is asked about when it is pulled."""
    try:
        return row.media_type in types.IMAGE_TYPES and form_of(parse_manifest(row.content, row.media_type)) is Form.SIF
    except InvalidManifest:
        return False
