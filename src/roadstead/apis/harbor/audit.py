"""The audit log, in the two forms in which Harbor tells it."""

from __future__ import annotations

from typing import Final

from roadstead.access.audit import Operation
from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.paging import Paged, Paging
from roadstead.apis.harbor.wire import Answer, Moment, Nouns, ProjectRef
from roadstead.registry.rows import AuditRow

router = Nouns(tags=["audit"])

FIELDS: Final = {
    "id": "id",
    "username": "actor",
    "address": "address",
    "resource": "resource",
    "resource_type": "resource_type",
    "operation": "action",
    "op_time": "at",
    "result": "result",
}


class AuditLog(Answer):
    """What somebody did."""

    id: int
    username: str
    resource: str
    resource_type: str
    operation: str
    op_time: Moment


class AuditLogExt(AuditLog):
    """What somebody did, and how it ended. `result` (success, denied, failed), `address` and `amount` are ours."""

    operation_description: str
    operation_result: bool
    result: str
    address: str
    amount: int


class EventType(Answer):
    """A kind of what is recorded."""

    event_type: str


@router.get("/audit-logs")
async def list_audit_logs(call: Calling, paging: Paged) -> list[AuditLog]:
    """All that happened for administrators, and what happened in their projects for others; newest first."""
    return [_short(row) for row in await _page(call, paging)]


@router.get("/auditlog-exts")
async def list_extended_audit_logs(call: Calling, paging: Paged) -> list[AuditLogExt]:
    """The same, with how it ended."""
    return [_long(row) for row in await _page(call, paging)]


@router.get("/auditlog-exts/events")
async def list_event_types(call: Calling) -> list[EventType]:
    """Which operations are recorded."""
    call.require_login()
    return [EventType(event_type=operation) for operation in Operation]


@router.get("/projects/{project}/logs")
async def list_logs_of_project(call: Calling, project: ProjectRef, paging: Paged) -> list[AuditLog]:
    """What happened in one project."""
    return [_short(row) for row in await _page(call, paging, project)]


@router.get("/projects/{project}/auditlog-exts")
async def list_extended_logs_of_project(call: Calling, project: ProjectRef, paging: Paged) -> list[AuditLogExt]:
    """The same, with how it ended."""
    return [_long(row) for row in await _page(call, paging, project)]


async def _page(call: Call, paging: Paging, project: str | None = None) -> list[AuditRow]:
    listing = paging.listing(FIELDS)
    if project is None:
        rows, total = await call.access.audit.list(call.actor, listing)
    else:
        name = (await call.registry.projects.get(call.actor, call.project(project))).name
        rows, total = await call.access.audit.of_project(call.actor, name, listing)
    paging.tell(call, total)
    return list(rows)


def _short(row: AuditRow) -> AuditLog:
    return AuditLog(
        id=row.id, username=row.actor, resource=row.resource, resource_type=row.resource_type, operation=row.action, op_time=row.at
    )


def _long(row: AuditRow) -> AuditLogExt:
    return AuditLogExt(
        **_short(row).model_dump(),
        operation_description=row.detail or "",
        operation_result=row.result == "success",
        result=row.result,
        address=row.address,
        amount=row.amount,
    )
