"""Projects: who makes, sees and removes them, and who has which role where."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import Connection, select

from roadstead.access.actor import ANONYMOUS, SYSTEM, Action, Actor, Limits, RobotRights, Role
from roadstead.access.people import People
from roadstead.access.robots import Access, NewRobot, Permission, Robots
from roadstead.errors import (
    BlobUnknown,
    Conflict,
    Denied,
    InvalidAccount,
    InvalidInput,
    InvalidName,
    ManifestUnknown,
    NotFound,
    ProjectUnknown,
    Unauthenticated,
)
from roadstead.metadata import members
from roadstead.metadata.database import Database
from roadstead.metadata.projects import ConversionPolicy
from roadstead.metadata.schema import account_groups, audit_log, groups
from roadstead.oci.reference import RepositoryName
from roadstead.registry.conversion import ConversionSettings, When, parse_platforms, parse_when
from roadstead.registry.listing import Filter, Listing, Match, Page, Sort
from roadstead.registry.registry import Registry
from tests.conftest import add_account
from tests.support.factories import APP, BEGINNING, VAULT, ManualClock, blob, image, push_blob, push_image

TEAM, TEAM_DEEP, OTHER = (RepositoryName(f"vault/{path}") for path in ("team/app", "team/a/b", "teamster/app"))
LAYER = blob("a layer")
EVERYTHING = Listing(page=Page(1, 100))


async def may(registry: Registry, actor: Actor, name: RepositoryName) -> set[Action]:
    """Which of pull, push and delete the registry lets the actor do."""
    allowed = set()
    for action in (Action.PULL, Action.PUSH, Action.DELETE):
        try:
            await registry.repositories.locate(actor, name, action)
        except (ProjectUnknown, Denied):
            continue
        allowed.add(action)
    return allowed


# --- making and removing ------------------------------------------------------------------------------------------------------------


async def test_who_makes_a_project_administers_it(registry: Registry, admin: Actor) -> None:
    made = await registry.projects.add(admin, "climate", description="Models")
    assert (made.name, made.public, made.description, made.owner_id) == ("climate", False, "Models", admin.account_id)
    (only,) = await registry.projects.members(admin, "climate")
    assert (only.holder, only.role) == ("admin", Role.PROJECT_ADMIN)
    with pytest.raises(Conflict):
        await registry.projects.add(admin, "climate")


async def test_only_administrators_and_robots_that_may_make_projects(registry: Registry, user: Actor) -> None:
    for actor, refusal in ((user, Denied), (ANONYMOUS, Unauthenticated)):
        with pytest.raises(refusal):
            await registry.projects.add(actor, "climate")
    maker = Actor(user.account_id, "robot$maker", robot=RobotRights({}, frozenset({Action.CREATE_PROJECTS})))
    assert await registry.projects.add(maker, "climate")
    assert await registry.projects.members(SYSTEM, "climate") == []


@pytest.mark.parametrize("name", ["", "A", "a/b", "a b", "-a", "a__-b", "x" * 129, "..", "é"])
async def test_what_a_project_cannot_be_called(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidName):
        await registry.projects.add(SYSTEM, name)


async def test_a_project_that_holds_images_is_not_removed(registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, VAULT, image())
    with pytest.raises(Conflict, match="1 repositories"):
        await registry.projects.remove(admin, "vault")
    await registry.manifests.delete(admin, VAULT, image().digest)
    with pytest.raises(ProjectUnknown):
        await registry.projects.remove(user, "vault")
    await registry.projects.remove(admin, "vault")
    with pytest.raises(ProjectUnknown):
        await registry.projects.get(admin, "vault")
    assert await may(registry, admin, VAULT) == set()


async def test_a_project_of_the_same_name_inherits_nobody(
    registry: Registry, database: Database, clock: ManualClock, admin: Actor, user: Actor
) -> None:
    robots = Robots(database, clock)
    permissions = (Permission("project", "vault", (Access("repository", "pull"),)),)
    row, _ = await robots.add(admin, NewRobot("ci", "vault", permissions))
    await registry.projects.add_member(admin, "vault", "ada", Role.DEVELOPER)
    await registry.projects.remove(admin, "vault")
    await registry.projects.add(SYSTEM, "vault")
    assert await may(registry, user, VAULT) == set()
    with pytest.raises(NotFound):
        await robots.get(admin, row.id)
    assert await robots.list(admin, "vault") == []


async def test_a_change_of_visibility_holds_at_once(registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, VAULT, image())
    assert await may(registry, user, VAULT) == set()
    await registry.projects.change(admin, "vault", public=True)
    assert await may(registry, user, VAULT) == {Action.PULL}
    assert VAULT in await registry.repositories.catalog(ANONYMOUS, None, 10)
    with pytest.raises(Denied):
        await registry.projects.change(user, "vault", public=False)
    await registry.projects.change(admin, "vault", public=False, description="Closed")
    assert await may(registry, user, VAULT) == set()
    assert (await registry.projects.get(admin, "vault")).description == "Closed"


# --- members ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        (Role.LIMITED_GUEST, {Action.PULL}),
        (Role.GUEST, {Action.PULL}),
        (Role.DEVELOPER, {Action.PULL, Action.PUSH}),
        (Role.MAINTAINER, {Action.PULL, Action.PUSH, Action.DELETE}),
        (Role.PROJECT_ADMIN, {Action.PULL, Action.PUSH, Action.DELETE}),
    ],
)
async def test_a_member_does_what_the_role_allows_until_it_ends(
    registry: Registry, admin: Actor, user: Actor, role: Role, actions: set[Action]
) -> None:
    member = await registry.projects.add_member(admin, "vault", "ada", role)
    assert (member.holder, member.role, member.path, member.path_prefix) == ("ada", role, "", True)
    assert await may(registry, user, VAULT) == actions
    assert await may(registry, user, APP) == {Action.PULL}
    with pytest.raises(Conflict):
        await registry.projects.add_member(admin, "vault", "ada", Role.GUEST)
    await registry.projects.remove_member(admin, "vault", member.id)
    assert await may(registry, user, VAULT) == set()
    with pytest.raises(NotFound):
        await registry.projects.remove_member(admin, "vault", member.id)
    with pytest.raises(NotFound):
        await registry.projects.set_role(admin, "vault", member.id, Role.GUEST)


async def test_a_member_of_another_project_is_not_changed_from_this_one(registry: Registry, admin: Actor, user: Actor) -> None:
    member = await registry.projects.add_member(admin, "vault", "ada", Role.GUEST)
    for attempt in (
        registry.projects.remove_member(admin, "library", member.id),
        registry.projects.set_role(admin, "library", member.id, Role.PROJECT_ADMIN),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await registry.projects.members(user, "vault") == [member]


async def test_only_the_projects_administrators_set_members(registry: Registry, admin: Actor, user: Actor) -> None:
    member = await registry.projects.add_member(admin, "vault", "ada", Role.MAINTAINER)
    with pytest.raises(Denied):
        await registry.projects.add_member(user, "vault", "admin", Role.GUEST)
    with pytest.raises(Denied):
        await registry.projects.set_role(user, "vault", member.id, Role.PROJECT_ADMIN)
    await registry.projects.set_role(admin, "vault", member.id, Role.PROJECT_ADMIN)
    assert await registry.projects.add_member(user, "vault", "admin", Role.GUEST)


async def test_only_people_that_are_there_become_members(registry: Registry, admin: Actor) -> None:
    for name in ("nobody", "robot$vault+ci", ""):
        with pytest.raises(NotFound):
            await registry.projects.add_member(admin, "vault", name, Role.GUEST)


async def test_a_group_is_a_member_for_those_who_are_in_it(registry: Registry, database: Database, admin: Actor, user: Actor) -> None:
    stranger = await add_account(database, "eve", is_admin=False)
    project = await registry.projects.get(admin, "vault")

    def join(connection: Connection) -> None:
        for name in ("hpc", "empty"):
            connection.execute(groups.insert().values(name=name, created_at=BEGINNING))
        group_id = connection.execute(groups.select().where(groups.c.name == "hpc")).one().id
        connection.execute(account_groups.insert().values(account_id=user.account_id, group_id=group_id, refreshed_at=BEGINNING))
        added = members.add(connection, project.id, account_id=None, group_id=group_id, role=Role.DEVELOPER, now=BEGINNING)
        assert added is not None
        assert members.add(connection, project.id, account_id=None, group_id=group_id, role=Role.GUEST, now=BEGINNING) is None

    await database.write(join)
    await push_image(registry, admin, VAULT, image())
    assert await may(registry, user, VAULT) == {Action.PULL, Action.PUSH}
    assert await may(registry, stranger, VAULT) == set()
    assert [one.holder for one in await registry.projects.members(user, "vault")] == ["hpc"]
    assert VAULT in await registry.repositories.catalog(user, None, 10)
    assert VAULT not in await registry.repositories.catalog(stranger, None, 10)
    await database.write(lambda connection: connection.execute(account_groups.delete()))
    assert await may(registry, user, VAULT) == set()


# --- grants on paths ----------------------------------------------------------------------------------------------------------------


async def test_a_grant_on_a_folder_reaches_what_is_in_it(registry: Registry, admin: Actor, user: Actor) -> None:
    for name in (VAULT, TEAM, TEAM_DEEP, OTHER):
        await push_image(registry, admin, name, image())
    grant = await registry.projects.add_member(admin, "vault", "ada", Role.DEVELOPER, "team/*")
    assert (grant.path, grant.path_prefix) == ("team/", True)
    for inside in (TEAM, TEAM_DEEP, RepositoryName("vault/team/new")):
        assert await may(registry, user, inside) == {Action.PULL, Action.PUSH}
    for outside in (VAULT, OTHER, RepositoryName("vault/team")):
        assert await may(registry, user, outside) == set()
    assert await registry.repositories.catalog(user, None, 10) == [TEAM_DEEP, TEAM]
    assert [one.name for one in await registry.projects.visible(user)] == ["library", "vault"]
    assert (await registry.projects.get(user, "vault")).name == "vault"
    with pytest.raises(Denied):
        await registry.projects.members(user, "vault")


async def test_a_grant_on_one_repository_reaches_no_other(registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.projects.add_member(admin, "vault", "ada", Role.MAINTAINER, "team")
    assert await may(registry, user, RepositoryName("vault/team")) == {Action.PULL, Action.PUSH, Action.DELETE}
    for other in (TEAM, OTHER, VAULT):
        assert await may(registry, user, other) == set()


async def test_grants_add_up(registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.projects.add_member(admin, "vault", "ada", Role.GUEST)
    await registry.projects.add_member(admin, "vault", "ada", Role.DEVELOPER, "team/*")
    assert await may(registry, user, VAULT) == {Action.PULL}
    assert await may(registry, user, TEAM) == {Action.PULL, Action.PUSH}


async def test_an_underscore_or_percent_in_a_path_is_no_wildcard(registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.projects.add_member(admin, "vault", "ada", Role.DEVELOPER, "te_m/*")
    assert await may(registry, user, TEAM) == set()


@pytest.mark.parametrize("path", ["", "*x", "team*", "te*am", "team/**", "/*x", "Team/*", "a b", "%", "**"])
async def test_what_a_path_cannot_be(registry: Registry, admin: Actor, user: Actor, path: str) -> None:
    with pytest.raises(InvalidAccount):
        await registry.projects.add_member(admin, "vault", "ada", Role.GUEST, path)


async def test_a_blob_is_mounted_only_from_where_one_may_read(registry: Registry, admin: Actor, user: Actor) -> None:
    for name in (VAULT, TEAM):
        await push_blob(registry, admin, name, LAYER)
    await push_blob(registry, admin, VAULT, blob("elsewhere"))
    await registry.projects.add(SYSTEM, "home")
    await registry.projects.add_member(admin, "home", "ada", Role.DEVELOPER)
    home = RepositoryName("home/app")
    assert not await registry.blobs.mount(user, home, LAYER.digest, None)
    await registry.projects.add_member(admin, "vault", "ada", Role.GUEST, "team/*")
    assert not await registry.blobs.mount(user, home, blob("elsewhere").digest, None)
    assert await registry.blobs.mount(user, home, LAYER.digest, None)
    assert await registry.blobs.size(user, home, LAYER.digest) == len(LAYER.content)
    with pytest.raises(BlobUnknown):
        await registry.blobs.size(user, home, blob("elsewhere").digest)


# --- what is seen -------------------------------------------------------------------------------------------------------------------


async def test_what_listings_show(registry: Registry, admin: Actor, user: Actor) -> None:
    for name in (APP, VAULT):
        await push_image(registry, admin, name, image())
    project = await registry.projects.get(admin, "vault")
    robot = Actor(user.account_id, "robot$vault+ci", robot=RobotRights({"vault": frozenset({Action.PULL})}))
    narrow = Actor(admin.account_id, "admin", is_admin=True, limits=Limits(project_ids=frozenset()))
    one = Actor(admin.account_id, "admin", is_admin=True, limits=Limits(project_ids=frozenset({project.id})))
    seen = {
        "everything": (admin, SYSTEM, one, robot),
        "public": (user, ANONYMOUS, narrow),
    }
    for actor in seen["everything"]:
        assert await registry.repositories.catalog(actor, None, 10) == [APP, VAULT]
        assert [row.name for row in await registry.projects.visible(actor)] == ["library", "vault"]
    for actor in seen["public"]:
        assert await registry.repositories.catalog(actor, None, 10) == [APP]
        assert [row.name for row in await registry.projects.visible(actor)] == ["library"]


# --- listings -----------------------------------------------------------------------------------------------------------------------


async def names_of(registry: Registry, actor: Actor, listing: Listing = EVERYTHING) -> list[str]:
    rows, total = await registry.projects.page(actor, listing)
    assert total >= len(rows)
    return [row.name for row in rows]


async def test_a_listing_shows_what_may_be_seen_and_is_asked_for(registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.projects.add(admin, "climate", public=True)
    await registry.projects.add(admin, "clinic")
    await registry.projects.add_member(admin, "vault", "ada", Role.GUEST, "team/*")
    assert await names_of(registry, admin) == ["climate", "clinic", "library", "vault"]
    assert await names_of(registry, user) == ["climate", "library", "vault"]
    assert await names_of(registry, ANONYMOUS) == ["climate", "library"]
    contains = Filter("name", Match.CONTAINS, ("cli",))
    assert await names_of(registry, user, Listing((contains,))) == ["climate"]
    assert await names_of(registry, admin, Listing((contains, Filter("public", Match.EQUAL, ("false",))))) == ["clinic"]
    assert await names_of(registry, admin, Listing((Filter("owner", Match.EQUAL, ("admin",)),), (Sort("id", True),))) == [
        "clinic",
        "climate",
    ]
    rows, total = await registry.projects.page(admin, Listing(page=Page(2, 3)))
    assert ([row.name for row in rows], total) == (["vault"], 4)
    with pytest.raises(InvalidInput):
        await registry.projects.page(admin, Listing(sort=(Sort("deleted_at"),)))


async def test_the_count_of_repositories_is_of_those_that_may_be_seen(registry: Registry, admin: Actor, user: Actor) -> None:
    for name in (TEAM, TEAM_DEEP, OTHER):
        await push_image(registry, admin, name, image(), "1")
    await push_blob(registry, admin, RepositoryName("vault/empty"), LAYER)
    await registry.projects.add_member(admin, "vault", "ada", Role.GUEST, "team/*")
    assert [(await registry.projects.details(who, "vault")).repositories for who in (admin, user)] == [3, 2]
    assert await registry.projects.filled(admin, "vault") == 3
    with pytest.raises(Denied):
        await registry.projects.filled(user, "vault")


async def test_an_id_is_as_good_as_a_name_and_tells_none(registry: Registry, admin: Actor, user: Actor) -> None:
    vault = await registry.projects.get(admin, "vault")
    assert await registry.projects.get(admin, vault.id) == vault
    details = await registry.projects.details(admin, vault.id)
    assert (details.name, details.owner, details.repositories) == ("vault", None, 0)
    for which in (vault.id, 2**62):
        with pytest.raises(ProjectUnknown) as refused:
            await registry.projects.get(user, which)
        assert refused.value.message == (await _refusal(registry, user, "x")).replace("'x'", f"'{which}'")
        assert "vault" not in str(refused.value.detail)


async def _refusal(registry: Registry, actor: Actor, name: str) -> str:
    with pytest.raises(ProjectUnknown) as refused:
        await registry.projects.get(actor, name)
    return refused.value.message


async def test_ones_own_roles(registry: Registry, database: Database, admin: Actor, user: Actor) -> None:
    vault, library = [await registry.projects.get(admin, name) for name in ("vault", "library")]
    await add_to_group(database, user, "staff")
    await registry.projects.add_group(admin, "vault", "staff", Role.DEVELOPER)
    await registry.projects.add_member(admin, vault.id, "ada", Role.GUEST)
    await registry.projects.add_member(admin, "library", "ada", Role.MAINTAINER, "team/*")
    ids = [vault.id, library.id]
    assert await registry.projects.roles(user, ids) == {vault.id: {Role.DEVELOPER, Role.GUEST}, library.id: set()}
    assert await registry.projects.roles(admin, ids) == dict.fromkeys(ids, frozenset({Role.PROJECT_ADMIN}))
    assert await registry.projects.roles(ANONYMOUS, ids) == dict.fromkeys(ids, frozenset())
    assert Action.PUSH in await registry.projects.permitted(user, "vault")
    assert Action.PUSH not in await registry.projects.permitted(user, "library")


async def add_to_group(database: Database, actor: Actor, name: str) -> int:
    def work(connection: Connection) -> int:
        connection.execute(groups.insert().values(name=name, created_at=BEGINNING))
        group_id = members.group_id(connection, name)
        assert group_id is not None
        connection.execute(account_groups.insert().values(account_id=actor.account_id, group_id=group_id, refreshed_at=BEGINNING))
        return group_id

    return await database.write(work)


async def test_members_and_grants_are_listed_apart(registry: Registry, database: Database, admin: Actor, user: Actor) -> None:
    group_id = await add_to_group(database, user, "staff")
    assert user.account_id is not None
    ada = await registry.projects.add_member(admin, "vault", user.account_id, Role.DEVELOPER)
    staff = await registry.projects.add_group(admin, "vault", group_id, Role.GUEST)
    grant = await registry.projects.add_group(admin, "vault", "staff", Role.MAINTAINER, "team/*")
    assert await registry.projects.members_page(admin, "vault", EVERYTHING) == ([ada, staff], 2)
    assert await registry.projects.members_page(admin, "vault", EVERYTHING, whole=False) == ([grant], 1)
    assert await registry.projects.members_page(admin, "vault", Listing(page=Page(1, 1))) == ([ada], 2)
    part = Listing((Filter("holder", Match.CONTAINS, ("STA",)),))
    assert await registry.projects.members_page(admin, "vault", part) == ([staff], 1)
    assert await registry.projects.member(admin, "vault", grant.id) == grant
    counts = await registry.projects.member_counts(admin, "vault")
    assert {role: count for role, count in counts.items() if count} == {Role.DEVELOPER: 1, Role.GUEST: 1}
    with pytest.raises(NotFound):
        await registry.projects.member(admin, "library", grant.id)
    for absent in ("nobody", 2**40):
        with pytest.raises(NotFound):
            await registry.projects.add_group(admin, "vault", absent, Role.GUEST)


async def test_who_is_no_more_is_no_member(registry: Registry, database: Database, clock: ManualClock, admin: Actor, user: Actor) -> None:
    assert user.account_id is not None
    await registry.projects.add_member(admin, "vault", "ada", Role.GUEST)
    await People(database, clock).remove(admin, user.account_id)
    assert await registry.projects.members_page(admin, "vault", EVERYTHING) == ([], 0)
    assert (await registry.projects.member_counts(admin, "vault"))[Role.GUEST] == 0


async def test_guests_of_a_path_see_no_members(registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.projects.add_member(admin, "vault", "ada", Role.LIMITED_GUEST)
    for asked in (registry.projects.members_page(user, "vault", EVERYTHING), registry.projects.member_counts(user, "vault")):
        with pytest.raises(Denied):
            await asked


# --- what is converted ----------------------------------------------------------------------------------------------------------------

ARM = ConversionSettings(When.PUSH, anonymous=True, platforms=("linux/amd64", "linux/arm64/v8"), sif_as_image=False)
SET = ConversionPolicy("push", anonymous=True, platforms=("linux/amd64", "linux/arm64/v8"), sif_as_image=False)


async def test_a_project_converts_on_demand_for_those_who_are_known_and_for_one_platform(registry: Registry, admin: Actor) -> None:
    row = await registry.projects.get(admin, "vault")
    assert row.conversion_policy == ConversionPolicy("demand", anonymous=False, platforms=("linux/amd64",), sif_as_image=True)
    assert await registry.derived.policy(row.id) == row.conversion_policy


async def test_what_a_project_converts_is_set_when_it_is_made_or_later(registry: Registry, database: Database, admin: Actor) -> None:
    made = await registry.projects.add(admin, "climate", conversion=ARM)
    assert made.conversion_policy == SET
    assert await registry.derived.policy(made.id) == SET
    await registry.projects.change(admin, "climate", conversion=ConversionSettings(when=When.OFF))
    assert (await registry.projects.get(admin, "climate")).conversion_policy == msgspec.structs.replace(SET, when="off")
    said = [row.detail for row in await database.read(lambda connection: connection.execute(select(audit_log.c.detail)).all())]
    assert said[-2:] == [
        "private, conversion: push, anonymous_conversion: True, conversion_platforms: linux/amd64,linux/arm64/v8, sif_as_image: False",
        "conversion: off",
    ]


async def test_only_who_configures_a_project_sets_what_it_converts(registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.projects.add_member(admin, "vault", "ada", Role.MAINTAINER)
    with pytest.raises(Denied):
        await registry.projects.change(user, "vault", conversion=ARM)
    with pytest.raises(Unauthenticated):
        await registry.projects.change(ANONYMOUS, "library", conversion=ARM)
    assert (await registry.projects.get(admin, "vault")).conversion == "demand"


@pytest.mark.parametrize(
    "text", ["", ",", "amd64", "linux", "windows/amd64", "linux/AMD64", "linux/arm/7", "linux/arm64/v8/x", "linux/a,b", "linux/\n"]
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_platforms(text)


def test_platforms_are_few_and_each_is_there_once() -> None:
    assert parse_platforms("linux/arm64/v8, linux/amd64,linux/arm64/v8,") == ("linux/arm64/v8", "linux/amd64")
    with pytest.raises(InvalidInput):
        parse_platforms(",".join(f"linux/a{number}" for number in range(17)))


async def test_settings_are_checked_however_they_were_made(registry: Registry, admin: Actor) -> None:
    with pytest.raises(InvalidInput):
        await registry.projects.change(admin, "vault", conversion=ConversionSettings(platforms=("linux/amd64,linux/x",)))
    with pytest.raises(InvalidInput):
        parse_when("always")


async def test_a_project_that_is_gone_converts_nothing(registry: Registry, admin: Actor) -> None:
    made = await registry.projects.add(admin, "climate")
    await registry.projects.remove(admin, "climate")
    with pytest.raises(ManifestUnknown):
        await registry.derived.policy(made.id)
