"""Accounts of people: made, changed and ended."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from roadstead.access.accounts import Accounts
from roadstead.access.actor import ANONYMOUS, SYSTEM, Actor, Level, Limits, RobotRights
from roadstead.access.audit import Audit
from roadstead.access.credentials import Credentials
from roadstead.access.people import People
from roadstead.access.vault import Vault
from roadstead.errors import Conflict, Denied, InvalidAccount, InvalidInput, NotFound, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match, Page
from tests.support.factories import ManualClock, narrowed

GOOD, BETTER = "correct horse battery", "staple of another kind"


@pytest.fixture
def people(database: Database, clock: ManualClock) -> People:
    return People(database, clock)


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    return Accounts(database, Vault([b"k" * 32]), create_projects_on_push=False, clock=clock)


@pytest.fixture
def credentials(database: Database, clock: ManualClock) -> Credentials:
    return Credentials(database, clock)


async def test_an_account_is_made_found_and_listed(people: People, accounts: Accounts, admin: Actor) -> None:
    row = await people.add(admin, "grace", GOOD, email="grace@example.org", real_name="Grace Hopper", comment="compilers")
    assert (row.name, row.kind, row.source, row.is_admin, row.disabled_at) == ("grace", "user", "local", False, None)
    assert (row.email, row.real_name, row.comment) == ("grace@example.org", "Grace Hopper", "compilers")
    assert await people.find(admin, "grace") == row == await people.get(admin, row.id)
    assert [one.name for one in await people.list(admin)] == ["admin", "grace"]
    assert (await accounts.by_password("grace", GOOD)).account_id == row.id
    with pytest.raises(Conflict):
        await people.add(admin, "grace", GOOD)


@pytest.mark.parametrize(
    "name", ["", "a b", "robot$x", "robot+x", "a#1", "-a", "a-", "x" * 101, "é", "anonymous", "System", "robot", "a\n"]
)
async def test_what_an_account_cannot_be_called(people: People, name: str) -> None:
    with pytest.raises(InvalidAccount):
        await people.add(SYSTEM, name, GOOD)


async def test_an_easy_password_is_refused(people: People, admin: Actor) -> None:
    with pytest.raises(InvalidAccount):
        await people.add(admin, "grace", "password123")
    grace = await people.add(admin, "grace", GOOD)
    with pytest.raises(InvalidAccount):
        await people.set_password(admin, grace.id, "grace12345")


async def test_administration_is_for_administrators(people: People, user: Actor, admin: Actor) -> None:
    assert user.account_id is not None
    assert admin.account_id is not None
    for actor, refusal in ((user, Denied), (ANONYMOUS, Unauthenticated)):
        for attempt in (
            people.add(actor, "x", GOOD),
            people.list(actor),
            people.find(actor, "admin"),
            people.get(actor, admin.account_id),
            people.set_admin(actor, user.account_id, True),
            people.set_disabled(actor, admin.account_id, True),
            people.remove(actor, admin.account_id),
            people.set_password(actor, admin.account_id, GOOD),
        ):
            with pytest.raises(refusal):
                await attempt
    assert (await people.get(user, user.account_id)).name == "ada"


async def test_nobody_locks_themselves_out(people: People, admin: Actor) -> None:
    assert admin.account_id is not None
    for attempt in (
        people.set_admin(admin, admin.account_id, False),
        people.set_disabled(admin, admin.account_id, True),
        people.remove(admin, admin.account_id),
    ):
        with pytest.raises(Denied, match="own account"):
            await attempt


async def test_changes_hold_at_the_next_request(people: People, accounts: Accounts, admin: Actor) -> None:
    grace = await people.add(admin, "grace", GOOD)
    token = await accounts.issue(await accounts.by_password("grace", GOOD), [])
    await people.set_admin(admin, grace.id, True)
    assert (await accounts.by_token(token)).is_admin
    await people.set_disabled(admin, grace.id, True)
    for attempt in (accounts.by_token(token), accounts.by_password("grace", GOOD)):
        with pytest.raises(Unauthenticated):
            await attempt
    await people.set_disabled(admin, grace.id, False)
    assert await accounts.by_token(token)


async def test_one_changes_ones_own_password_by_the_old_one(people: People, accounts: Accounts, admin: Actor) -> None:
    grace = await people.add(admin, "grace", GOOD)
    actor = await accounts.by_password("grace", GOOD)
    for wrong in (None, "", "wrong", BETTER):
        with pytest.raises(Unauthenticated):
            await people.set_password(actor, grace.id, BETTER, old=wrong)
    await people.set_password(actor, grace.id, BETTER, old=GOOD)
    assert await accounts.by_password("grace", BETTER)
    with pytest.raises(Unauthenticated):
        await accounts.by_password("grace", GOOD)


async def test_a_token_changes_no_password(people: People, accounts: Accounts, credentials: Credentials, admin: Actor) -> None:
    grace = await people.add(admin, "grace", GOOD)
    actor = await accounts.by_password("grace", GOOD)
    _, secret = await credentials.add_token(actor, grace.id, "x", Level.DELETE)
    for narrow in (await accounts.by_token(secret), await accounts.by_token(await accounts.issue(actor, []))):
        with pytest.raises(Denied):
            await people.set_password(narrow, grace.id, BETTER, old=GOOD)


@pytest.mark.parametrize("end_sessions", [False, True])
async def test_a_new_password_ends_what_it_is_asked_to_end(
    people: People, accounts: Accounts, credentials: Credentials, admin: Actor, clock: ManualClock, end_sessions: bool
) -> None:
    grace = await people.add(admin, "grace", GOOD)
    actor = await accounts.by_password("grace", GOOD)
    bearer, refresh = await accounts.issue(actor, []), await accounts.issue_refresh_token(actor, "docker")
    _, secret = await credentials.add_token(actor, grace.id, "laptop", Level.READ)
    clock.advance(timedelta(seconds=1))
    await people.set_password(admin, grace.id, BETTER, end_sessions=end_sessions)
    with pytest.raises(Unauthenticated):
        await accounts.by_refresh_token(str(refresh))
    for value in (bearer, secret):
        if end_sessions:
            with pytest.raises(Unauthenticated):
                await accounts.by_token(value)
        else:
            assert (await accounts.by_token(value)).account_id == grace.id
    fresh = await accounts.by_password("grace", BETTER)
    assert await accounts.by_token(await accounts.issue(fresh, []))


async def test_a_login_right_after_the_change_holds(people: People, accounts: Accounts, admin: Actor, clock: ManualClock) -> None:
    """Also within the same second as the change."""
    clock.advance(timedelta(milliseconds=300))
    grace = await people.add(admin, "grace", GOOD)
    stale = await accounts.issue(await accounts.by_password("grace", GOOD), [])
    clock.advance(timedelta(milliseconds=300))
    await people.set_password(admin, grace.id, BETTER, end_sessions=True)
    with pytest.raises(Unauthenticated):
        await accounts.by_token(stale)
    clock.advance(timedelta(milliseconds=300))
    assert await accounts.by_token(await accounts.issue(await accounts.by_password("grace", BETTER), []))


async def test_a_removed_account_frees_its_name_and_leaves_nothing(
    people: People, accounts: Accounts, credentials: Credentials, admin: Actor
) -> None:
    grace = await people.add(admin, "grace", GOOD)
    actor = await accounts.by_password("grace", GOOD)
    bearer = await accounts.issue(actor, [])
    _, secret = await credentials.add_token(actor, grace.id, "laptop", Level.READ)
    await people.remove(admin, grace.id)
    for attempt in (accounts.by_token(bearer), accounts.by_token(secret), accounts.by_password("grace", GOOD)):
        with pytest.raises(Unauthenticated):
            await attempt
    for missing in (people.get(admin, grace.id), people.find(admin, "grace"), people.set_password(admin, grace.id, BETTER)):
        with pytest.raises(NotFound):
            await missing
    again = await people.add(admin, "grace", BETTER)
    assert again.id != grace.id
    assert await credentials.tokens(admin, again.id) == []
    assert [one.name for one in await people.list(admin)] == ["admin", "grace"]


async def test_people_are_listed_by_pages(people: People, admin: Actor, user: Actor) -> None:
    await people.add(admin, "grace", GOOD, email="grace@example.org")
    rows, total = await people.page(admin, Listing(page=Page(1, 2)))
    assert ([row.name for row in rows], total) == (["ada", "admin"], 3)
    rows, total = await people.page(admin, Listing((Filter("email", Match.CONTAINS, ("example",)),)))
    assert ([row.name for row in rows], total) == (["grace"], 1)
    with pytest.raises(InvalidInput):
        await people.page(admin, Listing((Filter("password_hash", Match.CONTAINS, ("a",)),)))
    with pytest.raises(Denied):
        await people.page(user, Listing())


async def test_people_are_looked_up_by_people(people: People, admin: Actor, user: Actor) -> None:
    rows, total = await people.search(user, "AD", Listing())
    assert ([row.name for row in rows], total) == (["ada", "admin"], 2)
    with pytest.raises(Unauthenticated):
        await people.search(ANONYMOUS, "a", Listing())
    for narrow in (narrowed(user, {}), msgspec.structs.replace(user, robot=RobotRights({}))):
        with pytest.raises(Denied):
            await people.search(narrow, "a", Listing())


async def test_a_profile_is_changed_by_its_owner_and_administrators(people: People, admin: Actor, user: Actor) -> None:
    assert user.account_id is not None
    await people.change_profile(user, user.account_id, email="ada@example.org", real_name="Ada")
    await people.change_profile(admin, user.account_id, comment="engines", real_name="")
    row = await people.get(admin, user.account_id)
    assert (row.email, row.real_name, row.comment) == ("ada@example.org", "", "engines")
    with pytest.raises(InvalidAccount):
        await people.change_profile(user, user.account_id, comment="x" * 256)
    for narrow in (narrowed(user, {}), msgspec.structs.replace(user, limits=Limits(Level.WRITE))):
        with pytest.raises(Denied):
            await people.change_profile(narrow, user.account_id, comment="x")
    with pytest.raises(Denied):
        await people.change_profile(user, admin.account_id or 0, comment="x")
    with pytest.raises(NotFound):
        await people.change_profile(admin, 2**40, comment="x")


async def test_guessing_the_present_password_is_noted(database: Database, clock: ManualClock, user: Actor) -> None:
    assert user.account_id is not None
    audit = Audit(database, clock)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await People(database, clock, audit=audit).set_password(user, user.account_id, BETTER, old="a guess")
    await audit.flush()
    [row] = (await audit.list(SYSTEM, Listing()))[0]
    assert (row.actor, row.action, row.resource_type, row.result, row.amount) == ("ada", "login", "session", "failed", 2)
