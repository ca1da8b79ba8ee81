"""Uploads: how bytes come in (distribution-spec, "Pushing blobs").

An upload is a row with a version; every change of it is a compare-and-swap. Who wants to write claims it first, for a while that is
renewed until the writer has ended, so that there is one writer at a time, on whichever replica; the others get OutOfOrder.

    state            event                       next state
    ──────────────────────────────────────────────────────────────
    (none)           start                       resting at 0
    resting at n     write at n                  claimed at n
    claimed at n     all or some bytes arrived   resting at n + arrived
    claimed at n     process dies                resting at n, when the claim runs out
    resting, claimed finish: digest right        (gone) content is linked
    resting, claimed finish: digest wrong        (gone)
    resting, claimed its bytes pass the quota    (gone)
    resting          cancel, or left alone       (gone)

Progress is recorded without waiting for the disk: an upload that is not finished was never promised to anybody.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.access.clock import Clock
from roadstead.content.store import ContentStore, Progress, Sealed, UploadState, Writer
from roadstead.errors import DigestMismatch, OutOfOrder, QuotaExceeded, SizeMismatch, Unavailable, UploadUnknown
from roadstead.metadata import repositories, uploads
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import PlaceRow
from roadstead.metadata.uploads import RunningRow, UploadRow
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.blobs import Blobs
from roadstead.registry.quotas import Quotas
from roadstead.registry.repositories import Repositories
from roadstead.registry.reservations import STEP, Reservation, reserve

CLAIM: Final = timedelta(seconds=30)
RENEW_SECONDS: Final = 3.0
_LIVELY: Final = timedelta(minutes=1)
_SHOWN: Final = 20


class Upload(msgspec.Struct, frozen=True):
    """An upload as its client knows it: its `token` and the `offset` (bytes) to continue at."""

    token: str
    offset: int


class Body(msgspec.Struct, frozen=True):
    """Bytes of a request: `chunks`, and what was announced of them: `length` and the offset `start` (None: not said)."""

    chunks: AsyncIterator[bytes]
    length: int | None = None
    start: int | None = None


class _Watched:
    """The writer of an upload, once there is one."""

    writer: Writer | None = None


class Uploads:
    """The verbs of an upload. All of them need the permission to push."""

    def __init__(
        self, database: Database, store: ContentStore, repositories: Repositories, blobs: Blobs, quotas: Quotas, clock: Clock
    ) -> None:
        self._database = database
        self._store = store
        self._repositories = repositories
        self._blobs = blobs
        self._quotas = quotas
        self._clock = clock

    async def start(self, actor: Actor, name: RepositoryName, algorithm: str = "sha256") -> Upload:
        """Begin an upload; `algorithm` is that of the digest it will end with, if the client says so.

        Raises QuotaExceeded where the project is full.
        """
        place = await self._repositories.locate(actor, name, Action.PUSH)
        await self._quotas.require_room(place, 1)
        progress = await self._store.begin({algorithm})
        token = secrets.token_hex(16)
        now = self._clock()

        def work(connection: Connection) -> None:
            repository_id = repositories.ensure(connection, place.project_id, name.path, now)
            uploads.add(connection, token, repository_id, actor.account_id, progress.state, now)

        await self._database.write(work, durable=False)
        return Upload(token, 0)

    async def push(self, actor: Actor, name: RepositoryName, digest: Digest, body: Body) -> None:
        """Take a whole blob at once.

        Raises DigestMismatch, SizeMismatch, QuotaExceeded and whatever `body` raises; then nothing is kept.
        """
        place = await self._repositories.locate(actor, name, Action.PUSH)
        if place.storage_limit is not None and (body.length is None or body.length > STEP):
            await self._push_reserved(actor, name, digest, body)
        else:
            await self._quotas.require_room(place, body.length or 0)
            await self._push(actor, place, name, digest, body)

    async def _push_reserved(self, actor: Actor, name: RepositoryName, digest: Digest, body: Body) -> None:
        """As an upload of which nobody knows, so that what arrives counts while it does."""
        token = (await self.start(actor, name, digest.algorithm)).token
        try:
            await self.finish(actor, name, token, digest, body)
        except BaseException:
            await _settled(self.cancel(actor, name, token))
            raise

    async def _push(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest, body: Body) -> None:
        progress = await self._store.begin({digest.algorithm})
        writer = await self._store.resume(progress.state, body.length)
        try:
            async for chunk in body.chunks:
                await writer.write(chunk)
            _require_length(body, writer.offset)
            sealed = _checked(await writer.seal({digest.algorithm}), digest)
        except BaseException:
            await _settled(writer.discard())
            raise
        try:
            await self._blobs.record(place, name, sealed, actor.account_id, lambda connection: None)
        except QuotaExceeded:
            await _settled(self._store.delete(sealed.key))
            raise

    async def status(self, actor: Actor, name: RepositoryName, token: str) -> Upload:
        """Where the upload stands. Raises UploadUnknown."""
        place = await self._repositories.locate(actor, name, Action.PUSH)
        row = await self._database.read(partial(_find, place, token))
        return Upload(row.token, row.offset)

    async def running(self, actor: Actor, name: RepositoryName) -> Sequence[RunningRow]:
        """The newest uploads to a repository that were written to within a minute, as of a few seconds ago."""
        place = await self._repositories.locate(actor, name, Action.PUSH)
        if place.repository_id is None:
            return ()
        since = self._clock() - _LIVELY
        running = partial(uploads.running, repository_id=place.repository_id, touched_since=since, limit=_SHOWN)
        return await self._database.read(running)

    async def write(self, actor: Actor, name: RepositoryName, token: str, body: Body) -> Upload:
        """Append bytes. What arrived before a fault is kept and can be continued from.

        Raises UploadUnknown, OutOfOrder (the upload is unchanged), SizeMismatch (likewise), QuotaExceeded (the upload is gone), and
        whatever `body` raises.
        """
        place, claimed = await self._claim(actor, name, token, body)
        async with self._renewed(claimed) as watched:
            writer = watched.writer = await self._resume(claimed, body)
            progress = await self._receive(writer, claimed, Reservation(self._database, place, claimed), body)
        await self._advance(claimed, progress)
        return Upload(token, progress.offset)

    async def finish(self, actor: Actor, name: RepositoryName, token: str, digest: Digest, body: Body) -> None:
        """Append what is left and make it a blob of the repository.

        Raises as `write`, and DigestMismatch, after which the upload is gone.
        """
        place, claimed = await self._claim(actor, name, token, body)
        reservation = Reservation(self._database, place, claimed)
        async with self._renewed(claimed) as watched:
            writer = watched.writer = await self._resume(claimed, body)
            sealed = await self._seal(writer, claimed, reservation, digest, body)

        def finished(connection: Connection) -> None:
            # Bytes that somebody else may be writing to are never acknowledged.
            if not uploads.remove_claimed(connection, claimed.id, claimed.version):
                raise _out_of_order(claimed)

        try:
            await self._blobs.record(place, name, sealed, actor.account_id, finished, held=reservation.held)
        except BaseException:
            # If the transaction was committed after all, the upload is gone and this changes nothing.
            await _settled(self._release(claimed))
            raise

    async def cancel(self, actor: Actor, name: RepositoryName, token: str) -> None:
        """Give an upload up. Raises UploadUnknown, and OutOfOrder while somebody writes to it."""
        _, claimed = await self._claim(actor, name, token, None)
        await self._drop(claimed, await self._resume(claimed, None))

    async def _claim(self, actor: Actor, name: RepositoryName, token: str, body: Body | None) -> tuple[PlaceRow, UploadRow]:
        """Become the upload's one writer, with room for what the body announces, if the upload stands where the body starts.

        The row carries the new version.
        """
        place = await self._repositories.locate(actor, name, Action.PUSH)
        start, announced = (None, 0) if body is None else (body.start, body.length or 0)
        now = self._clock()

        def work(connection: Connection) -> tuple[UploadRow, int | QuotaExceeded]:
            if place.repository_id is not None:
                until = now + CLAIM
                row = uploads.claim(connection, place.repository_id, token, start=start, announced=announced, until=until, now=now)
                if row is not None:
                    return row, reserve(connection, place, row, announced)
            raise _out_of_order(_find(place, token, connection))

        claimed, left = await self._database.write(work, durable=False)
        if isinstance(left, QuotaExceeded):
            await _settled(self._discard(claimed))
            raise left
        return place, claimed

    async def _discard(self, forgotten: UploadRow) -> None:
        """Drop the bytes of an upload whose row is gone."""
        await (await self._store.resume(UploadState(forgotten.state))).discard()

    async def _resume(self, claimed: UploadRow, body: Body | None) -> Writer:
        try:
            return await self._store.resume(UploadState(claimed.state), None if body is None else body.length)
        except UploadUnknown:
            await self._database.write(lambda connection: uploads.remove(connection, claimed.id), durable=False)
            raise
        except BaseException:
            await _settled(self._release(claimed))
            raise

    async def _receive(self, writer: Writer, claimed: UploadRow, reservation: Reservation, body: Body) -> Progress:
        await self._receive_all(writer, claimed, reservation, body)
        try:
            return await writer.suspend()
        except BaseException:
            await _settled(self._rest(writer, claimed))
            raise

    async def _receive_all(self, writer: Writer, claimed: UploadRow, reservation: Reservation, body: Body) -> None:
        """Write the body; on a fault save what arrived, or release the claim unchanged where the body contradicts itself."""
        try:
            async for chunk in body.chunks:
                await reservation.cover(writer.offset + len(chunk))
                await writer.write(chunk)
            await reservation.settle(writer.offset)
        except QuotaExceeded:
            await _settled(writer.discard())
            raise
        except BaseException:
            await _settled(self._rest(writer, claimed))
            raise
        try:
            _require_length(body, writer.offset - claimed.offset)
        except SizeMismatch:
            await _settled(_saved(writer))
            await _settled(self._release(claimed))
            raise

    async def _seal(self, writer: Writer, claimed: UploadRow, reservation: Reservation, digest: Digest, body: Body) -> Sealed:
        await self._receive_all(writer, claimed, reservation, body)
        try:
            return _checked(await writer.seal({digest.algorithm}), digest)
        except DigestMismatch:
            await self._drop(claimed, writer)
            raise
        except BaseException:
            await _settled(self._rest(writer, claimed))
            raise

    @asynccontextmanager
    async def _renewed(self, claimed: UploadRow) -> AsyncIterator[_Watched]:
        """Keep the claim while the block runs, however long the body stalls or the store takes, and tell how far its writer is.

        Without it a second writer could begin on the same bytes. If the claim is lost all the same, because this process stood still
        or the database was away, the block is cancelled and OutOfOrder is raised.
        """
        work, watched = asyncio.current_task(), _Watched()
        assert work is not None
        renewing = asyncio.create_task(self._renew_until_lost(claimed, work, watched), name="renew claim")
        try:
            yield watched
        except asyncio.CancelledError:
            if renewing.done() and work.uncancel() == 0:
                raise _out_of_order(claimed) from None
            raise
        finally:
            renewing.cancel()

    async def _renew_until_lost(self, claimed: UploadRow, work: asyncio.Task[object], watched: _Watched) -> None:
        kept = True
        while kept:
            await asyncio.sleep(RENEW_SECONDS)
            now, arrived = self._clock(), claimed.offset if watched.writer is None else watched.writer.offset
            renew = partial(uploads.renew, upload_id=claimed.id, version=claimed.version, until=now + CLAIM, now=now, arrived=arrived)
            with suppress(Unavailable):
                kept = await self._database.write(renew, durable=False)
        work.cancel()

    async def _rest(self, writer: Writer, claimed: UploadRow) -> None:
        """End writer and claim after a fault: what arrived is kept as far as that goes, else the upload stays where it stood."""
        await self._advance(claimed, await _saved(writer) or _standing(claimed))

    async def _advance(self, claimed: UploadRow, progress: Progress) -> None:
        now = self._clock()
        moved = await self._database.write(
            lambda connection: uploads.advance(connection, claimed.id, claimed.version, progress.offset, progress.state, now),
            durable=False,
        )
        if not moved:
            raise _out_of_order(claimed)

    async def _release(self, claimed: UploadRow) -> None:
        """Give up the claim and leave the upload where it stood."""
        await self._advance(claimed, _standing(claimed))

    async def _drop(self, claimed: UploadRow, writer: Writer) -> None:
        """Forget the upload, then its bytes."""
        await self._database.write(lambda connection: uploads.remove(connection, claimed.id), durable=False)
        await _settled(writer.discard())


async def _saved(writer: Writer) -> Progress | None:
    """End the writer; what the store could keep. The first call may tell of a failure, the second then saves what can be saved."""
    for _ in range(2):
        with suppress(Unavailable):
            return await writer.suspend()
    return None


def _standing(row: UploadRow) -> Progress:
    return Progress(UploadState(row.state), row.offset)


def _find(place: PlaceRow, token: str, connection: Connection) -> UploadRow:
    """The upload of that token in that repository. Raises UploadUnknown."""
    row = None if place.repository_id is None else uploads.find(connection, place.repository_id, token)
    if row is None:
        raise UploadUnknown
    return row


async def _settled(cleanup: object) -> None:
    """Await a clean-up to its end even if the request is cancelled meanwhile; its own failure must not hide the first one."""
    task = asyncio.ensure_future(cleanup)  # type: ignore[call-overload]
    await asyncio.shield(asyncio.wait([task]))
    if not task.cancelled():
        task.exception()


def _checked(sealed: Sealed, digest: Digest) -> Sealed:
    actual = sealed.digests[digest.algorithm]
    if actual != digest:
        raise DigestMismatch(f"The digest given is {digest!s}, but the content's is {actual!s}.", given=str(digest), actual=str(actual))
    return sealed


def _require_length(body: Body, arrived: int) -> None:
    if body.length is not None and arrived != body.length:
        raise SizeMismatch(f"{body.length} bytes were announced, but {arrived} came.", announced=body.length, received=arrived)


def _out_of_order(row: UploadRow) -> OutOfOrder:
    return OutOfOrder(offset=row.offset)
