"""Browser sessions: what begins one, what it may do, and everything that ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest
from sqlalchemy import select

from roadstead.access.access import Access
from roadstead.access.actor import ANONYMOUS, SYSTEM, Actor, Level, Limits, RobotRights
from roadstead.access.secret import kind_of, make_secret
from roadstead.access.sessions import MOST, csrf_token, is_csrf_token
from roadstead.access.vault import Vault
from roadstead.errors import Denied, NotFound, Unauthenticated
from roadstead.metadata import credentials
from roadstead.metadata.database import Database
from roadstead.metadata.schema import audit_log
from tests.support.factories import ManualClock, narrowed

MINUTE = timedelta(minutes=1)


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    return Access(database, Vault([b"k" * 32]), clock=clock)


async def ended(access: Access, secret: str) -> bool:
    try:
        await access.sessions.find(secret)
    except Unauthenticated:
        return True
    return False


async def test_a_session_is_its_account_with_all_rights(access: Access, admin: Actor) -> None:
    secret = await access.sessions.open(admin, "Firefox")
    actor = await access.sessions.find(secret, "192.0.2.7")
    assert (actor.account_id, actor.name, actor.is_admin, actor.address) == (admin.account_id, "admin", True, "192.0.2.7")
    assert (actor.limits, actor.scope, actor.robot) == (Limits(), None, None)
    (listed,) = await access.sessions.list(actor, actor.account_id or 0)
    assert (listed.id, listed.name) == (actor.credential_id, "Firefox")


async def test_every_session_has_a_secret_of_its_own_that_is_not_stored(access: Access, user: Actor, database: Database) -> None:
    first, second = await access.sessions.open(user, "a"), await access.sessions.open(user, "b")
    assert first != second
    assert kind_of(first) == "session"
    rows = await database.read(lambda connection: credentials.of_account(connection, user.account_id or 0, "session"))
    assert first not in str(rows)


async def test_a_sessions_secret_is_no_password_and_no_token(access: Access, user: Actor) -> None:
    secret = await access.sessions.open(user, "Firefox")
    for attempt in (
        access.accounts.by_password("ada", secret),
        access.accounts.by_token(secret),
        access.accounts.by_refresh_token(secret),
    ):
        with pytest.raises(Unauthenticated):
            await attempt
    _, token = await access.credentials.add_token(user, user.account_id or 0, "x", Level.ADMIN)
    refresh_token = await access.accounts.issue_refresh_token(user, "docker")
    nearly = secret[:-1] + ("y" if secret.endswith("x") else "x")
    for other in (token, "", "rsd_s_", nearly, make_secret("session"), str(refresh_token)):
        assert await ended(access, other)


async def test_only_who_has_proved_to_be_the_account_itself_begins_one(access: Access, user: Actor) -> None:
    _, token = await access.credentials.add_token(user, user.account_id or 0, "x", Level.ADMIN)
    for actor in (
        ANONYMOUS,
        SYSTEM,
        await access.accounts.by_token(token),
        narrowed(user, {}),
        Actor(user.account_id, "robot$x", robot=RobotRights({})),
    ):
        with pytest.raises(Denied):
            await access.sessions.open(actor, "x")


# --- what ends one ------------------------------------------------------------------------------------------------------------------


async def test_it_ends_by_rest_and_lives_by_use(access: Access, user: Actor, clock: ManualClock) -> None:
    secret = await access.sessions.open(user, "x")
    for _ in range(3):
        clock.advance(59 * MINUTE)
        assert not await ended(access, secret)
        await access.accounts.flush_uses()
    clock.advance(60 * MINUTE)
    assert await access.sessions.list(user, user.account_id or 0) == []
    assert await ended(access, secret)
    await access.accounts.flush_uses()
    assert await ended(access, secret), "to have been refused is no use"


async def test_it_ends_by_age_however_much_it_is_used(access: Access, user: Actor, clock: ManualClock) -> None:
    secret = await access.sessions.open(user, "x")
    for _ in range(47):
        clock.advance(30 * MINUTE)
        assert not await ended(access, secret)
        await access.accounts.flush_uses()
    clock.advance(30 * MINUTE)
    assert await ended(access, secret)


async def test_a_shorter_time_holds_for_those_that_have_begun(access: Access, user: Actor, clock: ManualClock) -> None:
    secret = await access.sessions.open(user, "x")
    clock.advance(10 * MINUTE)
    assert not await ended(access, secret)
    await access.accounts.flush_uses()
    clock.advance(MINUTE)
    await access.configuration.change(SYSTEM, {"session_lifetime": 11})
    assert await ended(access, secret)
    await access.configuration.change(SYSTEM, {"session_lifetime": None, "session_timeout": 1})
    assert await ended(access, secret)


async def end_it(access: Access, user: Actor, secret: str) -> None:
    actor = await access.sessions.find(secret)
    await access.sessions.end(user, user.account_id or 0, actor.credential_id or 0)


ENDS: dict[str, Callable[[Access, Actor, str], Awaitable[object]]] = {
    "logging out": lambda access, _, secret: access.sessions.close(secret),
    "ended in the list": end_it,
    "ended by an administrator": lambda access, user, secret: access.sessions.end_all(SYSTEM, user.account_id or 0),
    "all ended": lambda access, user, secret: access.sessions.end_all(user, user.account_id or 0),
    "a new password that ends sessions": lambda access, user, secret: access.people.set_password(
        SYSTEM, user.account_id or 0, "correct horse battery", end_sessions=True
    ),
    "the account disabled": lambda access, user, secret: access.people.set_disabled(SYSTEM, user.account_id or 0, True),
    "the account removed": lambda access, user, secret: access.people.remove(SYSTEM, user.account_id or 0),
}


@pytest.mark.parametrize("how", ENDS)
async def test_what_ends_it_ends_it_at_the_next_request_of_any_replica(
    how: str, access: Access, user: Actor, database: Database, clock: ManualClock
) -> None:
    secret = await access.sessions.open(user, "x")
    replica = Access(database, Vault([b"k" * 32]), clock=clock)
    assert not await ended(replica, secret)
    await ENDS[how](access, user, secret)
    assert await ended(replica, secret)


async def test_enabling_an_account_again_does_not_bring_its_sessions_back(access: Access, user: Actor) -> None:
    secret = await access.sessions.open(user, "x")
    await access.people.set_disabled(SYSTEM, user.account_id or 0, True)
    await access.people.set_disabled(SYSTEM, user.account_id or 0, False)
    assert await ended(access, secret)


async def test_a_new_password_that_ends_nothing_leaves_it(access: Access, user: Actor) -> None:
    secret = await access.sessions.open(user, "x")
    await access.people.set_password(SYSTEM, user.account_id or 0, "correct horse battery")
    assert not await ended(access, secret)


async def test_one_ends_others_stay_and_tokens_are_not_sessions(access: Access, user: Actor) -> None:
    kept, gone = await access.sessions.open(user, "kept"), await access.sessions.open(user, "gone")
    row, token = await access.credentials.add_token(user, user.account_id or 0, "x", Level.READ)
    await access.sessions.close(gone)
    await access.sessions.close(gone)
    with pytest.raises(NotFound):
        await access.sessions.end(user, user.account_id or 0, row.id)
    assert [one.name for one in await access.sessions.list(user, user.account_id or 0)] == ["kept"]
    assert not await ended(access, kept)
    assert await access.accounts.by_token(token)


async def test_a_further_login_ends_the_oldest(access: Access, user: Actor) -> None:
    secrets = [await access.sessions.open(user, str(number)) for number in range(MOST + 1)]
    assert await ended(access, secrets[0])
    assert not await ended(access, secrets[1])
    assert len(await access.sessions.list(user, user.account_id or 0)) == MOST


async def test_nobody_sees_or_ends_those_of_others(access: Access, user: Actor, admin: Actor) -> None:
    secret = await access.sessions.open(admin, "x")
    mine = await access.sessions.find(await access.sessions.open(user, "x"))
    theirs = await access.sessions.find(secret)
    for attempt in (
        access.sessions.list(mine, admin.account_id or 0),
        access.sessions.end_all(mine, admin.account_id or 0),
        access.sessions.end(mine, admin.account_id or 0, theirs.credential_id or 0),
    ):
        with pytest.raises(Denied):
            await attempt
    with pytest.raises(NotFound):
        await access.sessions.end(mine, user.account_id or 0, theirs.credential_id or 0)
    assert not await ended(access, secret)


async def test_what_ended_long_ago_is_removed(access: Access, user: Actor, clock: ManualClock, database: Database) -> None:
    await access.sessions.open(user, "expires")
    await access.sessions.close(await access.sessions.open(user, "closed"))
    _, token = await access.credentials.add_token(user, user.account_id or 0, "x", Level.READ, lifetime=timedelta(hours=1))
    assert await access.sessions.purge() == 0
    clock.advance(timedelta(days=1, minutes=1))
    living = await access.sessions.open(user, "lives")
    assert await access.sessions.purge() == 1
    clock.advance(timedelta(hours=23))
    assert await access.sessions.purge() == 0
    clock.advance(timedelta(hours=1))
    assert await access.sessions.purge() == 1
    assert len(await access.credentials.tokens(user, user.account_id or 0)) == 1, token
    assert await ended(access, living)


async def test_the_audit_log_says_when_sessions_begin_and_end(access: Access, user: Actor, database: Database) -> None:
    here = msgspec.structs.replace(user, address="192.0.2.7")
    await access.sessions.close(await access.sessions.open(here, "Firefox"), "192.0.2.8")
    await access.sessions.open(here, "Chrome")
    await end_it(access, user, await access.sessions.open(here, "Opera"))
    assert await access.sessions.end_all(SYSTEM, user.account_id or 0) == 1
    assert await access.sessions.end_all(SYSTEM, user.account_id or 0) == 0
    columns = (audit_log.c.action, audit_log.c.actor, audit_log.c.address, audit_log.c.resource)
    query = select(*columns).where(audit_log.c.resource_type == "session").order_by(audit_log.c.id)
    logged = await database.read(lambda connection: [tuple(row) for row in connection.execute(query)])
    assert logged == [
        ("create", "ada", "192.0.2.7", "ada"),
        ("logout", "ada", "192.0.2.8", "ada"),
        ("create", "ada", "192.0.2.7", "ada"),
        ("create", "ada", "192.0.2.7", "ada"),
        ("delete", "ada", "", "ada"),
        ("delete", "system", "", "ada"),
    ]


# --- CSRF ---------------------------------------------------------------------------------------------------------------------------


async def test_a_csrf_token_is_of_one_session(access: Access, user: Actor) -> None:
    first, second = await access.sessions.open(user, "a"), await access.sessions.open(user, "b")
    assert is_csrf_token(csrf_token(first), first)
    for wrong in (csrf_token(second), "", first, csrf_token(first)[:-1], "é", csrf_token(first) + "="):
        assert not is_csrf_token(wrong, first)
    assert csrf_token(first) not in first
