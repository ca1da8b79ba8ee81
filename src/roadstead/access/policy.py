"""Who may do what. Pure: tables, and functions of an actor, a project and the roles that the actor has there.

What somebody may do in a project is what their roles allow (an administrator: everything; a robot: what its own permissions say), and
what is open to everybody in a public project; the level and the projects of the credential in hand narrow it, and so does a token's scope.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from roadstead.access.actor import Action, Actor, Level, Role
from roadstead.errors import Denied, InsufficientScope, ProjectUnknown, RoadsteadError, Unauthenticated
from roadstead.metadata.projects import ProjectScope
from roadstead.oci.reference import RepositoryName


class Creation(StrEnum):
    """Who may make projects, as the configuration says it (`project_creation_restriction`)."""

    ADMIN_ONLY = "adminonly"
    EVERYONE = "everyone"


class Project(msgspec.Struct, frozen=True):
    """What the policy must know of a project."""

    id: int
    name: str
    public: bool


class Attempt(msgspec.Struct, frozen=True):
    """What somebody was refused: in a project, or in its repository `name`; on the system where there is neither."""

    actor: Actor
    action: Action
    project: Project | None = None
    name: RepositoryName | None = None


_LIMITED_GUEST: Final = frozenset({Action.SEE, Action.PULL, Action.SEE_QUOTA})
_GUEST: Final = _LIMITED_GUEST | {Action.SEE_MEMBERS, Action.SEE_AUDIT}
_DEVELOPER: Final = _GUEST | {Action.PUSH, Action.DESCRIBE}
_MAINTAINER: Final = _DEVELOPER | {Action.DELETE, Action.SEE_ROBOTS}
_PROJECT_ADMIN: Final = _MAINTAINER | {Action.SET_MEMBERS, Action.SET_ROBOTS, Action.CONFIGURE, Action.REMOVE}

ROLES: Final[dict[Role, frozenset[Action]]] = {
    Role.LIMITED_GUEST: _LIMITED_GUEST,
    Role.GUEST: _GUEST,
    Role.DEVELOPER: _DEVELOPER,
    Role.MAINTAINER: _MAINTAINER,
    Role.PROJECT_ADMIN: _PROJECT_ADMIN,
}
"""Role → what it allows."""

PUBLIC: Final = frozenset({Action.SEE, Action.PULL})
"""What everybody may do in a public project."""

SYSTEM: Final = frozenset({Action.CREATE_PROJECTS, Action.ADMINISTER})
"""What is done to the system and not in a project: for administrators, and for robots whose permissions say so."""

CREATION: Final[dict[Creation, frozenset[Action]]] = {
    Creation.ADMIN_ONLY: frozenset(),
    Creation.EVERYONE: frozenset({Action.CREATE_PROJECTS}),
}
"""Who may make projects → what everybody with an account of their own may do to the system."""

_READ: Final = frozenset({Action.SEE, Action.PULL, Action.SEE_MEMBERS, Action.SEE_ROBOTS, Action.SEE_AUDIT, Action.SEE_QUOTA})

LEVELS: Final[dict[Level, frozenset[Action]]] = {
    Level.READ: _READ,
    Level.WRITE: _READ | {Action.PUSH, Action.DESCRIBE},
    Level.DELETE: _READ | {Action.PUSH, Action.DESCRIBE, Action.DELETE},
    Level.ADMIN: frozenset(Action),
}
"""Level of a credential → what it allows at most."""


def permitted(actor: Actor, project: Project, roles: frozenset[Role]) -> frozenset[Action]:
    """Everything that the actor may do in the project, whatever a token's scope says."""
    if actor.robot is not None:
        own = actor.robot.of(project.name)
    elif actor.is_admin:
        own = frozenset(Action)
    else:
        own = frozenset().union(*(ROLES[role] for role in roles))
    if actor.limits.project_ids is not None and project.id not in actor.limits.project_ids:
        own = frozenset()
    return (own & LEVELS[actor.limits.level]) | (PUBLIC if project.public else frozenset())


