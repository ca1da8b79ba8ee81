"""What an upload keeps of its project's quota while its bytes arrive.

An announced length is reserved when the upload is claimed, before a byte of it is read. Where no length was announced, what has arrived is
reserved after each step, and once more at the end; a step is shorter where less than that is left, so that an upload stops at the
limit and not a step later. Nothing is reserved ahead of what is known to come, so that small uploads beside each other do not
refuse each other what in the end none of them takes.

Who is refused loses the upload: its row goes in the same transaction, and with it all that it held. If it stayed, a push that was given
up would keep others out for as long as an upload may rest. In a project without a limit nothing here asks the database.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from roadstead.errors import OutOfOrder, QuotaExceeded
from roadstead.metadata import uploads
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow
from roadstead.metadata.uploads import UploadRow
from roadstead.registry.quotas import fit

STEP: Final = 64 << 20
"""Bytes that may arrive unannounced before the next look at the quota."""


def reserve(connection: Connection, place: PlaceRow, row: UploadRow, more: int) -> int | QuotaExceeded:
    """How many bytes are left beside the `more` for which the upload counts since this transaction; if they do not fit, it is gone.

    The refusal is returned and not raised, as the transaction is to be committed. Call it last.
    """
    left = fit(connection, place, more)
    if isinstance(left, QuotaExceeded):
        uploads.remove(connection, row.id)
    return left


class Reservation:
    """Of one claimed upload, for one body. `held` is how many bytes the upload counts for."""

    def __init__(self, database: Database, place: PlaceRow, claimed: UploadRow) -> None:
        self.held = max(claimed.offset, claimed.reserved)
        self._database = database
        self._place = place
        self._claimed = claimed
        self._enough_until = self.held

    async def cover(self, offset: int) -> None:
        """Return if the upload may grow to `offset`. Raises QuotaExceeded, after which the row is gone, and OutOfOrder."""
        if offset > self._enough_until and self._place.storage_limit is not None:
            self._enough_until = offset + min(await self._hold(offset), STEP)

    async def settle(self, offset: int) -> None:
        """Let the upload count for all that has arrived. Raises as `cover`."""
        if offset > self.held and self._place.storage_limit is not None:
            await self._hold(offset)

    async def _hold(self, offset: int) -> int:
        """Count for so many bytes; returns how many are left in the project."""
        row, more = self._claimed, offset - self.held

        def work(connection: Connection) -> int | QuotaExceeded:
            if not uploads.reserve(connection, row.id, row.version, offset):
                raise OutOfOrder(offset=row.offset)
            return reserve(connection, self._place, row, more)

        left = await self._database.write(work, durable=False)
        if isinstance(left, QuotaExceeded):
            raise left
        self.held = offset
        return left
