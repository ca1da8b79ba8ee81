"""Two replicas over one PostgreSQL and one S3 store: a conversion begins on one, which dies, and ends on the other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.journeys.replicas import Site
from tests.journeys.test_conversion_faults import an_image, ask, converters, stop_converter
from tests.support.clients.images import fetch, push
from tests.support.postgres import Postgres
from tests.support.seaweedfs import SeaweedFS
from tests.support.server import poll

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def site(tmp_path: Path, postgres: Postgres, seaweedfs: SeaweedFS) -> Iterator[Site]:
    with Site(tmp_path, postgres, seaweedfs) as site:
        yield site


def test_a_conversion_outlives_the_replica_that_it_began_on(site: Site) -> None:
    push(site.a.http(), "library/two", "1", an_image("replicas"))
    # The job that looks into the image for what it needs has a process like a converter's.
    assert poll(lambda: not site.rows("jobs", "kind = 'survey' AND state IN ('waiting', 'running')"))
    with ThreadPoolExecutor(2) as threads:
        asked: list[Future[httpx2.Response]] = [threads.submit(ask, one, "library/two") for one in (site.a, site.b)]
        assert poll(lambda: any(converters(one) for one in (site.a, site.b)))
        working, other = (site.a, site.b) if converters(site.a) else (site.b, site.a)
        stop_converter(working)
        working.kill()
        of_the_other = asked[(site.a, site.b).index(other)].result()
    assert of_the_other.status_code == 200, of_the_other.text
    client = other.http()
    client.follow_redirects = True  # one of the two redirects to the store
    made = fetch(client, "library/two", "1.sif")
    assert made.digest == of_the_other.headers["docker-content-digest"]
    assert made.blobs[1].data.startswith(b"#!/usr/bin/env run-singularity")
