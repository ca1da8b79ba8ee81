"""Which account somebody is whom a login source has vouched for: the account is found by the source's subject, and by nothing else.

Names and e-mail addresses never join two: who has an account already links another identity to it by proving both.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from roadstead.access import policy
from roadstead.access.actor import SYSTEM, Action, Actor, Limits
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.people import is_name
from roadstead.access.person import Person
from roadstead.errors import Conflict, Denied, NotFound, Unauthenticated
from roadstead.metadata import accounts, audit, credentials, groups, identities
from roadstead.metadata.accounts import LOCAL, AccountRow
from roadstead.metadata.database import Database
from roadstead.metadata.identities import IdentityRow
from roadstead.metadata.login_sources import SourceRow


class Identities:
    """Identities of accounts at login sources."""

    def __init__(self, database: Database, clock: Clock = system_clock) -> None:
        self._database = database
        self._clock = clock

    async def list(self, actor: Actor, account_id: int) -> list[IdentityRow]:
        """The identities of an account: one's own, or anybody's for administrators."""
        _require_own(actor, account_id)
        return await self._database.read(lambda connection: identities.of_account(connection, account_id))

    async def unlink(self, actor: Actor, account_id: int, identity_id: int) -> None:
        """Forget an identity, and the groups that its source had put the account into. Raises NotFound.

        Raises Conflict for the only identity of an account that has no password here: nobody could log in to it any more.
        """
        _require_own(actor, account_id)
        now = self._clock()

        def work(connection: Connection) -> None:
            held = identities.of_account(connection, account_id)
            row = next((one for one in held if one.id == identity_id), None)
            account = accounts.get(connection, account_id)
            if row is None or account is None:
                raise NotFound("There is no such identity.")
            if account.source != LOCAL and len(held) == 1:
                raise Conflict("This is the account's only way to log in; link another identity first.")
            identities.remove(connection, account_id, identity_id)
            groups.set_of_source(connection, account_id, row.source, (), now)
            if account.source == row.source:
                _move_home(connection, account, [one for one in held if one.id != identity_id])
            _tell(connection, actor, account.name, f"{row.name} of {row.source} unlinked", now)

        await self._database.write(work)

    async def link(self, actor: Actor, source: SourceRow, person: Person) -> None:
        """Let the actor's account be `person` of the source too; that the person is at the door has been proved.

        Raises Denied to a token narrower than its account, Conflict where the identity is another account's.
        """
        if actor.account_id is None or not is_whole(actor):
            raise Denied("An identity is linked by who is logged in as the account, not by a token.")
        account_id, now = actor.account_id, self._clock()

        def work(connection: Connection) -> None:
            if not identities.add(
                connection, account_id=account_id, source_id=source.id, subject=person.subject, name=person.name, now=now
            ):
                known = identities.find(connection, source.id, person.subject)
                if known is None or known.account_id != account_id:
                    raise Conflict(f"{person.name!r} of {source.name!r} is linked to another account already.")
            _tell(connection, actor, actor.name, f"{person.name} of {source.name} linked", now)
            _welcome(connection, account_id, source, person, now)

        await self._database.write(work)

    async def admit(self, source: SourceRow, person: Person, *, onboarding: bool, expected: int | None = None) -> AccountRow:
        """The account of who has just logged in by the source; made at the first login if the source allows that.

        Groups, and what the source knows better than we do, are brought up to date. Raises Unauthenticated for a disabled account,
        Denied where there is no account and none can be made, or where it is not the `expected` one (its id): a name that the source has
        given to somebody else.
        """
        now = self._clock()

        def work(connection: Connection) -> AccountRow:
            known = identities.find(connection, source.id, person.subject)
            if expected is not None and (known is None or known.account_id != expected):
                raise Denied(f"{source.name!r} means somebody else by that name than the account here was made for; ask an administrator.")
            account_id = known.account_id if known is not None else _onboard(connection, source, person, now, allowed=onboarding)
            _welcome(connection, account_id, source, person, now)
            account = accounts.get(connection, account_id)
            if account is None or account.disabled_at is not None:
                raise Unauthenticated(f"The account of {person.name!r} is disabled.")
            return account

        return await self._database.write(work)


def _require_own(actor: Actor, account_id: int) -> None:
    if actor.account_id != account_id:
        policy.require_on_system(actor, Action.ADMINISTER)
    elif not is_whole(actor):
        raise Denied("Identities are managed by who is logged in as the account, not by a token.")


def is_whole(actor: Actor) -> bool:
    """Whether nothing narrows the actor: it is the account itself that is logged in."""
    return actor.limits == Limits() and actor.scope is None and actor.robot is None


def _onboard(connection: Connection, source: SourceRow, person: Person, now: datetime, *, allowed: bool) -> int:
    """Make the account of a person's first login; returns its id."""
    if not allowed:
        raise Denied(f"{person.name!r} has no account here, and {source.name!r} makes none by itself; ask an administrator.")
    if not is_name(person.name):
        raise Denied(f"{person.name!r} of {source.name!r} cannot be the name of an account here; ask an administrator.")
    clash = accounts.in_any_case(connection, person.name)
    if clash is None:
        accounts.add(
            connection,
            person.name,
            password_hash=None,
            is_admin=False,
            now=now,
            email=person.email,
            real_name=person.real_name,
            source=source.name,
        )
    made = accounts.find(connection, person.name)
    if (
        clash is not None
        or made is None
        or not identities.add(connection, account_id=made.id, source_id=source.id, subject=person.subject, name=person.name, now=now)
    ):
        raise Denied(
            f"There is an account {person.name!r} already, and it is not yours as {source.name!r} knows you. "
            "If it is yours, log in to it and link this identity in your profile; otherwise ask an administrator."
        )
    audit.add(connection, audited(SYSTEM, now, Operation.CREATE, ResourceType.USER, person.name, detail=f"first login by {source.name}"))
    return made.id


