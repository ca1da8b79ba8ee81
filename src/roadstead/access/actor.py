"""Who is asking. Every public act of the rooms above takes an `Actor`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from roadstead.oci.reference import RepositoryName


class TokenScope(msgspec.Struct, frozen=True):
    """What a bearer token covers at most: actions by repository, and whether it covers the catalog."""

    repositories: Mapping[RepositoryName, frozenset[str]]
    catalog: bool = False

    def covers(self, name: RepositoryName, action: str) -> bool:
        """Whether the token covers `action` on the repository; `*` stands for every action."""
        actions = self.repositories.get(name, frozenset())
        return action in actions or "*" in actions


class Actor(msgspec.Struct, frozen=True):
    """Whoever is asking: an account in its present state, or nobody known. `scope` is None where no token narrows it."""

    account_id: int | None
    name: str
    is_admin: bool = False
    scope: TokenScope | None = None

    @property
    def anonymous(self) -> bool:
        """Whether nobody has said who they are."""
        return self.account_id is None


ANONYMOUS = Actor(None, "anonymous")
SYSTEM = Actor(None, "system", is_admin=True)
"""The registry itself, for jobs that nobody asked for."""
