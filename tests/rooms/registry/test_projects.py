"""Projects: who makes, sees and removes them, and who has which role where."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from roadstead.access.actor import ANONYMOUS, SYSTEM, Action, Actor, Limits, RobotRights, Role
from roadstead.access.robots import Access, NewRobot, Permission, Robots
from roadstead.errors import BlobUnknown, Conflict, Denied, InvalidAccount, InvalidName, NotFound, ProjectUnknown, Unauthenticated
from roadstead.metadata import members
from roadstead.metadata.database import Database
from roadstead.metadata.schema import account_groups, groups
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from tests.conftest import add_account
from tests.support.factories import APP, BEGINNING, VAULT, ManualClock, blob, image, push_blob, push_image

TEAM, TEAM_DEEP, OTHER = (RepositoryName(f"vault/{path}") for path in ("team/app", "team/a/b", "teamster/app"))
LAYER = blob("a layer")


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
