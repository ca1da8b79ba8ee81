"""Proving who one is, and the tokens that carry it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from datetime import datetime

from roadstead.access import policy
from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.passwords import PasswordChecker, hash_password
from roadstead.access.policy import Action
from roadstead.access.secret_key import SecretKey
from roadstead.access.tokens import Grant, Tokens, normalise
from roadstead.errors import Unauthenticated
from roadstead.metadata import accounts as rows
from roadstead.metadata.accounts import AccountRow, AccountSelects
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import RepositorySelects
from roadstead.oci.reference import RepositoryName

ADMIN = "admin"


class Accounts:
    """Authentication. Each method reads the account's present state, so that disabling one stops it at the next request."""

    def __init__(self, database: Database, secret_key: SecretKey, *, create_projects_on_push: bool) -> None:
        self._database = database
        self._accounts = AccountSelects(database)
        self._repositories = RepositorySelects(database)
        self._passwords = PasswordChecker()
        self._tokens = Tokens(secret_key)
        self._create_projects_on_push = create_projects_on_push

    async def by_password(self, name: str, password: str) -> Actor:
        """The actor with this name and password; no name and no password is anonymous.

        Raises Unauthenticated, which never says what was wrong.
        """
        if not name and not password:
            # containers/image (podman, skopeo, apptainer) sends an empty pair where it has no credentials.
            return ANONYMOUS
        account = await self._accounts.by_name(name)
        if not await self._passwords.check(account, name, password) or account is None:
            raise Unauthenticated("The user name or password is wrong.")
        return _actor(account)

    async def by_token(self, token: str) -> Actor:
        """The actor that a bearer token was issued to, narrowed to its scope. Raises Unauthenticated."""
        claims = self._tokens.verify(token)
        if claims.account_id is None:
            return Actor(None, ANONYMOUS.name, scope=claims.scope)
        account = await self._accounts.by_id(claims.account_id)
        if account is None:
            raise Unauthenticated("The account of this token is disabled or gone.")
        return Actor(account.id, account.name, account.is_admin, claims.scope)

    async def issue(self, actor: Actor, wanted: Iterable[Grant]) -> str:
        """A bearer token for those of the wanted actions that the actor may do now."""
        granted = [await self._permitted(actor, grant) for one in wanted if (grant := normalise(one)) is not None]
        return self._tokens.issue(actor.account_id, [grant for grant in granted if grant.actions])

    async def _permitted(self, actor: Actor, grant: Grant) -> Grant:
        if grant.type == "registry" and grant.name == "catalog":
            return Grant(grant.type, grant.name, ("*",))
        if grant.type != "repository":
            return Grant(grant.type, grant.name, ())
        place = await self._repositories.place(RepositoryName(grant.name))
        if place is None and not (self._create_projects_on_push and policy.may_create_projects(actor)):
            return Grant(grant.type, grant.name, ())
        public = place is not None and place.public
        wanted = tuple(Action) if "*" in grant.actions else tuple(action for action in Action if action in grant.actions)
        return Grant(grant.type, grant.name, tuple(action for action in wanted if policy.may(actor, action, public=public)))

    async def ensure_admin(self, password: str | None, now: datetime) -> str | None:
        """Make the first administrator if there is none; returns the password that was made up for it, if one was."""
        if await self._database.read(lambda connection: rows.exists(connection, ADMIN)):
            return None
        chosen = password or secrets.token_urlsafe(18)
        hashed = await asyncio.to_thread(hash_password, chosen)
        made = await self._database.write(lambda connection: rows.add(connection, ADMIN, password_hash=hashed, is_admin=True, now=now))
        return chosen if made and password is None else None


def _actor(account: AccountRow) -> Actor:
    return Actor(account.id, account.name, account.is_admin)
