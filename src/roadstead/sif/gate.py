"""The gate before a push: a SIF is looked into before a manifest that names it is recorded, and what it says of itself is kept."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from roadstead.access.actor import Actor
from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore
from roadstead.errors import InvalidManifest, InvalidSif
from roadstead.metadata import facts as fact_rows
from roadstead.metadata.contents import BlobRow, BlobSelects
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.manifest import Manifest
from roadstead.oci.media_type import SIF_LAYER_TYPES
from roadstead.oci.reference import RepositoryName
from roadstead.registry.blobs import require_here
from roadstead.sif.facts import VERSION, Facts, read_facts
from roadstead.sif.inputs import stored_input
from roadstead.sif.signatures import check_signatures

MOST_SIFS: Final = 64
"""So many SIFs may one manifest name: each of them is read while the client waits."""


class SifGate:
    """A `registry.seams.PushGate`. A manifest that names no SIF costs a look at its media types.

    A content is read once: its facts are kept, and asked for when it is pushed again, unless an earlier program has read them. With
    `accept_damaged` a file that is no sound SIF is let in, and what is wrong with it is kept as a fact.
    """

    def __init__(self, database: Database, store: ContentStore, clock: Clock, *, accept_damaged: bool = False) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._accept_damaged = accept_damaged
        self._blobs = BlobSelects(database)

    async def check(self, actor: Actor, place: PlaceRow, name: RepositoryName, manifest: Manifest, content: bytes) -> None:
        """Return to let it in. Raises InvalidSif with what is wrong with a SIF, and InvalidManifest for one of another size than it says.

        What is not in the repository is passed over: whether it may be missing is decided by who records the manifest.
        """
        if place.repository_id is not None:
            await self.examine(place.repository_id, manifest)

    async def examine(self, repository_id: int, manifest: Manifest) -> None:
        """Look into the SIFs that a manifest names, and keep what they say. Raises as `check`."""
        layers = [layer for layer in manifest.layers if layer.media_type in SIF_LAYER_TYPES]
        if len(layers) > MOST_SIFS:
            raise InvalidManifest(f"The manifest names {len(layers)} SIF images; at most {MOST_SIFS} are taken in one.")
        for layer in layers:
            blob = await self._blobs.find(repository_id, layer.digest)
            if blob is not None:
                await self._check(layer, blob)

    async def _check(self, layer: Descriptor, blob: BlobRow) -> None:
        if layer.size != blob.size:
            raise InvalidManifest(f"The manifest says that {layer.digest} has {layer.size} bytes; it has {blob.size}.")
        known = await self._database.read(partial(fact_rows.find, content_id=blob.content_id))
        kept = None if known is None else msgspec.json.decode(known, type=Facts)
        facts = kept if kept is not None and kept.version == VERSION else await self._read(blob)
        if facts.damaged is not None and not self._accept_damaged:
            raise InvalidSif(facts.damaged)
        if facts is not kept:
            text = msgspec.json.encode(msgspec.structs.replace(facts, version=VERSION)).decode()
            # Not durable: what is lost is read again.
            await self._database.write(partial(fact_rows.record, content_id=blob.content_id, facts=text, now=self._clock()), durable=False)

    async def _read(self, blob: BlobRow) -> Facts:
        """The facts of a content. One that is damaged says so; its manifest is judged by who asked."""
        require_here(blob, self._store, "the image")
        read = stored_input(self._store, blob.key, blob.size).read
        try:
            facts = await read_facts(read, blob.size)
        except InvalidSif as reason:
            return Facts(size=blob.size, damaged=reason.message)
        if not facts.signatures:
            return facts
        return msgspec.structs.replace(facts, signatures=await check_signatures(read, blob.size))
