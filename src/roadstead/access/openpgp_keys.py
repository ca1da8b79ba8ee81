"""OpenPGP keys of people: each belongs to the account that pushed it, and is there for everybody to look up.

A key is not proof of a person; that an account pushed it is what makes it that account's. So nobody pushes a key with the e-mail address of
another account, nor changes another's key; and two states of a key are merged, so that a revocation is never taken back.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec import structs
from sqlalchemy import Connection

from roadstead.access import openpgp, policy
from roadstead.access.actor import Action, Actor, Level
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.openpgp import Certificate
from roadstead.errors import Conflict, Denied, InsufficientScope, InvalidInput, NotFound, TooLarge, Unauthenticated
from roadstead.metadata import audit, openpgp_keys
from roadstead.metadata.database import Database
from roadstead.metadata.openpgp_keys import MOST_FOUND, KeyRow, KeySelects, NewKey

MOST_KEYS: Final = 100
"""Keys of one account."""

LONGEST_PAGE: Final = 256
"""Keys that a search tells of at once, as many as Apptainer asks for; one more shows that there are more."""

_HANDLE: Final = re.compile(r"(?:0x)?([0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{40}|[0-9a-f]{64})", re.IGNORECASE)
_NUMBER: Final = re.compile(r"0x([0-9a-f]{1,7}|[0-9a-f]{9,15})", re.IGNORECASE)
_SHORTEST: Final = 3
_LONGEST: Final = 200


class FoundKey(KeyRow, frozen=True):
    """A key that was searched for, and whether it has expired by now."""

    expired: bool = False


class OpenPgpKeys:
    """What everybody may see is asked for without an actor."""

    def __init__(self, database: Database, clock: Clock = system_clock) -> None:
        self._database = database
        self._clock = clock
        self._selects = KeySelects(database)

    async def push(self, actor: Actor, text: bytes) -> Certificate:
        """Record one key, armoured or binary, or a newer state of one. Returns what is recorded now.

        Raises Unauthenticated, InsufficientScope, Denied (to credentials that only read, to robots, for another's key or address),
        InvalidInput, TooLarge (also for more than `MOST_KEYS` keys), Conflict.
        """
        account_id = _require_person(actor)
        pushed = await asyncio.to_thread(openpgp.parse, text)
        return await self._database.write(lambda connection: self._record(connection, actor, account_id, pushed))

    def _record(self, connection: Connection, actor: Actor, account_id: int, pushed: Certificate) -> Certificate:
        known, now = openpgp_keys.certificate(connection, pushed.fingerprint), self._clock()
        if known is not None and known[1] != account_id:
            raise Denied("This key belongs to another account. Administrators can remove it, if that is not its holder's.")
        _require_own_addresses(connection, pushed, account_id)
        if known is None:
            if openpgp_keys.count(connection, account_id) >= MOST_KEYS:
                raise TooLarge(f"An account may have {MOST_KEYS} keys.")
            if not openpgp_keys.add(connection, _row(pushed), account_id, now):
                raise Conflict("This key is being pushed by somebody else at this moment.")
            operation = Operation.CREATE
        else:
            pushed, operation = openpgp.merge(known[2], pushed.binary), Operation.UPDATE
            openpgp_keys.replace(connection, known[0], _row(pushed), now)
        said = f"revoked: {'; '.join(pushed.user_ids)}" if pushed.revoked else "; ".join(pushed.user_ids)
        audit.add(connection, audited(actor, now, operation, ResourceType.KEY, pushed.fingerprint, detail=said))
        return pushed

    async def certificates(self, search: str) -> list[bytes]:
        """The keys, binary, of a fingerprint or key id (with or without 0x), or with a user id that contains the words: `MOST_FOUND`.

        Of a fingerprint it is the key whose own that is, if there is one, and no other that names it as a subkey.
        Raises NotFound where there is none, InvalidInput for words that are too short or too long.
        """
        if handle := _handle(search):
            found = await self._selects.certificates(handle)
        else:
            rows = await self.search(search, exact=False, limit=MOST_FOUND)
            found = await self._database.read(lambda connection: openpgp_keys.certificates(connection, [row.id for row in rows]))
        if not found:
            raise NotFound("There is no such key here.")
        return found

    async def search(self, words: str, *, exact: bool, after: int = 0, limit: int = LONGEST_PAGE) -> Sequence[FoundKey]:
        """The keys that `certificates` would find, without them, and behind the one of the id `after`. Raises InvalidInput.

        At most `limit`, and never more than `LONGEST_PAGE` and one.
        """
        limit = min(limit, LONGEST_PAGE + 1)
        if handle := _handle(words):
            rows = await self._database.read(lambda connection: openpgp_keys.find(connection, handle))
            return self._found(_behind(rows, after)[:limit])
        if not _SHORTEST <= len(words) <= _LONGEST:
            raise InvalidInput(f"Search for {_SHORTEST} to {_LONGEST} characters of a name or address, or for a key's fingerprint.")
        search = partial(openpgp_keys.search, words=words, exact=exact, after=after, limit=limit)
        return self._found(await self._database.read(search))

    def _found(self, rows: Sequence[KeyRow]) -> Sequence[FoundKey]:
        now = self._clock()
        return [FoundKey(**structs.asdict(row), expired=row.expires_at is not None and row.expires_at <= now) for row in rows]

    async def own(self, actor: Actor) -> Sequence[FoundKey]:
        """The keys that the actor's account has pushed. Raises Unauthenticated, InsufficientScope."""
        if actor.anonymous or actor.account_id is None:
            raise Unauthenticated
        if actor.scope is not None:
            raise InsufficientScope
        return self._found(await self._database.read(partial(openpgp_keys.of_account, account_id=actor.account_id)))

    async def remove(self, actor: Actor, fingerprint: str) -> None:
        """Remove a key: its owner, or an administrator. Raises NotFound, Denied, Unauthenticated.

        To those who have signatures of it, a key that is revoked says more than one that is gone.
        """

        def work(connection: Connection) -> None:
            known = openpgp_keys.certificate(connection, fingerprint.lower())
            if known is None:
                raise NotFound("There is no such key here.")
            if actor.account_id != known[1] or _narrow(actor):
                policy.require_on_system(actor, Action.ADMINISTER)
            openpgp_keys.remove(connection, known[0])
            audit.add(connection, audited(actor, self._clock(), Operation.DELETE, ResourceType.KEY, fingerprint.lower()))

        await self._database.write(work)


def _handle(search: str) -> str | None:
    """The fingerprint or key id that is searched for. Apptainer writes key ids as numbers, without the zeros at their beginning."""
    found = _HANDLE.fullmatch(search.strip())
    if found is not None:
        return found[1].lower()
    number = _NUMBER.fullmatch(search.strip())
    return None if number is None else number[1].lower().zfill(8 if len(number[1]) < 8 else 16)


def _behind(rows: Sequence[KeyRow], after: int) -> Sequence[KeyRow]:
    """Those that follow the one of that id; all, where none has it."""
    return rows[next((place for place, row in enumerate(rows, 1) if row.id == after), 0) :]


def _require_person(actor: Actor) -> int:
    """The account of somebody who may have keys."""
    if actor.anonymous:
        raise Unauthenticated
    if actor.scope is not None:
        raise InsufficientScope
    if _narrow(actor) or actor.account_id is None:
        raise Denied(
            "A key is pushed by a person, with the password or a token of level write or more, and not one for some projects only."
        )
    return actor.account_id


def _narrow(actor: Actor) -> bool:
    limits = actor.limits
    return actor.robot is not None or actor.scope is not None or limits.level is Level.READ or limits.project_ids is not None


def _require_own_addresses(connection: Connection, pushed: Certificate, account_id: int) -> None:
    taken = openpgp_keys.of_others(connection, pushed.addresses, account_id)
    if taken is not None:
        raise Denied(f"The key has a user id with the address {taken}, which belongs to another account.")


def _row(key: Certificate) -> NewKey:
    return NewKey(
        fingerprint=key.fingerprint,
        certificate=key.binary,
        algorithm=key.algorithm,
        bits=key.bits,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked=key.revoked,
        handles=key.handles,
        user_ids=key.user_ids,
    )
