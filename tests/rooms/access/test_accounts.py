"""Authentication as a door uses it: passwords, tokens, and the present state of the account behind them."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import Connection, update

from roadstead.access.accounts import Accounts
from roadstead.access.actor import ANONYMOUS, Actor, TokenScope, anonymous_from
from roadstead.access.passwords import hash_password
from roadstead.access.tokens import Grant
from roadstead.access.vault import Vault
from roadstead.errors import Unauthenticated
from roadstead.metadata import accounts as rows
from roadstead.metadata.database import Database
from roadstead.metadata.schema import accounts as table
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from tests.support.factories import APP, BEGINNING, VAULT

RIGHT = "correct horse"
HASHED = hash_password(RIGHT)


@pytest.fixture
async def ada(database: Database) -> Actor:
    add = partial(rows.add, name="ada", password_hash=HASHED, is_admin=False, now=BEGINNING)
    assert await database.write(add)
    return await Accounts(database, Vault([b"k" * 32]), create_projects_on_push=False).by_password("ada", RIGHT)


async def change(database: Database, **values: object) -> None:
    def work(connection: Connection) -> None:
        connection.execute(update(table).values(values))

    await database.write(work)


def scope_of(actor: Actor) -> TokenScope:
    assert actor.scope is not None
    return actor.scope


# --- passwords ----------------------------------------------------------------------------------------------------------------------


async def test_a_password_makes_an_actor(accounts: Accounts, ada: Actor) -> None:
    assert (ada.name, ada.is_admin, ada.scope, ada.anonymous) == ("ada", False, None, False)
    assert await accounts.by_password("ada", RIGHT) == ada


async def test_wrong_credentials_all_sound_the_same(accounts: Accounts, ada: Actor) -> None:
    said = set()
    for name, password in (("ada", "wrong"), ("ada", ""), ("nobody", RIGHT), ("", RIGHT), ("ADA", RIGHT), ("é", "☃")):
        with pytest.raises(Unauthenticated) as raised:
            await accounts.by_password(name, password)
        said.add(raised.value.message)
    assert len(said) == 1


async def test_empty_credentials_are_nobody(accounts: Accounts) -> None:
    assert await accounts.by_password("", "") == ANONYMOUS
    assert await accounts.by_password("", "", "192.0.2.7") == anonymous_from("192.0.2.7")


async def test_a_disabled_account_stops_at_the_next_request(accounts: Accounts, ada: Actor, database: Database) -> None:
    token = await accounts.issue(ada, [])
    assert (await accounts.by_token(token)).name == "ada"
    await change(database, disabled_at=BEGINNING)
    with pytest.raises(Unauthenticated):
        await accounts.by_password("ada", RIGHT)
    with pytest.raises(Unauthenticated):
        await accounts.by_token(token)
    await change(database, disabled_at=None)
    assert (await accounts.by_token(token)).account_id == ada.account_id


async def test_a_changed_password_stops_the_old_one_at_the_next_request(accounts: Accounts, ada: Actor, database: Database) -> None:
    assert await accounts.by_password("ada", RIGHT)
    await change(database, password_hash=hash_password("new"))
    with pytest.raises(Unauthenticated):
        await accounts.by_password("ada", RIGHT)
    assert await accounts.by_password("ada", "new") == ada


async def test_a_token_carries_the_accounts_present_rights(accounts: Accounts, ada: Actor, database: Database) -> None:
    token = await accounts.issue(ada, [])
    assert not (await accounts.by_token(token)).is_admin
    await change(database, is_admin=True)
    assert (await accounts.by_token(token)).is_admin


# --- what is granted ----------------------------------------------------------------------------------------------------------------


async def granted(accounts: Accounts, actor: Actor, *wanted: Grant) -> dict[RepositoryName, frozenset[str]]:
    return dict(scope_of(await accounts.by_token(await accounts.issue(actor, wanted))).repositories)


def repository(name: str, *actions: str) -> Grant:
    return Grant("repository", name, actions)


async def test_no_more_is_granted_than_the_actor_may(registry: Registry, accounts: Accounts, admin: Actor, user: Actor) -> None:
    wanted = (repository(APP, "pull", "push", "delete"), repository(VAULT, "pull", "push"))
    assert await granted(accounts, admin, *wanted) == {APP: {"pull", "push", "delete"}, VAULT: {"pull", "push"}}
    assert await granted(accounts, user, *wanted) == {APP: {"pull"}}
    assert await granted(accounts, ANONYMOUS, *wanted) == {APP: {"pull"}}


async def test_no_more_is_granted_than_was_asked_for(registry: Registry, accounts: Accounts, admin: Actor) -> None:
    assert await granted(accounts, admin, repository(APP, "pull")) == {APP: {"pull"}}
    assert await granted(accounts, admin, repository(APP, "brew", "pull")) == {APP: {"pull"}}
    assert await granted(accounts, admin, repository(APP, "brew")) == {}
    assert await granted(accounts, admin) == {}


async def test_a_star_is_every_action_that_the_actor_may(registry: Registry, accounts: Accounts, admin: Actor, user: Actor) -> None:
    assert await granted(accounts, admin, repository(APP, "*")) == {APP: {"pull", "push", "delete"}}
    assert await granted(accounts, user, repository(APP, "*")) == {APP: {"pull"}}


async def test_nothing_is_granted_for_what_is_not_there_or_is_no_name(registry: Registry, accounts: Accounts, admin: Actor) -> None:
    unknown = [repository(name, "pull", "push", "*") for name in ("nowhere/app", "NO/NAME", "a//b", "library/../x", "x" * 300)]
    assert await granted(accounts, admin, *unknown, Grant("other", "library/app", ("pull",))) == {}


async def test_a_short_name_is_granted_in_full(registry: Registry, accounts: Accounts, admin: Actor) -> None:
    assert await granted(accounts, admin, repository("app", "push")) == {APP: {"push"}}


async def test_what_a_push_would_make_is_granted_to_administrators(
    registry: Registry, database: Database, admin: Actor, user: Actor
) -> None:
    willing = Accounts(database, Vault([b"k" * 32]), create_projects_on_push=True)
    assert await granted(willing, admin, repository("newcomer/app", "pull", "push")) == {"newcomer/app": {"pull", "push"}}
    assert await granted(willing, user, repository("newcomer/app", "pull", "push")) == {}


async def test_the_catalog_may_be_granted(accounts: Accounts, user: Actor) -> None:
    assert scope_of(await accounts.by_token(await accounts.issue(user, [Grant("registry", "catalog", ("*",))]))).catalog
    assert not scope_of(await accounts.by_token(await accounts.issue(user, [Grant("registry", "other", ("*",))]))).catalog


async def test_an_anonymous_token_is_still_anonymous(registry: Registry, accounts: Accounts) -> None:
    actor = await accounts.by_token(await accounts.issue(ANONYMOUS, [repository(APP, "pull")]))
    assert actor.anonymous
    assert scope_of(actor).covers(APP, "pull")


async def test_a_token_of_an_account_that_never_was_is_refused(accounts: Accounts) -> None:
    for account_id in (999_999_999, 2**63 - 1):
        with pytest.raises(Unauthenticated):
            await accounts.by_token(await accounts.issue(Actor(account_id, "ghost", is_admin=True), []))


# --- the first administrator --------------------------------------------------------------------------------------------------------


async def test_the_first_administrator_gets_a_password_that_is_told_once(accounts: Accounts) -> None:
    password = await accounts.ensure_admin(None, BEGINNING)
    assert password is not None
    assert len(password) >= 24
    assert (await accounts.by_password("admin", password)).is_admin
    assert await accounts.ensure_admin(None, BEGINNING) is None
    assert await accounts.ensure_admin("another", BEGINNING) is None
    assert (await accounts.by_password("admin", password)).is_admin


async def test_the_first_administrators_password_may_be_given_and_is_not_told(accounts: Accounts) -> None:
    assert await accounts.ensure_admin("given", BEGINNING) is None
    assert (await accounts.by_password("admin", "given")).is_admin
