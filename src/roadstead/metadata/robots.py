"""Robot accounts."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, select, update

from roadstead.metadata.listing import Fields, Listing, Sort, listed
from roadstead.metadata.schema import accounts, projects, robots


class RobotRow(msgspec.Struct, frozen=True):
    """One robot: `id` is its account's, `name` in full, `permissions` as JSON text."""

    id: int
    name: str
    short_name: str
    project_id: int | None
    project_name: str | None
    description: str
    permissions: str
    duration_days: int
    expires_at: datetime | None
    created_by: int | None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None


_ROWS = (
    select(
        accounts.c.id,
        accounts.c.name,
        robots.c.short_name,
        robots.c.project_id,
        projects.c.name,
        robots.c.description,
        robots.c.permissions,
        robots.c.duration_days,
        robots.c.expires_at,
        robots.c.created_by,
        accounts.c.created_at,
        robots.c.updated_at,
        accounts.c.disabled_at,
    )
    .select_from(robots.join(accounts, accounts.c.id == robots.c.account_id).outerjoin(projects, projects.c.id == robots.c.project_id))
    .where(accounts.c.deleted_at.is_(None))
)


def add(
    connection: Connection,
    *,
    account_id: int,
    project_id: int | None,
    short_name: str,
    description: str,
    permissions: str,
    duration_days: int,
    expires_at: datetime | None,
    created_by: int | None,
    now: datetime,
) -> None:
    """Record what makes an account a robot."""
    row: dict[str, object] = {"account_id": account_id, "project_id": project_id, "short_name": short_name, "description": description}
    row |= {"permissions": permissions, "duration_days": duration_days, "expires_at": expires_at, "created_by": created_by}
    connection.execute(robots.insert().values(**row, updated_at=now))


def get(connection: Connection, account_id: int) -> RobotRow | None:
    """The robot of that account."""
    row = connection.execute(_ROWS.where(accounts.c.id == account_id)).first()
    return None if row is None else RobotRow(*tuple(row))


def of_project(connection: Connection, project_id: int | None) -> list[RobotRow]:
    """The robots of a project, or (None) of the system, in the order of their ids."""
    return [RobotRow(*tuple(row)) for row in connection.execute(_ROWS.where(_of(project_id)).order_by(accounts.c.id))]


_FIELDS = Fields(
    {
        "id": accounts.c.id,
        "name": accounts.c.name,
        "short_name": robots.c.short_name,
        "description": robots.c.description,
        "created_at": accounts.c.created_at,
        "updated_at": robots.c.updated_at,
        "expires_at": robots.c.expires_at,
        "disabled_at": accounts.c.disabled_at,
    },
    accounts.c.id,
    (Sort("id"),),
)


def page(connection: Connection, project_id: int | None, listing: Listing) -> tuple[list[RobotRow], int]:
    """As `of_project`, as far as the listing asks for them, and how many there are on all pages. Raises InvalidInput."""
    rows, total = listed(connection, _ROWS.where(_of(project_id)), _FIELDS, listing)
    return [RobotRow(*tuple(row)) for row in rows], total


def _of(project_id: int | None) -> ColumnElement[bool]:
    return robots.c.project_id.is_(None) if project_id is None else robots.c.project_id == project_id


def change(connection: Connection, account_id: int, **values: object) -> None:
    """Set columns of a robot."""
    connection.execute(update(robots).where(robots.c.account_id == account_id).values(**values))
