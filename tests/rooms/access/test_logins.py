"""Logins by passwords that directories keep: who is asked, in what order, and what happens when one fails. Against a real slapd."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, update

from roadstead.access.access import Access
from roadstead.access.accounts import Accounts
from roadstead.access.actor import Actor, TokenScope
from roadstead.access.identities import Identities
from roadstead.access.logins import PASSED_OVER_SECONDS, REMEMBERED_SECONDS, Logins
from roadstead.access.source_settings import LdapSettings
from roadstead.access.vault import Vault
from roadstead.errors import Conflict, Denied, InvalidAccount, NotFound, SourceFailed, Unauthenticated
from roadstead.metadata import accounts as rows
from roadstead.metadata.database import Database
from roadstead.metadata.schema import login_sources
from tests.support.factories import ManualClock
from tests.support.server import free_port
from tests.support.slapd import READER_SECRET, Slapd, Tree

GOOD = "correct horse battery"
OTHER = "another horse battery"


class Seconds:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def access(database: Database, clock: ManualClock, seconds: Seconds) -> Access:
    vault = Vault([b"k" * 32])
    made = Access(database, vault, clock=clock)
    logins = Logins(database, vault, Identities(database, clock), monotonic=seconds)
    made.accounts = Accounts(database, vault, create_projects_on_push=False, clock=clock, logins=logins)
    return made


@pytest.fixture
def first(slapd: Slapd) -> Tree:
    return slapd.fresh_tree()


@pytest.fixture
def second(slapd: Slapd) -> Tree:
    return slapd.fresh_tree()


AddSource = Callable[..., Awaitable[None]]


@pytest.fixture
def add_source(access: Access, admin: Actor) -> AddSource:
    async def add(name: str, tree: Tree, **changes: Any) -> None:
        await access.sources.add(admin, name, tree.settings(**changes), READER_SECRET)

    return add


async def refused(access: Access, name: str, password: str) -> str:
    with pytest.raises(Unauthenticated) as raised:
        await access.accounts.by_password(name, password)
    return raised.value.message


async def down(access: Access, admin: Actor, name: str, tree: Tree) -> None:
    """Let a source's directory be away."""
    await access.sources.change(admin, name, tree.settings(url=f"ldap://127.0.0.1:{free_port()}"))


async def account(access: Access, admin: Actor, name: str) -> Any:
    return await access.people.find(admin, name)


# --- one directory --------------------------------------------------------------------------------------------------------------------


async def test_the_first_login_makes_the_account_and_the_next_finds_it(
    access: Access, admin: Actor, add_source: AddSource, first: Tree
) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD, mail="grace@example.org")
    grace = await access.accounts.by_password("grace", GOOD, "192.0.2.1")
    assert (grace.name, grace.is_admin, grace.address) == ("grace", False, "192.0.2.1")
    row = await account(access, admin, "grace")
    assert (row.id, row.source, row.email, row.real_name) == (grace.account_id, "cluster", "grace@example.org", "Grace")
    assert (await access.accounts.by_password("grace", GOOD)).account_id == grace.account_id
    assert [one.name for one in await access.people.list(admin)] == ["admin", "grace"]


async def test_refusals_sound_the_same_whoever_refuses(access: Access, user: Actor, add_source: AddSource, first: Tree) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD)
    await access.accounts.by_password("grace", GOOD)
    tried = [("grace", "wrong"), ("grace", ""), ("heidi", GOOD), ("ada", GOOD), ("*", GOOD), ("grace)(uid=*", GOOD), ("x" * 500, GOOD)]
    assert len({await refused(access, name, password) for name, password in tried}) == 1


async def test_one_person_has_one_account_however_the_name_is_typed(
    access: Access, admin: Actor, add_source: AddSource, first: Tree
) -> None:
    await add_source("cluster", first)
    first.person("Grace", GOOD)
    ids = {(await access.accounts.by_password(name, GOOD)).account_id for name in ("GRACE", "grace", "Grace", "gRACE")}
    assert len(ids) == 1
    assert [one.name for one in await access.people.list(admin)] == ["admin", "grace"]
    with pytest.raises(Conflict):
        await access.people.add(admin, "GRACE", GOOD)


async def test_a_person_who_is_renamed_there_keeps_the_account(access: Access, admin: Actor, add_source: AddSource, first: Tree) -> None:
    await add_source("cluster", first)
    dn = first.person("grace", GOOD)
    before = await access.accounts.by_password("grace", GOOD)
    first.rename(dn, "hopper")
    after = await access.accounts.by_password("hopper", GOOD)
    assert (after.account_id, after.name) == (before.account_id, "grace")
    (identity,) = await access.identities.list(admin, before.account_id or 0)
    assert identity.name == "hopper"


