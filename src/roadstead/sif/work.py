"""The job that converts an image."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from roadstead.errors import ManifestUnknown, NotConvertible, Unavailable
from roadstead.jobs.running import Job, Kind
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.metadata.repositories import PlaceRow, RepositorySelects
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.registry.derived import Derived
from roadstead.sif.forms import Form
from roadstead.sif.makers import Maker, Source
from roadstead.sif.wanted import KIND, Result, Wanted

Examine = Callable[[int, Manifest], Awaitable[object]]
"""Looks into what was made, the manifest of a repository (by its id): what a SIF says of itself is known of ours too."""


class Workshop:
    """Converts images as jobs ask. What a job did before it was broken off costs time, and changes nothing."""

    def __init__(
        self,
        database: Database,
        derived: Derived,
        makers: Mapping[Form, Maker],
        made: Callable[[], Awaitable[object]],
        examine: Examine | None = None,
    ) -> None:
        self._places = RepositorySelects(database)
        self._manifests = ManifestSelects(database)
        self._derived = derived
        self._makers = makers
        self._made = made
        self._examine = examine

    def kind(self, at_once: int) -> Kind:
        """The kind of job, of which so many run at once over all workers, and one of a project."""
        return Kind(KIND, self.convert, at_once=at_once, at_once_per_project=1)

    async def convert(self, job: Job) -> Result:
        """Make what is wanted, or share it, and record it. Raises what is wrong with the image, and Unavailable."""
        wanted = msgspec.convert(job.payload, Wanted)
        maker = self._maker(wanted)
        place, row = await self._find(wanted)
        shared = await self._derived.share(place, wanted.repository, wanted.digest, wanted.conversion)
        if shared is not None:
            job.log("It had been made before, and is shared.")
            return Result(str(shared), True)
        digest = await self._make(job, wanted, maker, place, row)
        await self._made()
        return Result(str(digest), False)

    def _maker(self, wanted: Wanted) -> Maker:
        maker = self._makers.get(wanted.form)
        if maker is None:
            raise NotConvertible
        if maker.identity(wanted.digest) != wanted.conversion:
            raise Unavailable(f"This worker converts by {maker.identity(wanted.digest)!r}, and {wanted.conversion!r} is asked for.")
        return maker

    async def _find(self, wanted: Wanted) -> tuple[PlaceRow, ManifestRow]:
        place = await self._places.place(wanted.repository)
        row = await self._manifests.by_digest(wanted.repository, wanted.digest)
        if place is None or row is None or place.repository_id != wanted.repository_id:
            raise ManifestUnknown(f"The image {wanted.source} is not in {wanted.name} any more.")
        return place, row

    async def _make(self, job: Job, wanted: Wanted, maker: Maker, place: PlaceRow, row: ManifestRow) -> Digest:
        subject = Descriptor(row.media_type, row.digest, len(row.content))
        source = Source(wanted.repository_id, subject, parse_manifest(row.content, row.media_type))
        job.log(f"Converting {wanted.name}@{wanted.source} to {wanted.form.upper()}.")
        made = await maker.make(source, partial(_tell, job))
        digest = await self._derived.record(place, wanted.repository, wanted.digest, wanted.conversion, made.manifest, made.blobs)
        if self._examine is not None:
            await self._examine(wanted.repository_id, parse_manifest(made.manifest, None))
        job.log(f"Made {digest}.")
        return digest


def _tell(job: Job, fraction: float | None, line: str) -> None:
    if line:
        job.log(line)
    if fraction is not None:
        job.progress(fraction, "converting")
