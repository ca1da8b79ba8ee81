"""Conversions as people see and begin them, artifact by artifact."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.errors import NotConvertible
from roadstead.metadata import audit
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow, State
from roadstead.metadata.manifests import ManifestRow, ManifestSelects
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.registry.derived import Derived
from roadstead.registry.manifests import unknown
from roadstead.registry.pulls import resource
from roadstead.registry.repositories import Repositories
from roadstead.sif.conversions import Conversions
from roadstead.sif.forms import Form, written
from roadstead.sif.virtual import Asked, Part, VirtualTags
from roadstead.sif.wanted import ON_DEMAND, Wanted

CONVERTED: Final = "converted"
EVICTED: Final = "evicted"
NONE: Final = "none"


class ShownConversion(msgspec.Struct, frozen=True):
    """One image in another form. `platform` is what an index says of it, None for an image by itself.

    `state` is `converted`, with `digest` and `size` (bytes, with manifest and configuration); `evicted`, when that is made again if it is
    asked for; `none`; or that of the `job` that makes it, which is `progress` (0 to 1) far. `reason` is why that failed, or is tried again.
    """

    form: Form
    platform: str | None
    source: Digest
    state: str
    digest: Digest | None = None
    size: int | None = None
    job: int | None = None
    progress: float | None = None
    doing: str | None = None
    reason: str | None = None


class ShownConversions:
    """Who may pull sees them, who may push begins them."""

    def __init__(
        self,
        database: Database,
        repositories: Repositories,
        derived: Derived,
        conversions: Conversions,
        virtual: VirtualTags,
        clock: Clock,
    ) -> None:
        self._database = database
        self._repositories = repositories
        self._derived = derived
        self._conversions = conversions
        self._virtual = virtual
        self._manifests = ManifestSelects(database)
        self._clock = clock

    async def all(self, actor: Actor, name: RepositoryName, reference: Reference) -> Sequence[ShownConversion]:
        """How it stands with each: of an index, with those of its parts that the project converts. () for what is no image.

        Raises ManifestUnknown, and what `locate` raises.
        """
        asked, found = await self._find(actor, name, reference, Action.PULL)
        return [await self._show(part, wanted) for part, wanted in await self._convertible(asked, found)]

    async def start(self, actor: Actor, name: RepositoryName, reference: Reference) -> Sequence[ShownConversion]:
        """Begin those that are not made yet, also if they failed before. Raises NotConvertible too, where the project converts nothing."""
        asked, found = await self._find(actor, name, reference, Action.PUSH)
        several = await self._convertible(asked, found)
        if asked.policy.when == "off" or not several:
            raise NotConvertible("This project converts no images." if several else "There is nothing in this that could be converted.")
        missing = [wanted for _, wanted in several if not await self._is_whole(wanted)]
        if missing:
            await self._database.write(partial(self._begin, asked, reference, missing))
        return [await self._show(part, wanted) for part, wanted in several]

    def _begin(self, asked: Asked, reference: Reference, missing: Sequence[Wanted], connection: Connection) -> None:
        jobs = [self._conversions.begin(connection, wanted, ON_DEMAND) for wanted in missing]
        said = f"conversion begun by job {', '.join(map(str, jobs))}"
        what, project_id = resource(asked.name, reference), asked.place.project_id
        kind = ResourceType.ARTIFACT
        audit.add(connection, audited(asked.actor, self._clock(), Operation.UPDATE, kind, what, project_id=project_id, detail=said))

    async def _find(self, actor: Actor, name: RepositoryName, reference: Reference, action: Action) -> tuple[Asked, ManifestRow]:
        place = await self._repositories.locate(actor, name, action)
        found = await self._manifests.find(name, reference)
        if found is None or place.repository_id is None:
            raise unknown(name, reference)
        return Asked(actor, place, name, await self._derived.policy(place.project_id)), found

    async def _convertible(self, asked: Asked, found: ManifestRow) -> list[tuple[Part, Wanted]]:
        manifest = parse_manifest(found.content, found.media_type)
        several: list[tuple[Part, Wanted]] = []
        for form in Form:
            if not self._conversions.converts_to(form):
                continue
            try:
                parts = await self._virtual.parts(asked, found, manifest, form)
            except NotConvertible:
                continue  # an index without one of the project's platforms
            several += [(part, part.wanted) for part in parts if part.wanted is not None]
        return several

    async def _is_whole(self, wanted: Wanted) -> bool:
        found = await self._derived.find(wanted.repository_id, wanted.digest, wanted.conversion)
        return found is not None and found.whole

    async def _show(self, part: Part, wanted: Wanted) -> ShownConversion:
        made = await self._derived.find(wanted.repository_id, wanted.digest, wanted.conversion)
        row = None if made is None else await self._manifests.by_digest(wanted.repository, made.digest)
        shown = ShownConversion(wanted.form, written(part.named.platform or {}) or None, wanted.digest, NONE)
        if made is not None and row is not None:
            state = CONVERTED if made.whole else EVICTED
            shown = msgspec.structs.replace(shown, state=state, digest=made.digest, size=_size(row))
        if made is not None and made.whole:
            return shown
        return _with_job(shown, await self._conversions.last(wanted))


def _size(row: ManifestRow) -> int:
    return len(row.content) + sum(blob.size for blob in parse_manifest(row.content, row.media_type).blobs())


def _with_job(shown: ShownConversion, job: JobRow | None) -> ShownConversion:
    """What the newest job says. One that has succeeded made what is evicted or deleted now, and says nothing."""
    if job is None or job.state == State.SUCCEEDED:
        return shown
    said = {"state": job.state, "job": job.id, "progress": job.fraction, "doing": job.doing, "reason": job.reason}
    return msgspec.structs.replace(shown, **said)