async def test_a_name_that_is_given_to_somebody_else_there_opens_nothing(access: Access, add_source: AddSource, first: Tree) -> None:
    await add_source("cluster", first)
    dn = first.person("grace", GOOD)
    await access.accounts.by_password("grace", GOOD)
    first.remove(dn)
    first.person("grace", OTHER)
    with pytest.raises(Denied, match="somebody else"):
        await access.accounts.by_password("grace", OTHER)


async def test_a_disabled_account_stays_out_with_the_right_password(
    access: Access, admin: Actor, add_source: AddSource, first: Tree
) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD)
    grace = await access.accounts.by_password("grace", GOOD)
    await access.people.set_disabled(admin, grace.account_id or 0, True)
    for name in ("grace", "GRACE"):
        await refused(access, name, GOOD)


async def test_without_onboarding_nobody_gets_an_account(access: Access, admin: Actor, add_source: AddSource, first: Tree) -> None:
    await add_source("cluster", first, onboarding=False)
    first.person("grace", GOOD)
    with pytest.raises(Denied, match="no account here"):
        await access.accounts.by_password("grace", GOOD)
    assert [one.name for one in await access.people.list(admin)] == ["admin"]


async def test_a_group_of_administrators_makes_them_and_unmakes_them(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, seconds: Seconds
) -> None:
    grace = first.person("grace", GOOD)
    admins = first.group("admins", grace, first.person("heidi", GOOD))
    await add_source("cluster", first, admin_group=admins)
    assert (await access.accounts.by_password("grace", GOOD)).is_admin
    first.take_out(admins, grace)
    seconds.now += REMEMBERED_SECONDS
    assert not (await access.accounts.by_password("grace", GOOD)).is_admin


async def test_the_password_is_changed_where_it_is_kept(access: Access, admin: Actor, add_source: AddSource, first: Tree) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD)
    grace = await access.accounts.by_password("grace", GOOD)
    for actor in (admin, grace):
        with pytest.raises((Denied, Unauthenticated)):
            await access.people.set_password(actor, grace.account_id or 0, OTHER, old=GOOD)
    with pytest.raises(Denied, match="cluster"):
        await access.people.set_password(admin, grace.account_id or 0, OTHER)


# --- what is remembered ---------------------------------------------------------------------------------------------------------------


async def test_the_directory_is_not_asked_at_every_request(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, seconds: Seconds
) -> None:
    await add_source("cluster", first)
    dn = first.person("grace", GOOD)
    for _ in range(2):  # the first makes the account
        await access.accounts.by_password("grace", GOOD)
    first.set_password(dn, OTHER)
    seconds.now += REMEMBERED_SECONDS - 1
    await access.accounts.by_password("grace", GOOD)
    await refused(access, "grace", "wrong")
    await access.accounts.by_password("grace", OTHER)
    seconds.now += 2
    await refused(access, "grace", GOOD)


async def test_what_is_remembered_ends_with_the_source_as_it_was(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, clock: ManualClock
) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD)
    await access.accounts.by_password("grace", GOOD)
    clock.advance(timedelta(seconds=1))
    await access.sources.set_enabled(admin, "cluster", False)
    await refused(access, "grace", GOOD)
    await access.sources.set_enabled(admin, "cluster", True)
    await down(access, admin, "cluster", first)
    clock.advance(timedelta(seconds=1))
    with pytest.raises(SourceFailed):
        await access.accounts.by_password("grace", GOOD)


async def test_what_is_remembered_ends_with_the_account_as_it_was(
    access: Access, database: Database, add_source: AddSource, first: Tree, clock: ManualClock
) -> None:
    await add_source("cluster", first)
    dn = first.person("grace", GOOD)
    grace = await access.accounts.by_password("grace", GOOD)
    await access.accounts.by_password("grace", GOOD)
    first.set_password(dn, OTHER)
    await database.write(lambda connection: rows.change(connection, grace.account_id or 0, valid_from=clock()))
    await refused(access, "grace", GOOD)


# --- several directories --------------------------------------------------------------------------------------------------------------


