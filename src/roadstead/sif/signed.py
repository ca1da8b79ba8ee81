"""The signatures of an artifact as people see them, in its SIF and beside it: judged at this moment, with the keys of this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import msgspec

from roadstead.access.actor import Action, Actor
from roadstead.access.clock import Clock
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.public_keys import PublicKey, parse
from roadstead.errors import NotFound
from roadstead.metadata import facts, trusted_keys
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestSelects
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.oci.sif_manifest import sif_layers
from roadstead.registry.image_signatures import ImageSignature, ImageSignatures
from roadstead.registry.manifests import unknown
from roadstead.registry.repositories import Repositories
from roadstead.sif.facts import Facts, SignatureFacts
from roadstead.sif.signatures import judge

_LENGTH: Final = 40  # of a fingerprint of OpenPGP version 4, the only one that a SIF has room for


class ShownSignature(msgspec.Struct, frozen=True):
    """One signature. `state` is one of `access.verdicts.State`; `kind` is `pgp` or `dsse` of one in a SIF, None for what is neither there,
    `cosign` or `notation` of one beside it, in a manifest of its own, whose digest `manifest` is.

    `name` is what the project calls the key, if it trusts it and that is not OpenPGP's. Of OpenPGP, where the key is known, `owner` is the
    account that pushed it, and `user_ids` is what it says of its holder. `signed_at` is what the signature says, believable where that is
    valid, None where it says nothing; `reason` is why it is not valid.
    """

    state: str
    kind: str | None
    fingerprint: str | None
    owner: str | None
    user_ids: tuple[str, ...]
    signed_at: datetime | None
    reason: str | None
    name: str | None = None
    manifest: Digest | None = None


class ShownSignatures:
    """Who may pull sees them."""

    def __init__(self, database: Database, repositories: Repositories, images: ImageSignatures, keys: OpenPgpKeys, clock: Clock) -> None:
        self._database = database
        self._repositories = repositories
        self._images = images
        self._keys = keys
        self._manifests = ManifestSelects(database)
        self._clock = clock

    async def all(self, actor: Actor, name: RepositoryName, reference: Reference) -> Sequence[ShownSignature]:
        """The signatures inside an artifact's SIF, then those that cosign and notation have put beside it.

        Where it names several SIFs those inside are not told: that of one says nothing of the others. Raises ManifestUnknown, and what
        `locate` raises.
        """
        place = await self._repositories.locate(actor, name, Action.PULL)
        found = await self._manifests.find(name, reference)
        if found is None or place.repository_id is None:
            raise unknown(name, reference)
        signatures = await self._inside(place.repository_id, sif_layers(parse_manifest(found.content, found.media_type)))
        pem = partial(trusted_keys.in_pem, project_id=found.project_id)
        rows = await self._database.read(pem) if any(one.kind == "dsse" for one in signatures) else []
        keys = {parse(row.pem.encode()): row.name for row in rows}  # which remembers them
        beside = await self._images.of(found.project_id, place.repository_id, found.digest)
        return [*[await self._shown(one, keys) for one in signatures], *map(_of_image, beside)]

    async def _inside(self, repository_id: int, layers: Sequence[Descriptor]) -> Sequence[SignatureFacts]:
        if len(layers) != 1:
            return ()
        known = await self._database.read(partial(facts.of_file, repository_id=repository_id, file=layers[0].digest))
        return () if known is None else msgspec.json.decode(known, type=Facts).signatures

    async def _shown(self, signature: SignatureFacts, public_keys: Mapping[PublicKey, str]) -> ShownSignature:
        # Whoever wraps a signature in an envelope could name anybody's OpenPGP key beside it.
        handle = "" if signature.kind == "dsse" else signature.fingerprint or ""
        rows = await self._keys.search(handle, exact=True) if len(handle) == _LENGTH else []
        certificates = await self._certificates(handle) if rows else []
        verdict = await asyncio.to_thread(judge, signature, certificates, self._clock, public_keys)
        key = next((row for row in rows if row.fingerprint.upper() == verdict.fingerprint), None)
        return ShownSignature(
            state=verdict.state,
            kind=signature.kind,
            fingerprint=verdict.fingerprint,
            name=next((name for key, name in public_keys.items() if key.fingerprint == verdict.fingerprint), None),
            owner=None if key is None else key.owner,
            user_ids=() if key is None else key.user_ids,
            signed_at=verdict.signed_at,
            reason=verdict.reason,
        )

    async def _certificates(self, key: str) -> Sequence[bytes]:
        try:
            return await self._keys.certificates(key)
        except NotFound:  # removed at this moment
            return []


def _of_image(one: ImageSignature) -> ShownSignature:
    verdict = one.verdict
    return ShownSignature(
        verdict.state, one.kind, verdict.fingerprint, None, (), verdict.signed_at, verdict.reason, name=one.name, manifest=one.manifest
    )