def decide(
    actor: Actor, action: Action, project: Project, roles: frozenset[Role], name: RepositoryName | None = None
) -> RoadsteadError | None:
    """None if the actor may; otherwise what to raise, which tells the least.

    Unauthenticated to the anonymous; ProjectUnknown where the project may not even be seen, as if it did not exist; Denied; or
    InsufficientScope if only the token in hand is too narrow for the repository `name`.
    """
    allowed = permitted(actor, project, roles)
    if action not in allowed:
        if actor.anonymous:
            return Unauthenticated()
        refusal: RoadsteadError = Denied(f"{actor.name!r} may not {words(action)} in project {project.name!r}.")
        if Action.SEE not in allowed:
            refusal = unknown_project(project.name)
        refusal.attempt = Attempt(actor, action, project, name)
        return refusal
    if name is not None and not _covered(actor, action, project, name):
        return InsufficientScope()
    return None


def _covered(actor: Actor, action: Action, project: Project, name: RepositoryName) -> bool:
    """Whether the token's scope covers it; what is open to everybody needs none. Who may pull may see what is there."""
    if actor.scope is None or actor.scope.covers(name, Action.PULL if action is Action.SEE else action):
        return True
    return project.public and action in PUBLIC


def permitted_on_system(actor: Actor, creation: Creation = Creation.ADMIN_ONLY) -> frozenset[Action]:
    """What the actor may do to the system. A token's scope names repositories only, so with one in hand: nothing."""
    if actor.scope is not None or actor.anonymous:
        return frozenset()
    if actor.robot is not None:
        return actor.robot.system
    if actor.limits.project_ids is not None:
        return frozenset()
    return (SYSTEM if actor.is_admin else CREATION[creation]) & LEVELS[actor.limits.level]


def require_on_system(actor: Actor, action: Action, creation: Creation = Creation.ADMIN_ONLY) -> None:
    """Return if the actor may. Raises Unauthenticated or Denied."""
    if action in permitted_on_system(actor, creation):
        return
    if actor.anonymous:
        raise Unauthenticated
    refusal = Denied(f"{actor.name!r} may not {words(action)}.")
    refusal.attempt = Attempt(actor, action)
    raise refusal


def words(action: Action) -> str:
    """The action as a sentence has it."""
    return action.value.replace("-", " ")


def absent(actor: Actor, project: str) -> RoadsteadError:
    """What to raise for a project that does not exist: the same as for one that may not be seen."""
    return Unauthenticated() if actor.anonymous else unknown_project(project)


def unknown_project(project: str) -> ProjectUnknown:
    """The one sentence for a project that does not exist or may not be seen."""
    return ProjectUnknown(
        f"There is no project {project!r}, or you may not see it. Projects are made by an administrator before the first push.",
        project=project,
    )


def visible_projects(actor: Actor) -> ProjectScope:
    """Which repositories a listing or search shows to the actor. Raises InsufficientScope if the token in hand hides some of them."""
    if not actor.anonymous and actor.scope is not None and not actor.scope.catalog:
        raise InsufficientScope
    if actor.robot is not None:
        seeing = frozenset(name for name, actions in actor.robot.projects.items() if Action.PULL in actions or Action.SEE in actions)
        return ProjectScope(everything="*" in seeing, names=seeing, only_ids=actor.limits.project_ids)
    return ProjectScope(everything=actor.is_admin, account_id=actor.account_id, only_ids=actor.limits.project_ids)


def mountable_projects(actor: Actor) -> ProjectScope:
    """From which projects a blob may be mounted whose repository was not named; a narrowed token sees the public ones alone."""
    return visible_projects(actor) if actor.scope is None else ProjectScope()


ANY_PROJECT: Final = ProjectScope(everything=True)
"""The scope for a query about one repository on which the policy has been asked already."""
