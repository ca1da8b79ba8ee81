"""Groups: our own and those of sources, who may see and change them, and that a group which is taken away ends what it allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from roadstead.access.access import Access
from roadstead.access.actor import ANONYMOUS, Actor, Level, Limits, Role
from roadstead.access.source_settings import OidcSettings
from roadstead.access.vault import Vault
from roadstead.errors import Conflict, Denied, InvalidAccount, NotFound, Unauthenticated
from roadstead.metadata import groups as group_rows
from roadstead.metadata import identities as identity_rows
from roadstead.metadata import login_sources
from roadstead.metadata.database import Database
from roadstead.registry.registry import Registry
from tests.conftest import add_account
from tests.support.factories import VAULT, ManualClock
from tests.support.server import free_port
from tests.support.slapd import READER_SECRET, Slapd, Tree

GOOD = "correct horse battery"


@pytest.fixture
def access(database: Database, clock: ManualClock) -> Access:
    return Access(database, Vault([b"k" * 32]), clock=clock)


@pytest.fixture
def tree(slapd: Slapd) -> Tree:
    return slapd.fresh_tree()


async def may_see(registry: Registry, actor: Actor) -> bool:
    return VAULT.project in {row.name for row in await registry.projects.visible(actor)}


# --- our own --------------------------------------------------------------------------------------------------------------------------


async def test_a_role_of_a_group_is_a_role_of_who_is_in_it(access: Access, registry: Registry, admin: Actor, user: Actor) -> None:
    group = await access.groups.add(admin, "Climate modellers")
    member = await registry.projects.add_group(admin, VAULT.project, "Climate modellers", Role.DEVELOPER)
    assert (member.holder, member.group_id, member.account_id) == ("Climate modellers", group.id, None)
    assert not await may_see(registry, user)
    await access.groups.add_member(admin, group.id, user.account_id or 0)
    assert await may_see(registry, user)
    assert await access.groups.members(admin, group.id) == [(user.account_id, "ada")]
    assert await access.groups.of_account(user, user.account_id or 0) == [group]
    with pytest.raises(Conflict):
        await access.groups.add_member(admin, group.id, user.account_id or 0)
    await access.groups.remove_member(admin, group.id, user.account_id or 0)
    assert not await may_see(registry, user)
    with pytest.raises(NotFound):
        await access.groups.remove_member(admin, group.id, user.account_id or 0)


async def test_a_removed_group_takes_its_roles_with_it(access: Access, registry: Registry, admin: Actor, user: Actor) -> None:
    group = await access.groups.add(admin, "modellers")
    await registry.projects.add_group(admin, VAULT.project, "modellers", Role.DEVELOPER)
    await access.groups.add_member(admin, group.id, user.account_id or 0)
    await access.groups.remove(admin, group.id)
    assert not await may_see(registry, user)
    assert await registry.projects.members(admin, VAULT.project) == []
    for act in (access.groups.get, access.groups.members, access.groups.remove):
        with pytest.raises(NotFound):
            await act(admin, group.id)


async def test_groups_are_renamed_and_their_names_are_unique(access: Access, admin: Actor) -> None:
    one, other = await access.groups.add(admin, "one"), await access.groups.add(admin, "other")
    await access.groups.rename(admin, one.id, "first")
    await access.groups.rename(admin, one.id, "first")
    assert [row.name for row in await access.groups.list(admin)] == ["first", "other"]
    assert (await access.groups.find(admin, "first")).id == one.id
    with pytest.raises(Conflict):
        await access.groups.rename(admin, one.id, "other")
    with pytest.raises(Conflict):
        await access.groups.add(admin, "other")
    with pytest.raises(NotFound):
        await access.groups.find(admin, "one")
    assert other.source == "local"


@pytest.mark.parametrize("name", ["", " ", " x", "x ", "a\nb", "x" * 101])
async def test_a_bad_name_is_refused(access: Access, admin: Actor, name: str) -> None:
    with pytest.raises(InvalidAccount):
        await access.groups.add(admin, name)


async def test_a_robot_is_in_no_group(access: Access, registry: Registry, admin: Actor) -> None:
    from roadstead.access.robots import Access as May
    from roadstead.access.robots import NewRobot, Permission

    robot, _secret = await access.robots.add(admin, NewRobot("ci", None, (Permission("project", "*", (May("repository", "pull"),)),)))
    group = await access.groups.add(admin, "modellers")
    with pytest.raises(NotFound):
        await access.groups.add_member(admin, group.id, robot.id)


# --- who may --------------------------------------------------------------------------------------------------------------------------


async def test_only_administrators_change_groups(access: Access, admin: Actor, user: Actor) -> None:
    group = await access.groups.add(admin, "modellers")
    mine = user.account_id or 0
    acts: list[Any] = [
        lambda actor: access.groups.add(actor, "x"),
        access.groups.list,
        lambda actor: access.groups.get(actor, group.id),
        lambda actor: access.groups.find(actor, "modellers"),
        lambda actor: access.groups.rename(actor, group.id, "x"),
        lambda actor: access.groups.remove(actor, group.id),
        lambda actor: access.groups.members(actor, group.id),
        lambda actor: access.groups.add_member(actor, group.id, mine),
        lambda actor: access.groups.remove_member(actor, group.id, mine),
        lambda actor: access.groups.of_account(actor, admin.account_id or 0),
    ]
    for act in acts:
        with pytest.raises(Denied):
            await act(user)
        with pytest.raises(Unauthenticated):
            await act(ANONYMOUS)


async def test_who_manages_members_may_search_groups(access: Access, registry: Registry, admin: Actor, user: Actor) -> None:
    for name in ("Climate modellers", "climate_ops", "climateXops", "others"):
        await access.groups.add(admin, name)
    with pytest.raises(Unauthenticated):
        await access.groups.search(ANONYMOUS, "")
    member = await registry.projects.add_member(admin, VAULT.project, "ada", Role.MAINTAINER)
    with pytest.raises(Denied):
        await access.groups.search(user, "")
    await registry.projects.set_role(admin, VAULT.project, member.id, Role.PROJECT_ADMIN)
    assert [row.name for row in await access.groups.search(user, "CLIM")] == ["Climate modellers", "climateXops", "climate_ops"]
    assert [row.name for row in await access.groups.search(user, "e_o")] == ["climate_ops"]
    assert len(await access.groups.search(admin, "")) == 4
    with pytest.raises(Denied):
        await access.groups.search(msgspec.structs.replace(user, limits=Limits(Level.DELETE)), "")


# --- of directories -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def cluster(access: Access, admin: Actor, tree: Tree) -> AsyncIterator[str]:
    await access.sources.add(admin, "cluster", tree.settings(), READER_SECRET)
    yield "cluster"


async def test_a_group_of_a_directory_has_one_spelling(access: Access, admin: Actor, cluster: str) -> None:
    row = await access.groups.add(admin, "modellers", source=cluster, external_id="CN=Climate,  OU=Groups, DC=Example,DC=org")
    assert row.external_id == "cn=climate,ou=groups,dc=example,dc=org"
    with pytest.raises(Conflict):
        await access.groups.add(admin, "others", source=cluster, external_id="cn=climate,ou=groups,dc=example,dc=ORG")
    for bad in ("", "climate", "cn", "cn=a,", "=x"):
        with pytest.raises(InvalidAccount):
            await access.groups.add(admin, "bad", source=cluster, external_id=bad)
    with pytest.raises(NotFound):
        await access.groups.add(admin, "bad", source="nowhere", external_id="cn=x")
    for source, external_id in (("local", "cn=x"), (cluster, None)):
        with pytest.raises(InvalidAccount):
            await access.groups.add(admin, "bad", source=source, external_id=external_id)
    with pytest.raises(Conflict, match="cluster"):
        await access.groups.add_member(admin, row.id, admin.account_id or 0)


async def test_a_group_that_is_taken_away_in_the_directory_ends_what_it_allowed(
    access: Access, registry: Registry, admin: Actor, tree: Tree, cluster: str
) -> None:
    grace = tree.person("grace", GOOD)
    heidi = tree.person("heidi", GOOD)
    climate = tree.group("climate", grace, heidi)
    science = tree.group("science", climate)
    await access.groups.add(admin, "modellers", source=cluster, external_id=science)
    await registry.projects.add_group(admin, VAULT.project, "modellers", Role.DEVELOPER)
    await access.accounts.by_password("grace", GOOD)
    actor = await access.accounts.by_password("grace", GOOD)
    _row, secret = await access.credentials.add_token(actor, actor.account_id or 0, "laptop", Level.READ)
    by_token = await access.accounts.by_password("grace", secret)
    assert await may_see(registry, by_token)
    tree.take_out(climate, grace)
    await access.groups.refresh()
    assert not await may_see(registry, await access.accounts.by_password("grace", secret)), "the token lives, and its rights are gone"
    tree.put_in(science, grace)
    await access.groups.refresh()
    assert await may_see(registry, by_token)
    tree.remove(science)
    await access.groups.refresh()
    assert not await may_see(registry, by_token)


async def test_a_group_that_is_made_here_later_fills_at_the_next_refresh(
    access: Access, registry: Registry, admin: Actor, tree: Tree, cluster: str
) -> None:
    climate = tree.group("climate", tree.person("grace", GOOD))
    actor = await access.accounts.by_password("grace", GOOD)
    group = await access.groups.add(admin, "modellers", source=cluster, external_id=climate)
    assert await access.groups.members(admin, group.id) == []
    await access.groups.refresh()
    assert await access.groups.members(admin, group.id) == [(actor.account_id, "grace")]


async def test_groups_of_our_own_and_of_others_are_left_alone(access: Access, admin: Actor, tree: Tree, cluster: str) -> None:
    tree.person("grace", GOOD)
    actor = await access.accounts.by_password("grace", GOOD)
    own = await access.groups.add(admin, "own")
    await access.groups.add_member(admin, own.id, actor.account_id or 0)
    await access.groups.refresh()
    assert await access.groups.of_account(admin, actor.account_id or 0) == [own]


async def test_who_is_gone_from_the_directory_is_locked_out_until_they_are_back(
    access: Access, registry: Registry, admin: Actor, tree: Tree, cluster: str, clock: ManualClock
) -> None:
    grace = tree.person("grace", GOOD, description="staff")
    climate = tree.group("climate", grace)
    group = await access.groups.add(admin, "modellers", source=cluster, external_id=climate)
    actor = await access.accounts.by_password("grace", GOOD)
    _row, secret = await access.credentials.add_token(actor, actor.account_id or 0, "laptop", Level.READ)
    hidden = tree.settings(user_filter="(&(description=staff)(uid={name}))")
    await access.sources.change(admin, cluster, hidden)
    await access.groups.refresh()
    await access.accounts.by_password("grace", secret)
    tree._server.modify(f"dn: {grace}\nchangetype: modify\nreplace: description\ndescription: left\n")
    for _ in range(2):
        clock.advance(timedelta(minutes=15))
        await access.groups.refresh()
    with pytest.raises(Unauthenticated):
        await access.accounts.by_password("grace", secret)
    assert await access.groups.members(admin, group.id) == []
    row = await access.people.find(admin, "grace")
    assert row.disabled_at is not None
    tree._server.modify(f"dn: {grace}\nchangetype: modify\nreplace: description\ndescription: staff\n")
    await access.groups.refresh()
    await access.accounts.by_password("grace", secret)
    assert await access.groups.members(admin, group.id) == [(actor.account_id, "grace")]


async def test_who_an_administrator_has_disabled_does_not_come_back_by_the_directory(
    access: Access, admin: Actor, tree: Tree, cluster: str, clock: ManualClock
) -> None:
    tree.person("grace", GOOD)
    actor = await access.accounts.by_password("grace", GOOD)
    await access.people.set_disabled(admin, actor.account_id or 0, True)
    clock.advance(timedelta(minutes=15))
    await access.groups.refresh()
    assert (await access.people.find(admin, "grace")).disabled_at is not None


async def test_who_has_another_identity_keeps_the_account(access: Access, admin: Actor, tree: Tree, cluster: str, slapd: Slapd) -> None:
    other = slapd.fresh_tree()
    await access.sources.add(admin, "campus", other.settings(), READER_SECRET)
    grace = tree.person("grace", GOOD)
    other.person("ghopper", GOOD)
    actor = await access.accounts.by_password("grace", GOOD)
    await access.sources.link(actor, "campus", "ghopper", GOOD)
    tree.remove(grace)
    await access.groups.refresh()
    assert (await access.people.find(admin, "grace")).disabled_at is None
    assert (await access.accounts.by_password("ghopper", GOOD)).account_id == actor.account_id


async def test_an_account_of_our_own_survives_the_directory_that_it_is_linked_to(
    access: Access, admin: Actor, tree: Tree, cluster: str
) -> None:
    await access.people.add(admin, "ivan", GOOD)
    ivan = await access.accounts.by_password("ivan", GOOD)
    dn = tree.person("iterrible", GOOD)
    await access.sources.link(ivan, cluster, "iterrible", GOOD)
    tree.remove(dn)
    await access.groups.refresh()
    assert (await access.accounts.by_password("ivan", GOOD)).account_id == ivan.account_id


async def test_administration_ends_with_the_group_at_the_next_refresh(access: Access, admin: Actor, tree: Tree) -> None:
    grace = tree.person("grace", GOOD)
    admins = tree.group("admins", grace, tree.person("heidi", GOOD))
    await access.sources.add(admin, "cluster", tree.settings(admin_group=admins), READER_SECRET)
    await access.accounts.by_password("grace", GOOD)
    heidi = await access.accounts.by_password("heidi", GOOD)
    assert heidi.is_admin
    tree.take_out(admins, grace)
    tree.remove(f"uid=heidi,ou=people,{tree.base}")
    await access.groups.refresh()
    assert {row.name: row.is_admin for row in await access.people.list(admin)} == {"admin": True, "grace": False, "heidi": False}


@pytest.mark.parametrize("change", ["down", "base"])
async def test_a_directory_that_fails_changes_nothing(
    access: Access, registry: Registry, admin: Actor, tree: Tree, cluster: str, change: str
) -> None:
    climate = tree.group("climate", tree.person("grace", GOOD))
    group = await access.groups.add(admin, "modellers", source=cluster, external_id=climate)
    actor = await access.accounts.by_password("grace", GOOD)
    broken = tree.settings(url=f"ldap://127.0.0.1:{free_port()}") if change == "down" else tree.settings(base_dn=f"ou=x,{tree.base}")
    await access.sources.change(admin, cluster, broken)
    await access.groups.refresh()
    assert await access.groups.members(admin, group.id) == [(actor.account_id, "grace")]
    assert (await access.people.find(admin, "grace")).disabled_at is None


async def test_one_that_fails_does_not_hold_up_the_others(access: Access, admin: Actor, tree: Tree, cluster: str, slapd: Slapd) -> None:
    other = slapd.fresh_tree()
    await access.sources.add(admin, "campus", other.settings(), READER_SECRET)
    tree.person("heidi", GOOD)
    await access.accounts.by_password("heidi", GOOD)
    climate = other.group("climate", other.person("grace", GOOD))
    await access.accounts.by_password("grace", GOOD)
    group = await access.groups.add(admin, "modellers", source="campus", external_id=climate)
    await access.sources.change(admin, cluster, tree.settings(url=f"ldap://127.0.0.1:{free_port()}"))
    await access.groups.refresh()
    assert [name for _id, name in await access.groups.members(admin, group.id)] == ["grace"]


async def test_groups_of_a_removed_source_end_with_it(access: Access, registry: Registry, admin: Actor, tree: Tree, cluster: str) -> None:
    climate = tree.group("climate", tree.person("grace", GOOD))
    await access.groups.add(admin, "modellers", source=cluster, external_id=climate)
    own = await access.groups.add(admin, "own")
    await registry.projects.add_group(admin, VAULT.project, "modellers", Role.DEVELOPER)
    actor = await access.accounts.by_password("grace", GOOD)
    assert await may_see(registry, actor)
    await access.sources.remove(admin, cluster)
    assert not await may_see(registry, actor)
    assert await access.groups.list(admin) == [own]


# --- of identity providers ------------------------------------------------------------------------------------------------------------


async def test_memberships_that_a_provider_has_not_confirmed_for_long_end(
    access: Access, database: Database, admin: Actor, clock: ManualClock
) -> None:
    settings = OidcSettings(issuer="https://login.example.org", client_id="registry", membership_hours=24, admin_group="ops")
    await access.sources.add(admin, "sso", settings, "secret")
    group = await access.groups.add(admin, "Ops", source="sso", external_id="Ops Team")
    assert group.external_id == "Ops Team"
    actor = await add_account(database, "grace", is_admin=True)
    account_id = actor.account_id or 0

    def log_in(connection: Any) -> None:
        from roadstead.metadata import accounts

        source = login_sources.find(connection, "sso")
        assert source is not None
        accounts.change(connection, account_id, source="sso")
        identity_rows.add(connection, account_id=account_id, source_id=source.id, subject="s", name="grace", now=clock())
        group_rows.set_of_source(connection, account_id, "sso", {"Ops Team", "unknown here"}, clock())

    await database.write(log_in)
    clock.advance(timedelta(hours=23))
    await access.groups.refresh()
    assert await access.groups.members(admin, group.id) == [(account_id, "grace")]
    assert (await access.people.find(admin, "grace")).is_admin
    clock.advance(timedelta(hours=2))
    await access.groups.refresh()
    assert await access.groups.members(admin, group.id) == []
    assert not (await access.people.find(admin, "grace")).is_admin
