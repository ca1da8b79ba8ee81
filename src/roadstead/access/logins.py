"""Logins by a password that a directory keeps, and which directory is asked for it.

* An account that is bound to a source is asked for only there, and one of our own nowhere: a password never travels to another directory.
* A name that nobody has here goes to the enabled directories in their order. The first that knows it decides: where it refuses the
  password, no other is asked.
* A directory that fails is passed over for such a name; but if none of the others lets it in, the answer is that one failed, as that
  one might have known it. For some seconds after a failure it is not asked again.

A right password is remembered for a short while, as ours are (see `passwords`): as a keyed hash, and only as long as source and account
are as they were. A password that was changed in the directory is therefore accepted for at most that while.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import structlog

from roadstead.access import source_settings
from roadstead.access.directory import Directory, No
from roadstead.access.identities import Identities
from roadstead.access.people import is_name
from roadstead.access.person import Person
from roadstead.access.source_settings import LdapSettings
from roadstead.access.vault import Vault
from roadstead.errors import SourceFailed
from roadstead.metadata import accounts
from roadstead.metadata.accounts import AccountRow, AccountState
from roadstead.metadata.database import Database
from roadstead.metadata.login_sources import SourceRow, SourceSelects

log = structlog.get_logger()

REMEMBERED_SECONDS: Final = 60.0
FAMILIAR_SECONDS: Final = 12 * 3600.0
PASSED_OVER_SECONDS: Final = 5.0
"""How long a directory that has failed is not asked again: otherwise each login would wait for its timeout."""

_REMEMBERED_LIMIT: Final = 4096
_AT_ONCE: Final = 8
_NEVER: Final[tuple[float, Any, int]] = (-math.inf, (None,), 0)


class Logins:
    """See the module's docstring."""

    def __init__(
        self, database: Database, vault: Vault, identities: Identities, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._vault = vault
        self._identities = identities
        self._sources = SourceSelects(database)
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[float, Any, int]] = OrderedDict()
        self._failed: dict[int, tuple[float, Any, SourceFailed]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def by_password(self, bound: AccountState | None, name: str, password: str) -> int | None:
        """The id of the account that a directory lets in by this name and password; None if none does.

        `bound` is the account of that name if it is one of a source. Raises SourceFailed, and Denied for who has no account here.
        """
        rows = [row for row in await self._sources.enabled() if row.kind == "ldap"]
        if not rows or not password or not is_name(name):
            return None
        holder: AccountState | AccountRow | None = bound
        if holder is None:
            holder = await self._database.read(lambda connection: accounts.in_any_case(connection, name))
        if isinstance(holder, AccountRow) and holder.disabled_at is not None:
            return None
        asked = rows if holder is None else [row for row in rows if row.name == holder.source]
        known = self._known(name, password)
        remembered = self._recall(known, [_state(row, bound) for row in asked])
        if remembered is not None:
            return remembered
        let_in = await self._ask_in_order(asked, name, password)
        if let_in is None:
            return None
        row, person = let_in
        onboarding = source_settings.decode(row.settings).onboarding
        account = await self._identities.admit(row, person, onboarding=onboarding, expected=None if holder is None else holder.id)
        self._remember(known, _state(row, bound), account.id)
        return account.id

    async def _ask_in_order(self, rows: list[SourceRow], name: str, password: str) -> tuple[SourceRow, Person] | None:
        failure: SourceFailed | None = None
        for row in rows:
            try:
                answer = await self._ask(row, name, password)
            except SourceFailed as error:
                failure = failure or error
                continue
            if isinstance(answer, Person):
                return row, answer
            if answer is No.REFUSED:
                return None
        if failure is not None:
            raise failure
        return None

    async def _ask(self, row: SourceRow, name: str, password: str) -> Person | No:
        """Ask one directory; one that has just failed is not asked."""
        settings = source_settings.decode(row.settings)
        assert isinstance(settings, LdapSettings)
        async with self._turns:
            until, state, failure = self._failed.get(row.id, (0.0, None, None))
            if failure is not None and state == row.updated_at and until > self._monotonic():
                raise failure
            try:
                return await Directory(row.name, settings, source_settings.secret_of(self._vault, row)).log_in(name, password)
            except SourceFailed as error:
                # What exactly is wrong is for the log and for `Sources.check`, and not for whoever tries a name.
                log.warning("login source failed", source=row.name, reason=error.message)
                failure = SourceFailed(f"The login source {row.name!r} does not answer; try again later.", source=row.name)
                self._failed[row.id] = (self._monotonic() + PASSED_OVER_SECONDS, row.updated_at, failure)
                raise failure from error

    def familiar(self, bound: AccountState | None, name: str, password: str) -> bool:
        """Whether a directory let this account in by `password` not long ago: it is asked again without a wait (see `throttle`)."""
        at, state, _account_id = self._remembered.get(self._known(name, password), _NEVER)
        return bound is not None and self._monotonic() - at < FAMILIAR_SECONDS and state[-1] == _account_state(bound)

    def _known(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}\0{password}".encode(), hashlib.sha256)

    def _recall(self, known: bytes, states: list[Any]) -> int | None:
        at, state, account_id = self._remembered.get(known, _NEVER)
        return account_id if self._monotonic() - at < REMEMBERED_SECONDS and state in states else None

    def _remember(self, known: bytes, state: Any, account_id: int) -> None:
        self._remembered[known] = (self._monotonic(), state, account_id)
        self._remembered.move_to_end(known)
        while len(self._remembered) > _REMEMBERED_LIMIT:
            self._remembered.popitem(last=False)


def _state(row: SourceRow, bound: AccountState | None) -> tuple[object, ...]:
    """What must not have changed since a password was right."""
    return (row.id, row.updated_at, _account_state(bound))


def _account_state(bound: AccountState | None) -> tuple[object, ...] | None:
    return None if bound is None else (bound.id, bound.valid_from)
