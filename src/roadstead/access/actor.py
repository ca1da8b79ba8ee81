"""Who is asking. Every public act of the rooms above takes an `Actor`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from roadstead.oci.reference import RepositoryName


class Action(StrEnum):
    """What may be done. The first three are done to repositories, and are the words of token scopes; the last two to the system."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    SEE = "see"
    DESCRIBE = "describe"
    SEE_MEMBERS = "see-members"
    SET_MEMBERS = "set-members"
    SEE_ROBOTS = "see-robots"
    SET_ROBOTS = "set-robots"
    SEE_AUDIT = "see-audit"
    SEE_QUOTA = "see-quota"
    CONFIGURE = "configure"
    REMOVE = "remove"
    CREATE_PROJECTS = "create-projects"
    ADMINISTER = "administer"


class Level(StrEnum):
    """How much of what its account may do a credential may do."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


class Role(StrEnum):
    """Roles in a project, by Harbor's names."""

    LIMITED_GUEST = "limitedGuest"
    GUEST = "guest"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    PROJECT_ADMIN = "projectAdmin"


class TokenScope(msgspec.Struct, frozen=True):
    """What a bearer token covers at most: actions by repository, and whether it covers the catalog."""

    repositories: Mapping[RepositoryName, frozenset[str]]
    catalog: bool = False

    def covers(self, name: RepositoryName, action: str) -> bool:
        """Whether the token covers `action` on the repository; `*` stands for every action."""
        actions = self.repositories.get(name, frozenset())
        return action in actions or "*" in actions


class RobotRights(msgspec.Struct, frozen=True):
    """What a robot may do: actions by project name (`*`: every project), and actions on the system."""

    projects: Mapping[str, frozenset[Action]]
    system: frozenset[Action] = frozenset()

    def of(self, project: str) -> frozenset[Action]:
        """What it may do in the project of that name."""
        return self.projects.get(project, frozenset()) | self.projects.get("*", frozenset())


class Limits(msgspec.Struct, frozen=True):
    """What narrows an account's rights for the credential in hand: its level, and the projects it is for (None: all)."""

    level: Level = Level.ADMIN
    project_ids: frozenset[int] | None = None


class Actor(msgspec.Struct, frozen=True):
    """Whoever is asking: an account in its present state, or nobody known.

    `robot` is set for robot accounts, `limits` where the credential is narrower than the account, `scope` where a bearer token is.
    `address` is where the request came from.
    """

    account_id: int | None
    name: str
    is_admin: bool = False
    robot: RobotRights | None = None
    limits: Limits = Limits()
    scope: TokenScope | None = None
    credential_id: int | None = None
    address: str = ""

    @property
    def anonymous(self) -> bool:
        """Whether nobody has said who they are."""
        return self.account_id is None and not self.is_admin


ANONYMOUS = Actor(None, "anonymous")
"""Without an address; see `anonymous_from`."""


def anonymous_from(address: str) -> Actor:
    """Nobody known, at that address."""
    return Actor(None, ANONYMOUS.name, address=address)


SYSTEM = Actor(None, "system", is_admin=True)
"""The registry itself, and who works on its database by the command line: nobody has asked through a door."""
