"""Counting pulls: in memory, written in batches with their entries in the audit log, so that a pull itself writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Actor
from roadstead.access.audit import SEVERAL, Operation, ResourceType, audited
from roadstead.access.batches import to_its_end
from roadstead.access.clock import Clock
from roadstead.metadata import audit, pulls
from roadstead.metadata.audit import NewAudit
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow
from roadstead.metadata.pulls import Pulled, Tally
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName

_DISTINCT: Final = 10_000
_OTHERS: Final = Actor(None, SEVERAL, address=SEVERAL)

_Key = tuple[int, int | None, int | None, str]


class _Pulls(msgspec.Struct):
    """The pulls of one manifest, or by one tag, by one account from one address."""

    pulled: Pulled
    project_id: int
    actor: Actor
    resource: str
    count: int = 0


class PullCounter:
    """Counts until `flush`. What was counted since is lost when the process is killed.

    Beyond `_DISTINCT` combinations of manifest, account and address in one batch, accounts and addresses are not told apart any more.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._pulls: dict[_Key, _Pulls] = {}

    def count(self, actor: Actor, name: RepositoryName, reference: Reference, manifest: ManifestRow) -> None:
        """Count one pull of a manifest."""
        found = self._pulls.get((manifest.manifest_id, manifest.tag_id, actor.account_id, actor.address))
        if found is None:
            found = self._begin(actor, name, reference, manifest)
        found.count += 1

    def _begin(self, actor: Actor, name: RepositoryName, reference: Reference, manifest: ManifestRow) -> _Pulls:
        pulled = Pulled(manifest.repository_id, manifest.manifest_id, manifest.tag_id)
        who = actor if len(self._pulls) < _DISTINCT else _OTHERS
        return self._pulls.setdefault(_key(pulled, who), _Pulls(pulled, manifest.project_id, who, resource(name, reference)))

    async def flush(self) -> None:
        """Write what was counted since the last flush, as pulls of this moment; what cannot be written is kept for the next time."""
        counted, self._pulls = self._pulls, {}
        if counted:
            await to_its_end(self._write(counted.values()))

    async def _write(self, counted: Iterable[_Pulls]) -> None:
        now = self._clock()
        tallies = _tallies(counted, now)
        entries = [_entry(one, now) for one in counted]
        try:
            await self._database.write(lambda connection: _record(connection, tallies, entries), durable=False)
        except BaseException:
            for one in counted:
                self._pulls.setdefault(_key(one.pulled, one.actor), msgspec.structs.replace(one, count=0)).count += one.count
            raise


def _record(connection: Connection, tallies: Mapping[Pulled, Tally], entries: Iterable[NewAudit]) -> None:
    pulls.add(connection, tallies)
    audit.add(connection, *entries)


def _key(pulled: Pulled, actor: Actor) -> _Key:
    return pulled.manifest_id, pulled.tag_id, actor.account_id, actor.address


def _tallies(counted: Iterable[_Pulls], now: datetime) -> dict[Pulled, Tally]:
    counts: dict[Pulled, int] = {}
    for one in counted:
        counts[one.pulled] = counts.get(one.pulled, 0) + one.count
    return {pulled: Tally(count, now) for pulled, count in counts.items()}


def _entry(one: _Pulls, now: datetime) -> NewAudit:
    return audited(one.actor, now, Operation.PULL, ResourceType.ARTIFACT, one.resource, project_id=one.project_id, amount=one.count)


def resource(name: RepositoryName, reference: Reference) -> str:
    """How the audit log names a manifest: as `docker pull` would."""
    return f"{name}@{reference}" if isinstance(reference, Digest) else f"{name}:{reference}"
