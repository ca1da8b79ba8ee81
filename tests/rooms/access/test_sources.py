"""Login sources as administrators set them up: what is kept, what is refused, and what never comes out again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select

from roadstead.access.access import Access
from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.audit import ResourceType
from roadstead.access.source_settings import LdapSettings, OidcSettings, SourceSettings, decode, encode
from roadstead.access.vault import Vault
from roadstead.errors import Conflict, Denied, InvalidAccount, Misconfigured, NotFound, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.metadata.schema import audit_log, login_sources
from tests.support.factories import ManualClock

LDAP = LdapSettings(url="ldaps://ldap.example.org", base_dn="dc=example,dc=org", bind_dn="cn=reader,dc=example,dc=org")
OIDC = OidcSettings(issuer="https://login.example.org", client_id="registry")
SECRET = "the password of the reader"


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    return Access(database, Vault([b"k" * 32]), clock=clock)


async def names(access: Access, admin: Actor) -> list[str]:
    return [row.name for row in await access.sources.list(admin)]


async def test_sources_are_kept_in_their_order(access: Access, admin: Actor, clock: ManualClock) -> None:
    made = await access.sources.add(admin, "cluster", LDAP, SECRET)
    assert (made.name, made.kind, made.position, made.enabled, made.has_secret) == ("cluster", "ldap", 1, True, True)
    assert (made.settings, made.created_at, made.updated_at) == (LDAP, clock(), clock())
    other = await access.sources.add(admin, "sso", OIDC)
    assert (other.kind, other.position, other.has_secret, other.settings) == ("oidc", 2, False, OIDC)
    assert await access.sources.list(admin) == [made, other]
    assert await access.sources.get(admin, "sso") == other


async def test_the_order_is_changed_by_moving_one(access: Access, admin: Actor) -> None:
    for name in "abcd":
        await access.sources.add(admin, name, OIDC)
    for name, position, order in (("d", 1, "dabc"), ("a", 4, "dbca"), ("b", 99, "dcab"), ("b", -1, "bdca"), ("b", 1, "bdca")):
        await access.sources.move(admin, name, position)
        assert "".join(await names(access, admin)) == order
    assert [row.position for row in await access.sources.list(admin)] == [1, 2, 3, 4]
    with pytest.raises(NotFound):
        await access.sources.move(admin, "e", 1)


async def test_settings_and_secret_change_apart(access: Access, admin: Actor, clock: ManualClock) -> None:
    await access.sources.add(admin, "cluster", LDAP, SECRET)
    clock.advance(timedelta(hours=1))
    other = msgspec.structs.replace(LDAP, url="ldaps://other.example.org")
    await access.sources.change(admin, "cluster", other)
    row = await access.sources.get(admin, "cluster")
    assert (row.settings, row.has_secret, row.updated_at) == (other, True, clock())
    await access.sources.change(admin, "cluster", secret="another")
    assert (await access.sources.get(admin, "cluster")).settings == other
    anonymous = msgspec.structs.replace(LDAP, bind_dn="")
    await access.sources.change(admin, "cluster", anonymous, "")
    assert not (await access.sources.get(admin, "cluster")).has_secret
    with pytest.raises(InvalidAccount, match="another kind"):
        await access.sources.change(admin, "cluster", OIDC)


async def test_a_secret_lies_encrypted_and_never_comes_out(access: Access, database: Database, admin: Actor) -> None:
    made = await access.sources.add(admin, "cluster", LDAP, SECRET)
    assert SECRET not in repr([made, await access.sources.list(admin), await access.sources.get(admin, "cluster")])

    def everything(connection: Connection) -> str:
        return repr([list(connection.execute(select(table))) for table in (login_sources, audit_log)])

    assert SECRET not in await database.read(everything)
    foreign = Access(database, Vault([b"x" * 32]))
    with pytest.raises(Misconfigured, match="secret key file"):
        await foreign.sources.check(admin, "cluster")


async def test_a_removed_source_gives_its_name_free(access: Access, database: Database, admin: Actor) -> None:
    first = await access.sources.add(admin, "cluster", LDAP, SECRET)
    with pytest.raises(Conflict):
        await access.sources.add(admin, "cluster", OIDC)
    await access.sources.remove(admin, "cluster")
    assert await names(access, admin) == []
    secrets = await database.read(lambda connection: list(connection.execute(select(login_sources.c.secret)).scalars()))
    assert secrets == [None]
    again = await access.sources.add(admin, "cluster", OIDC)
    assert again.id != first.id
    for act in (access.sources.get, access.sources.remove, access.sources.check):
        with pytest.raises(NotFound):
            await act(admin, "nowhere")


async def test_a_login_page_offers_what_is_enabled(access: Access, admin: Actor) -> None:
    await access.sources.add(admin, "cluster", LDAP, SECRET)
    await access.sources.add(admin, "sso", OIDC)
    await access.sources.set_enabled(admin, "cluster", False)
    assert [(offer.name, offer.kind) for offer in await access.sources.offered()] == [("sso", "oidc")]
    await access.sources.set_enabled(admin, "cluster", True)
    assert [(offer.name, offer.kind) for offer in await access.sources.offered()] == [("cluster", "ldap"), ("sso", "oidc")]


async def test_only_administrators_see_and_change_sources(access: Access, admin: Actor, user: Actor) -> None:
    await access.sources.add(admin, "cluster", LDAP, SECRET)
    acts: list[Any] = [
        lambda actor: access.sources.add(actor, "x", OIDC),
        access.sources.list,
        lambda actor: access.sources.get(actor, "cluster"),
        lambda actor: access.sources.change(actor, "cluster", secret="x"),
        lambda actor: access.sources.set_enabled(actor, "cluster", False),
        lambda actor: access.sources.move(actor, "cluster", 1),
        lambda actor: access.sources.check(actor, "cluster"),
        lambda actor: access.sources.try_out(actor, "x", OIDC, ""),
        lambda actor: access.sources.remove(actor, "cluster"),
    ]
    for act in acts:
        with pytest.raises(Denied):
            await act(user)
        with pytest.raises(Unauthenticated):
            await act(ANONYMOUS)
    assert await names(access, admin) == ["cluster"]


async def test_every_change_is_audited(access: Access, database: Database, admin: Actor) -> None:
    await access.sources.add(admin, "cluster", LDAP, SECRET)
    await access.sources.change(admin, "cluster", secret="another")
    await access.sources.set_enabled(admin, "cluster", False)
    await access.sources.move(admin, "cluster", 1)
    await access.sources.remove(admin, "cluster")

    def entries(connection: Connection) -> list[Any]:
        columns = (audit_log.c.action, audit_log.c.resource, audit_log.c.detail, audit_log.c.actor)
        rows = connection.execute(select(*columns).where(audit_log.c.resource_type == ResourceType.SOURCE).order_by(audit_log.c.id))
        return [tuple(row) for row in rows]

    assert await database.read(entries) == [
        ("create", "cluster", "ldap", "admin"),
        ("update", "cluster", "secret", "admin"),
        ("update", "cluster", "disabled", "admin"),
        ("update", "cluster", "moved to 1", "admin"),
        ("delete", "cluster", None, "admin"),
    ]


@pytest.mark.parametrize("name", ["", "local", "A", "a b", "-a", "a-", "x" * 41, "a/b", "é"])
async def test_a_bad_name_is_refused(access: Access, admin: Actor, name: str) -> None:
    with pytest.raises(InvalidAccount):
        await access.sources.add(admin, name, OIDC)


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        (LDAP, {"url": "https://x"}, "ldap://host or ldaps://host"),
        (LDAP, {"url": "ldaps://"}, "written as"),
        (LDAP, {"url": "ldap://x"}, "unencrypted"),
        (LDAP, {"start_tls": True}, "StartTLS"),
        (LDAP, {"base_dn": ""}, "base_dn"),
        (LDAP, {"user_filter": "(uid=x)"}, "{name}"),
        (LDAP, {"user_filter": "uid={name}"}, "not an LDAP filter"),
        (LDAP, {"group_filter": "(cn=x"}, "not an LDAP filter"),
        (LDAP, {"ca": "x"}, "PEM"),
        (LDAP, {"timeout_seconds": 0.0}, "timeout_seconds"),
        (LDAP, {"timeout_seconds": 61.0}, "timeout_seconds"),
        (LDAP, {"nesting": "deep"}, "nesting"),
        (LDAP, {"group_base_dn": "dc=x", "group_member_is": "name"}, "nesting"),
        (OIDC, {"issuer": "http://x"}, "unencrypted"),
        (OIDC, {"issuer": "login.example.org"}, "written as"),
        (OIDC, {"client_id": ""}, "client_id"),
        (OIDC, {"scopes": ("profile",)}, "openid"),
        (OIDC, {"membership_hours": -1.0}, "membership_hours"),
    ],
)
async def test_settings_that_cannot_work_are_refused(
    access: Access, admin: Actor, settings: SourceSettings, changes: dict[str, Any], said: str
) -> None:
    bad = msgspec.structs.replace(settings, **changes)
    with pytest.raises(InvalidAccount, match=said):
        await access.sources.add(admin, "bad", bad, SECRET)
    assert await names(access, admin) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kind": "ldap"}', '{"kind": "radius"}', encode(OIDC)[:-1] + ', "secret": "x"}'])
def test_what_is_no_settings_is_refused(text: str) -> None:
    with pytest.raises(InvalidAccount):
        decode(text)


def test_settings_survive_being_written_down() -> None:
    for settings in (LDAP, OIDC):
        assert decode(encode(settings)) == settings
