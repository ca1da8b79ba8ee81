"""Uploads that nobody continues expire (distribution-spec, "Cancel a blob upload": stale uploads time out)."""

from __future__ import annotations

from typing import Final

from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore, UploadState
from roadstead.errors import UploadUnknown
from roadstead.metadata import uploads
from roadstead.metadata.database import Database
from roadstead.registry.rules import Rules

_BATCH: Final = 100


async def expire_uploads(database: Database, store: ContentStore, rules: Rules, clock: Clock) -> int:
    """Remove uploads that have rested longer than their lifetime: the row first, then the bytes. Returns how many."""
    since = clock() - rules.upload_lifetime
    expired = 0
    while rows := await database.read(lambda connection: uploads.stale(connection, since, _BATCH)):
        for row in rows:
            if await database.write(lambda connection, row=row: uploads.remove_stale(connection, row, since)):  # type: ignore[misc]
                await _discard(store, UploadState(row.state))
                expired += 1
    return expired


async def _discard(store: ContentStore, state: UploadState) -> None:
    try:
        writer = await store.resume(state)
    except UploadUnknown:
        return
    await writer.discard()
