"""What a login source says of somebody who has proved who they are, or of somebody it was asked about."""

from __future__ import annotations

import msgspec


class Person(msgspec.Struct, frozen=True):
    """`subject` never changes at the source; `name` is in lower case, as directories do not tell the cases apart.

    `groups` are by what the source calls them (`Group.external_id`). `is_admin` is None where the source has no group of administrators.
    """

    subject: str
    name: str
    email: str | None = None
    real_name: str | None = None
    groups: frozenset[str] = frozenset()
    is_admin: bool | None = None


class Step(msgspec.Struct, frozen=True):
    """One step in trying a source: what was tried, whether it went well, and in plain words what was found."""

    what: str
    passed: bool
    said: str


class Check(msgspec.Struct, frozen=True):
    """How trying a source went; the steps end with the first that failed."""

    steps: tuple[Step, ...]

    @property
    def passed(self) -> bool:
        """Whether people can log in by it now, as far as can be told without a password of theirs."""
        return all(step.passed for step in self.steps)