async def test_the_first_that_knows_the_name_decides(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, second: Tree
) -> None:
    await add_source("cluster", first)
    await add_source("campus", second)
    first.person("grace", GOOD)
    second.person("grace", OTHER)
    second.person("heidi", GOOD)
    await refused(access, "grace", OTHER)
    assert [one.name for one in await access.people.list(admin)] == ["admin"], "campus was not asked, or its answer was not taken"
    await access.accounts.by_password("grace", GOOD)
    await access.accounts.by_password("heidi", GOOD)
    assert {one.name: one.source for one in await access.people.list(admin)} == {"admin": "local", "grace": "cluster", "heidi": "campus"}


async def test_the_order_is_the_administrators(access: Access, admin: Actor, add_source: AddSource, first: Tree, second: Tree) -> None:
    await add_source("cluster", first)
    await add_source("campus", second)
    await access.sources.move(admin, "campus", 1)
    first.person("grace", GOOD)
    second.person("grace", OTHER)
    await access.accounts.by_password("grace", OTHER)
    assert (await account(access, admin, "grace")).source == "campus"


async def test_a_bound_name_is_asked_for_only_there(access: Access, admin: Actor, add_source: AddSource, first: Tree, second: Tree) -> None:
    await add_source("campus", second)
    second.person("grace", OTHER)
    await access.accounts.by_password("grace", OTHER)
    await add_source("cluster", first)
    await access.sources.move(admin, "cluster", 1)
    first.person("grace", GOOD)
    await refused(access, "grace", GOOD)
    await access.accounts.by_password("grace", OTHER)
    await access.sources.set_enabled(admin, "campus", False)
    await refused(access, "grace", GOOD)
    await refused(access, "GRACE", GOOD)


async def test_our_own_accounts_are_asked_for_nowhere(access: Access, admin: Actor, add_source: AddSource, first: Tree) -> None:
    await access.people.add(admin, "Grace", GOOD)
    await add_source("cluster", first)
    first.person("grace", OTHER)
    for name in ("Grace", "grace", "GRACE"):
        await refused(access, name, OTHER)
    assert (await access.accounts.by_password("Grace", GOOD)).name == "Grace"


async def test_a_name_that_is_taken_here_is_never_joined(access: Access, admin: Actor, add_source: AddSource, first: Tree) -> None:
    await access.people.add(admin, "grace", GOOD, email="grace@example.org")
    await add_source("cluster", first, user_filter="(|(uid={name})(mail={name}))")
    first.person("grace", OTHER, mail="grace@example.org")
    with pytest.raises(Denied, match="not yours"):
        await access.accounts.by_password("grace@example.org", OTHER)
    assert (await account(access, admin, "grace")).source == "local"


# --- failures -------------------------------------------------------------------------------------------------------------------------


async def test_a_directory_that_is_down_stops_its_own_people_only(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, second: Tree, clock: ManualClock
) -> None:
    await add_source("cluster", first)
    await add_source("campus", second)
    first.person("grace", GOOD)
    second.person("heidi", GOOD)
    await access.people.add(admin, "ivan", GOOD)
    await access.accounts.by_password("grace", GOOD)
    clock.advance(timedelta(seconds=1))
    await down(access, admin, "cluster", first)
    with pytest.raises(SourceFailed, match="'cluster' does not answer") as raised:
        await access.accounts.by_password("grace", GOOD)
    assert "127.0.0.1" not in raised.value.message, "what exactly is wrong is not for whoever tries a name"
    await access.accounts.by_password("heidi", GOOD)
    await access.accounts.by_password("ivan", GOOD)
    await refused(access, "ivan", "wrong")
    await refused(access, "heidi", "wrong")
    with pytest.raises(SourceFailed):
        await access.accounts.by_password("judy", GOOD)


async def test_a_directory_that_has_failed_is_not_asked_for_some_seconds(
    access: Access, admin: Actor, database: Database, first: Tree, seconds: Seconds, add_source: AddSource
) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD)
    settings = first.settings()

    async def point_to(url: str) -> None:
        """Behind the room's back: the source seems unchanged."""
        text = msgspec.json.encode(msgspec.structs.replace(settings, url=url)).decode()

        def work(connection: Connection) -> None:
            connection.execute(update(login_sources).values(settings=text))

        await database.write(work)

    await point_to(f"ldap://127.0.0.1:{free_port()}")
    with pytest.raises(SourceFailed):
        await access.accounts.by_password("grace", GOOD)
    await point_to(settings.url)
    with pytest.raises(SourceFailed):
        await access.accounts.by_password("grace", GOOD)
    seconds.now += PASSED_OVER_SECONDS
    await access.accounts.by_password("grace", GOOD)


# --- linking --------------------------------------------------------------------------------------------------------------------------


