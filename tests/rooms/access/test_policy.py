"""Who may do what: the table in `policy`'s docstring is the table that is asked."""

from __future__ import annotations

import re

import pytest

from roadstead.access import policy
from roadstead.access.actor import ANONYMOUS, SYSTEM, Actor, TokenScope
from roadstead.access.policy import Action
from roadstead.errors import Denied, InsufficientScope, ProjectUnknown, Unauthenticated
from roadstead.oci.reference import RepositoryName

NAME, OTHER = RepositoryName("some/app"), RepositoryName("other/app")
ADMIN = Actor(1, "admin", is_admin=True)
USER = Actor(2, "ada")
STANDINGS = {"everybody": frozenset(policy.Standing), "administrator": frozenset({policy.Standing.ADMINISTRATOR})}


def narrowed(actor: Actor, *actions: str, name: RepositoryName = NAME) -> Actor:
    return Actor(actor.account_id, actor.name, actor.is_admin, TokenScope({name: frozenset(actions)}))


def printed() -> str:
    """The table as the docstring writes it."""
    words = {who: word for word, who in STANDINGS.items()}
    lines = [f"    {action:<9}{words[policy.TABLE[action, True]]:<17}{words[policy.TABLE[action, False]]}" for action in Action]
    return "\n".join(lines)


def test_the_docstring_shows_the_table() -> None:
    assert policy.__doc__ is not None
    assert printed() in policy.__doc__
    assert len(re.findall(r"^    \w+ +(?:everybody|administrator)", policy.__doc__, re.MULTILINE)) == len(Action)
    assert set(policy.TABLE) == {(action, public) for action in Action for public in (True, False)}


@pytest.mark.parametrize("public", [True, False], ids=["public", "private"])
@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("actor", [ANONYMOUS, USER, ADMIN, SYSTEM], ids=lambda actor: actor.name)
def test_asking_and_requiring_agree_with_the_table(actor: Actor, action: Action, public: bool) -> None:
    allowed = policy.standing(actor) in policy.TABLE[action, public]
    assert policy.may(actor, action, public=public) is allowed
    assert policy.allows(actor, action, NAME, public=public) is allowed
    if allowed:
        policy.require(actor, action, NAME, public=public)
    else:
        with pytest.raises((Unauthenticated, Denied, ProjectUnknown)):
            policy.require(actor, action, NAME, public=public)


@pytest.mark.parametrize("action", Action)
def test_a_refusal_tells_the_least(action: Action) -> None:
    for public in (True, False):
        if not policy.may(ANONYMOUS, action, public=public):
            with pytest.raises(Unauthenticated) as raised:
                policy.require(ANONYMOUS, action, NAME, public=public)
            assert not isinstance(raised.value, InsufficientScope)
    with pytest.raises(ProjectUnknown):
        policy.require(USER, action, NAME, public=False)
    if action is not Action.PULL:
        with pytest.raises(Denied, match=action):
            policy.require(USER, action, NAME, public=True)


def test_a_project_that_is_not_there_looks_like_one_that_may_not_be_seen() -> None:
    with pytest.raises(ProjectUnknown) as hidden:
        policy.require(USER, Action.PULL, NAME, public=False)
    absent = policy.absent(USER, NAME)
    assert (type(absent), str(absent)) == (ProjectUnknown, str(hidden.value))
    assert type(policy.absent(ANONYMOUS, NAME)) is Unauthenticated


@pytest.mark.parametrize("public", [True, False], ids=["public", "private"])
@pytest.mark.parametrize("action", Action)
def test_a_token_narrows_to_its_scope(action: Action, public: bool) -> None:
    open_to_all = public and action is Action.PULL
    for held in (narrowed(ADMIN, action), narrowed(ADMIN, "*")):
        assert policy.allows(held, action, NAME, public=public)
        assert policy.allows(held, action, OTHER, public=public) is open_to_all
    for held in (narrowed(ADMIN), narrowed(ADMIN, action, name=OTHER), Actor(1, "admin", is_admin=True, scope=TokenScope({}))):
        assert policy.allows(held, action, NAME, public=public) is open_to_all
        if not open_to_all:
            with pytest.raises(InsufficientScope):
                policy.require(held, action, NAME, public=public)


@pytest.mark.parametrize("public", [True, False], ids=["public", "private"])
@pytest.mark.parametrize("action", Action)
def test_a_token_never_adds(action: Action, public: bool) -> None:
    for actor in (USER, ANONYMOUS):
        assert policy.allows(narrowed(actor, "*"), action, NAME, public=public) is policy.may(actor, action, public=public)


def test_what_listings_and_mounts_may_see() -> None:
    assert policy.visible_projects(ADMIN).everything
    assert not policy.visible_projects(USER).everything
    assert not policy.visible_projects(ANONYMOUS).everything
    assert policy.mountable_projects(ADMIN).everything
    assert not policy.mountable_projects(narrowed(ADMIN, "*")).everything


def test_an_administrators_token_lists_private_projects_only_if_it_covers_the_catalog() -> None:
    assert policy.visible_projects(Actor(1, "admin", is_admin=True, scope=TokenScope({}, catalog=True))).everything
    with pytest.raises(InsufficientScope):
        policy.visible_projects(narrowed(ADMIN, "*"))
    for actor in (USER, ANONYMOUS):
        assert not policy.visible_projects(narrowed(actor, "*")).everything


def test_administrators_alone_make_projects() -> None:
    assert policy.may_create_projects(ADMIN)
    assert not policy.may_create_projects(USER)
    assert not policy.may_create_projects(ANONYMOUS)
