"""Accounts of people: made, changed and ended by administrators; everybody sees and changes some of their own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import Action, Actor, Limits
from roadstead.access.audit import Audit, Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.passwords import PasswordChecker, hash_password, require_good_password
from roadstead.access.throttle import Throttle
from roadstead.errors import Conflict, Denied, InvalidAccount, NotFound, Unauthenticated
from roadstead.metadata import accounts, audit, credentials, groups, identities
from roadstead.metadata.accounts import LOCAL, AccountRow, AccountSelects
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match

_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._@-]{0,98}[a-zA-Z0-9])?")
_LONGEST: Final = 255
_RESERVED: Final = frozenset({"anonymous", "system", "robot"})


def is_name(name: str) -> bool:
    """Whether a person's account may be called so."""
    return _NAME.fullmatch(name) is not None and name.casefold() not in _RESERVED


class People:
    """See the module's docstring. Every change by an administrator; `set_password` by the account's own holder too."""

    def __init__(
        self, database: Database, clock: Clock = system_clock, throttle: Throttle | None = None, audit: Audit | None = None
    ) -> None:
        self._database = database
        self._selects = AccountSelects(database)
        self._passwords = PasswordChecker()
        self._throttle = throttle
        self._audit = audit or Audit(database, clock)
        self._clock = clock

    async def add(
        self,
        actor: Actor,
        name: str,
        password: str,
        *,
        is_admin: bool = False,
        email: str | None = None,
        real_name: str | None = None,
        comment: str | None = None,
    ) -> AccountRow:
        """Make an account. Raises InvalidAccount, Conflict where the name is taken."""
        policy.require_on_system(actor, Action.ADMINISTER)
        if not is_name(name):
            raise InvalidAccount(
                "An account's name is letters and digits, with '.', '_', '@' or '-' inside, at most 100, and not a reserved word."
            )
        require_good_password(password, name)
        hashed = await asyncio.to_thread(hash_password, password)
        now = self._clock()

        def work(connection: Connection) -> AccountRow:
            # Directories do not tell the cases apart, so "Ada" and "ada" would be one person there.
            added = accounts.in_any_case(connection, name) is None and accounts.add(
                connection,
                name,
                password_hash=hashed,
                is_admin=is_admin,
                now=now,
                email=email,
                real_name=real_name,
                comment=comment,
            )
            row = accounts.find(connection, name) if added else None
            if row is None:
                raise Conflict(f"There is an account {name!r} already.")
            detail = "administrator" if is_admin else None
            audit.add(connection, audited(actor, now, Operation.CREATE, ResourceType.USER, name, detail=detail))
            return row

        return await self._database.write(work)

    async def list(self, actor: Actor) -> list[AccountRow]:
        """Every account of a person, by name."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(accounts.people)

    async def page(self, actor: Actor, listing: Listing) -> tuple[Sequence[AccountRow], int]:
        """A page of the accounts of people, and how many there are on all, for administrators. Raises InvalidInput."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(lambda connection: accounts.page(connection, listing))

    async def search(self, actor: Actor, text: str, listing: Listing) -> tuple[Sequence[AccountRow], int]:
        """People whose name has `text` in it, for everybody who has an account: who shares a project must find whom to share it with."""
        if actor.anonymous:
            raise Unauthenticated
        if actor.robot is not None or actor.scope is not None or actor.limits.project_ids is not None:
            raise Denied("People are looked up by people.")
        named = msgspec.structs.replace(listing, filters=(*listing.filters, Filter("name", Match.CONTAINS, (text,))))
        return await self._database.read(lambda connection: accounts.page(connection, named))

    async def get(self, actor: Actor, account_id: int) -> AccountRow:
        """One account: one's own, or any for administrators. Raises NotFound."""
        if actor.account_id != account_id:
            policy.require_on_system(actor, Action.ADMINISTER)
        return await self._found(account_id)

    async def find(self, actor: Actor, name: str) -> AccountRow:
        """The account of that name, for administrators. Raises NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)
        row = await self._database.read(lambda connection: accounts.find(connection, name))
        if row is None or row.kind != "user":
            raise NotFound(f"There is no account {name!r}.")
        return row

    async def set_admin(self, actor: Actor, account_id: int, is_admin: bool) -> None:
        """Make somebody an administrator, or no longer; not oneself, so that one is always left."""
        await self._change_other(actor, account_id, "administrator" if is_admin else "no administrator any more", is_admin=is_admin)

    async def set_disabled(self, actor: Actor, account_id: int, disabled: bool) -> None:
        """Disable an account, or enable it again. It stops at its next request; browser sessions end for good."""
        disabled_at = self._clock() if disabled else None
        await self._change_other(actor, account_id, "disabled" if disabled else "enabled", disabled_at=disabled_at)

    async def change_profile(
        self, actor: Actor, account_id: int, *, email: str | None = None, real_name: str | None = None, comment: str | None = None
    ) -> None:
        """Change what is given of how an account is described: one's own, not by a narrower token, or anybody's as an administrator."""
        if actor.account_id != account_id:
            policy.require_on_system(actor, Action.ADMINISTER)
        elif actor.limits != Limits() or actor.scope is not None or actor.robot is not None:
            raise Denied("A profile is changed by its owner or with a token of level admin, not with a narrower one.")
        row, now = await self._found(account_id), self._clock()
        wanted = {"email": email, "real_name": real_name, "comment": comment}
        values = {key: value for key, value in wanted.items() if value is not None}
        if any(len(value) > _LONGEST for value in values.values()):
            raise InvalidAccount(f"What describes an account has at most {_LONGEST} characters.")
        if not values:
            return

        def work(connection: Connection) -> None:
            accounts.change(connection, account_id, **values)
            detail = f"{', '.join(values)} changed"
            audit.add(connection, audited(actor, now, Operation.UPDATE, ResourceType.USER, row.name, detail=detail))

        await self._database.write(work)

    async def remove(self, actor: Actor, account_id: int) -> None:
        """End an account with all its credentials. Its id stays in the history."""
        policy.require_on_system(actor, Action.ADMINISTER)
        _require_other(actor, account_id)
        row = await self._found(account_id)
        now = self._clock()

        def work(connection: Connection) -> None:
            credentials.revoke(connection, account_id, now)
            identities.remove_of_account(connection, account_id)
            groups.remove_account(connection, account_id)
            accounts.delete(connection, account_id, now)
            audit.add(connection, audited(actor, now, Operation.DELETE, ResourceType.USER, row.name))

        await self._database.write(work)

    async def set_password(self, actor: Actor, account_id: int, new: str, *, old: str | None = None, end_sessions: bool = False) -> None:
        """Change a password: one's own by the `old` one, anybody's as an administrator.

        With `end_sessions` every bearer token and every credential of the account ends too. Raises InvalidAccount, Unauthenticated
        (wrong old password), Denied where a token narrower than the account is used, or where a login source keeps the password.
        """
        row = await self._found(account_id)
        if actor.account_id == account_id:
            if actor.limits != Limits() or actor.scope is not None or actor.robot is not None:
                raise Denied("A password is changed by who knows it, not by a token.")
            await self._require_password(actor, row, old or "")
        else:
            policy.require_on_system(actor, Action.ADMINISTER)
        if row.source != LOCAL:
            raise Denied(f"The password of {row.name!r} is kept by the login source {row.source!r}, and is changed there.")
        require_good_password(new, row.name)
        hashed = await asyncio.to_thread(hash_password, new)
        now = self._clock()

        def work(connection: Connection) -> None:
            accounts.change(connection, account_id, password_hash=hashed)
            # Refresh tokens were given for the old password, so they end with it in any case.
            credentials.revoke(connection, account_id, now, kind=None if end_sessions else "refresh")
            if end_sessions:
                accounts.change(connection, account_id, valid_from=now)
            detail = "password, and the end of all tokens and credentials" if end_sessions else "password"
            audit.add(connection, audited(actor, now, Operation.UPDATE, ResourceType.USER, row.name, detail=detail))

        await self._database.write(work)

    async def _require_password(self, actor: Actor, row: AccountRow, password: str) -> None:
        """A session that was left open is no way to guess the password either."""
        state = await self._selects.by_name(row.name)
        check = partial(self._passwords.check, state, row.name, password)
        right = await (check() if self._throttle is None else self._throttle.attempt(row.name, password, actor.address, check))
        if not right:
            self._audit.failed_login(row.name, actor.address, "wrong present password, to change it")
            raise Unauthenticated("The present password is wrong.")

    async def _change_other(self, actor: Actor, account_id: int, detail: str, **values: object) -> None:
        policy.require_on_system(actor, Action.ADMINISTER)
        _require_other(actor, account_id)
        row, now = await self._found(account_id), self._clock()

        def work(connection: Connection) -> None:
            accounts.change(connection, account_id, **values)
            if values.get("disabled_at") is not None:
                credentials.revoke(connection, account_id, now, kind="session")
            audit.add(connection, audited(actor, now, Operation.UPDATE, ResourceType.USER, row.name, detail=detail))

        await self._database.write(work)

    async def _found(self, account_id: int) -> AccountRow:
        row = await self._database.read(lambda connection: accounts.get(connection, account_id))
        if row is None or row.kind != "user":
            raise NotFound("There is no such account.")
        return row


def _require_other(actor: Actor, account_id: int) -> None:
    if actor.account_id == account_id:
        raise Denied("You may not do this to your own account; ask another administrator.")