async def test_a_second_identity_is_linked_by_proof_of_both(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, second: Tree
) -> None:
    await add_source("cluster", first)
    await add_source("campus", second)
    first.person("grace", GOOD)
    second.person("ghopper", OTHER)
    grace = await access.accounts.by_password("grace", GOOD)
    with pytest.raises(Unauthenticated):
        await access.sources.link(grace, "campus", "ghopper", "wrong")
    await access.sources.link(grace, "campus", "ghopper", OTHER)
    assert (await access.accounts.by_password("ghopper", OTHER)).account_id == grace.account_id
    linked = await access.identities.list(grace, grace.account_id or 0)
    assert [(one.source, one.name) for one in linked] == [("cluster", "grace"), ("campus", "ghopper")]
    await access.identities.unlink(grace, grace.account_id or 0, linked[1].id)
    with pytest.raises(Conflict, match="only way"):
        await access.identities.unlink(grace, grace.account_id or 0, linked[0].id)
    with pytest.raises(NotFound):
        await access.identities.unlink(grace, grace.account_id or 0, linked[1].id)


async def test_an_identity_has_one_account(access: Access, admin: Actor, user: Actor, add_source: AddSource, first: Tree) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD)
    grace = await access.accounts.by_password("grace", GOOD)
    with pytest.raises(Conflict, match="another account"):
        await access.sources.link(user, "cluster", "grace", GOOD)
    with pytest.raises(Denied):
        await access.sources.link(msgspec.structs.replace(user, scope=TokenScope({})), "cluster", "grace", GOOD)
    with pytest.raises(Denied):
        await access.identities.list(user, grace.account_id or 0)


async def test_an_account_moves_on_when_its_own_identity_is_unlinked(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, second: Tree
) -> None:
    await add_source("cluster", first)
    await add_source("campus", second)
    first.person("grace", GOOD)
    second.person("grace", OTHER)
    grace = await access.accounts.by_password("grace", GOOD)
    await access.sources.link(grace, "campus", "grace", OTHER)
    linked = await access.identities.list(grace, grace.account_id or 0)
    await access.identities.unlink(grace, grace.account_id or 0, linked[0].id)
    assert (await account(access, admin, "grace")).source == "campus"
    assert (await access.accounts.by_password("grace", OTHER)).account_id == grace.account_id
    await refused(access, "grace", GOOD)


# --- the end of a source --------------------------------------------------------------------------------------------------------------


async def test_the_accounts_of_a_removed_source_stay_and_open_to_nobody(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, clock: ManualClock
) -> None:
    admins = first.group("admins", first.person("grace", GOOD))
    await add_source("cluster", first, admin_group=admins)
    grace = await access.accounts.by_password("grace", GOOD)
    assert grace.is_admin
    token = await access.accounts.issue(grace, [])
    clock.advance(timedelta(seconds=2))
    await access.sources.remove(admin, "cluster")
    with pytest.raises(Unauthenticated):
        await access.accounts.by_token(token)
    await refused(access, "grace", GOOD)
    row = await account(access, admin, "grace")
    assert (row.source, row.is_admin, row.disabled_at) == ("local", False, None)
    await add_source("cluster", first)
    await refused(access, "grace", GOOD)
    await access.people.set_password(admin, row.id, OTHER)
    assert (await access.accounts.by_password("grace", OTHER)).account_id == grace.account_id


async def test_a_removed_account_is_made_anew_at_the_next_login(
    access: Access, admin: Actor, add_source: AddSource, first: Tree, seconds: Seconds
) -> None:
    await add_source("cluster", first)
    first.person("grace", GOOD)
    before = await access.accounts.by_password("grace", GOOD)
    await access.people.remove(admin, before.account_id or 0)
    seconds.now += REMEMBERED_SECONDS
    after = await access.accounts.by_password("grace", GOOD)
    assert after.account_id != before.account_id


async def test_a_bind_without_its_password_is_not_set_up(access: Access, admin: Actor, first: Tree) -> None:
    with pytest.raises(InvalidAccount, match="bind DN"):
        await access.sources.add(admin, "cluster", first.settings(), "")
    with pytest.raises(InvalidAccount, match="bind DN"):
        await access.sources.add(admin, "cluster", first.settings(bind_dn=""), "secret")
    await access.sources.add(admin, "cluster", first.settings(), READER_SECRET)
    with pytest.raises(InvalidAccount):
        await access.sources.change(admin, "cluster", secret="")
    assert isinstance((await access.sources.get(admin, "cluster")).settings, LdapSettings)
