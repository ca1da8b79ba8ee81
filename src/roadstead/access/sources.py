"""Login sources: several directories and identity providers at once, set up by administrators, asked in their order.

A secret goes in and never comes out again. How a login by password finds its source is said in `logins`; by browser it is `begin`, and
when the browser comes back `finish`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access import identities as linked
from roadstead.access import policy, source_settings
from roadstead.access.actor import ANONYMOUS, Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock, system_clock
from roadstead.access.directory import Directory
from roadstead.access.identities import Identities, is_whole
from roadstead.access.identity_provider import Handshake, IdentityProvider
from roadstead.access.person import Check, Person
from roadstead.access.source_settings import LdapSettings, OidcSettings, SourceSettings
from roadstead.access.vault import Sealed, Vault
from roadstead.errors import Conflict, Denied, InvalidAccount, Misconfigured, NotFound, Unauthenticated
from roadstead.metadata import audit, groups, login_sources
from roadstead.metadata.accounts import LOCAL, AccountRow
from roadstead.metadata.database import Database
from roadstead.metadata.login_sources import SourceRow

FLOW_LIFETIME: Final = timedelta(minutes=10)
"""How long a login by browser may take, and how long the door keeps its flow."""

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?")
_FLOW: Final = "login flow"
_NO_SECRET: Final = {"secret": None, "encryption_key_id": None}


class Source(msgspec.Struct, frozen=True):
    """A source as administrators see it: all of it but the secret."""

    id: int
    name: str
    kind: str
    position: int
    enabled: bool
    settings: SourceSettings
    has_secret: bool
    created_at: datetime
    updated_at: datetime


class Offer(msgspec.Struct, frozen=True):
    """A source that a login page offers to everybody: its name, and whether it is by browser ("oidc") or by password ("ldap")."""

    name: str
    kind: str


class _Flow(msgspec.Struct, frozen=True):
    """A login by browser that has begun; `linking` is the account that another identity is to be linked to."""

    source_id: int
    handshake: Handshake
    ends_at: datetime
    linking: int | None


class Sources:
    """See the module's docstring."""

    def __init__(self, database: Database, vault: Vault, identities: Identities, clock: Clock = system_clock) -> None:
        self._database = database
        self._vault = vault
        self._identities = identities
        self._clock = clock

    # --- what administrators set up

    async def add(self, actor: Actor, name: str, settings: SourceSettings, secret: str = "") -> Source:
        """Add a source behind the others, enabled. Raises InvalidAccount, Conflict."""
        policy.require_on_system(actor, Action.ADMINISTER)
        if not _NAME.fullmatch(name) or name == LOCAL:
            raise InvalidAccount("A source's name is lower-case letters and digits, with '-' or '_' inside, at most 40, and not 'local'.")
        source_settings.require_sound(settings)
        _require_secret(settings, bool(secret))
        sealed = source_settings.seal(self._vault, name, secret) if secret else None
        now = self._clock()

        def work(connection: Connection) -> SourceRow:
            added = login_sources.add(
                connection,
                name,
                kind=source_settings.kind_of(settings),
                settings=source_settings.encode(settings),
                secret=sealed.ciphertext if sealed else None,
                encryption_key_id=sealed.key_id if sealed else None,
                now=now,
            )
            row = login_sources.find(connection, name)
            if not added or row is None:
                raise Conflict(f"There is a login source {name!r} already.")
            audit.add(connection, audited(actor, now, Operation.CREATE, ResourceType.SOURCE, name, detail=row.kind))
            return row

        return _shown(await self._database.write(work))

    async def list(self, actor: Actor) -> list[Source]:
        """Every source, in the order in which they are asked."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return [_shown(row) for row in await self._database.read(login_sources.in_order)]

    async def get(self, actor: Actor, name: str) -> Source:
        """One source. Raises NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)
        return _shown(await self._row(name))

    async def change(self, actor: Actor, name: str, settings: SourceSettings | None = None, secret: str | None = None) -> None:
        """Set up a source otherwise; without `secret` it keeps its own, and the empty one forgets it. Raises InvalidAccount, NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)
        row = await self._row(name)
        values: dict[str, object] = {}
        _require_secret(settings or source_settings.decode(row.settings), row.secret is not None if secret is None else bool(secret))
        if settings is not None:
            if source_settings.kind_of(settings) != row.kind:
                raise InvalidAccount(f"{name!r} is of kind {row.kind}; another kind is another source.")
            source_settings.require_sound(settings)
            values["settings"] = source_settings.encode(settings)
        if secret is not None:
            sealed = source_settings.seal(self._vault, name, secret) if secret else None
            values |= {"secret": sealed.ciphertext, "encryption_key_id": sealed.key_id} if sealed else _NO_SECRET
        what = " and ".join(word for word, given in (("settings", settings), ("secret", secret)) if given is not None)
        await self._change(actor, row, what, **values)

    async def set_enabled(self, actor: Actor, name: str, enabled: bool) -> None:
        """Ask a source, or do not: then who is bound to it cannot log in by a password, and their tokens live on."""
        policy.require_on_system(actor, Action.ADMINISTER)
        await self._change(actor, await self._row(name), "enabled" if enabled else "disabled", enabled=enabled)

    async def move(self, actor: Actor, name: str, position: int) -> None:
        """Put a source at a place in the order, from 1. Raises NotFound."""
        policy.require_on_system(actor, Action.ADMINISTER)
        now = self._clock()

        def work(connection: Connection) -> None:
            rows = login_sources.in_order(connection)
            moved = next((row for row in rows if row.name == name), None)
            if moved is None:
                raise _unknown(name)
            ids = [row.id for row in rows if row is not moved]
            ids.insert(max(position - 1, 0), moved.id)
            login_sources.place(connection, ids, now)
            audit.add(connection, audited(actor, now, Operation.UPDATE, ResourceType.SOURCE, name, detail=f"moved to {position}"))

        await self._database.write(work)

    async def remove(self, actor: Actor, name: str) -> None:
        """Remove a source with its groups. Its accounts stay without a password: sessions end, and tokens for tools live on."""
        policy.require_on_system(actor, Action.ADMINISTER)
        now = self._clock()

        def work(connection: Connection) -> None:
            row = login_sources.find(connection, name)
            if row is None:
                raise _unknown(name)
            linked.release(connection, row, now, takes_admin=bool(source_settings.decode(row.settings).admin_group))
            groups.remove_of_source(connection, name)
            login_sources.remove(connection, row.id, now)
            audit.add(connection, audited(actor, now, Operation.DELETE, ResourceType.SOURCE, name))

        await self._database.write(work)

    async def check(self, actor: Actor, name: str) -> Check:
        """Try a source, and say in plain words what fails; it need not be enabled."""
        policy.require_on_system(actor, Action.ADMINISTER)
        row = await self._row(name)
        return await self.try_out(actor, name, source_settings.decode(row.settings), source_settings.secret_of(self._vault, row))

    async def try_out(self, actor: Actor, name: str, settings: SourceSettings, secret: str) -> Check:
        """Try settings that are not kept yet. Raises InvalidAccount."""
        policy.require_on_system(actor, Action.ADMINISTER)
        source_settings.require_sound(settings)
        _require_secret(settings, bool(secret))
        if isinstance(settings, LdapSettings):
            return Check(tuple(await Directory(name, settings, secret).check()))
        return Check(tuple(await IdentityProvider(name, settings, secret, self._clock).check()))

    async def _change(self, actor: Actor, row: SourceRow, what: str, **values: object) -> None:
        now = self._clock()

        def work(connection: Connection) -> None:
            if not login_sources.change(connection, row.id, now, **values):
                raise _unknown(row.name)
            audit.add(connection, audited(actor, now, Operation.UPDATE, ResourceType.SOURCE, row.name, detail=what))

        await self._database.write(work)

    async def _row(self, name: str) -> SourceRow:
        row = await self._database.read(lambda connection: login_sources.find(connection, name))
        if row is None:
            raise _unknown(name)
        return row

    # --- linking by a password

    async def link(self, actor: Actor, name: str, login: str, password: str) -> None:
        """Let the actor's account also be `login` of a directory, proved by the password there.

        Raises NotFound, SourceFailed, Unauthenticated for a wrong name or password, and what `Identities.link` raises.
        """
        row = await self._row(name)
        settings = source_settings.decode(row.settings)
        if not row.enabled or not isinstance(settings, LdapSettings):
            raise NotFound(f"There is no login by password at {name!r}.")
        person = await Directory(row.name, settings, source_settings.secret_of(self._vault, row)).log_in(login, password)
        if not isinstance(person, Person):
            raise Unauthenticated("The user name or password is wrong.")
        await self._identities.link(actor, row, person)

    # --- logging in by browser

    async def offered(self) -> tuple[Offer, ...]:
        """What a login page offers, in the order of the sources; for everybody."""
        rows = await self._database.read(login_sources.in_order)
        return tuple(Offer(row.name, row.kind) for row in rows if row.enabled)

    async def begin(self, name: str, redirect_uri: str, *, linking: Actor | None = None) -> tuple[str, str]:
        """Begin a login at an OpenID provider: the address to send the browser to, and a flow to keep in a cookie until it is back.

        With `linking`, the login is to link another identity to that actor's account. Raises NotFound, SourceFailed, Denied.
        """
        if linking is not None and (linking.account_id is None or not is_whole(linking)):
            raise Denied("An identity is linked by who is logged in as the account, not by a token.")
        row = await self._database.read(lambda connection: login_sources.find(connection, name))
        if row is None or not row.enabled or row.kind != "oidc":
            raise NotFound(f"There is no login by browser at {name!r}.")
        url, handshake = await self._provider(row).begin(redirect_uri)
        account_id = None if linking is None else linking.account_id
        return url, self._seal(_Flow(row.id, handshake, self._clock() + FLOW_LIFETIME, account_id))

    async def finish(self, flow: str, query: Mapping[str, str], *, present: Actor = ANONYMOUS, address: str = "") -> Actor:
        """Who has come back from the provider, by the flow of `begin` and the parameters of the address it was sent back to.

        A flow that links goes on only for the `present` actor that began it, who then is the answer. Raises Unauthenticated where this
        proves nothing, SourceFailed, Denied where there is no account and none can be made, Conflict where an identity is another's.
        """
        begun = self._open(flow)
        row = await self._database.read(lambda connection: login_sources.get(connection, begun.source_id))
        if row is None or not row.enabled:
            raise Unauthenticated("This way to log in is not offered any more.")
        if begun.linking is not None and begun.linking != present.account_id:
            raise Denied("Another account is logged in now than the one that began to link; begin again.")
        provider = self._provider(row)
        person = await provider.finish(begun.handshake, query)
        if begun.linking is not None:
            await self._identities.link(present, row, person)
            return present
        return actor_of(await self._identities.admit(row, person, onboarding=provider.settings.onboarding), address)

    def _provider(self, row: SourceRow) -> IdentityProvider:
        settings = source_settings.decode(row.settings)
        assert isinstance(settings, OidcSettings)
        return IdentityProvider(row.name, settings, source_settings.secret_of(self._vault, row), self._clock)

    def _seal(self, flow: _Flow) -> str:
        sealed = self._vault.seal(_FLOW, msgspec.json.encode(flow))
        return f"{sealed.key_id}.{base64.urlsafe_b64encode(sealed.ciphertext).decode().rstrip('=')}"

    def _open(self, flow: str) -> _Flow:
        key_id, _, encoded = flow.partition(".")
        try:
            ciphertext = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            opened = msgspec.json.decode(self._vault.open(_FLOW, Sealed(key_id, ciphertext)), type=_Flow)
        except (binascii.Error, ValueError, Misconfigured, msgspec.DecodeError) as error:
            raise Unauthenticated("This login was not begun here; begin it again.") from error
        if opened.ends_at <= self._clock():
            raise Unauthenticated("This login took too long; begin it again.")
        return opened


def actor_of(account: AccountRow, address: str) -> Actor:
    """The actor that a login has made."""
    return Actor(account.id, account.name, account.is_admin, address=address)


def _require_secret(settings: SourceSettings, given: bool) -> None:
    """Raise InvalidAccount for a bind without a password: a directory takes that for an anonymous one, and says that it went well."""
    if isinstance(settings, LdapSettings) and bool(settings.bind_dn) != given:
        raise InvalidAccount("A directory is searched with a bind DN and its password, or with neither, anonymously.")


def _shown(row: SourceRow) -> Source:
    return Source(
        id=row.id,
        name=row.name,
        kind=row.kind,
        position=row.position,
        enabled=row.enabled,
        settings=source_settings.decode(row.settings),
        has_secret=row.secret is not None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no login source {name!r}.")
