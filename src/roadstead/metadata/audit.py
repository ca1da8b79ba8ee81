"""The audit log: rows are added, read, marked as exported, and removed by age; nothing else is done to them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from roadstead.metadata.listing import Fields, Filter, Listing, Sort, listed
from roadstead.metadata.schema import EPOCH, audit_log
from roadstead.metadata.statements import Prepared, batched


class NewAudit(msgspec.Struct, frozen=True):
    """Something that was done or tried. Make it by `access.audit.audited`, which knows the words.

    `actor` and `resource` are names as they are now; `amount` is how often the same happened.
    """

    at: datetime
    actor_id: int | None
    actor: str
    address: str
    action: str
    resource_type: str
    resource: str
    project_id: int | None = None
    result: str = "success"
    detail: str | None = None
    amount: int = 1


class AuditRow(msgspec.Struct, frozen=True):
    """One row of the log; see `NewAudit`."""

    id: int
    at: datetime
    actor_id: int | None
    actor: str
    address: str
    action: str
    resource_type: str
    resource: str
    project_id: int | None
    result: str
    detail: str | None
    amount: int


NOT_WANTED = EPOCH
"""What `exported_at` says of rows that were written while nothing was set to export them to."""

_COLUMNS = tuple(audit_log.c[field] for field in AuditRow.__struct_fields__)
_ADD = Prepared(audit_log.insert())


def add(connection: Connection, *new: NewAudit) -> None:
    """Record what happened, in the transaction in which it happened."""
    if new:
        _ADD.change_each(connection, [msgspec.structs.asdict(one) for one in new])


def _of_repository(asked: Filter) -> ColumnElement[bool]:
    """What was done to one of these repositories, or to a tag or manifest in it: as image references name them."""
    names = [(name, audit_log.c.resource) for name in asked.values]
    return or_(*(or_(own == name, *(own.startswith(f"{name}{mark}", autoescape=True) for mark in ":@")) for name, own in names))


_FIELDS = Fields(
    {field: audit_log.c[field] for field in AuditRow.__struct_fields__},
    audit_log.c.id,
    (Sort("id", descending=True),),
    {"repository": _of_repository},
)


def page(connection: Connection, listing: Listing, project_ids: frozenset[int] | None = None) -> tuple[list[AuditRow], int]:
    """The rows that the listing asks for, newest first unless it says otherwise, and how many there are on all pages.

    Only those of `project_ids`, where given. Every column of `AuditRow` can be asked for, and `repository`. Raises InvalidInput.
    """
    seen = select(*_COLUMNS) if project_ids is None else select(*_COLUMNS).where(audit_log.c.project_id.in_(project_ids))
    rows, total = listed(connection, seen, _FIELDS, listing)
    return [AuditRow(*tuple(row)) for row in rows], total


def purge(connection: Connection, older_than: datetime, limit: int) -> int:
    """Remove up to `limit` rows from before that time, oldest first; returns how many."""
    old = select(audit_log.c.id).where(audit_log.c.at < older_than).order_by(audit_log.c.at, audit_log.c.id).limit(limit)
    # Another purge may be at it (PostgreSQL): neither waits for the other.
    return connection.execute(delete(audit_log).where(audit_log.c.id.in_(old.with_for_update(skip_locked=True)))).rowcount


_TO_EXPORT = audit_log.c.exported_at.is_(None)


def to_export(connection: Connection, limit: int) -> list[AuditRow]:
    """Up to `limit` rows that were not exported, in the order of their ids.

    Rows are marked one by one and not passed by a cursor over ids, as ids become visible in the order of commits.
    """
    return [AuditRow(*row) for row in connection.execute(select(*_COLUMNS).where(_TO_EXPORT).order_by(audit_log.c.id).limit(limit))]


def waiting(connection: Connection) -> tuple[int, datetime | None]:
    """How many rows wait to be exported, and since when the oldest does."""
    number, oldest = connection.execute(select(func.count(), func.min(audit_log.c.at)).where(_TO_EXPORT)).one()
    return number, oldest


def exported(connection: Connection, ids: Iterable[int], at: datetime) -> None:
    """Mark rows as exported."""
    for some in batched(ids):
        connection.execute(update(audit_log).where(audit_log.c.id.in_(some)).values(exported_at=at))


def pass_over(connection: Connection, limit: int) -> int:
    """Mark up to `limit` rows as not wanted by any export; returns how many."""
    some = select(audit_log.c.id).where(_TO_EXPORT).order_by(audit_log.c.id).limit(limit).with_for_update(skip_locked=True)
    return connection.execute(update(audit_log).where(audit_log.c.id.in_(some)).values(exported_at=NOT_WANTED)).rowcount
