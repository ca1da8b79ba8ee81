"""Robot accounts: what their permissions allow, who makes them, and when they end."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from roadstead.access.accounts import Accounts, plain_name
from roadstead.access.actor import ANONYMOUS, SYSTEM, Action, Actor, Role
from roadstead.access.robots import Access, NewRobot, Permission, Robots, read_permissions
from roadstead.access.vault import Vault
from roadstead.errors import Conflict, Denied, InvalidAccount, NotFound, ProjectUnknown, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from roadstead.registry.registry import Registry
from tests.support.factories import APP, VAULT, ManualClock

PULL, PUSH, DELETE = (Access("repository", action) for action in ("pull", "push", "delete"))


def of(namespace: str, *access: Access, kind: str = "project") -> tuple[Permission, ...]:
    return (Permission(kind, namespace, access),)


CI = NewRobot("ci", "vault", of("vault", PULL, PUSH))


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    return Accounts(database, Vault([b"k" * 32]), create_projects_on_push=False, clock=clock)


@pytest.fixture
def robots(database: Database, clock: ManualClock, registry: Registry) -> Robots:
    """Over the registry with its two projects."""
    return Robots(database, clock)


async def can(registry: Registry, actor: Actor, action: Action, name: str = VAULT) -> bool:
    try:
        await registry.repositories.locate(actor, VAULT.parse(name), action)
    except (Denied, ProjectUnknown):
        return False
    return True


async def test_a_robot_may_what_its_permissions_say(accounts: Accounts, robots: Robots, registry: Registry) -> None:
    row, secret = await robots.add(SYSTEM, CI)
    assert (row.name, row.project_name, row.short_name) == ("robot$vault+ci", "vault", "ci")
    actor = await accounts.by_token(secret)
    assert actor.account_id == row.id
    assert await can(registry, actor, Action.PULL)
    assert await can(registry, actor, Action.PUSH)
    assert not await can(registry, actor, Action.DELETE)
    assert not await can(registry, actor, Action.PUSH, APP)
    assert await can(registry, actor, Action.PULL, APP)


@pytest.mark.parametrize("name", ["robot$vault+ci", "robot+vault+ci"])
async def test_a_robot_has_two_forms_of_its_name(accounts: Accounts, robots: Robots, name: str) -> None:
    _, secret = await robots.add(SYSTEM, CI)
    assert (await accounts.by_password(name, secret)).name == "robot$vault+ci"
    for wrong in ("vault+ci", "ci", "robot$ci", "robot$robot+vault+ci"):
        with pytest.raises(Unauthenticated):
            await accounts.by_password(wrong, secret)


def test_a_name_in_plain_form() -> None:
    names = ("robot+vault+ci", "robot+ci", "robot$vault+ci", "ada", "robot", "robot+")
    assert [plain_name(name) for name in names] == ["robot$vault+ci", "robot$ci", "robot$vault+ci", "ada", "robot", "robot$"]


async def test_a_robot_has_no_password(accounts: Accounts, robots: Robots) -> None:
    await robots.add(SYSTEM, CI)
    for password in ("", "robot$vault+ci", "correct horse"):
        with pytest.raises(Unauthenticated):
            await accounts.by_password("robot$vault+ci", password)


async def test_a_robot_of_the_system_may_in_every_project(accounts: Accounts, robots: Robots, registry: Registry) -> None:
    row, secret = await robots.add(SYSTEM, NewRobot("mirror", None, of("*", PULL, PUSH)))
    actor = await accounts.by_token(secret)
    assert (row.name, row.project_id) == ("robot$mirror", None)
    for name in (APP, VAULT):
        assert await can(registry, actor, Action.PUSH, name)
        assert not await can(registry, actor, Action.DELETE, name)
    assert not await can(registry, actor, Action.PUSH, "nowhere/app")
    assert await robots.list(SYSTEM, None) == [row]
    assert await robots.list(SYSTEM, "vault") == []


async def test_a_robot_expires_with_its_bearer_tokens(accounts: Accounts, robots: Robots, clock: ManualClock) -> None:
    row, secret = await robots.add(SYSTEM, msgspec.structs.replace(CI, duration_days=1))
    clock.advance(timedelta(days=1) - timedelta(seconds=1))
    bearer = await accounts.issue(await accounts.by_token(secret), [])
    clock.advance(timedelta(seconds=1))
    for value in (secret, bearer):
        with pytest.raises(Unauthenticated, match="expired"):
            await accounts.by_token(value)
    await robots.change(SYSTEM, row.id, description="", disabled=False, duration_days=30, permissions=CI.permissions)
    assert await accounts.by_token(secret)


async def test_a_rotated_secret_ends_at_once(accounts: Accounts, robots: Robots) -> None:
    row, old = await robots.add(SYSTEM, CI)
    bearer = await accounts.issue(await accounts.by_token(old), [])
    new = await robots.rotate(SYSTEM, row.id)
    for value in (old, bearer):
        with pytest.raises(Unauthenticated):
            await accounts.by_token(value)
    assert (await accounts.by_token(new)).account_id == row.id


async def test_a_disabled_robot_stops_and_may_go_on(accounts: Accounts, robots: Robots, registry: Registry) -> None:
    row, secret = await robots.add(SYSTEM, CI)
    changed = await robots.change(SYSTEM, row.id, description="off", disabled=True, duration_days=-1, permissions=of("vault", PULL))
    assert changed.disabled_at is not None
    assert changed.description == "off"
    with pytest.raises(Unauthenticated):
        await accounts.by_token(secret)
    await robots.change(SYSTEM, row.id, description="on", disabled=False, duration_days=-1, permissions=of("vault", PULL))
    actor = await accounts.by_token(secret)
    assert await can(registry, actor, Action.PULL)
    assert not await can(registry, actor, Action.PUSH)


async def test_a_removed_robot_is_gone_and_its_name_free(accounts: Accounts, robots: Robots) -> None:
    row, secret = await robots.add(SYSTEM, CI)
    with pytest.raises(Conflict):
        await robots.add(SYSTEM, CI)
    await robots.remove(SYSTEM, row.id)
    with pytest.raises(Unauthenticated):
        await accounts.by_token(secret)
    with pytest.raises(NotFound):
        await robots.get(SYSTEM, row.id)
    again, _ = await robots.add(SYSTEM, CI)
    assert again.id != row.id
    assert await robots.list(SYSTEM, "vault") == [again]


@pytest.mark.parametrize("name", ["", "CI", "a b", "a+b", "a$b", "-a", "a-", "a..b", "x" * 101, "é"])
async def test_what_a_robot_cannot_be_called(robots: Robots, name: str) -> None:
    with pytest.raises(InvalidAccount):
        await robots.add(SYSTEM, msgspec.structs.replace(CI, name=name))


@pytest.mark.parametrize("days", [0, -2, 36_501])
async def test_how_long_a_robot_cannot_live(robots: Robots, days: int) -> None:
    with pytest.raises(InvalidAccount):
        await robots.add(SYSTEM, msgspec.structs.replace(CI, duration_days=days))


@pytest.mark.parametrize(
    "permissions",
    [of("library", PULL), of("*", PULL), of("vault", PULL) + of("library", PULL), of("/", Access("project", "create"), kind="system")],
    ids=["another", "every", "both", "system"],
)
async def test_a_projects_robot_stays_in_its_project(robots: Robots, permissions: tuple[Permission, ...]) -> None:
    with pytest.raises(Denied):
        await robots.add(SYSTEM, msgspec.structs.replace(CI, permissions=permissions))
    row, _ = await robots.add(SYSTEM, CI)
    with pytest.raises(Denied):
        await robots.change(SYSTEM, row.id, description="", disabled=False, duration_days=-1, permissions=permissions)


async def test_the_projects_administrator_makes_robots_and_others_do_not(
    robots: Robots, registry: Registry, admin: Actor, user: Actor
) -> None:
    with pytest.raises(ProjectUnknown):
        await robots.add(user, CI)
    with pytest.raises(Unauthenticated):
        await robots.add(ANONYMOUS, CI)
    with pytest.raises(Denied):
        await robots.add(user, NewRobot("mirror", None, of("*", PULL)))
    member = await registry.projects.add_member(admin, "vault", "ada", Role.PROJECT_ADMIN)
    row, _ = await robots.add(user, CI)
    assert row.created_by == user.account_id
    await registry.projects.set_role(admin, "vault", member.id, Role.MAINTAINER)
    assert await robots.get(user, row.id) == row
    for attempt in (robots.rotate(user, row.id), robots.remove(user, row.id), robots.add(user, msgspec.structs.replace(CI, name="b"))):
        with pytest.raises(Denied):
            await attempt


async def test_a_robot_gets_no_more_than_its_maker_has(accounts: Accounts, robots: Robots) -> None:
    maker = of("vault", PULL, Access("robot", "list"))
    _, secret = await robots.add(SYSTEM, msgspec.structs.replace(CI, permissions=maker))
    with pytest.raises(Denied):
        await robots.add(await accounts.by_token(secret), msgspec.structs.replace(CI, name="offspring"))


async def test_who_may_not_see_a_robot_is_told_that_there_is_none(robots: Robots, user: Actor) -> None:
    row, _ = await robots.add(SYSTEM, CI)
    system, _ = await robots.add(SYSTEM, NewRobot("mirror", None, of("*", PULL)))
    said = set()
    for robot_id in (row.id, system.id, 999_999):
        with pytest.raises(NotFound) as raised:
            await robots.get(user, robot_id)
        said.add((type(raised.value), raised.value.message))
    assert len(said) == 1


def test_what_roadstead_has_no_word_for_allows_nothing() -> None:
    unknown = read_permissions(msgspec.json.encode(of("vault", Access("scan", "create"), Access("repository", "fly"))).decode())
    assert not unknown.of("vault")
    denied = read_permissions(msgspec.json.encode(of("vault", Access("repository", "push", "deny"))).decode())
    assert not denied.of("vault")
    assert not denied.system
    system = read_permissions(msgspec.json.encode(of("/", Access("project", "create"), kind="system")).decode())
    assert system.system == {Action.CREATE_PROJECTS}


async def test_robots_are_listed_by_pages(robots: Robots, registry: Registry, user: Actor) -> None:
    for name in ("one", "two", "three"):
        await robots.add(SYSTEM, NewRobot(name, "vault", of("vault", PULL)))
    await robots.add(SYSTEM, NewRobot("four", None, ()))
    rows, total = await robots.page(SYSTEM, "vault", Listing(sort=(Sort("short_name"),), page=Page(1, 2)))
    assert ([row.short_name for row in rows], total) == (["one", "three"], 3)
    rows, total = await robots.page(SYSTEM, None, Listing((Filter("name", Match.CONTAINS, ("four",)),)))
    assert ([row.name for row in rows], total) == (["robot$four"], 1)
    for project in (None, "vault"):
        with pytest.raises((Denied, ProjectUnknown)):
            await robots.page(user, project, Listing())