def _welcome(connection: Connection, account_id: int, source: SourceRow, person: Person, now: datetime) -> None:
    """Bring up to date what the source says of the account's holder."""
    known = identities.find(connection, source.id, person.subject)
    if known is not None:
        identities.change(connection, known.id, last_login_at=now)
    confirm(connection, account_id, source, person, now)


def confirm(connection: Connection, account_id: int, source: SourceRow, person: Person, now: datetime) -> None:
    """Record what the source says now of somebody it knows: name, groups, and for its own accounts e-mail and administration."""
    known = identities.find(connection, source.id, person.subject)
    account = accounts.get(connection, account_id)
    if known is None or account is None:
        return
    if known.gone_at is not None and account.disabled_at == known.gone_at:
        accounts.change(connection, account_id, disabled_at=None)
        _tell(connection, SYSTEM, account.name, f"enabled: {source.name} knows it again", now)
    identities.change(connection, known.id, name=person.name, gone_at=None)
    groups.set_of_source(connection, account_id, source.name, person.groups, now)
    if account.source == source.name:
        accounts.change(connection, account_id, **_own(person))
        if person.is_admin not in (None, account.is_admin):
            said = "an administrator" if person.is_admin else "no longer an administrator"
            _tell(connection, SYSTEM, account.name, f"{said}: {source.name} says so", now)


def _own(person: Person) -> dict[str, object]:
    """The columns of an account that its own source decides."""
    values: dict[str, object] = {"email": person.email, "real_name": person.real_name}
    return values if person.is_admin is None else {**values, "is_admin": person.is_admin}


def lose(connection: Connection, row: IdentityRow, now: datetime, *, takes_admin: bool) -> None:
    """Record that the source does not know an identity any more: its groups end, and the account too where nothing else proves it.

    The account is disabled by the same moment as the identity is gone, so that it comes back if the person does.
    """
    groups.set_of_source(connection, row.account_id, row.source, (), now)
    if row.gone_at is not None:
        return
    identities.change(connection, row.id, gone_at=now)
    account = accounts.get(connection, row.account_id)
    if account is None or account.source != row.source:
        return
    if takes_admin:
        end_administration(connection, account, now, f"{row.source} does not know it any more")
    others = [one for one in identities.of_account(connection, account.id) if one.gone_at is None]
    if not others and account.disabled_at is None:
        accounts.change(connection, account.id, disabled_at=now)
        _tell(connection, SYSTEM, account.name, f"disabled: {row.source} does not know it any more", now)


def end_administration(connection: Connection, account: AccountRow, now: datetime, reason: str) -> None:
    """Let an account be no administrator any more, if it is one."""
    if account.is_admin:
        accounts.change(connection, account.id, is_admin=False)
        _tell(connection, SYSTEM, account.name, f"no longer an administrator: {reason}", now)


def release(connection: Connection, source: SourceRow, now: datetime, *, takes_admin: bool) -> None:
    """Forget every identity at a source that is removed. Its accounts stay, with no password, and nobody logs in to them by it."""
    for row in identities.of_source(connection, source.id):
        account = accounts.get(connection, row.account_id)
        identities.remove(connection, row.account_id, row.id)
        if account is not None and account.source == source.name:
            _move_home(connection, account, identities.of_account(connection, account.id))
            for kind in ("session", "refresh"):
                credentials.revoke(connection, account.id, now, kind=kind)
            accounts.change(connection, account.id, valid_from=now)
            if takes_admin:
                end_administration(connection, account, now, f"{source.name} is removed")


def _move_home(connection: Connection, account: AccountRow, left: list[IdentityRow]) -> None:
    """Bind an account whose source is gone to the next that it has an identity at, or to none."""
    accounts.change(connection, account.id, source=left[0].source if left else LOCAL)


def _tell(connection: Connection, actor: Actor, account: str, detail: str, now: datetime) -> None:
    audit.add(connection, audited(actor, now, Operation.UPDATE, ResourceType.USER, account, detail=detail))
