"""Upkeep as jobs: what an administrator sees of it."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.vault import Vault
from roadstead.content.memory import MemoryStore
from roadstead.jobs.queue import Queue
from roadstead.jobs.worker import Pace, Worker
from roadstead.metadata import jobs
from roadstead.metadata.database import Database
from roadstead.metadata.jobs import JobRow, NewJob
from roadstead.metadata.repositories import RepositorySelects
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.upkeep import chores
from roadstead.upkeep.eviction import Budget
from tests.support.factories import APP, ManualClock, blob, image, push_blob, push_image

RULES = Rules()
BUDGET = Budget(0, lambda _source, conversion: conversion == "today")


class Upkeep:
    """Runs one chore as a job."""

    def __init__(self, database: Database, store: MemoryStore, clock: ManualClock) -> None:
        self._database, self._clock = database, clock
        self._kinds = chores.kinds(database, store, Access(database, Vault([b"k" * 32]), clock=clock), RULES, BUDGET, clock)

    async def run(self, kind: str) -> tuple[JobRow, list[str]]:
        stop, queue = asyncio.Event(), Queue(self._database, self._clock)
        working = asyncio.create_task(Worker(self._database, self._kinds, clock=self._clock, pace=Pace(look=0.01)).run(stop))
        try:
            job_id = (await queue.add(NewJob(kind))).id
            assert await queue.wait(job_id, 60) is not None
        finally:
            stop.set()
            await working
            await queue.close()
        row = await self._database.read(partial(jobs.find, job_id=job_id))
        assert row is not None
        return row, [line.line for line in await self._database.read(partial(jobs.lines, job_id=job_id))]


@pytest.fixture
def upkeep(database: Database, store: MemoryStore, clock: ManualClock) -> Upkeep:
    return Upkeep(database, store, clock)


async def test_evicting_says_what_went_and_what_must_stay(
    registry: Registry, database: Database, admin: Actor, upkeep: Upkeep, clock: ManualClock
) -> None:
    for number, conversion in enumerate(("today", "yesterday")):
        source = image(f"layer {number}")
        made = image(f"sif {number}", subject=source)
        await push_image(registry, admin, APP, source)
        place = await RepositorySelects(database).place(APP)
        assert place is not None
        await registry.derived.record(place, APP, source.digest, conversion, made.content, [one.content for one in made.blobs])
    row, log = await upkeep.run("evict-derived")
    assert json.loads(row.result or "") == {"manifests": 1, "freed": 5, "used": 5}
    assert log == [
        "Evicted what 1 conversions have made: 5 bytes.",
        "What has been derived takes 5 bytes, more than the 0 bytes that it may, and must stay.",
    ]


async def test_collecting_says_how_much_it_deleted(
    registry: Registry, admin: Actor, upkeep: Upkeep, store: MemoryStore, clock: ManualClock
) -> None:
    for text in ("one", "two"):
        await push_blob(registry, admin, APP, blob(text))
    clock.advance(RULES.link_grace + timedelta(seconds=1))
    row, _ = await upkeep.run("collect")
    assert (row.state, row.result, row.doing) == ("succeeded", '{"deleted":0}', None)
    clock.advance(RULES.content_grace + timedelta(seconds=1))
    row, log = await upkeep.run("collect")
    assert (row.state, row.result, row.doing) == ("succeeded", '{"deleted":2}', "2 contents deleted")
    assert log == ["Deleted 2 contents to which nothing referred any more."]
    assert store.medium == {}


async def test_jobs_that_ended_long_ago_are_forgotten(database: Database, upkeep: Upkeep, clock: ManualClock) -> None:
    old, _ = await upkeep.run("purge-audit")
    assert old.state == "succeeded"
    clock.advance(RULES.job_retention)
    young, _ = await upkeep.run("recount-quotas")
    assert young.result == '{"mended":0}'
    clock.advance(timedelta(seconds=1))
    row, _ = await upkeep.run("forget-jobs")
    assert (row.state, row.result) == ("succeeded", '{"forgotten":1}')
    assert await database.read(partial(jobs.find, job_id=old.id)) is None
    assert await database.read(partial(jobs.find, job_id=young.id)) == young


def test_every_schedule_has_its_kind(database: Database, store: MemoryStore, clock: ManualClock) -> None:
    access = Access(database, Vault([b"k" * 32]), clock=clock)
    names = {kind.name for kind in chores.kinds(database, store, access, RULES, BUDGET, clock)}
    assert {one.kind for one in chores.SCHEDULES} == names
    assert len({one.name for one in chores.SCHEDULES}) == len(chores.SCHEDULES)


def test_the_guide_names_every_schedule() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guide" / "jobs.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \| (?!nobody|a worker|it is|somebody)", page, re.MULTILINE) == [
        one.name for one in chores.SCHEDULES
    ]
