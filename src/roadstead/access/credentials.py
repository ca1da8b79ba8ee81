"""A person's own credentials for tools: the CLI secret of the profile, and personal access tokens.

Each secret is shown once, when it is made. A credential that is narrower than its account cannot make or end others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor, Level, Limits
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.secret import hash_secret, hint, make_secret
from roadstead.errors import Denied, InvalidAccount, NotFound
from roadstead.metadata import accounts, audit, credentials, projects
from roadstead.metadata.credentials import CredentialRow
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing

LONGEST: Final = timedelta(days=3650)
_NAME_LIMIT: Final = 100


class ShownToken(msgspec.Struct, frozen=True):
    """A token, and the names of the only projects that it is for, as far as they are there still; None where it is for all."""

    row: CredentialRow
    projects: tuple[str, ...] | None


class Credentials:
    """Every method is about the account `account_id`: one's own, or anybody's for administrators."""

    def __init__(self, database: Database, clock: Clock = system_clock) -> None:
        self._database = database
        self._clock = clock

    async def tokens(self, actor: Actor, account_id: int) -> list[CredentialRow]:
        """The personal access tokens that are not revoked, newest first."""
        require_owner(actor, account_id)
        return await self._database.read(lambda connection: credentials.of_account(connection, account_id, "token"))

    async def page(self, actor: Actor, account_id: int, listing: Listing) -> tuple[list[ShownToken], int]:
        """As `tokens`, a page of them with the names of what they are for, and how many there are. Raises InvalidInput."""
        require_owner(actor, account_id)

        def work(connection: Connection) -> tuple[list[ShownToken], int]:
            rows, total = credentials.page(connection, account_id, "token", listing)
            names = projects.names_of(connection, {one for row in rows for one in row.project_ids or ()})
            return [ShownToken(row, _names(row.project_ids, names)) for row in rows], total

        return await self._database.read(work)

    async def add_token(
        self,
        actor: Actor,
        account_id: int,
        name: str,
        level: Level,
        *,
        project_names: Sequence[str] | None = None,
        lifetime: timedelta | None = None,
    ) -> tuple[CredentialRow, str]:
        """Make a token; returns it and its secret. Raises InvalidAccount for a bad name, lifetime or project."""
        require_owner(actor, account_id)
        if not name.strip() or len(name) > _NAME_LIMIT:
            raise InvalidAccount(f"A token needs a name of at most {_NAME_LIMIT} characters, by which you will know it.")
        if lifetime is not None and not timedelta() < lifetime <= LONGEST:
            raise InvalidAccount(f"A token lives from a moment to {LONGEST.days} days.")
        now = self._clock()
        expires = None if lifetime is None else now + lifetime
        secret = make_secret("token")

        def work(connection: Connection) -> CredentialRow:
            ids = None if project_names is None else tuple(sorted(_project_ids(connection, project_names)))
            row = self._add(connection, account_id, "token", name, secret, level=level, project_ids=ids, expires_at=expires)
            self._audit(connection, actor, Operation.CREATE, row, _narrowness(level, project_names, expires))
            return row

        return await self._database.write(work), secret

    async def revoke(self, actor: Actor, account_id: int, credential_id: int) -> None:
        """End a token, and the refresh tokens that were given for it, at their next use. Raises NotFound."""
        require_owner(actor, account_id)
        now = self._clock()

        def work(connection: Connection) -> None:
            row = credentials.find(connection, account_id, credential_id)
            if row is None or not credentials.revoke(connection, account_id, now, credential_id=credential_id):
                raise NotFound("There is no such token.")
            self._audit(connection, actor, Operation.DELETE, row)

        await self._database.write(work)

    async def cli_secret(self, actor: Actor, account_id: int) -> CredentialRow | None:
        """The CLI secret, if one was made; not the secret itself."""
        require_owner(actor, account_id)
        return next(iter(await self._database.read(lambda connection: credentials.of_account(connection, account_id, "cli"))), None)

    async def make_cli_secret(self, actor: Actor, account_id: int) -> str:
        """Make a new CLI secret, and end the old one at once; returns the new one."""
        require_owner(actor, account_id)
        now, secret = self._clock(), make_secret("cli")

        def work(connection: Connection) -> None:
            for old in credentials.of_account(connection, account_id, "cli"):
                credentials.revoke(connection, account_id, now, credential_id=old.id)
            # It does what its account does with images; what makes and ends other credentials it does not.
            row = self._add(connection, account_id, "cli", "CLI secret", secret, level=Level.DELETE)
            self._audit(connection, actor, Operation.CREATE, row)

        await self._database.write(work)
        return secret

    def _audit(self, connection: Connection, actor: Actor, action: Operation, row: CredentialRow, detail: str | None = None) -> None:
        owner = accounts.get(connection, row.account_id)
        resource = f"{owner.name if owner else row.account_id}/{row.name}"
        audit.add(connection, audited(actor, self._clock(), action, ResourceType.TOKEN, resource, detail=detail))

    def _add(
        self,
        connection: Connection,
        account_id: int,
        kind: str,
        name: str,
        secret: str,
        *,
        level: Level,
        project_ids: tuple[int, ...] | None = None,
        expires_at: datetime | None = None,
    ) -> CredentialRow:
        owner = accounts.get(connection, account_id)
        if owner is None or owner.kind != "user":
            raise NotFound("There is no such account.")
        added = credentials.add(
            connection,
            account_id=account_id,
            kind=kind,
            name=name,
            secret_hash=hash_secret(secret),
            hint=hint(secret),
            level=level,
            project_ids=project_ids,
            expires_at=expires_at,
            now=self._clock(),
        )
        row = credentials.find(connection, account_id, added)
        assert row is not None
        return row


def require_owner(actor: Actor, account_id: int) -> None:
    """Return if the actor may make and end credentials of the account: its owner with all rights, or an administrator. Raises Denied."""
    if actor.account_id != account_id:
        policy.require_on_system(actor, Action.ADMINISTER)
    elif actor.limits != Limits() or actor.scope is not None or actor.robot is not None:
        raise Denied("Tokens are made and ended by their owner or with a token of level admin, not with a narrower one.")


def _names(ids: Sequence[int] | None, names: Mapping[int, str]) -> tuple[str, ...] | None:
    return None if ids is None else tuple(sorted(names[one] for one in ids if one in names))


def _narrowness(level: Level, project_names: Sequence[str] | None, expires: datetime | None) -> str:
    """What a new token is good for, in words for the audit log."""
    where = "all projects" if project_names is None else f"projects {', '.join(project_names) or 'none'}"
    return f"level {level}, {where}, {'for ever' if expires is None else f'until {expires:%Y-%m-%d %H:%M} UTC'}"


def _project_ids(connection: Connection, names: Sequence[str]) -> list[int]:
    ids = []
    for name in names:
        row = projects.find(connection, name)
        if row is None:
            raise InvalidAccount(f"There is no project {name!r}.")
        ids.append(row.id)
    return ids
