"""How much projects may store, and do."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.wire import Answer, Body, Id, Moment, Nouns
from roadstead.errors import InvalidAccount
from roadstead.registry.listing import Filter, Match
from roadstead.registry.rows import QuotaRow

router = Nouns(tags=["quotas"])

FIELDS: Final = {"id": "id", "hard.storage": "limit", "used.storage": "used", "reference_id": "id", "name": "project"}
_NO_LIMIT: Final = -1


class ResourceList(Answer):
    """Bytes; as a limit, -1 is none."""

    storage: int


class QuotaRef(Answer):
    """The project that a quota is of."""

    id: int
    name: str


class Quota(Answer):
    """A project's quota, whose id is the project's."""

    id: int
    ref: QuotaRef
    hard: ResourceList
    used: ResourceList
    creation_time: Moment
    update_time: Moment


class QuotaUpdateReq(Body):
    """The limits to be: `storage` in bytes, -1 for none."""

    hard: dict[str, int]


@router.get("/quotas")
async def list_quotas(
    call: Calling,
    paging: Paged,
    reference: Annotated[str | None, Query(description="What quotas are of: only projects have any.")] = None,
    reference_id: Annotated[str | None, Query(description="A project's id.")] = None,
) -> list[Quota]:
    """The quota of every project, for administrators."""
    more = [Filter("id", Match.EQUAL, (reference_id,))] if reference_id else []
    more += [Filter("id", Match.ANY, ())] if reference not in (None, "", "project") else []
    rows, total = await call.registry.quotas.list(call.actor, paging.listing(FIELDS, *more))
    paging.tell(call, total)
    return [_quota(row) for row in rows]


@router.get("/quotas/{quota_id}")
async def get_quota(call: Calling, quota_id: Id) -> Quota:
    """One project's quota, for who may see that."""
    row = await call.registry.projects.get(call.actor, quota_id)
    return _quota(await call.registry.quotas.get(call.actor, row.name))


@router.put("/quotas/{quota_id}")
async def change_quota(call: Calling, quota_id: Id, wanted: QuotaUpdateReq) -> None:
    """Set a project's limit; one below what it uses refuses pushes, and takes nothing away."""
    if set(wanted.hard) != {"storage"}:
        raise InvalidAccount("A quota has the one limit 'storage'.")
    row = await call.registry.projects.get(call.actor, quota_id)
    await call.registry.quotas.set(call.actor, row.name, wanted.hard["storage"])


def _quota(row: QuotaRow) -> Quota:
    return Quota(
        id=row.project_id,
        ref=QuotaRef(id=row.project_id, name=row.project),
        hard=ResourceList(storage=_NO_LIMIT if row.limit is None else row.limit),
        used=ResourceList(storage=row.used),
        creation_time=row.created_at,
        update_time=row.updated_at or row.created_at,
    )
