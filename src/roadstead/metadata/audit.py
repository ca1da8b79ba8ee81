"""The audit log: rows are added, read, marked as exported, and removed by age; nothing else is done to them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select, update

from roadstead.metadata.listing import FAR, LAST, Fields, Listing, Page, Sort, counted, listed
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


_FIELDS = Fields({field: audit_log.c[field] for field in AuditRow.__struct_fields__}, audit_log.c.id, (Sort("id", descending=True),))


def page(connection: Connection, listing: Listing, project_ids: frozenset[int] | None = None) -> tuple[list[AuditRow], int]:
    """The rows that the listing asks for, newest first unless it says otherwise, and how many there are on all pages.

    Only those of `project_ids`, where given. Every column of `AuditRow` can be asked for. Raises InvalidInput.
    """
    rows, total = listed(connection, _seen(project_ids), _FIELDS, listing)
    return [AuditRow(*tuple(row)) for row in rows], total


COUNTED: Final = 10_000
"""Rows that `find` counts at most."""


class Wanted(msgspec.Struct, frozen=True):
    """What people look for in the log: who did what, to what of a name that begins so, in which repository. None does not matter."""

    actor: str | None = None
    action: str | None = None
    resource: str | None = None
    repository: str | None = None


def find(connection: Connection, wanted: Wanted, page: Page, project_ids: frozenset[int] | None = None) -> tuple[list[AuditRow], int]:
    """A page of what is looked for, the newest first, and how many rows there are: COUNTED and one stands for more.

    Pages end there too. A log has millions of rows, so no more of them are looked at than an index leads to. For the beginning of a name
    that few rows have, that is its own index, and the rows are sorted then; where more have it, it is the order of ids, in which a page of
    them soon comes.
    """
    exact = {"actor": wanted.actor, "action": wanted.action}
    statement = _seen(project_ids).where(*(audit_log.c[field] == value for field, value in exact.items() if value is not None))
    order = audit_log.c.id.desc()
    named = _named(audit_log.c.resource, wanted)
    total = counted(connection, statement.where(*named), COUNTED)
    few = bool(named) and total <= COUNTED
    # No index fits what is concatenated or added to.
    statement = statement.where(*(named if few else _named(audit_log.c.resource.concat(""), wanted)))
    order = (audit_log.c.id + 0).desc() if few else order
    offset = min((page.number - 1) * page.size, FAR)
    rows = connection.execute(statement.order_by(order).limit(page.size).offset(offset)) if offset < min(total, COUNTED) else ()
    return [AuditRow(*row) for row in rows], total


def _named(resource: ColumnElement[str], wanted: Wanted) -> list[ColumnElement[bool]]:
    """What the name of a resource must be. What is in a repository is named as image references are: NAME, NAME:TAG or NAME@DIGEST."""
    found = []
    if wanted.resource is not None:
        found.append(and_(resource >= wanted.resource, resource < wanted.resource + LAST))
    if wanted.repository is not None:
        # Between ":" and "A" there is "@", and nothing else that a name of a repository could go on with.
        found.append(or_(resource == wanted.repository, and_(resource >= f"{wanted.repository}:", resource < f"{wanted.repository}A")))
    return found


def _seen(project_ids: frozenset[int] | None) -> Select[Any]:
    return select(*_COLUMNS) if project_ids is None else select(*_COLUMNS).where(audit_log.c.project_id.in_(project_ids))


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
