"""Browser sessions: credentials of kind `session`, whose secret is in a cookie, and which do whatever their account may do.

A session ends when nobody used it for a while, at a set time after the login, by logging out here or elsewhere, when its account is
disabled or removed, and with a password change that ends sessions. All of that is read at each request, so it holds at once everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from roadstead.access.accounts import Accounts
from roadstead.access.actor import Actor, Level
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.configuration import Configuration, Values
from roadstead.access.credentials import require_owner
from roadstead.access.secret import hash_secret, hint, kind_of, looks_like_secret, make_secret
from roadstead.errors import Denied, NotFound, Unauthenticated
from roadstead.metadata import accounts, audit, credentials
from roadstead.metadata.credentials import CredentialRow
from roadstead.metadata.database import Database

KIND: Final = "session"
MOST: Final = 50
"""Sessions of one account; a further login ends the oldest."""

_CLIENT_LIMIT: Final = 200
_KEPT: Final = timedelta(days=1)
_CSRF: Final = b"token against forged requests"


class Sessions:
    """See the module's docstring. Who lists or ends sessions does so for their own account, or as an administrator for any."""

    def __init__(self, database: Database, accounts: Accounts, configuration: Configuration, clock: Clock = system_clock) -> None:
        self._database = database
        self._accounts = accounts
        self._configuration = configuration
        self._clock = clock

    async def open(self, actor: Actor, client: str) -> str:
        """Begin a session for somebody who has just proved who they are; returns its secret. `client` is what the browser calls itself.

        Raises Denied for the anonymous, for robots, and where a token was used in place of the password: a session is more than that.
        """
        account_id = actor.account_id
        if account_id is None or actor.credential_id is not None or actor.robot is not None or actor.scope is not None:
            raise Denied("A browser's session begins with the account's password, not with a token or as a robot.")
        now, secret = self._clock(), make_secret(KIND)
        ends = now + timedelta(minutes=(await self._configuration.present()).session_lifetime)

        def work(connection: Connection) -> None:
            for old in credentials.of_account(connection, account_id, KIND)[MOST - 1 :]:
                credentials.revoke(connection, account_id, now, credential_id=old.id)
            added = credentials.add(
                connection,
                account_id=account_id,
                kind=KIND,
                name=client[:_CLIENT_LIMIT],
                secret_hash=hash_secret(secret),
                hint=hint(secret),
                level=Level.ADMIN,
                project_ids=None,
                expires_at=ends,
                now=now,
            )
            credentials.used(connection, {added: (now, actor.address)})
            audit.add(connection, audited(actor, now, Operation.CREATE, ResourceType.SESSION, actor.name, detail=client[:_CLIENT_LIMIT]))

        await self._database.write(work)
        return secret

    async def find(self, secret: str, address: str = "") -> Actor:
        """The actor of a session, which this counts as used. Raises Unauthenticated if it has ended."""
        row = await self._row(secret)
        if row is None or not _lives(row, await self._configuration.present(), self._clock()):
            raise Unauthenticated("The session has ended; log in again.")
        return await self._accounts.by_session(secret, address)

    async def list(self, actor: Actor, account_id: int) -> list[CredentialRow]:
        """The sessions that have not ended, newest first: with what browser (`name`), the last use, and from where."""
        require_owner(actor, account_id)
        values, now = await self._configuration.present(), self._clock()
        rows = await self._database.read(lambda connection: credentials.of_account(connection, account_id, KIND))
        return [row for row in rows if _lives(row, values, now)]

    async def end(self, actor: Actor, account_id: int, session_id: int) -> None:
        """End one session at its next request. Raises NotFound."""
        require_owner(actor, account_id)
        now = self._clock()

        def work(connection: Connection) -> None:
            row = credentials.held(connection, account_id, session_id)
            if row is None or row.kind != KIND:
                raise NotFound("There is no such session.")
            credentials.revoke(connection, account_id, now, credential_id=session_id)
            self._audit_end(connection, actor, account_id, f"session {session_id}")

        await self._database.write(work)

    async def end_all(self, actor: Actor, account_id: int) -> int:
        """End every session of the account, the one in use among them; returns how many."""
        require_owner(actor, account_id)
        now = self._clock()

        def work(connection: Connection) -> int:
            ended = credentials.revoke(connection, account_id, now, kind=KIND)
            if ended:
                self._audit_end(connection, actor, account_id, "all sessions")
            return ended

        return await self._database.write(work)

    async def close(self, secret: str, address: str = "") -> None:
        """End the session with this secret: who has the secret may. Nothing happens if it has ended already."""
        row, now = await self._row(secret), self._clock()
        if row is None:
            return
        ended = row

        def work(connection: Connection) -> None:
            account = accounts.get(connection, ended.account_id)
            if credentials.revoke(connection, ended.account_id, now, credential_id=ended.id) and account is not None:
                whose = Actor(account.id, account.name, address=address)
                audit.add(connection, audited(whose, now, Operation.LOGOUT, ResourceType.SESSION, account.name))

        await self._database.write(work)

    async def purge(self) -> int:
        """Remove the rows of sessions that ended a day ago or earlier; returns how many."""
        before = self._clock() - _KEPT
        return await self._database.write(lambda connection: credentials.purge(connection, KIND, before), durable=False)

    def _audit_end(self, connection: Connection, actor: Actor, account_id: int, what: str) -> None:
        account = accounts.get(connection, account_id)
        name = str(account_id) if account is None else account.name
        audit.add(connection, audited(actor, self._clock(), Operation.DELETE, ResourceType.SESSION, name, detail=what))

    async def _row(self, secret: str) -> CredentialRow | None:
        if not looks_like_secret(secret) or kind_of(secret) != KIND:
            return None
        return await self._database.read(lambda connection: credentials.by_hash(connection, hash_secret(secret)))


def _lives(row: CredentialRow, values: Values, now: datetime) -> bool:
    """Whether a session has ended neither by rest nor by age; by what the configuration says now, if that is shorter than at its login."""
    rested = now - (row.last_used_at or row.created_at)
    age = now - row.created_at
    in_time = row.expires_at is None or now < row.expires_at
    return in_time and rested < timedelta(minutes=values.session_timeout) and age < timedelta(minutes=values.session_lifetime)


def csrf_token(secret: str) -> str:
    """What a page of this session sends with each request that changes something; another site can neither read nor guess it.

    It follows from the session's secret, so nothing is stored, it ends with the session, and it tells nothing of the secret.
    """
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), _CSRF, hashlib.sha256)).decode().rstrip("=")


def is_csrf_token(given: str, secret: str) -> bool:
    """Whether this is the session's token; compared in constant time."""
    return hmac.compare_digest(given.encode(), csrf_token(secret).encode())
