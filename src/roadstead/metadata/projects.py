"""Projects."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, select, true

from roadstead.metadata.schema import projects
from roadstead.metadata.statements import insert_new


class ProjectRow(msgspec.Struct, frozen=True):
    """One live project."""

    id: int
    name: str
    public: bool


class ProjectScope(msgspec.Struct, frozen=True):
    """Which projects a listing or a search across projects may see: `everything`, or the public ones and those of `project_ids`."""

    everything: bool = False
    project_ids: frozenset[int] = frozenset()

    def condition(self) -> ColumnElement[bool]:
        """The scope as a condition on `projects`."""
        if self.everything:
            return true()
        return projects.c.public.is_(True) | projects.c.id.in_(self.project_ids)


def find(connection: Connection, name: str) -> ProjectRow | None:
    """The live project of that name."""
    statement = select(projects.c.id, projects.c.name, projects.c.public)
    row = connection.execute(statement.where(projects.c.name == name, projects.c.deleted_at.is_(None))).first()
    return row and ProjectRow(*row)


def ensure(connection: Connection, name: str, *, public: bool, owner_id: int | None, now: datetime) -> bool:
    """Add a project unless one of that name is there; say whether it was added."""
    values = {"name": name, "public": public, "owner_id": owner_id, "created_at": now}
    return insert_new(connection, projects, values)
