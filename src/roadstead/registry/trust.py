"""Whose signatures a project trusts: its administrators say it, everybody who may see the project may read it.

That SIFs are given out only if one of these keys has signed them is asked at every pull by the gate of the room that reads signatures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.errors import Conflict, InvalidInput, NotFound, TooLarge
from roadstead.metadata import audit, projects, trusted_keys
from roadstead.metadata.database import Database
from roadstead.metadata.projects import ProjectRow
from roadstead.metadata.trusted_keys import TrustedKeyRow
from roadstead.registry.projects import Projects

MOST_KEYS: Final = 100
"""Keys that one project may trust."""

_FINGERPRINT: Final = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{40})")
_LONGEST_NAME: Final = 255


class Trusted(msgspec.Struct, frozen=True):
    """The keys that a project trusts, and whether it gives out only those SIFs that one of them has signed."""

    only_signed_sifs: bool
    keys: Sequence[TrustedKeyRow]


class Trust:
    """Keys are named by their fingerprints; the key server has them, and says whether they are revoked or expired."""

    def __init__(self, database: Database, projects: Projects, clock: Clock) -> None:
        self._database = database
        self._projects = projects
        self._keys = OpenPgpKeys(database, clock)
        self._clock = clock

    async def of_project(self, actor: Actor, which: str | int) -> Trusted:
        """What a project trusts. Raises ProjectUnknown and what the policy raises."""
        row = await self._projects.get(actor, which)
        return await self._database.read(partial(_trusted, project_id=row.id))

    async def add(self, actor: Actor, which: str | int, fingerprint: str, name: str = "") -> None:
        """Trust an OpenPGP key that the key server has; without `name` it is called by its first user id.

        Raises InvalidInput for what is no fingerprint, NotFound for a key that is not here, Conflict for one that is trusted already,
        TooLarge beyond 100 keys.
        """
        row = await self._projects.get(actor, which, Action.CONFIGURE)
        wanted = _parse(fingerprint)
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidInput(f"The name of a key has at most {_LONGEST_NAME} characters, in one line.")
        known = next((key for key in await self._keys.search(wanted, exact=True) if key.fingerprint.upper() == wanted), None)
        if known is None:
            raise NotFound(f"The key server has no key {wanted}. Its owner pushes it: apptainer key push {wanted}")
        called = name or next(iter(known.user_ids), wanted)[:_LONGEST_NAME]

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, self._clock())
            if trusted_keys.count(connection, row.id) >= MOST_KEYS:
                raise TooLarge(f"A project trusts at most {MOST_KEYS} keys.")
            if not trusted_keys.add(connection, row.id, "openpgp", wanted, called, actor.account_id, self._clock()):
                raise Conflict(f"The project trusts the key {wanted} already.")
            self._audit(connection, actor, Operation.CREATE, row, f"trusts the key {wanted} ({called})")

        await self._database.write(work)

    async def remove(self, actor: Actor, which: str | int, fingerprint: str) -> None:
        """Trust a key no more. Raises NotFound, and Conflict for the last one while signatures are asked for."""
        row = await self._projects.get(actor, which, Action.CONFIGURE)
        wanted = _parse(fingerprint)

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, self._clock())
            if not trusted_keys.remove(connection, row.id, wanted):
                raise NotFound(f"The project does not trust a key {wanted}.")
            if trusted_keys.asks_for_sifs(connection, row.id) and not trusted_keys.count(connection, row.id):
                raise Conflict("This is the last key: without one nothing could be pulled. Add another first, or ask for no signatures.")
            self._audit(connection, actor, Operation.DELETE, row, f"trusts the key {wanted} no more")

        await self._database.write(work)

    async def require(self, actor: Actor, which: str | int, *, sifs: bool) -> None:
        """Give out only signed SIFs from now on, or all. Raises Conflict where no key is trusted, as nothing could be pulled then."""
        row = await self._projects.get(actor, which, Action.CONFIGURE)

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, self._clock(), only_signed_sifs=sifs)
            if sifs and not trusted_keys.count(connection, row.id):
                raise Conflict("The project trusts no key, so nothing could be pulled: add one first.")
            self._audit(connection, actor, Operation.UPDATE, row, f"only_signed_sifs: {str(sifs).lower()}")

        await self._database.write(work)

    def _audit(self, connection: Connection, actor: Actor, operation: Operation, row: ProjectRow, said: str) -> None:
        now = self._clock()
        audit.add(connection, audited(actor, now, operation, ResourceType.PROJECT, row.name, project_id=row.id, detail=said))


def _trusted(connection: Connection, project_id: int) -> Trusted:
    return Trusted(trusted_keys.asks_for_sifs(connection, project_id), trusted_keys.of_project(connection, project_id))


def _parse(fingerprint: str) -> str:
    """Upper-case hexadecimal, as signatures in a SIF have it."""
    found = _FINGERPRINT.fullmatch("".join(fingerprint.split()))
    if found is None:
        raise InvalidInput("The fingerprint of an OpenPGP key has 40 hexadecimal digits; a short key id can be another key's too.")
    return found[1].upper()
