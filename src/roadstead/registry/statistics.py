"""The whole in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.metadata import growth, overview
from roadstead.metadata.database import Database
from roadstead.metadata.growth import Sample
from roadstead.metadata.overview import Counts


class Numbers(msgspec.Struct, frozen=True):
    """What the actor sees, public and not. `stored` (bytes, each content once) is for administrators, None for others."""

    public: Counts
    private: Counts
    stored: int | None


class Statistics:
    """Nothing is counted that the actor may not see."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, actor: Actor) -> Numbers:
        """Count what the actor sees."""
        scope = policy.visible_projects(actor)
        everything = Action.ADMINISTER in policy.permitted_on_system(actor)

        def work(connection: Connection) -> Numbers:
            counts = overview.counts(connection, scope)
            return Numbers(counts[True], counts[False], overview.stored(connection) if everything else None)

        return await self._database.read(work)

    async def growth(self, actor: Actor, since: datetime) -> Sequence[Sample]:
        """What was stored since then, a sample a day, for administrators."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(partial(growth.samples, since=since))
