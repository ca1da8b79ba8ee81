"""What one may do, in Harbor's words of resources and actions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import Query

from roadstead.access import policy
from roadstead.access.actor import Action
from roadstead.access.robots import PROJECT_ACTIONS, SYSTEM_ACTIONS
from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.wire import Answer, Nouns, without_nul
from roadstead.errors import InvalidInput

router = Nouns(tags=["permissions"])

_SCOPE: Final = re.compile(r"/project/([^/]+)")

# What is for administrators; a robot's permissions have no words for it.
_ADMINISTRATION: Final = (
    *(("user", action) for action in ("list", "read", "create", "update", "delete")),
    *(("robot", action) for action in ("list", "read", "create", "update", "delete")),
    *(("configuration", action) for action in ("read", "update")),
    *(("quota", action) for action in ("list", "read", "update")),
    ("audit-log", "list"),
)
# What those may do in a project who may change its robots: robots themselves may not.
_ROBOTS: Final = (("robot", "create"), ("robot", "delete"))


class Permission(Answer):
    """Something that may be done to something."""

    resource: str
    action: str


class Permissions(Answer):
    """Every permission that a robot can be given, to the system and in projects."""

    system: list[Permission]
    project: list[Permission]


@router.get("/permissions")
async def permissions_of_robots(call: Calling) -> Permissions:
    """What a robot can be allowed."""
    call.require_login()
    return Permissions(system=_written(SYSTEM_ACTIONS), project=_written(PROJECT_ACTIONS))


@router.get("/users/current/permissions")
async def current_permissions(
    call: Calling,
    scope: Annotated[str | None, Query(description="`/system`, or `/project/` and a project's name or id. Default: /system.")] = None,
    relative: Annotated[bool, Query(description="Whether resources are named from the scope on.")] = False,
) -> list[Permission]:
    """What one may do oneself."""
    call.require_login()
    where = without_nul(scope or "/system").rstrip("/")
    allowed = await _allowed(call, where)
    return _written(allowed, "" if relative else f"{where}/")


async def _allowed(call: Call, where: str) -> list[tuple[str, str]]:
    if where == "/system":
        creation = (await call.access.configuration.present()).project_creation_restriction
        own = policy.permitted_on_system(call.actor, creation)
        return [*_within(SYSTEM_ACTIONS, own), *(_ADMINISTRATION if Action.ADMINISTER in own else ())]
    found = _SCOPE.fullmatch(where)
    if found is None:
        raise InvalidInput("A scope is /system, or /project/ and a project's name or id.")
    own = await call.registry.projects.permitted(call.actor, call.project(found[1]))
    return [*_within(PROJECT_ACTIONS, own), *(_ROBOTS if Action.SET_ROBOTS in own else ())]


def _within(words: dict[tuple[str, str], frozenset[Action]], own: frozenset[Action]) -> list[tuple[str, str]]:
    return [pair for pair, actions in words.items() if actions <= own]


def _written(pairs: Iterable[tuple[str, str]], prefix: str = "") -> list[Permission]:
    return [Permission(resource=f"{prefix}{resource}", action=action) for resource, action in pairs]
