"""Asking the policy, with the roles that the actor has at this moment."""

from __future__ import annotations

from typing import Final

from roadstead.access import policy
from roadstead.access.actor import Action, Actor, Role
from roadstead.access.policy import Project
from roadstead.metadata.database import Database
from roadstead.metadata.members import MemberSelects
from roadstead.oci.reference import RepositoryName

_NO_ROLES: Final[frozenset[Role]] = frozenset()


class Rights:
    """The policy, for rooms: it looks the roles up when the answer depends on them."""

    def __init__(self, database: Database) -> None:
        self._members = MemberSelects(database)

    async def require(self, actor: Actor, action: Action, project: Project, name: RepositoryName | None = None) -> None:
        """Return if the actor may do `action` in the project, or in its repository `name`.

        Raises Unauthenticated, ProjectUnknown, Denied or InsufficientScope; see `policy.decide`.
        """
        if action not in policy.PUBLIC or not project.public:
            refusal = policy.decide(actor, action, project, await self.roles(actor, project, name), name)
            if refusal is not None:
                raise refusal

    async def permitted(self, actor: Actor, project: Project, name: RepositoryName | None = None) -> frozenset[Action]:
        """Everything that the actor may do there."""
        return policy.permitted(actor, project, await self.roles(actor, project, name))

    async def roles(self, actor: Actor, project: Project, name: RepositoryName | None = None) -> frozenset[Role]:
        """The actor's roles there, by membership, groups, and grants on paths; who has any grant at all sees the project."""
        if actor.account_id is None or actor.robot is not None or actor.is_admin:
            return _NO_ROLES
        rows = await self._members.roles(actor.account_id, project.id, name.path if name is not None else "")
        held = frozenset(Role(role) for role, covers in rows if covers)
        return held or (_SEEING if rows and name is None else _NO_ROLES)


_SEEING: Final = frozenset({Role.LIMITED_GUEST})
"""What the holder of a grant on some path is to the project as a whole."""
