"""Roles by Harbor's numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from roadstead.access.actor import Role
from roadstead.errors import InvalidInput

IDS: Final = {Role.PROJECT_ADMIN: 1, Role.DEVELOPER: 2, Role.GUEST: 3, Role.MAINTAINER: 4, Role.LIMITED_GUEST: 5}
_ROLES: Final = {number: role for role, number in IDS.items()}
_BY_POWER: Final = (Role.PROJECT_ADMIN, Role.MAINTAINER, Role.DEVELOPER, Role.GUEST, Role.LIMITED_GUEST)


def role_ids(roles: Iterable[Role]) -> list[int]:
    """The roles' numbers, the one that allows most first."""
    held = set(roles)
    return [IDS[role] for role in _BY_POWER if role in held]


def role_of(number: int) -> Role:
    """The role of that number. Raises InvalidInput."""
    if number not in _ROLES:
        raise InvalidInput("A role_id is 1 (projectAdmin), 2 (developer), 3 (guest), 4 (maintainer) or 5 (limitedGuest).")
    return _ROLES[number]
