"""What images need of the machines that run them, where they run, and the clusters of the site. Beyond Harbor."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Query

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.repositories import PATH, full_name
from roadstead.apis.harbor.wire import Answer, Body, Nouns, RepositoryPath, Segment
from roadstead.oci.reference import parse_reference
from roadstead.registry.listing import PAGE_LIMIT, Page
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.compatibility.verdict import Cluster as Described
from roadstead.sif.compatible import ShownFacts

router = Nouns(tags=["compatibility"])


class Mpi(Answer):
    """A library of MPI in an image; `abi` is the name that programs are linked with."""

    family: str
    abi: str
    path: str


class Facts(Answer):
    """What is known of an image. `level` is an x86-64 level; `driver` is the oldest NVIDIA driver that runs its CUDA, and `rocm_driver`
    the oldest release of ROCm whose driver runs its ROCm."""

    architecture: str | None
    level: int | None
    glibc: str | None
    cuda: str | None
    driver: str | None
    rocm: str | None
    rocm_driver: str | None
    mpi: list[Mpi]
    base: str | None
    base_version: str | None
    base_name: str | None
    problem: str | None


class Verdict(Answer):
    """Whether it runs on a cluster: `yes`, `no` or `unknown`, and why."""

    cluster: str
    runs: str
    reasons: list[str]


class Compatibility(Answer):
    """The facts of one image. `state` is `known`, `none`, or that of the job that looks: `waiting`, `running`, `failed`, `cancelled`."""

    digest: str
    state: str
    facts: Facts | None
    verdicts: list[Verdict]


class Found(Answer):
    """An image that was found by what it needs."""

    repository_name: str
    digest: str
    facts: Facts


class FoundPage(Answer):
    """A page of them, and whether there is more."""

    images: list[Found]
    more: bool


class ClusterBody(Body):
    """A cluster: what is left out is not known. `mpi` is the name of its library, as `libmpi.so.12`."""

    architecture: str
    level: int | None = None
    glibc: str | None = None
    driver: str | None = None
    rocm: str | None = None
    mpi: str | None = None


class NewCluster(ClusterBody):
    """A cluster to be described."""

    name: str


class Cluster(Answer):
    """A cluster as it is described."""

    name: str
    architecture: str
    level: int | None
    glibc: str | None
    driver: str | None
    rocm: str | None
    mpi: str | None


@router.get(f"{PATH}/artifacts/{{reference}}/compatibility")
async def get_compatibility(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> list[Compatibility]:
    """What an image needs and on which clusters it runs; of an index, for each of its images. What is not known yet is looked for."""
    shown = await call.compatibility.of(call.actor, full_name(project, repository), parse_reference(reference))
    return [_written(one) for one in shown]


@router.get("/compatibility")
async def search_compatibility(
    call: Calling,
    q: Annotated[str, Query(description="As in `mpi:openmpi cuda:12 glibc>=2.31 arch:arm64`.")],
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 10,
) -> FoundPage:
    """The images that the caller may see and that fulfil every word."""
    found, more = await call.compatibility.search(call.actor, q, Page(page, page_size))
    images = [Found(repository_name=str(one.repository), digest=str(one.digest), facts=_facts(one.facts)) for one in found]
    return FoundPage(images=images, more=more)


@router.get("/clusters")
async def list_clusters(call: Calling) -> list[Cluster]:
    """Every cluster of the site, by name."""
    return [Cluster(**msgspec.to_builtins(one)) for one in await call.clusters.all(call.actor)]


@router.post("/clusters", status_code=201)
async def add_cluster(call: Calling, new: NewCluster) -> None:
    """Describe a cluster."""
    call.require_login()
    await call.clusters.add(call.actor, _described(new.name, new))
    call.created(f"/clusters/{new.name}")


@router.get("/clusters/{name}")
async def get_cluster(call: Calling, name: Segment) -> Cluster:
    """One cluster."""
    return Cluster(**msgspec.to_builtins(await call.clusters.get(call.actor, name)))


@router.put("/clusters/{name}")
async def change_cluster(call: Calling, name: Segment, wanted: ClusterBody) -> None:
    """Describe a cluster otherwise, all of it."""
    await call.clusters.change(call.actor, _described(name, wanted))


@router.delete("/clusters/{name}")
async def remove_cluster(call: Calling, name: Segment) -> None:
    """Forget a cluster."""
    await call.clusters.remove(call.actor, name)


def _described(name: str, body: ClusterBody) -> Described:
    return Described(name, body.architecture, body.level, body.glibc, body.driver, body.rocm, body.mpi)


def _facts(facts: ImageFacts) -> Facts:
    fields = {name: value for name, value in msgspec.structs.asdict(facts).items() if name != "labels"}
    return Facts(**{**fields, "rocm_driver": facts.rocm_driver, "mpi": [Mpi(**msgspec.structs.asdict(one)) for one in facts.mpi]})


def _written(one: ShownFacts) -> Compatibility:
    return Compatibility(
        digest=str(one.digest),
        state=one.state,
        facts=None if one.facts is None else _facts(one.facts),
        verdicts=[Verdict(cluster=verdict.cluster, runs=verdict.runs, reasons=list(verdict.reasons)) for verdict in one.verdicts],
    )
