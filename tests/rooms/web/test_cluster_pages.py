"""The page of the site's clusters: everybody reads it, administrators describe, change and forget; what is wrong is said."""

from __future__ import annotations

import pytest

from roadstead.access.actor import Actor
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatibility.verdict import Cluster
from roadstead.web.rooms import Rooms
from tests.rooms.web.conftest import Visit

HERE = "/admin/clusters"
KESTREL = {
    "name": "Kestrel",
    "architecture": "amd64",
    "level": "4",
    "glibc": "2.34",
    "driver": "550.54.14",
    "rocm": "",
    "mpi": "libmpi.so.12",
}
DESCRIBED = Cluster("Kestrel", "amd64", 4, "2.34", "550.54.14", None, "libmpi.so.12")


@pytest.fixture
def clusters(rooms: Rooms) -> Clusters:
    return rooms.clusters


async def test_a_cluster_is_described_changed_and_forgotten(visit: Visit, clusters: Clusters, admin: Actor) -> None:
    browser = visit(admin)
    assert "No cluster is described yet" in (await browser.get(HERE)).text
    assert (await browser.post(HERE, KESTREL)).location == HERE
    assert await clusters.all(admin) == [DESCRIBED]
    shown = await browser.get(HERE)
    assert "Kestrel amd64, v4 2.34 550.54.14 not known libmpi.so.12" in shown.text
    form = await browser.get(f"{HERE}?change=Kestrel")
    assert 'value="550.54.14"' in form.html and 'action="/admin/clusters/Kestrel"' in form.html
    assert (await browser.post(f"{HERE}/Kestrel", {**KESTREL, "level": "", "driver": ""})).location == HERE
    assert await clusters.all(admin) == [Cluster("Kestrel", "amd64", None, "2.34", None, None, "libmpi.so.12")]
    assert (await browser.post(f"{HERE}/Kestrel", {"act": "remove"})).location == HERE
    assert await clusters.all(admin) == []


async def test_everybody_reads_and_only_administrators_describe(visit: Visit, clusters: Clusters, admin: Actor, user: Actor) -> None:
    await clusters.add(admin, DESCRIBED)
    for browser in (visit(), visit(user)):
        shown = await browser.get(HERE)
        assert (shown.status, "550.54.14" in shown.text, '<form method="post" action="/admin' in shown.html) == (200, True, False)
        for path, form in ((HERE, {**KESTREL, "name": "Mine"}), (f"{HERE}/Kestrel", KESTREL), (f"{HERE}/Kestrel", {"act": "remove"})):
            assert (await browser.post(path, form)).status in (401, 403)
    assert (await visit(admin).post(f"{HERE}/Kestrel", {"act": "remove"}, token=False)).status == 403
    assert await clusters.all(admin) == [DESCRIBED]


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"name": ""}, 400, "A cluster's name has 1 to 63 letters"),
        ({"name": "<script>alert(1)</script>"}, 400, "A cluster's name has 1 to 63 letters"),
        ({"architecture": ""}, 400, "The architecture is one of"),
        ({"level": "9"}, 400, "The x86-64 level is from 1 to 4."),
        ({"glibc": "new"}, 400, "The version of glibc is written as in 2.34"),
        ({"driver": "550-open"}, 400, "The version of the NVIDIA driver"),
        ({"rocm": "six"}, 400, "The version of ROCm"),
        ({"mpi": "Open MPI"}, 400, "MPI is described by the name of the library"),
        ({"name": "Merlin"}, 409, "There is a cluster 'Merlin' already."),
    ],
)
async def test_what_is_wrong_is_said_and_what_was_typed_stays(
    visit: Visit, clusters: Clusters, admin: Actor, wrong: dict[str, str], status: int, said: str
) -> None:
    await clusters.add(admin, Cluster("Merlin", "arm64"))
    shown = await visit(admin).post(HERE, {**KESTREL, **wrong})
    assert (shown.status, said in shown.text, "<script>alert" in shown.html) == (status, True, False)
    if "driver" not in wrong:
        assert 'value="550.54.14"' in shown.html
    assert await clusters.all(admin) == [Cluster("Merlin", "arm64")]


async def test_a_change_that_cannot_be_leaves_what_was(visit: Visit, clusters: Clusters, admin: Actor) -> None:
    await clusters.add(admin, DESCRIBED)
    shown = await visit(admin).post(f"{HERE}/Kestrel", {**KESTREL, "glibc": "new"})
    assert (shown.status, "Change Kestrel" in shown.text, 'value="new"' in shown.html) == (400, True, True)
    assert await clusters.all(admin) == [DESCRIBED]


async def test_what_is_not_there_is_not_found(visit: Visit, admin: Actor) -> None:
    browser = visit(admin)
    assert (await browser.get(f"{HERE}?change=Merlin")).status == 404
    assert (await browser.post(f"{HERE}/Merlin", {**KESTREL, "name": "Merlin"})).status == 404
    assert (await browser.post(f"{HERE}/Merlin", {"act": "remove"})).status == 404


async def test_many_come_in_pages(visit: Visit, clusters: Clusters, admin: Actor) -> None:
    for number in range(60):
        await clusters.add(admin, Cluster(f"c{number:02}", "amd64"))
    first, second = await visit().get(HERE), await visit().get(f"{HERE}?page=2")
    found = [f"c{number:02}" for number in range(60) for shown in (first, second) if f"c{number:02} amd64" in shown.text]
    assert len(found) == len(set(found)) > 25
    assert "of 60 clusters" in first.text
