"""The job that looks into an image for what it needs: after a push, or when somebody asks for what is not known."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.clock import Clock
from roadstead.errors import ImageTooLarge, InvalidInput, NotConvertible
from roadstead.jobs.queue import Queue
from roadstead.jobs.running import Job, Kind
from roadstead.metadata import compatibility as rows
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import NewJob
from roadstead.metadata.manifests import ManifestSelects
from roadstead.oci import media_type as types
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.platform import is_attestation
from roadstead.oci.reference import RepositoryName
from roadstead.registry.seams import PushedManifest, PushFollower
from roadstead.sif import process
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.forms import Form, form_of
from roadstead.sif.inputs import Input
from roadstead.sif.labels import kept, labels_of
from roadstead.sif.makers import Stock
from roadstead.sif.needs import searched
from roadstead.sif.orders import Means, Survey

KIND: Final = "survey"
_ATTEMPTS: Final = 3
_PRIORITY: Final = -10  # Nobody waits for it: conversions go first.
_PARTS: Final = 16
"""So many images of an index are looked into."""


class Wanted(msgspec.Struct, frozen=True):
    """The image that is to be looked into: the payload of its job."""

    project_id: int
    repository_id: int
    name: str
    digest: str

    @property
    def key(self) -> str:
        """The same for all who want the same."""
        return f"{self.repository_id}:{self.digest}"

    def job(self) -> NewJob:
        """The job that looks."""
        return NewJob(KIND, msgspec.json.encode(self).decode(), self.key, self.project_id, _PRIORITY, max_attempts=_ATTEMPTS)


class Surveys:
    """Looks into images as jobs ask, in the process that conversions have."""

    def __init__(self, database: Database, stock: Stock, means: Means, queue: Queue, clock: Clock) -> None:
        self._database = database
        self._manifests = ManifestSelects(database)
        self._stock = stock
        self._means = means
        self._queue = queue
        self._clock = clock

    def kind(self) -> Kind:
        """The kind of job; one at a time, since each reads a whole image."""
        return Kind(KIND, self.work)

    def begin(self, connection: Connection, wanted: Wanted) -> int:
        """Have it looked into, in the caller's own transaction; the job's id."""
        return self._queue.enqueue(connection, wanted.job()).id

    async def work(self, job: Job) -> bool:
        """Look into what is wanted, and keep what is found; False where the image is gone."""
        wanted = msgspec.convert(job.payload, Wanted)
        row = await self._manifests.by_digest(RepositoryName(wanted.name), Digest(wanted.digest))
        if row is None or row.repository_id != wanted.repository_id:
            return False
        manifest = parse_manifest(row.content, row.media_type)
        try:
            facts = await self._survey(row.repository_id, manifest, job)
        except (NotConvertible, InvalidInput, ImageTooLarge) as reason:
            facts = ImageFacts(problem=reason.message, labels=labels_of(b"", manifest.annotations))
        text, now = msgspec.json.encode(kept(facts)).decode(), self._clock()
        await job.write(partial(rows.record, manifest_id=row.manifest_id, facts=text, searched=searched(facts), now=now))
        return True

    async def _survey(self, repository_id: int, manifest: Manifest, job: Job) -> ImageFacts:
        order, inputs = await (self._layers if form_of(manifest) is Form.OCI else self._sif)(repository_id, manifest)
        async with self._stock.store.scratch() as nothing:
            surveyed = await process.run(order, inputs, nothing, self._means, lambda _done, line: job.log(line) if line else None)
        return msgspec.structs.replace(surveyed.facts, labels=labels_of(order.configuration, manifest.annotations))

    async def _layers(self, repository_id: int, manifest: Manifest) -> tuple[Survey, list[Input]]:
        assert manifest.config is not None, "an image has one"
        configuration = await self._stock.whole(repository_id, manifest.config)
        return Survey(False, configuration), [await self._stock.input(repository_id, one) for one in manifest.layers]

    async def _sif(self, repository_id: int, manifest: Manifest) -> tuple[Survey, list[Input]]:
        sifs = [layer for layer in manifest.layers if layer.media_type in types.SIF_LAYER_TYPES]
        if len(sifs) != 1:
            raise NotConvertible(f"The artifact holds {len(sifs)} SIF files, and one alone can be looked into.")
        return Survey(True), [await self._stock.input(repository_id, sifs[0])]


def parts_of(manifest: Manifest) -> tuple[Digest, ...]:
    """The images of an index that are looked into."""
    children = [child for child in manifest.children if child.media_type in types.IMAGE_TYPES]
    known = [child for child in children if not is_attestation(child.platform, child.annotations)]
    return tuple(child.digest for child in known[:_PARTS])


class SurveyOnPush:
    """The registry's `PushFollower`: first what `other` does, then the jobs that look."""

    def __init__(self, surveys: Surveys, other: PushFollower) -> None:
        self._surveys = surveys
        self._other = other

    def tagged(self, connection: Connection, pushed: PushedManifest) -> None:
        """See `PushFollower.tagged`."""
        self._other.tagged(connection, pushed)
        is_image = form_of(pushed.manifest) is not None
        for digest in [pushed.digest] if is_image else parts_of(pushed.manifest):
            self._surveys.begin(connection, Wanted(pushed.project_id, pushed.repository_id, str(pushed.name), str(digest)))
