"""Groups: of the registry's own, and of login sources; a group has roles in projects, and who is in it has them too.

Administrators make them and say who is in one of our own. Who is in one of a source, that says: at each login, and a directory whenever
`refresh` asks it, so that a group that is taken away there ends what it allowed here, whatever tokens live on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from roadstead.access import identities as linked
from roadstead.access import policy, source_settings
from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.directory import Directory
from roadstead.access.distinguished_name import normalise
from roadstead.access.person import Person
from roadstead.access.source_settings import LdapSettings, OidcSettings
from roadstead.access.vault import Vault
from roadstead.errors import Conflict, Denied, InvalidAccount, NotFound, RoadsteadError, Unauthenticated
from roadstead.metadata import accounts, audit, groups, identities, login_sources, members
from roadstead.metadata.accounts import LOCAL
from roadstead.metadata.database import Database
from roadstead.metadata.groups import GroupRow
from roadstead.metadata.identities import IdentityRow
from roadstead.metadata.listing import Listing
from roadstead.metadata.login_sources import SourceRow, SourceSelects

log = structlog.get_logger()

MOST_FOUND: Final = 50
_NAME_LIMIT: Final = 100
_WRITTEN_AT_ONCE: Final = 100


class Groups:
    """See the module's docstring."""

    def __init__(self, database: Database, vault: Vault, clock: Clock = system_clock) -> None:
        self._database = database
        self._vault = vault
        self._sources = SourceSelects(database)
        self._clock = clock

    # --- what groups there are

    async def add(self, actor: Actor, name: str, *, source: str = LOCAL, external_id: str | None = None) -> GroupRow:
        """Make a group: our own, or one of a directory (`external_id` is its DN) or identity provider (the value of its claim).

        Raises InvalidAccount, NotFound for no such source, Conflict where the name or the source's group is taken.
        """
        policy.require_on_system(actor, Action.ADMINISTER)
        _require_name(name)
        if (source == LOCAL) is not (external_id is None):
            raise InvalidAccount("A group of a login source says what that calls it; one of our own does not.")
        now = self._clock()

        def work(connection: Connection) -> GroupRow:
            called = None if external_id is None else _called(_source(connection, source), external_id)
            added = groups.add(connection, name, source=source, external_id=called, now=now)
            row = groups.find(connection, name)
            if not added or row is None:
                raise Conflict(f"There is a group {name!r} already, or one for what {source!r} calls so.")
            self._tell(connection, actor, Operation.CREATE, name, None if called is None else f"{called} of {source}")
            return row

        return await self._database.write(work)

    async def list(self, actor: Actor) -> Sequence[GroupRow]:
        """Every group, by name."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(groups.every)

    async def page(self, actor: Actor, listing: Listing) -> tuple[Sequence[GroupRow], int]:
        """A page of all groups, by `name` and `source`, and how many there are. Raises InvalidInput."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(lambda connection: groups.page(connection, listing))

    async def search(self, actor: Actor, part: str) -> Sequence[GroupRow]:
        """At most MOST_FOUND groups whose name contains `part`: for administrators, and for who may make groups members of a project."""
        await self._require_manager(actor)
        return await self._database.read(lambda connection: groups.search(connection, part, MOST_FOUND))

    async def _require_manager(self, actor: Actor) -> None:
        if actor.anonymous:
            raise Unauthenticated
        if Action.ADMINISTER in policy.permitted_on_system(actor):
            return
        account_id = actor.account_id
        able = actor.scope is None and actor.robot is None and Action.SET_MEMBERS in policy.LEVELS[actor.limits.level]
        if not able or account_id is None or not await self._database.read(lambda connection: members.manages(connection, account_id)):
            raise Denied("Groups are shown to administrators, and to those who manage the members of a project.")

    async def get(self, actor: Actor, group_id: int) -> GroupRow:
        """One group. Raises NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(lambda connection: _found(connection, group_id))

    async def find(self, actor: Actor, name: str) -> GroupRow:
        """The group of that name. Raises NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)
        row = await self._database.read(lambda connection: groups.find(connection, name))
        if row is None:
            raise NotFound(f"There is no group {name!r}.")
        return row

    async def rename(self, actor: Actor, group_id: int, name: str) -> None:
        """Give a group another name. Raises InvalidAccount, NotFound, Conflict."""
        policy.require_on_system(actor, Action.ADMINISTER)
        _require_name(name)

        def work(connection: Connection) -> None:
            row = _found(connection, group_id)
            other = groups.find(connection, name)
            if other is not None and other.id != group_id:
                raise Conflict(f"There is a group {name!r} already.")
            groups.rename(connection, group_id, name)
            self._tell(connection, actor, Operation.UPDATE, row.name, f"renamed to {name}")

        await self._database.write(work)

    async def remove(self, actor: Actor, group_id: int) -> None:
        """Remove a group with the roles it has. Raises NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)

        def work(connection: Connection) -> None:
            row = _found(connection, group_id)
            groups.remove(connection, [group_id])
            self._tell(connection, actor, Operation.DELETE, row.name)

        await self._database.write(work)

    # --- who is in them

    async def members(self, actor: Actor, group_id: int) -> Sequence[tuple[int, str]]:
        """Id and name of the accounts in a group, by name; of a source's group, those who have logged in here."""
        policy.require_on_system(actor, Action.ADMINISTER)

        def work(connection: Connection) -> Sequence[tuple[int, str]]:
            _found(connection, group_id)
            return groups.accounts_in(connection, group_id)

        return await self._database.read(work)

    async def members_page(self, actor: Actor, group_id: int, listing: Listing) -> tuple[Sequence[tuple[int, str]], int]:
        """As `members`, a page of them (by `name`), and how many there are."""
        policy.require_on_system(actor, Action.ADMINISTER)

        def work(connection: Connection) -> tuple[Sequence[tuple[int, str]], int]:
            _found(connection, group_id)
            return groups.members_page(connection, group_id, listing)

        return await self._database.read(work)

    async def of_account_page(self, actor: Actor, account_id: int, listing: Listing) -> tuple[Sequence[GroupRow], int]:
        """As `of_account`, a page of them, and how many there are."""
        if actor.account_id != account_id:
            policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(lambda connection: groups.of_account_page(connection, account_id, listing))

    async def of_account(self, actor: Actor, account_id: int) -> Sequence[GroupRow]:
        """The groups that an account is in: one's own, or anybody's for administrators."""
        if actor.account_id != account_id:
            policy.require_on_system(actor, Action.ADMINISTER)
        return await self._database.read(lambda connection: groups.of_account(connection, account_id))

    async def add_member(self, actor: Actor, group_id: int, account_id: int) -> None:
        """Put an account of a person into a group of our own. Raises NotFound, Conflict."""
        policy.require_on_system(actor, Action.ADMINISTER)
        now = self._clock()

        def work(connection: Connection) -> None:
            row = _found(connection, group_id)
            _require_own(row)
            account = accounts.get(connection, account_id)
            if account is None or account.kind != "user":
                raise NotFound("There is no such account.")
            if not groups.put_in(connection, account_id, group_id, now):
                raise Conflict(f"{account.name!r} is in that group already.")
            self._tell(connection, actor, Operation.UPDATE, row.name, f"{account.name} put in")

        await self._database.write(work)

    async def remove_member(self, actor: Actor, group_id: int, account_id: int) -> None:
        """Take an account out of a group of our own. Raises NotFound, Conflict."""
        policy.require_on_system(actor, Action.ADMINISTER)

        def work(connection: Connection) -> None:
            row = _found(connection, group_id)
            _require_own(row)
            account = accounts.get(connection, account_id)
            if not groups.take_out(connection, account_id, group_id):
                raise NotFound("That account is not in the group.")
            self._tell(connection, actor, Operation.UPDATE, row.name, f"{account.name if account else account_id} taken out")

        await self._database.write(work)

    def _tell(self, connection: Connection, actor: Actor, operation: Operation, name: str, detail: str | None = None) -> None:
        audit.add(connection, audited(actor, self._clock(), operation, ResourceType.GROUP, name, detail=detail))

    # --- what sources say of them

    async def refresh(self) -> None:
        """Ask every enabled directory again about its people; for the job worker, and may be repeated and run twice at once.

        Who is gone there, or may not log in any more, loses its groups and, unless another identity proves the account, the account
        (see `identities.lose`). Who is back has both again. A directory that fails changes nothing. Of identity providers, which cannot
        be asked, memberships end that are older than the source allows.
        """
        for row in await self._sources.enabled():
            try:
                await self._refresh(row)
            except RoadsteadError as error:
                log.warning("login source was not refreshed", source=row.name, reason=error.message)

    async def _refresh(self, row: SourceRow) -> None:
        settings = source_settings.decode(row.settings)
        known = await self._database.read(lambda connection: identities.of_source(connection, row.id))
        if isinstance(settings, OidcSettings):
            await self._end_old(row, settings, known)
        elif known:
            async with Directory(row.name, settings, source_settings.secret_of(self._vault, row)).reading() as reader:
                # Where the base itself is gone or hidden, everybody would seem to be.
                await reader.require_base(settings.base_dn, "base")
                for start in range(0, len(known), _WRITTEN_AT_ONCE):
                    some = known[start : start + _WRITTEN_AT_ONCE]
                    await self._record(row, settings, [(one, await reader.by_subject(one.subject)) for one in some])

    async def _record(self, row: SourceRow, settings: LdapSettings, said: Sequence[tuple[IdentityRow, Person | None]]) -> None:
        now = self._clock()

        def work(connection: Connection) -> None:
            for identity, person in said:
                if person is None:
                    linked.lose(connection, identity, now, takes_admin=bool(settings.admin_group))
                else:
                    linked.confirm(connection, identity.account_id, row, person, now)

        await self._database.write(work)

    async def _end_old(self, row: SourceRow, settings: OidcSettings, known: Sequence[IdentityRow]) -> None:
        now = self._clock()
        before = now - timedelta(hours=settings.membership_hours)
        old = [one for one in known if (one.last_login_at or one.linked_at) < before]

        def work(connection: Connection) -> None:
            groups.end_older(connection, row.name, before)
            for identity in old if settings.admin_group else ():
                account = accounts.get(connection, identity.account_id)
                if account is not None and account.source == row.name:
                    linked.end_administration(connection, account, now, f"its last login by {row.name} is too long ago")

        await self._database.write(work)


def _require_name(name: str) -> None:
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= _NAME_LIMIT:
        raise InvalidAccount(f"A group's name has from 1 to {_NAME_LIMIT} printable characters.")


def _require_own(row: GroupRow) -> None:
    if row.source != LOCAL:
        raise Conflict(f"Who is in {row.name!r}, the login source {row.source!r} says.")


def _found(connection: Connection, group_id: int) -> GroupRow:
    row = groups.get(connection, group_id)
    if row is None:
        raise NotFound("There is no such group.")
    return row


def _source(connection: Connection, name: str) -> SourceRow:
    row = login_sources.find(connection, name)
    if row is None:
        raise NotFound(f"There is no login source {name!r}.")
    return row


def _called(source: SourceRow, external_id: str) -> str:
    """What the source calls the group, in the one spelling that logins are compared with. Raises InvalidAccount."""
    if source.kind != "ldap":
        return external_id
    try:
        return normalise(external_id)
    except ValueError as error:
        raise InvalidAccount(f"{external_id!r} is not the DN of a group, as in cn=climate,ou=groups,dc=example,dc=org.") from error
