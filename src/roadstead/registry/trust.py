"""Whose signatures a project trusts: its administrators say it, everybody who may see the project may read it.

That SIFs, or images, are given out only if one of these keys has signed them is asked at every pull by the gate of the room that reads
signatures in SIFs.
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
from roadstead.access.public_keys import parse
from roadstead.errors import Conflict, InvalidInput, NotFound, TooLarge
from roadstead.metadata import audit, projects, trusted_keys
from roadstead.metadata.database import Database
from roadstead.metadata.projects import ProjectRow
from roadstead.metadata.trusted_keys import NewTrustedKey, TrustedKeyRow
from roadstead.registry.projects import Projects

MOST_KEYS: Final = 100
"""Keys that one project may trust."""

_FINGERPRINT: Final = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})")
_LONGEST_NAME: Final = 255
_PEM: Final = "-----BEGIN "


class Trusted(msgspec.Struct, frozen=True):
    """The keys that a project trusts, and whether it gives out only those SIFs, and images, that one of them has signed."""

    only_signed_sifs: bool
    only_signed_images: bool
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

    async def add(self, actor: Actor, which: str | int, key: str, name: str = "") -> None:
        """Trust a key: one of OpenPGP that the key server has, by its fingerprint, or a public key or certificate in PEM.

        Without `name` it is called by its first user id, or by the subject of the certificate. Raises InvalidInput for what is neither,
        NotFound for a key that is not here, Conflict for one that is trusted already, TooLarge beyond 16 KiB or 100 keys.
        """
        row = await self._projects.get(actor, which, Action.CONFIGURE)
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidInput(f"The name of a key has at most {_LONGEST_NAME} characters, in one line.")
        new = _of_pem(key, name) if _PEM in key else await self._of_openpgp(_parse(key), name)

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, self._clock())
            if trusted_keys.count(connection, row.id) >= MOST_KEYS:
                raise TooLarge(f"A project trusts at most {MOST_KEYS} keys.")
            if not trusted_keys.add(connection, row.id, new, actor.account_id, self._clock()):
                raise Conflict(f"The project trusts the key {new.fingerprint} already.")
            self._audit(connection, actor, Operation.CREATE, row, f"trusts the key {new.fingerprint} ({new.name})")

        await self._database.write(work)

    async def _of_openpgp(self, wanted: str, name: str) -> NewTrustedKey:
        known = next((key for key in await self._keys.search(wanted, exact=True) if key.fingerprint.upper() == wanted), None)
        if known is None:
            raise NotFound(f"The key server has no key {wanted}. Its owner pushes it: apptainer key push {wanted}")
        return NewTrustedKey("openpgp", wanted, name or next(iter(known.user_ids), wanted)[:_LONGEST_NAME])

    async def remove(self, actor: Actor, which: str | int, fingerprint: str) -> None:
        """Trust a key no more. Raises NotFound, and Conflict for the last one while signatures are asked for."""
        row = await self._projects.get(actor, which, Action.CONFIGURE)
        wanted = _parse(fingerprint)

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, self._clock())
            if not trusted_keys.remove(connection, row.id, wanted):
                raise NotFound(f"The project does not trust a key {wanted}.")
            _require_keys(
                connection, row.id, "This is the last key: without one nothing could be pulled. Add another first, or ask for none."
            )
            self._audit(connection, actor, Operation.DELETE, row, f"trusts the key {wanted} no more")

        await self._database.write(work)

    async def require(self, actor: Actor, which: str | int, *, sifs: bool | None = None, images: bool | None = None) -> None:
        """Give out only signed SIFs, or images, from now on, or all; None leaves it as it is.

        Raises Conflict where no key is trusted that could sign such, as nothing could be pulled then.
        """
        row = await self._projects.get(actor, which, Action.CONFIGURE)
        wanted = {"only_signed_sifs": sifs, "only_signed_images": images}
        changes = {name: value for name, value in wanted.items() if value is not None}

        def work(connection: Connection) -> None:
            projects.change(connection, row.id, self._clock(), **changes)
            _require_keys(connection, row.id, "The project trusts no key, so nothing could be pulled: add one first.")
            self._audit(
                connection, actor, Operation.UPDATE, row, ", ".join(f"{name}: {str(value).lower()}" for name, value in changes.items())
            )

        if changes:
            await self._database.write(work)

    def _audit(self, connection: Connection, actor: Actor, operation: Operation, row: ProjectRow, said: str) -> None:
        now = self._clock()
        audit.add(connection, audited(actor, now, operation, ResourceType.PROJECT, row.name, project_id=row.id, detail=said))


def _trusted(connection: Connection, project_id: int) -> Trusted:
    return Trusted(*trusted_keys.asks_for(connection, project_id), trusted_keys.of_project(connection, project_id))


def _require_keys(connection: Connection, project_id: int, otherwise: str) -> None:
    """Raises Conflict, in these words, if the project asks for signatures that no key could make."""
    sifs, images = trusted_keys.asks_for(connection, project_id)
    if (sifs and not trusted_keys.count(connection, project_id)) or (
        images and not trusted_keys.count(connection, project_id, for_images=True)
    ):
        raise Conflict(f"{otherwise} For images it is a public key or a certificate." if images else otherwise)


def _of_pem(text: str, name: str) -> NewTrustedKey:
    found = parse(text.encode())
    return NewTrustedKey(found.kind, found.fingerprint, name or (found.subject or found.key_id)[:_LONGEST_NAME], found.pem)


def _parse(fingerprint: str) -> str:
    """Upper-case hexadecimal, as signatures in a SIF have it."""
    found = _FINGERPRINT.fullmatch("".join(fingerprint.split()))
    if found is None:
        raise InvalidInput(
            "The fingerprint of an OpenPGP key has 40 hexadecimal digits, that of another key 64; a short key id can be another key's too."
        )
    return found[1].upper()
