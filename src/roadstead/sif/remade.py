"""Content that was derived once, evicted since, and is asked for again: it is made anew, to the same bytes, while the client waits."""

from __future__ import annotations

from roadstead.access.actor import Actor
from roadstead.metadata.database import Database
from roadstead.metadata.derived import NamedRow, NamedSelects
from roadstead.metadata.manifests import ManifestRow
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.registry.blobs import Blobs
from roadstead.registry.derived import Derived
from roadstead.registry.seams import OpenBlob, SpanOf
from roadstead.sif.conversions import Conversions
from roadstead.sif.forms import Form
from roadstead.sif.wanted import Wanted


class Remade:
    """The registry's `MissingContentSource`. `blobs` has nothing plugged in, so what is still missing then is unknown."""

    def __init__(self, database: Database, derived: Derived, blobs: Blobs, conversions: Conversions) -> None:
        self._selects = NamedSelects(database)
        self._derived = derived
        self._blobs = blobs
        self._conversions = conversions

    async def manifest(self, actor: Actor, place: PlaceRow, name: RepositoryName, reference: Reference) -> ManifestRow | None:
        """None: a derived manifest lives as long as its subject."""
        return None

    async def blob(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest, span_of: SpanOf) -> OpenBlob | None:
        """The blob, if a conversion of today has made it of something that is here. Raises as `Conversions.ensure`.

        A digest that was served once is served as long as its source lives, also where the project converts no more.
        """
        if place.repository_id is None:
            return None
        for one in await self._selects.naming(place.repository_id, digest):
            wanted = self._wanted(place, name, one)
            if wanted is not None:
                await self._conversions.ensure(actor, place, await self._derived.policy(place.project_id), [wanted])
                return await self._blobs.open(actor, name, digest, span_of)
        return None

    def _wanted(self, place: PlaceRow, name: RepositoryName, row: NamedRow) -> Wanted | None:
        """What makes it again; None where that was an earlier version of the converter, or other settings."""
        several = [self._conversions.wanted(place, name, row.subject, form) for form in Form if self._conversions.converts_to(form)]
        return next((one for one in several if one.conversion == row.conversion), None)
