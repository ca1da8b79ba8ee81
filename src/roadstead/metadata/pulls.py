"""Counts of pulls, added in batches: a pull itself writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Table, bindparam, case, update

from roadstead.metadata.schema import manifests, repositories, tags
from roadstead.metadata.statements import Prepared


class Pulled(msgspec.Struct, frozen=True):
    """What one pull was of."""

    repository_id: int
    manifest_id: int
    tag_id: int | None


class Tally(msgspec.Struct, frozen=True):
    """How often, and when last."""

    count: int
    last: datetime


def add(connection: Connection, tallies: Mapping[Pulled, Tally]) -> None:
    """Add the tallies to manifests, tags and repositories, in the order of their ids, so that two replicas cannot deadlock."""
    for table, id_of in ((repositories, _repository), (manifests, _manifest), (tags, _tag)):
        totals: dict[int, Tally] = {}
        for pulled, tally in tallies.items():
            row_id = id_of(pulled)
            if row_id is not None:
                before = totals.get(row_id, Tally(0, tally.last))
                totals[row_id] = Tally(before.count + tally.count, max(before.last, tally.last))
        if totals:
            ordered = [(row_id, totals[row_id]) for row_id in sorted(totals)]
            _ADD[table].change_each(connection, [{"the_id": row_id, "count": one.count, "last": one.last} for row_id, one in ordered])


def _repository(pulled: Pulled) -> int | None:
    return pulled.repository_id


def _manifest(pulled: Pulled) -> int | None:
    return pulled.manifest_id


def _tag(pulled: Pulled) -> int | None:
    return pulled.tag_id


def _addition(table: Table) -> Prepared:
    seen, last = table.c.last_pulled_at, bindparam("last", type_=table.c.last_pulled_at.type)
    newest = case((seen > last, seen), else_=last)
    values = {"pull_count": table.c.pull_count + bindparam("count"), "last_pulled_at": newest}
    return Prepared(update(table).where(table.c.id == bindparam("the_id")).values(values))


_ADD = {table: _addition(table) for table in (repositories, manifests, tags)}
