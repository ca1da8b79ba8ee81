"""Counting pulls: in memory, written in batches, so that a pull itself writes nothing."""

from __future__ import annotations

from roadstead.access.clock import Clock
from roadstead.metadata import pulls
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow
from roadstead.metadata.pulls import Pulled, Tally


class PullCounter:
    """Counts until `flush`. What was counted since is lost when the process is killed; it is a statistic."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._counts: dict[Pulled, int] = {}

    def count(self, manifest: ManifestRow) -> None:
        """Count one pull of a manifest."""
        pulled = Pulled(manifest.repository_id, manifest.manifest_id, manifest.tag_id)
        self._counts[pulled] = self._counts.get(pulled, 0) + 1

    async def flush(self) -> None:
        """Write what was counted since the last flush, as pulls of this moment; what cannot be written is kept for the next time."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        now = self._clock()
        tallies = {pulled: Tally(count, now) for pulled, count in counts.items()}
        try:
            await self._database.write(lambda connection: pulls.add(connection, tallies), durable=False)
        except Exception:
            for pulled, count in counts.items():
                self._counts[pulled] = self._counts.get(pulled, 0) + count
            raise
