"""`roadstead jobs`, through the real program, on a database of its own; and the job worker of the real server."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from roadstead.cli.jobs import StateWord
from roadstead.metadata import jobs, migrations
from roadstead.metadata.database import open_database
from roadstead.metadata.jobs import NewJob, State
from roadstead.metadata.listing import PAGE_LIMIT
from tests.rooms.cli.test_administration import Site
from tests.support.factories import BEGINNING
from tests.support.server import RoadsteadServer, poll


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


def enqueue(data: Path, *new: NewJob) -> list[int]:
    """Ask for work on a site's database, which is made if it is not there."""

    async def work() -> list[int]:
        database = await open_database(f"sqlite:///{data}/roadstead.sqlite")
        try:
            return [(await database.write(partial(jobs.enqueue, new=one, now=BEGINNING))).id for one in new]
        finally:
            await database.close()

    asyncio.run(migrations.upgrade(f"sqlite:///{data}/roadstead.sqlite"))
    return asyncio.run(work())


def test_jobs(site: Site, tmp_path: Path) -> None:
    assert site.told("jobs", "list") == []
    first, second = enqueue(tmp_path / "data", NewJob("convert", '{"tag":"x"}', priority=3), NewJob("scan"))
    assert [row["id"] for row in site.told("jobs", "list")] == [second, first]
    assert [row["id"] for row in site.told("jobs", "list", "--kind", "convert", "--state", "waiting")] == [first]
    assert site.told("jobs", "list", "--project", "nowhere") == []
    assert site.told("jobs", "list", "--page", "2") == []
    shown = site.told("jobs", "show", str(first))
    assert (shown["job"]["payload"], shown["job"]["priority"], shown["log"]) == ('{"tag":"x"}', 3, [])
    assert str(first) in site.done("jobs", "cancel", str(first))
    (row,) = site.told("jobs", "list", "--state", "cancelled")
    assert (row["id"], row["reason"]) == (first, "Cancelled by system.")
    assert "cannot be cancelled" in site.refused("jobs", "cancel", str(first))
    assert site.told("jobs", "retry", str(first))["state"] == "waiting"
    assert site.told("jobs", "cancel", str(second))["state"] == "cancelled"
    assert "999" in site.refused("jobs", "show", "999")
    assert site.run("jobs", "list", "--state", "asleep").returncode == 2


def test_jobs_for_the_eye(site: Site, tmp_path: Path) -> None:
    (job_id,) = enqueue(tmp_path / "data", NewJob("convert"))
    heading, row = site.run("jobs", "list").stdout.splitlines()
    assert heading.split()[:4] == ["id", "kind", "project", "state"]
    assert row.split()[:3] == [str(job_id), "convert", "waiting"]
    shown = site.run("jobs", "show", str(job_id)).stdout.splitlines()
    assert {"kind: convert", "state: waiting", "created at: 2026-01-01T00:00:00Z"} <= set(shown)


def test_the_command_knows_every_state_and_the_size_of_a_page(site: Site) -> None:
    assert set(get_args(StateWord)) == set(State)
    assert f"of {PAGE_LIMIT} jobs" in " ".join(site.run("jobs", "list", "--help").stdout.split())


@pytest.mark.slow
def test_the_servers_job_worker_does_what_is_enqueued_and_stops_with_it(site: Site, tmp_path: Path) -> None:
    with RoadsteadServer(tmp_path / "data", {"ROADSTEAD_WORKERS": "1"}) as server:
        (job_id,) = enqueue(tmp_path / "data", NewJob("collect"))
        assert poll(lambda: bool(site.told("jobs", "show", str(job_id))["job"]["finished_at"]))
        shown = site.told("jobs", "show", str(job_id))
        assert (shown["job"]["state"], shown["job"]["result"]) == ("succeeded", '{"deleted":0}')
        assert "Deleted 0 contents" in shown["log"][0]["line"]
        assert server.stop() == 0
    # What is due at a first start was done too, once.
    assert {row["kind"] for row in site.told("jobs", "list")} == {"collect", "purge-audit", "forget-jobs", "measure-storage"}
