"""How much a project may store: refusing what does not fit, looking it up, setting it.

What counts, and when, is said in `metadata.quotas`. A limit refuses what would make the project use more than that; one that is below what
it uses already takes nothing away.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.errors import InvalidAccount, QuotaExceeded
from roadstead.metadata import audit, projects, quota_listing, quotas
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.quota_listing import QuotaRow
from roadstead.metadata.repositories import PlaceRow
from roadstead.registry.sizes import LARGEST, UNLIMITED, human_size


class Quotas:
    """The quotas of projects. Members see that of their project, administrators see and set all."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._usage = database.hot(quotas.USAGE)
        self._rights = Rights(database)
        self._clock = clock

    async def get(self, actor: Actor, project: str) -> QuotaRow:
        """Limit and use of a project. Raises ProjectUnknown and what the policy raises."""
        row = await self._database.read(lambda connection: quota_listing.find(connection, project))
        if row is None:
            raise policy.absent(actor, project)
        await self._rights.require(actor, Action.SEE_QUOTA, Project(row.project_id, row.project, row.public))
        return row

    async def list(self, actor: Actor, listing: Listing) -> tuple[list[QuotaRow], int]:
        """Limit and use of the projects that are asked for, and how many there are, for administrators. Raises InvalidInput."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(lambda connection: quota_listing.page(connection, listing))

    async def set(self, actor: Actor, project: str, limit: int) -> None:
        """Let a project use so many bytes at most, -1: without limit; for administrators. Raises ProjectUnknown, InvalidAccount.

        A limit below what the project uses refuses pushes until it uses less.
        """
        policy.require_on_system(actor, Action.ADMINISTER)
        wanted = limit_of(limit)
        now = self._clock()

        def work(connection: Connection) -> None:
            row = quota_listing.find(connection, project)
            if row is None:
                raise policy.unknown_project(project)
            projects.change(connection, row.project_id, now, storage_limit=wanted)
            detail = f"{_written(row.limit)} to {_written(wanted)}"
            entry = audited(actor, now, Operation.UPDATE, ResourceType.QUOTA, project, project_id=row.project_id, detail=detail)
            audit.add(connection, entry)

        await self._database.write(work)

    async def require_room(self, place: PlaceRow, more: int) -> None:
        """Return if so many more bytes fit, as things stand; a look ahead that promises nothing. Raises QuotaExceeded."""
        if place.storage_limit is None:
            return
        row = await self._usage.first(project_id=place.project_id)
        assert row is not None
        used = int(row[0]) + int(row[1])
        if used + more > place.storage_limit:
            raise exceeded(place, used, more)


def limit_of(given: int) -> int | None:
    """A limit as configuration and clients write it: bytes, -1 for none. Raises InvalidAccount for anything else."""
    if given == UNLIMITED:
        return None
    if not 0 <= given <= LARGEST:
        raise InvalidAccount("A project's storage limit is a number of bytes from 0, or -1 for none.")
    return given


def _written(limit: int | None) -> str:
    return "no limit" if limit is None else f"{limit} bytes"


def charge(connection: Connection, place: PlaceRow, content_id: int, size: int, now: datetime, *, held: int = 0) -> None:
    """Count a content that was linked in this transaction, in which `held` bytes were given back. Raises QuotaExceeded. Call it last."""
    if quotas.charge(connection, place.project_id, content_id, size, now):
        require_fit(connection, place, size - held)


def charge_named(connection: Connection, place: PlaceRow, manifest_id: int, now: datetime) -> None:
    """Count what a manifest names that was recorded in this transaction. Raises QuotaExceeded. Call it last."""
    require_fit(connection, place, quotas.charge_named(connection, place.project_id, manifest_id, now))


def require_fit(connection: Connection, place: PlaceRow, more: int) -> None:
    """As `fit`, but raises the refusal."""
    if isinstance(refusal := fit(connection, place, more), QuotaExceeded):
        raise refusal


def fit(connection: Connection, place: PlaceRow, more: int) -> int | QuotaExceeded:
    """How many bytes are left, if the `more` bytes that this transaction added do not pass the limit. Call it last."""
    if place.storage_limit is None or more <= 0:
        return LARGEST
    left = quotas.room(connection, place.project_id, place.storage_limit, more)
    return left if left >= 0 else exceeded(place, place.storage_limit - left - more, more)


def exceeded(place: PlaceRow, used: int, wanted: int) -> QuotaExceeded:
    """The one sentence for what does not fit; the detail has its numbers in bytes."""
    limit = place.storage_limit or 0
    said = f"The project {place.project_name!r} uses {human_size(used)} of the {human_size(limit)} that it may use"
    needs = "is full" if wanted <= 1 else f"this needs {human_size(wanted)} more"
    return QuotaExceeded(f"{said}, and {needs}.", project=place.project_name, used=used, limit=limit, wanted=wanted)
