"""The clusters of a site: who describes them, and what cannot be a description."""

from __future__ import annotations

import msgspec
import pytest

from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.errors import Conflict, Denied, InvalidInput, NotFound, RoadsteadError, Unauthenticated
from roadstead.metadata import audit
from roadstead.metadata import compatibility as rows
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.sif import clusters as module
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatibility.verdict import Cluster
from tests.support.factories import BEGINNING, ManualClock

KESTREL = Cluster("Kestrel", "amd64", level=4, glibc="2.34", driver="550.54.14", rocm="6.0", mpi="libmpi.so.12")


@pytest.fixture
def clusters(database: Database, clock: ManualClock) -> Clusters:
    return Clusters(database, clock)


async def test_an_administrator_describes_them_and_everybody_reads_them(clusters: Clusters, database: Database, admin: Actor) -> None:
    merlin = Cluster("Merlin", "arm64")
    await clusters.add(admin, merlin)
    await clusters.add(admin, KESTREL)
    assert await clusters.all(ANONYMOUS) == [KESTREL, merlin]
    changed = msgspec.structs.replace(KESTREL, driver=None)
    await clusters.change(admin, changed)
    assert await clusters.get(ANONYMOUS, "Kestrel") == changed
    await clusters.remove(admin, "Merlin")
    assert await clusters.all(ANONYMOUS) == [changed]
    rows, _ = await database.read(lambda connection: audit.page(connection, Listing()))
    told = [(row.action, row.resource) for row in rows if row.resource_type == "cluster"]
    assert sorted(told) == [("create", "Kestrel"), ("create", "Merlin"), ("delete", "Merlin"), ("update", "Kestrel")]


@pytest.mark.parametrize("act", ["add", "change"])
async def test_others_describe_nothing(clusters: Clusters, admin: Actor, user: Actor, act: str) -> None:
    await clusters.add(admin, KESTREL)
    wanted = msgspec.structs.replace(KESTREL, level=1, name="Kestrel" if act == "change" else "Mine")
    refusals: list[tuple[Actor, type[RoadsteadError]]] = [(user, Denied), (ANONYMOUS, Unauthenticated)]
    for actor, error in refusals:
        with pytest.raises(error):
            await getattr(clusters, act)(actor, wanted)
        with pytest.raises(error):
            await clusters.remove(actor, "Kestrel")
    assert await clusters.all(admin) == [KESTREL]


async def test_a_name_is_taken_once_and_what_is_not_there_is_not_changed(clusters: Clusters, admin: Actor) -> None:
    await clusters.add(admin, KESTREL)
    with pytest.raises(Conflict, match="already"):
        await clusters.add(admin, msgspec.structs.replace(KESTREL, level=1))
    with pytest.raises(NotFound):
        await clusters.change(admin, msgspec.structs.replace(KESTREL, name="Merlin"))
    for name in ("Merlin", "", "a\0b", "x" * 5000):
        with pytest.raises(NotFound):
            await clusters.remove(admin, name)
        with pytest.raises(NotFound):
            await clusters.get(admin, name)
    assert await clusters.all(admin) == [KESTREL]


async def test_there_is_an_end_to_how_many(clusters: Clusters, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    await clusters.add(admin, KESTREL)
    with pytest.raises(Conflict, match="as many as"):
        await clusters.add(admin, Cluster("Merlin", "arm64"))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"architecture": "x86_64"}, {"architecture": "amd64"}),
        ({"architecture": "X86_64"}, {"architecture": "amd64"}),
        ({"architecture": "aarch64"}, {"architecture": "arm64"}),
        ({"architecture": "ppc64el"}, {"architecture": "ppc64le"}),
        ({"architecture": "s390x"}, {"architecture": "s390x"}),
        ({"mpi": "openmpi"}, {"mpi": "libmpi.so.40"}),
        ({"mpi": "MPICH"}, {"mpi": "libmpi.so.12"}),
        ({"mpi": "libmpich.so.12"}, {"mpi": "libmpich.so.12"}),
        ({"mpi": "libmpi_cray.so.12"}, {"mpi": "libmpi_cray.so.12"}),
    ],
)
async def test_other_spellings_mean_what_images_are_described_with(
    clusters: Clusters, database: Database, admin: Actor, said: dict[str, object], kept: dict[str, object]
) -> None:
    wanted, expected = msgspec.structs.replace(KESTREL, **said), msgspec.structs.replace(KESTREL, **kept)
    await clusters.add(admin, wanted)
    assert await clusters.get(ANONYMOUS, "Kestrel") == expected
    # As an earlier program kept it.
    text = msgspec.json.encode(wanted).decode()
    await database.write(lambda connection: rows.change_cluster(connection, "Kestrel", text, BEGINNING))
    assert await clusters.all(ANONYMOUS) == [expected]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"architecture": ""}, "architecture"),
        ({"architecture": "x86 64"}, "architecture"),
        ({"level": 0}, "level"),
        ({"level": 5}, "level"),
        ({"glibc": "new"}, "glibc"),
        ({"driver": "550.54.14-open"}, "NVIDIA"),
        ({"rocm": ""}, "ROCm"),
        ({"architecture": "vax"}, "one of 386, amd64, arm"),
        ({"architecture": "amd64\n"}, "architecture"),
        ({"mpi": "Open MPI"}, "library"),
        ({"mpi": "libmpi.so"}, "libmpi.so.12 for MPICH"),
        ({"mpi": "libmpi"}, "library"),
        ({"mpi": ""}, "library"),
        ({"mpi": "x" * 61}, "library"),
    ],
)
async def test_what_no_image_could_be_held_against_is_refused(
    clusters: Clusters, admin: Actor, wrong: dict[str, object], said: str
) -> None:
    wanted = Cluster(**{"name": "Kestrel", "architecture": "amd64", **wrong})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=said):
        await clusters.add(admin, wanted)
    assert await clusters.all(admin) == []
