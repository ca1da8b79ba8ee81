"""What images need of machines and where they run, as people ask for it: by image and by search."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import msgspec

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.clock import Clock
from roadstead.errors import InvalidInput
from roadstead.metadata import compatibility as rows
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import State
from roadstead.metadata.listing import PAGE_LIMIT, Page
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.registry.manifests import unknown
from roadstead.registry.repositories import Repositories
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.compatibility.verdict import Cluster, Verdict, judge
from roadstead.sif.forms import form_of
from roadstead.sif.needs import parse_needs
from roadstead.sif.surveys import KIND, Surveys, Wanted, parts_of

KNOWN: Final = "known"
NONE: Final = "none"

_AGAIN: Final = timedelta(hours=1)


class ShownFacts(msgspec.Struct, frozen=True):
    """What is known of one image. `facts` is None as long as nobody has looked; then there are no `verdicts`.

    `state` is `known`, that of the job that looks (`waiting`, `running`, `failed`, `cancelled`), or `none`.
    """

    digest: Digest
    facts: ImageFacts | None
    verdicts: tuple[Verdict, ...]
    state: str = KNOWN


class FoundImage(msgspec.Struct, frozen=True):
    """An image that was found by what it needs."""

    repository: RepositoryName
    digest: Digest
    facts: ImageFacts


class Compatibility:
    """Who may pull an image sees its facts and verdicts; who is logged in has what is not known looked for."""

    def __init__(self, database: Database, repositories: Repositories, surveys: Surveys, clusters: Clusters, clock: Clock) -> None:
        self._database = database
        self._repositories = repositories
        self._surveys = surveys
        self._clusters = clusters
        self._manifests = ManifestSelects(database)
        self._clock = clock

    async def of(self, actor: Actor, name: RepositoryName, reference: Reference) -> Sequence[ShownFacts]:
        """The facts of an image, or of each image of an index; () for what is no image.

        Raises ManifestUnknown, and what `locate` raises.
        """
        await self._repositories.locate(actor, name, Action.PULL)
        found = await self._manifests.find(name, reference)
        if found is None:
            raise unknown(name, reference)
        images = await self._images(name, found)
        known = await self._database.read(partial(rows.of_manifests, manifest_ids=[row.manifest_id for row in images]))
        described = await self._clusters.all(actor)
        return [await self._shown(actor, name, row, known.get(row.manifest_id), described) for row in images]

    async def _images(self, name: RepositoryName, found: ManifestRow) -> list[ManifestRow]:
        manifest = parse_manifest(found.content, found.media_type)
        if form_of(manifest) is not None:
            return [found]
        several = [await self._manifests.by_digest(name, digest) for digest in parts_of(manifest)]
        return [one for one in several if one is not None and form_of(parse_manifest(one.content, one.media_type)) is not None]

    async def _shown(
        self, actor: Actor, name: RepositoryName, row: ManifestRow, known: str | None, described: Sequence[Cluster]
    ) -> ShownFacts:
        if known is None:
            return ShownFacts(row.digest, None, (), await self._look(actor, name, row))
        facts = msgspec.json.decode(known, type=ImageFacts)
        if facts.labels is None:  # it was looked at before labels were kept
            await self._look(actor, name, row)
        return ShownFacts(row.digest, facts, tuple(judge(facts, cluster) for cluster in described))

    async def _look(self, actor: Actor, name: RepositoryName, row: ManifestRow) -> str:
        """How it stands with the job that looks, which is begun unless it ended a short time ago."""
        wanted = Wanted(row.project_id, row.repository_id, str(name), str(row.digest))
        job = await self._database.read(partial(jobs.last, kind=KIND, key=wanted.key))
        if job is not None and (job.finished_at is None or job.finished_at > self._clock() - _AGAIN):
            return job.state
        if actor.anonymous:
            return NONE
        await self._database.write(partial(self._surveys.begin, wanted=wanted))
        return State.WAITING

    async def search(self, actor: Actor, text: str, page: Page | None = None) -> tuple[Sequence[FoundImage], bool]:
        """A page of the images that the actor may see and that fulfil every need of the text, and whether there is more; see `parse_needs`.

        Raises InvalidInput, and InsufficientScope as every list does.
        """
        scope, conditions, page = policy.visible_projects(actor), parse_needs(text), page or Page()
        if not 1 <= page.size <= PAGE_LIMIT or not 1 <= page.number <= 10_000:
            raise InvalidInput(f"A page has a number from 1, and from 1 to {PAGE_LIMIT} rows.")
        found, more = await self._database.read(partial(rows.find, scope=scope, conditions=conditions, page=page))
        return [FoundImage(row.repository, row.digest, msgspec.json.decode(row.facts, type=ImageFacts)) for row in found], more
