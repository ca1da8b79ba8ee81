"""Proving who one is, and the tokens that carry it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import SYSTEM, Action, Actor, Level, Limits, TokenScope, anonymous_from
from roadstead.access.audit import Audit, Operation, ResourceType, audited
from roadstead.access.batches import to_its_end
from roadstead.access.clock import Clock, system_clock
from roadstead.access.logins import Logins
from roadstead.access.passwords import PasswordChecker, hash_password
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.access.robots import read_permissions
from roadstead.access.secret import FOR_TOOLS, hash_secret, hint, kind_of, looks_like_secret, make_secret
from roadstead.access.signing import SigningKeys
from roadstead.access.throttle import Throttle
from roadstead.access.tokens import LIFETIME_SECONDS, Grant, Tokens, normalise
from roadstead.access.vault import Vault
from roadstead.errors import Refused, TooManyRequests, Unauthenticated
from roadstead.metadata import accounts as rows
from roadstead.metadata import audit as log
from roadstead.metadata import credentials
from roadstead.metadata.accounts import LOCAL, AccountSelects, AccountState
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import RepositorySelects
from roadstead.metadata.schema import to_microseconds
from roadstead.oci.reference import RepositoryName

ADMIN: Final = "admin"
REFRESH_LIFETIME: Final = timedelta(days=90)
_REPOSITORY_ACTIONS: Final = (Action.PULL, Action.PUSH, Action.DELETE)


class Accounts:
    """Authentication. Each method reads the present state of account and credential: what is disabled or revoked stops at once."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        *,
        create_projects_on_push: bool,
        clock: Clock = system_clock,
        audit: Audit | None = None,
        throttle: Throttle | None = None,
        logins: Logins | None = None,
    ) -> None:
        self._database = database
        self._selects = AccountSelects(database)
        self._repositories = RepositorySelects(database)
        self._rights = Rights(database)
        self._passwords = PasswordChecker()
        self._logins = logins
        self.signing_keys = SigningKeys(database, vault, clock, timedelta(seconds=LIFETIME_SECONDS) * 2)
        self._tokens = Tokens(self.signing_keys, clock)
        self._create_projects_on_push = create_projects_on_push
        self._clock = clock
        self._audit = audit or Audit(database, clock)
        self._throttle = throttle or Throttle(database, vault, clock)
        self._uses: dict[int, tuple[datetime, str]] = {}

    async def by_password(self, name: str, password: str, address: str = "") -> Actor:
        """The actor with this name and password, or secret of a credential; no name and no password is anonymous.

        Raises Unauthenticated, which never says what was wrong; TooManyRequests after many failures (see `throttle`); SourceFailed where a
        directory that knows the name, or might, does not answer; Denied for who is let in by a directory, and has no account here.
        """
        if not name and not password:
            # containers/image (podman, skopeo, apptainer) sends an empty pair where it has no credentials.
            return anonymous_from(address)
        try:
            actor, how = await self._proven(name, password, address)
        except Refused as refusal:
            # How long to wait differs from one to the next, and would keep equal entries apart.
            reason = "had to wait after failures" if isinstance(refusal, TooManyRequests) else refusal.message
            self._audit.failed_login(name, address, reason)
            raise
        self._audit.login(actor, how)
        return actor

    async def _proven(self, name: str, password: str, address: str) -> tuple[Actor, str]:
        """The actor of a name and password, and by what kind of credential."""
        if looks_like_secret(password):
            account = await self._selects.by_secret(hash_secret(password)) if kind_of(password) in FOR_TOOLS else None
            if account is None or account.name != plain_name(name):
                raise Unauthenticated("The user name or password is wrong.")
            return self._with_credential(account, address), str(kind_of(password))
        account = await self._selects.by_name(name)
        familiar = self._passwords.familiar(account, name, password) or self._familiar_there(account, name, password)
        prove = partial(self._prove, account, name, password)
        proven = await self._throttle.attempt(name, password, address, prove, familiar=familiar)
        if proven is None:
            raise Unauthenticated("The user name or password is wrong.")
        return self._actor(proven, None, address), "password" if proven.source == LOCAL else f"password of {proven.source}"

    def _familiar_there(self, account: AccountState | None, name: str, password: str) -> bool:
        return self._logins is not None and self._logins.familiar(account, name, password)

    async def _prove(self, account: AccountState | None, name: str, password: str) -> AccountState | None:
        """The account that the password opens, here or by a directory."""
        if (account is None or account.source != LOCAL) and self._logins is not None:
            account_id = await self._logins.by_password(account, name, password)
            if account_id is not None:
                return await self._selects.by_id(account_id)
        # An account that is refused, or is not there, takes as long as one of ours.
        return account if await self._passwords.check(account, name, password) else None

    async def by_token(self, token: str, address: str = "") -> Actor:
        """The actor of a bearer token, narrowed to its scope, or of a credential's secret sent as one. Raises Unauthenticated."""
        if looks_like_secret(token) and kind_of(token) in FOR_TOOLS:
            return await self._by_secret(token, address, "The token is wrong, or has been revoked.")
        claims = await self._tokens.verify(token)
        if claims.account_id is None:
            return msgspec.structs.replace(anonymous_from(address), scope=claims.scope)
        account = await self._selects.by_id(claims.account_id, claims.credential_id)
        if account is None:
            raise Unauthenticated("The account of this token is disabled or gone.")
        if account.valid_from is not None and claims.issued_at < to_microseconds(account.valid_from):
            raise Unauthenticated("The account's password has changed since this token was issued; log in again.")
        if claims.credential_id is None:
            return self._actor(account, claims.scope, address)
        return self._with_credential(account, address, claims.scope)

    async def by_refresh_token(self, secret: str, address: str = "") -> Actor:
        """The actor of a refresh token. Raises Unauthenticated."""
        wrong = "The refresh token is wrong, or has been revoked; log in again."
        if not looks_like_secret(secret) or kind_of(secret) != "refresh":
            raise Unauthenticated(wrong)
        return await self._by_secret(secret, address, wrong)

    async def _by_secret(self, secret: str, address: str, wrong: str) -> Actor:
        """The actor of a secret that says by itself whose it is. Raises Unauthenticated, `wrong` where it is nobody's."""
        account = await self._selects.by_secret(hash_secret(secret))
        try:
            if account is None:
                raise Unauthenticated(wrong)
            actor = self._with_credential(account, address)
        except Refused as refusal:
            self._audit.failed_login(account.name if account else hint(secret), address, refusal.message)
            raise
        self._audit.login(actor, str(kind_of(secret)))
        return actor

    async def by_session(self, secret: str, address: str = "") -> Actor:
        """The actor of a session that has not ended; whether it rested for too long `Sessions` knows. Raises Unauthenticated."""
        account = await self._selects.by_secret(hash_secret(secret)) if looks_like_secret(secret) else None
        if account is None or kind_of(secret) != "session":
            raise Unauthenticated("The session has ended; log in again.")
        return self._with_credential(account, address)

    def _with_credential(self, account: AccountState, address: str, scope: TokenScope | None = None) -> Actor:
        credential = account.credential
        if credential is None:
            raise Unauthenticated("The credential of this token has been revoked.")
        now = self._clock()
        if any(limit is not None and limit <= now for limit in (credential.expires_at, account.robot_expires_at)):
            raise Unauthenticated("The credential has expired; make a new one.")
        self._uses[credential.id] = (now, address)
        return self._actor(account, scope, address)

    def _actor(self, account: AccountState, scope: TokenScope | None, address: str) -> Actor:
        held = account.credential
        return Actor(
            account_id=account.id,
            name=account.name,
            is_admin=account.is_admin,
            robot=None if account.permissions is None else read_permissions(account.permissions),
            limits=Limits() if held is None else Limits(Level(held.level), held.project_ids),
            scope=scope,
            credential_id=None if held is None else held.id,
            address=address,
        )

    async def issue(self, actor: Actor, wanted: Iterable[Grant]) -> str:
        """A bearer token for those of the wanted actions that the actor may do now."""
        granted = [await self._permitted(actor, grant) for one in wanted if (grant := normalise(one)) is not None]
        return await self._tokens.issue(actor.account_id, actor.credential_id, [grant for grant in granted if grant.actions])

    async def _permitted(self, actor: Actor, grant: Grant) -> Grant:
        if grant.type == "registry" and grant.name == "catalog":
            return Grant(grant.type, grant.name, ("*",) if actor.scope is None or actor.scope.catalog else ())
        if grant.type != "repository":
            return Grant(grant.type, grant.name, ())
        name = RepositoryName(grant.name)
        place = await self._repositories.place(name)
        allowed: frozenset[Action] = frozenset()
        if place is not None:
            allowed = await self._rights.permitted(actor, Project(place.project_id, place.project_name, place.public), name)
        elif self._create_projects_on_push and Action.CREATE_PROJECTS in policy.permitted_on_system(actor):
            allowed = frozenset(Action)
        if actor.scope is not None:
            # A token is no way to a wider one.
            allowed &= {action for action in _REPOSITORY_ACTIONS if actor.scope.covers(name, action)}
        wanted = _REPOSITORY_ACTIONS if "*" in grant.actions else [one for one in _REPOSITORY_ACTIONS if one in grant.actions]
        return Grant(grant.type, grant.name, tuple(action for action in wanted if action in allowed))

    async def issue_refresh_token(self, actor: Actor, client: str) -> str | None:
        """A secret by which the client can ask for bearer tokens later; it ends with the credential in hand.

        None for the anonymous, and for who comes with a bearer token: that is narrower, and no way to a wider or longer one.
        """
        account_id = actor.account_id
        if account_id is None or actor.scope is not None:
            return None
        now, secret = self._clock(), make_secret("refresh")
        limits = actor.limits

        def work(connection: Connection) -> None:
            ends = [now + REFRESH_LIFETIME]
            if actor.credential_id is not None:
                parent = credentials.held(connection, account_id, actor.credential_id)
                if parent is None:
                    raise Unauthenticated("The credential has been revoked.")
                ends += [parent.expires_at] if parent.expires_at is not None else []
            credentials.add(
                connection,
                account_id=account_id,
                kind="refresh",
                name=client[:100],
                secret_hash=hash_secret(secret),
                hint=hint(secret),
                level=limits.level,
                project_ids=None if limits.project_ids is None else tuple(sorted(limits.project_ids)),
                expires_at=min(ends),
                now=now,
                parent_id=actor.credential_id,
            )
            resource = f"{actor.name}/{client[:100]}"
            log.add(connection, audited(actor, now, Operation.CREATE, ResourceType.TOKEN, resource, detail="refresh token"))

        await self._database.write(work)
        return secret

    async def flush_uses(self) -> None:
        """Record when and from where credentials were used since the last flush; what cannot be written is kept for the next time."""
        uses, self._uses = self._uses, {}
        if uses:
            await to_its_end(self._write_uses(uses))

    async def _write_uses(self, uses: dict[int, tuple[datetime, str]]) -> None:
        try:
            await self._database.write(lambda connection: credentials.used(connection, uses), durable=False)
        except BaseException:
            self._uses = {**uses, **self._uses}
            raise

    async def ensure_admin(self, password: str | None, now: datetime) -> str | None:
        """Make the first administrator if there is none; returns the password that was made up for it, if one was."""
        if await self._database.read(lambda connection: rows.exists(connection, ADMIN)):
            return None
        chosen = password or secrets.token_urlsafe(18)
        hashed = await asyncio.to_thread(hash_password, chosen)

        def work(connection: Connection) -> bool:
            made = rows.add(connection, ADMIN, password_hash=hashed, is_admin=True, now=now)
            if made:
                log.add(connection, audited(SYSTEM, now, Operation.CREATE, ResourceType.USER, ADMIN, detail="administrator"))
            return made

        made = await self._database.write(work)
        return chosen if made and password is None else None


def plain_name(name: str) -> str:
    """The account's name: robots may be written `robot+project+name` too, which needs no quoting in a shell."""
    return f"robot${name.removeprefix('robot+')}" if name.startswith("robot+") else name
