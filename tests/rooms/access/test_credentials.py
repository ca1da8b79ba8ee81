"""Personal access tokens, the CLI secret and refresh tokens: what each may do, and when it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from roadstead.access.accounts import REFRESH_LIFETIME, Accounts
from roadstead.access.actor import SYSTEM, Action, Actor, Level, Limits, TokenScope
from roadstead.access.credentials import LONGEST, Credentials
from roadstead.access.robots import NewRobot, Robots
from roadstead.access.tokens import Grant
from roadstead.access.vault import Vault
from roadstead.errors import Denied, InsufficientScope, InvalidAccount, NotFound, ProjectUnknown, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.registry.registry import Registry
from tests.support.factories import APP, BEGINNING, VAULT, ManualClock

HERE = "192.0.2.7"


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    return Accounts(database, Vault([b"k" * 32]), create_projects_on_push=True, clock=clock)


@pytest.fixture
def credentials(database: Database, clock: ManualClock) -> Credentials:
    return Credentials(database, clock)


def number(actor: Actor) -> int:
    assert actor.account_id is not None
    return actor.account_id


async def require_refused(accounts: Accounts, name: str, secret: str) -> None:
    """Neither as a password nor as a bearer token."""
    with pytest.raises(Unauthenticated):
        await accounts.by_password(name, secret)
    with pytest.raises(Unauthenticated):
        await accounts.by_token(secret)


# --- personal access tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", Level)
async def test_a_token_is_its_account_at_its_level(accounts: Accounts, credentials: Credentials, user: Actor, level: Level) -> None:
    row, secret = await credentials.add_token(user, number(user), "laptop", level)
    for actor in (await accounts.by_password("ada", secret, HERE), await accounts.by_token(secret, HERE)):
        assert (actor.account_id, actor.name, actor.scope) == (user.account_id, "ada", None)
        assert (actor.limits, actor.credential_id, actor.address) == (Limits(level), row.id, HERE)


async def test_a_tokens_secret_is_shown_once(credentials: Credentials, user: Actor) -> None:
    row, secret = await credentials.add_token(user, number(user), "laptop", Level.READ)
    (listed,) = await credentials.tokens(user, number(user))
    assert listed == row
    assert secret.startswith(listed.hint)
    assert secret not in repr(listed)


async def test_a_token_is_its_owners_alone(accounts: Accounts, credentials: Credentials, user: Actor, admin: Actor) -> None:
    _, secret = await credentials.add_token(user, number(user), "laptop", Level.READ)
    for name in ("admin", "nobody", "", "ADA"):
        with pytest.raises(Unauthenticated):
            await accounts.by_password(name, secret)


async def test_a_token_for_some_projects_is_none_elsewhere(
    accounts: Accounts, credentials: Credentials, registry: Registry, admin: Actor
) -> None:
    _, secret = await credentials.add_token(admin, number(admin), "one", Level.WRITE, project_names=["vault"])
    _, nowhere = await credentials.add_token(admin, number(admin), "none", Level.WRITE, project_names=[])
    one, none = await accounts.by_token(secret), await accounts.by_token(nowhere)
    assert await registry.repositories.locate(one, VAULT, Action.PUSH)
    with pytest.raises(Denied):
        await registry.repositories.locate(one, APP, Action.PUSH)
    with pytest.raises(Denied):
        await registry.repositories.locate(one, VAULT, Action.DELETE)
    assert await registry.repositories.locate(none, APP, Action.PULL)
    with pytest.raises(ProjectUnknown):
        await registry.repositories.locate(none, VAULT, Action.PULL)
    with pytest.raises(ProjectUnknown):
        await registry.repositories.locate(one, VAULT.parse("newcomer/app"), Action.PUSH)


async def test_what_a_token_cannot_be(credentials: Credentials, user: Actor) -> None:
    for name in ("", "  ", "x" * 101):
        with pytest.raises(InvalidAccount):
            await credentials.add_token(user, number(user), name, Level.READ)
    for lifetime in (timedelta(), timedelta(seconds=-1), LONGEST + timedelta(seconds=1)):
        with pytest.raises(InvalidAccount):
            await credentials.add_token(user, number(user), "x", Level.READ, lifetime=lifetime)
    with pytest.raises(InvalidAccount, match="nowhere"):
        await credentials.add_token(user, number(user), "x", Level.READ, project_names=["nowhere"])
    assert await credentials.tokens(user, number(user)) == []


async def test_a_token_expires(accounts: Accounts, credentials: Credentials, user: Actor, clock: ManualClock) -> None:
    _, secret = await credentials.add_token(user, number(user), "short", Level.READ, lifetime=timedelta(hours=1))
    bearer = await accounts.issue(await accounts.by_token(secret), [])
    clock.advance(timedelta(hours=1) - timedelta(microseconds=1))
    assert await accounts.by_token(bearer)
    clock.advance(timedelta(microseconds=1))
    await require_refused(accounts, "ada", secret)
    with pytest.raises(Unauthenticated, match="expired"):
        await accounts.by_token(bearer)


async def test_what_is_revoked_stops_at_the_next_request(accounts: Accounts, credentials: Credentials, user: Actor) -> None:
    row, secret = await credentials.add_token(user, number(user), "laptop", Level.READ)
    _, other = await credentials.add_token(user, number(user), "desk", Level.READ)
    actor = await accounts.by_token(secret)
    bearer, refresh = await accounts.issue(actor, []), await accounts.issue_refresh_token(actor, "docker")
    assert refresh is not None
    of_refresh = await accounts.issue(await accounts.by_refresh_token(refresh), [])
    await credentials.revoke(user, number(user), row.id)
    await require_refused(accounts, "ada", secret)
    for stale in (bearer, of_refresh):
        with pytest.raises(Unauthenticated):
            await accounts.by_token(stale)
    with pytest.raises(Unauthenticated):
        await accounts.by_refresh_token(refresh)
    with pytest.raises(Unauthenticated):
        await accounts.issue_refresh_token(actor, "docker")
    assert await accounts.by_token(other)
    with pytest.raises(NotFound):
        await credentials.revoke(user, number(user), row.id)


async def test_nobody_ends_or_sees_anothers(credentials: Credentials, user: Actor, admin: Actor) -> None:
    row, _ = await credentials.add_token(admin, number(admin), "laptop", Level.ADMIN)
    with pytest.raises(Denied):
        await credentials.revoke(user, number(admin), row.id)
    with pytest.raises(NotFound):
        await credentials.revoke(user, number(user), row.id)
    with pytest.raises(Denied):
        await credentials.tokens(user, number(admin))
    with pytest.raises(Denied):
        await credentials.make_cli_secret(user, number(admin))
    assert await credentials.tokens(SYSTEM, number(admin)) == [row]


async def test_a_narrow_credential_makes_no_wider_one(accounts: Accounts, credentials: Credentials, user: Actor) -> None:
    narrow = [await accounts.by_token((await credentials.add_token(user, number(user), "x", level))[1]) for level in Level]
    scoped = Actor(user.account_id, "ada", scope=TokenScope({}))
    for actor in (*narrow[:-1], scoped):
        with pytest.raises(Denied):
            await credentials.add_token(actor, number(user), "wider", Level.ADMIN)
        with pytest.raises(Denied):
            await credentials.make_cli_secret(actor, number(user))
    assert await credentials.make_cli_secret(narrow[-1], number(user))


async def test_the_last_use_is_told(accounts: Accounts, credentials: Credentials, user: Actor, clock: ManualClock) -> None:
    row, secret = await credentials.add_token(user, number(user), "laptop", Level.READ)
    assert (row.last_used_at, row.last_used_from) == (None, None)
    await accounts.by_token(secret, "192.0.2.1")
    clock.advance(timedelta(minutes=1))
    await accounts.by_password("ada", secret, HERE)
    await accounts.flush_uses()
    (used,) = await credentials.tokens(user, number(user))
    assert (used.last_used_at, used.last_used_from) == (BEGINNING + timedelta(minutes=1), HERE)
    await accounts.flush_uses()
    assert await credentials.tokens(user, number(user)) == [used]


# --- the CLI secret -----------------------------------------------------------------------------------------------------------------


async def test_a_new_cli_secret_ends_the_old_one(accounts: Accounts, credentials: Credentials, user: Actor) -> None:
    assert await credentials.cli_secret(user, number(user)) is None
    old = await credentials.make_cli_secret(user, number(user))
    actor = await accounts.by_password("ada", old)
    assert actor.limits == Limits(Level.DELETE)
    refresh = await accounts.issue_refresh_token(actor, "docker")
    new = await credentials.make_cli_secret(user, number(user))
    await require_refused(accounts, "ada", old)
    with pytest.raises(Unauthenticated):
        await accounts.by_refresh_token(str(refresh))
    assert await accounts.by_password("ada", new)
    row = await credentials.cli_secret(user, number(user))
    assert row is not None
    assert new.startswith(row.hint)
    assert await credentials.tokens(user, number(user)) == []


# --- refresh tokens -----------------------------------------------------------------------------------------------------------------


async def test_a_refresh_token_is_no_password_and_no_bearer_token(accounts: Accounts, user: Actor) -> None:
    refresh = await accounts.issue_refresh_token(user, "docker")
    assert refresh is not None
    await require_refused(accounts, "ada", refresh)
    assert (await accounts.by_refresh_token(refresh)).account_id == user.account_id


async def test_only_a_refresh_token_refreshes(accounts: Accounts, credentials: Credentials, user: Actor) -> None:
    for wrong in ("", "x", await credentials.make_cli_secret(user, number(user)), await accounts.issue(user, [])):
        with pytest.raises(Unauthenticated):
            await accounts.by_refresh_token(wrong)


async def test_a_refresh_token_has_its_parents_limits_and_no_longer_life(
    accounts: Accounts, credentials: Credentials, registry: Registry, admin: Actor, clock: ManualClock
) -> None:
    _, secret = await credentials.add_token(admin, number(admin), "one", Level.READ, project_names=["vault"], lifetime=timedelta(days=2))
    parent = await accounts.by_token(secret)
    refresh = str(await accounts.issue_refresh_token(parent, "docker"))
    assert (await accounts.by_refresh_token(refresh)).limits == parent.limits
    clock.advance(timedelta(days=2))
    with pytest.raises(Unauthenticated):
        await accounts.by_refresh_token(refresh)


async def test_a_refresh_token_ends_by_itself(accounts: Accounts, user: Actor, clock: ManualClock) -> None:
    refresh = str(await accounts.issue_refresh_token(user, "docker"))
    clock.advance(REFRESH_LIFETIME - timedelta(seconds=1))
    assert await accounts.by_refresh_token(refresh)
    clock.advance(timedelta(seconds=1))
    with pytest.raises(Unauthenticated):
        await accounts.by_refresh_token(refresh)


async def test_a_bearer_token_is_no_way_to_a_wider_or_longer_one(accounts: Accounts, registry: Registry, admin: Actor) -> None:
    scoped = await accounts.by_token(await accounts.issue(admin, [Grant("repository", APP, ("pull",))]))
    assert await accounts.issue_refresh_token(scoped, "docker") is None
    wanted = [Grant("repository", APP, ("*",)), Grant("repository", VAULT, ("pull",)), Grant("registry", "catalog", ("*",))]
    second = await accounts.by_token(await accounts.issue(scoped, wanted))
    assert second.scope == TokenScope({APP: frozenset({"pull"})})
    with pytest.raises(InsufficientScope):
        await registry.repositories.locate(second, VAULT, Action.PULL)


async def test_the_anonymous_get_no_refresh_token(accounts: Accounts, anonymous: Actor) -> None:
    assert await accounts.issue_refresh_token(anonymous, "docker") is None


async def test_credentials_are_of_people_that_are_there(credentials: Credentials, database: Database, admin: Actor) -> None:
    robot, _ = await Robots(database).add(SYSTEM, NewRobot("ci", None, ()))
    for absent in (2**40, robot.id):
        with pytest.raises(NotFound):
            await credentials.make_cli_secret(admin, absent)
        with pytest.raises(NotFound):
            await credentials.add_token(admin, absent, "x", Level.READ)
