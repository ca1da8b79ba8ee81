"""Who may do what: the tables of the policy are the tables of docs/reference/permissions.md, and what is asked agrees with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

import pytest

from roadstead.access import policy
from roadstead.access.actor import ANONYMOUS, SYSTEM, Action, Actor, Level, Limits, RobotRights, Role, TokenScope
from roadstead.access.policy import Creation, Project
from roadstead.errors import Denied, InsufficientScope, ProjectUnknown, RoadsteadError, Unauthenticated
from roadstead.oci.reference import RepositoryName

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "permissions.md"
NAME, OTHER = RepositoryName("some/app"), RepositoryName("other/app")
PUBLIC, PRIVATE = Project(1, "some", True), Project(1, "some", False)
ADMIN, USER = Actor(1, "admin", is_admin=True), Actor(2, "ada")
NONE: frozenset[Role] = frozenset()
IN_PROJECTS = [action for action in Action if action not in policy.SYSTEM]


def narrowed(actor: Actor, *actions: str, name: RepositoryName = NAME) -> Actor:
    return Actor(actor.account_id, actor.name, actor.is_admin, scope=TokenScope({name: frozenset(actions)}))


def robot(*actions: Action, project: str = "some", system: frozenset[Action] = frozenset()) -> Actor:
    return Actor(3, "robot$some+ci", robot=RobotRights({project: frozenset(actions)}, system))


def limited(actor: Actor, level: Level, projects: frozenset[int] | None = None) -> Actor:
    return Actor(actor.account_id, actor.name, actor.is_admin, actor.robot, Limits(level, projects))


# --- the tables ---------------------------------------------------------------------------------------------------------------------


def printed(first: str, columns: Mapping[str, frozenset[Action]], rows: Iterable[Action]) -> str:
    """A table in Markdown: an action a row, `yes` where the column allows it."""
    lines = [f"| {first} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {action} | {' | '.join('yes' if action in column else '' for column in columns.values())} |" for action in rows]
    return "\n".join(lines)


def test_the_page_shows_the_table_of_roles() -> None:
    columns = {"everybody, public project": policy.PUBLIC, **{role.value: policy.ROLES[role] for role in Role}}
    assert printed("action", {**columns, "administrator": frozenset(Action)}, Action) in PAGE.read_text()


def test_the_page_shows_the_table_of_levels() -> None:
    assert printed("action", {level.value: policy.LEVELS[level] for level in Level}, Action) in PAGE.read_text()


def test_the_page_shows_who_makes_projects() -> None:
    on_system = [action for action in Action if action in policy.SYSTEM]
    assert printed("action", {one.value: policy.CREATION[one] for one in Creation}, on_system) in PAGE.read_text()


@pytest.mark.parametrize(("table", "order"), [(policy.ROLES, Role), (policy.LEVELS, Level)], ids=["roles", "levels"])
def test_each_includes_the_one_before(table: Mapping[str, frozenset[Action]], order: type[StrEnum]) -> None:
    steps = [table[one] for one in order]
    assert len(steps) == len(table)
    assert all(low < high for low, high in pairwise(steps))


def test_no_role_reaches_the_system() -> None:
    assert all(not allowed & policy.SYSTEM for allowed in policy.ROLES.values())


# --- what is asked agrees -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_a_role_allows_what_its_row_says(role: Role, action: Action) -> None:
    refusal = policy.decide(USER, action, PRIVATE, frozenset({role}))
    if action in policy.ROLES[role]:
        assert refusal is None
    else:
        assert type(refusal) is Denied
        assert action.value.replace("-", " ") in refusal.message


@pytest.mark.parametrize("action", Action)
def test_several_roles_add_up(action: Action) -> None:
    both = policy.permitted(USER, PRIVATE, frozenset({Role.LIMITED_GUEST, Role.DEVELOPER}))
    assert both == policy.ROLES[Role.DEVELOPER]
    assert (policy.decide(ADMIN, action, PRIVATE, NONE) is None) and (policy.decide(SYSTEM, action, PRIVATE, NONE) is None)


@pytest.mark.parametrize("action", Action)
def test_a_refusal_tells_the_least(action: Action) -> None:
    """The anonymous are asked to log in; who may not see the project is told that there is none."""
    assert type(policy.decide(ANONYMOUS, action, PRIVATE, NONE)) is Unauthenticated
    assert type(policy.decide(USER, action, PRIVATE, NONE)) is ProjectUnknown
    open_to_all = action in policy.PUBLIC
    assert type(policy.decide(ANONYMOUS, action, PUBLIC, NONE)) is (type(None) if open_to_all else Unauthenticated)
    assert type(policy.decide(USER, action, PUBLIC, NONE)) is (type(None) if open_to_all else Denied)


def test_a_project_that_is_not_there_looks_like_one_that_may_not_be_seen() -> None:
    hidden, absent = policy.decide(USER, Action.PULL, PRIVATE, NONE), policy.absent(USER, "some")
    assert hidden is not None
    assert (type(absent), absent.message, absent.detail) == (type(hidden), hidden.message, hidden.detail)
    assert type(policy.absent(ANONYMOUS, "some")) is Unauthenticated


# --- what narrows -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("action", Action)
def test_a_level_narrows_and_never_adds(level: Level, action: Action) -> None:
    assert (policy.decide(limited(ADMIN, level), action, PRIVATE, NONE) is None) is (action in policy.LEVELS[level])
    guest = policy.permitted(limited(USER, level), PRIVATE, frozenset({Role.GUEST}))
    assert guest == policy.ROLES[Role.GUEST] & policy.LEVELS[level]


def test_a_credential_of_other_projects_leaves_what_is_open_to_everybody() -> None:
    elsewhere = limited(ADMIN, Level.ADMIN, frozenset({9}))
    assert policy.permitted(elsewhere, PRIVATE, NONE) == frozenset()
    assert policy.permitted(elsewhere, PUBLIC, NONE) == policy.PUBLIC
    assert policy.permitted(limited(ADMIN, Level.ADMIN, frozenset({1})), PRIVATE, NONE) == frozenset(Action)
    assert policy.permitted(limited(ADMIN, Level.ADMIN, frozenset()), PRIVATE, NONE) == frozenset()


def allowed(actor: Actor, action: Action, project: Project, name: RepositoryName, roles: frozenset[Role] = NONE) -> bool:
    return policy.decide(actor, action, project, roles, name) is None


@pytest.mark.parametrize("project", [PUBLIC, PRIVATE], ids=["public", "private"])
@pytest.mark.parametrize("action", [Action.PULL, Action.PUSH, Action.DELETE])
def test_a_token_narrows_to_its_scope(action: Action, project: Project) -> None:
    open_to_all = project.public and action is Action.PULL
    for held in (narrowed(ADMIN, action), narrowed(ADMIN, "*")):
        assert allowed(held, action, project, NAME)
        assert allowed(held, action, project, OTHER) is open_to_all
    for held in (narrowed(ADMIN), narrowed(ADMIN, action, name=OTHER), Actor(1, "admin", is_admin=True, scope=TokenScope({}))):
        refusal = policy.decide(held, action, project, NONE, NAME)
        assert type(refusal) is (type(None) if open_to_all else InsufficientScope)


@pytest.mark.parametrize("project", [PUBLIC, PRIVATE], ids=["public", "private"])
@pytest.mark.parametrize("action", [Action.PULL, Action.PUSH, Action.DELETE])
def test_a_token_never_adds(action: Action, project: Project) -> None:
    for actor in (USER, ANONYMOUS):
        assert allowed(narrowed(actor, "*"), action, project, NAME) is allowed(actor, action, project, NAME)


# --- robots -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", IN_PROJECTS)
def test_a_robot_may_what_its_permissions_say_and_roles_add_nothing(action: Action) -> None:
    every_role = frozenset(Role)
    assert policy.permitted(robot(action), PRIVATE, every_role) == {action}
    assert policy.permitted(robot(action, project="*"), PRIVATE, every_role) == {action}
    assert policy.permitted(robot(action, project="other"), PRIVATE, every_role) == frozenset()
    assert policy.permitted(robot(action), PUBLIC, NONE) == {action} | policy.PUBLIC


# --- the system ---------------------------------------------------------------------------------------------------------------------


def refusal_on_system(actor: Actor, action: Action) -> type[RoadsteadError] | None:
    try:
        policy.require_on_system(actor, action)
    except RoadsteadError as error:
        return type(error)
    return None


@pytest.mark.parametrize("action", sorted(policy.SYSTEM))
def test_the_system_is_for_administrators(action: Action) -> None:
    for may in (ADMIN, SYSTEM, limited(ADMIN, Level.ADMIN), robot(system=frozenset({action}))):
        assert refusal_on_system(may, action) is None
    narrower = (limited(ADMIN, Level.DELETE), limited(ADMIN, Level.ADMIN, frozenset({1})), narrowed(ADMIN, "*"))
    for may_not in (USER, robot(*Action), *narrower):
        assert refusal_on_system(may_not, action) is Denied
    assert refusal_on_system(ANONYMOUS, action) is Unauthenticated


def test_everyone_may_make_projects_where_the_configuration_says_so() -> None:
    for may in (USER, ADMIN, limited(USER, Level.ADMIN)):
        assert Action.CREATE_PROJECTS in policy.permitted_on_system(may, Creation.EVERYONE)
    narrower = (limited(USER, Level.DELETE), limited(USER, Level.ADMIN, frozenset({1})), narrowed(USER, "*"))
    for may_not in (ANONYMOUS, robot(*Action), *narrower):
        assert policy.permitted_on_system(may_not, Creation.EVERYONE) == frozenset()
    assert Action.ADMINISTER not in policy.permitted_on_system(USER, Creation.EVERYONE)


# --- listings -----------------------------------------------------------------------------------------------------------------------


def test_what_listings_and_mounts_may_see() -> None:
    assert policy.visible_projects(ADMIN).everything
    assert policy.visible_projects(USER).account_id == 2
    for actor in (USER, ANONYMOUS):
        assert not policy.visible_projects(actor).everything
    assert policy.mountable_projects(ADMIN).everything
    assert not policy.mountable_projects(narrowed(ADMIN, "*")).everything
    assert policy.visible_projects(robot(Action.PULL)).names == {"some"}
    assert policy.visible_projects(robot(Action.PUSH)).names == frozenset()
    assert policy.visible_projects(robot(Action.SEE, project="*")).everything
    assert policy.visible_projects(limited(ADMIN, Level.READ, frozenset({4}))).only_ids == frozenset({4})


def test_a_token_lists_private_projects_only_if_it_covers_the_catalog() -> None:
    assert policy.visible_projects(Actor(1, "admin", is_admin=True, scope=TokenScope({}, catalog=True))).everything
    for actor in (ADMIN, USER):
        with pytest.raises(InsufficientScope):
            policy.visible_projects(narrowed(actor, "*"))
    assert not policy.visible_projects(narrowed(ANONYMOUS, "*")).everything
