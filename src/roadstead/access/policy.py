"""Who may do what: one table, asked by every public act of the rooms above.

    action   public project   private project
    ──────────────────────────────────────────
    pull     everybody        administrator
    push     administrator    administrator
    delete   administrator    administrator

A bearer token never adds to this; it can only narrow it to its scope.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from roadstead.access.actor import Actor
from roadstead.errors import Denied, InsufficientScope, ProjectUnknown, Unauthenticated
from roadstead.metadata.projects import ProjectScope
from roadstead.oci.reference import RepositoryName


class Action(StrEnum):
    """What may be done to a repository, in the words of token scopes."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


class Standing(StrEnum):
    """What somebody is to a project."""

    ANYBODY = "anybody"
    ADMINISTRATOR = "administrator"


_EVERYBODY: Final = frozenset(Standing)
_ADMINISTRATORS: Final = frozenset({Standing.ADMINISTRATOR})

# (action, whether the project is public) → who may
TABLE: Final[dict[tuple[Action, bool], frozenset[Standing]]] = {
    (Action.PULL, True): _EVERYBODY,
    (Action.PULL, False): _ADMINISTRATORS,
    (Action.PUSH, True): _ADMINISTRATORS,
    (Action.PUSH, False): _ADMINISTRATORS,
    (Action.DELETE, True): _ADMINISTRATORS,
    (Action.DELETE, False): _ADMINISTRATORS,
}


def standing(actor: Actor) -> Standing:
    """What the actor is to any project."""
    return Standing.ADMINISTRATOR if actor.is_admin else Standing.ANYBODY


def may(actor: Actor, action: Action, *, public: bool) -> bool:
    """Whether the table allows it, whatever the token's scope."""
    return standing(actor) in TABLE[action, public]


def allows(actor: Actor, action: Action, name: RepositoryName, *, public: bool) -> bool:
    """Whether the actor may, with the token in hand."""
    return may(actor, action, public=public) and _covered(actor, action, name, public=public)


def require(actor: Actor, action: Action, name: RepositoryName, *, public: bool) -> None:
    """Return if the actor may.

    Otherwise raise what tells the least: Unauthenticated to the anonymous, ProjectUnknown where the project may not even be seen
    (as if it did not exist), Denied, or InsufficientScope if only the token in hand is too narrow.
    """
    if not may(actor, action, public=public):
        if actor.anonymous:
            raise Unauthenticated
        if not may(actor, Action.PULL, public=public):
            raise unknown_project(name)
        raise Denied(f"The account {actor.name!r} may not {action} in project {name.project!r}.")
    if not _covered(actor, action, name, public=public):
        raise InsufficientScope


def _covered(actor: Actor, action: Action, name: RepositoryName, *, public: bool) -> bool:
    """Whether the token's scope covers it; what is open to everybody needs none."""
    if actor.scope is None or actor.scope.covers(name, action):
        return True
    return Standing.ANYBODY in TABLE[action, public]


def absent(actor: Actor, name: RepositoryName) -> Exception:
    """What to raise for a project that does not exist: the same as for one that may not be seen."""
    return Unauthenticated() if actor.anonymous else unknown_project(name)


def unknown_project(name: RepositoryName) -> ProjectUnknown:
    """The one sentence for a project that does not exist or may not be seen."""
    return ProjectUnknown(
        f"There is no project {name.project!r}, or you may not see it. Projects are made by an administrator before the first push.",
        project=name.project,
    )


def may_create_projects(actor: Actor) -> bool:
    """Whether the actor may make a project."""
    return actor.is_admin


def visible_projects(actor: Actor) -> ProjectScope:
    """Which projects a listing or search shows to the actor. Raises InsufficientScope if the token in hand hides some of them."""
    if actor.is_admin and actor.scope is not None and not actor.scope.catalog:
        raise InsufficientScope
    return ProjectScope(everything=actor.is_admin)


def mountable_projects(actor: Actor) -> ProjectScope:
    """From which projects a blob may be mounted whose repository was not named; a narrowed token sees the public ones alone."""
    return visible_projects(actor) if actor.scope is None else ProjectScope()


ANY_PROJECT: Final = ProjectScope(everything=True)
"""The scope for a query about one repository on which the policy has been asked already."""
