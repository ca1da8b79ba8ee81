"""Whether an image runs on a cluster, and why.

To run means here what its users mean by it: with its accelerators, and with MPI over several nodes by the cluster's own libraries. One
reason against it is a no, and one doubt, where nothing speaks against it, is an unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from roadstead.sif.compatibility.drivers import rocm_drivers
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.compatibility.versions import is_older, parse_version


class Cluster(msgspec.Struct, frozen=True):
    """A cluster as a site describes it; None for what is not told.

    `architecture` by Go's name; `level` is the x86-64 level of its oldest nodes, from 1 to 4; `driver` is NVIDIA's, `rocm` the version that
    AMD's driver belongs to; `mpi` is the name of the library that its MPI offers, as `libmpi.so.12`.
    """

    name: str
    architecture: str
    level: int | None = None
    glibc: str | None = None
    driver: str | None = None
    rocm: str | None = None
    mpi: str | None = None


class Runs(StrEnum):
    """The answer."""

    NO = "no"
    UNKNOWN = "unknown"
    YES = "yes"


class Verdict(msgspec.Struct, frozen=True):
    """Whether an image runs on the cluster of that name, with one sentence a reason."""

    cluster: str
    runs: Runs
    reasons: tuple[str, ...]


_OF_MPICH: Final = ("libmpi.so.12", "libmpich.so.12")
"""One ABI: the second is how Debian and Ubuntu name MPICH's library."""

_Reasons = Iterator[tuple[Runs, str]]


def judge(facts: ImageFacts, cluster: Cluster) -> Verdict:
    """The answer with its reasons: of a no those against it and what is in doubt besides, of the others those for it alone."""
    found = [reason for check in _CHECKS for reason in check(facts, cluster)]
    runs = next(one for one in Runs if any(said is one for said, _ in found))
    told = (Runs.NO, Runs.UNKNOWN) if runs is Runs.NO else (runs,)
    return Verdict(cluster.name, runs, tuple(sentence for one in told for said, sentence in found if said is one))


def judge_best(images: Sequence[ImageFacts], cluster: Cluster) -> Verdict:
    """The answer for an index, of whose images (at least one) a machine takes what is for it; of several such the one that runs."""
    fitting = [one for one in images if one.architecture in (None, cluster.architecture)]
    if len(images) > 1 and not fitting:
        others = ", ".join(dict.fromkeys(one.architecture or "" for one in images))
        reason = f"None of its images is for {cluster.architecture}, as {cluster.name} is: they are for {others}."
        return Verdict(cluster.name, Runs.NO, (reason,))
    return max((judge(one, cluster) for one in fitting or images), key=lambda verdict: list(Runs).index(verdict.runs))


def _processor(facts: ImageFacts, cluster: Cluster) -> _Reasons:
    name = cluster.name
    if facts.architecture is None:
        yield Runs.UNKNOWN, "It is not known which architecture the image is for."
    elif facts.architecture != cluster.architecture:
        yield Runs.NO, f"The image is for {facts.architecture}, and {name} is {cluster.architecture}."
    else:
        yield Runs.YES, f"The image is for {facts.architecture}, as {name} is."
        if facts.architecture == "amd64" and facts.level is not None:
            yield from _level(facts.level, cluster)


def _level(level: int, cluster: Cluster) -> _Reasons:
    needs = f"The image's libraries need x86-64-v{level}"
    if cluster.level is not None and level > cluster.level:
        yield Runs.NO, f"{needs}, and the processors of {cluster.name} have x86-64-v{cluster.level}."
    elif cluster.level is not None or level == 1:
        yield Runs.YES, f"{needs}, and the processors of {cluster.name} have x86-64-v{cluster.level or 1} or more."
    else:
        yield Runs.UNKNOWN, f"{needs}, and no level is described for {cluster.name}."


def _nvidia(facts: ImageFacts, cluster: Cluster) -> _Reasons:
    if facts.cuda is None:
        return
    if cluster.driver is None:
        yield Runs.UNKNOWN, f"The image is made for CUDA {facts.cuda}, and no NVIDIA driver is described for {cluster.name}."
    elif facts.driver is None:
        yield Runs.UNKNOWN, f"It is not known which driver CUDA {facts.cuda} needs."
    else:
        runs = Runs.NO if is_older(cluster.driver, facts.driver) else Runs.YES
        yield runs, f"CUDA {facts.cuda} needs driver {facts.driver} or newer, and {cluster.name} has {cluster.driver}."


def _amd(facts: ImageFacts, cluster: Cluster) -> _Reasons:
    if facts.rocm is None:
        return
    if cluster.rocm is None:
        yield Runs.UNKNOWN, f"The image is made for ROCm {facts.rocm}, and no ROCm is described for {cluster.name}."
    else:
        yield from _amd_driver(facts.rocm, cluster.rocm, cluster.name)


def _amd_driver(rocm: str, driver: str, name: str) -> _Reasons:
    supported, has = rocm_drivers(parse_version(rocm) or (0,)), parse_version(driver) or (0,)
    if supported is None:
        yield Runs.UNKNOWN, f"It is not known which drivers ROCm {rocm} needs; {name} has that of {driver}."
        return
    oldest, newest = (".".join(map(str, version)) for version in supported)
    yield (
        Runs.YES if supported[0] <= has[:2] <= supported[1] else Runs.UNKNOWN,
        f"ROCm {rocm} is supported on the driver of {oldest} or newer, up to that of {newest}, and {name} has that of {driver}.",
    )


def _mpi(facts: ImageFacts, cluster: Cluster) -> _Reasons:
    if not facts.mpi:
        return
    there = " and ".join(f"{one.abi} ({one.family})" for one in facts.mpi)
    if cluster.mpi is None:
        yield Runs.UNKNOWN, f"The image has MPI, {there}, and none is described for {cluster.name}."
        return
    alike = {one.abi for one in facts.mpi if _interface(one.family, one.abi) == _interface(None, cluster.mpi)}
    if cluster.mpi in alike:
        yield Runs.YES, f"The image's MPI is {there}, and that of {cluster.name}, {cluster.mpi}, can take its place."
    elif alike:
        name = min(alike)
        yield (
            Runs.UNKNOWN,
            f"The image's MPI is {there}, and that of {cluster.name} is {cluster.mpi}: the same ABI under another name, so that it"
            f" takes the image's place only where it is bound as {name}.",
        )
    else:
        yield (
            Runs.NO,
            f"The image's MPI is {there}, and that of {cluster.name} is {cluster.mpi}: their ABIs differ, so it cannot take the image's"
            " place. Over several nodes the image's own MPI would have to do, if the cluster's launcher can start it (by PMIx or PMI).",
        )


def _interface(family: str | None, library: str) -> tuple[str, ...]:
    """What two libraries must have in common for one to stand in for the other, whatever they are called.

    A cluster's is of no known family: libmpi.so.12 is MPICH's, as Open MPI 1.10 is not described.
    """
    return ("mpich",) if library in _OF_MPICH and family != "openmpi" else (family or "openmpi", library)


def _host_libraries(facts: ImageFacts, cluster: Cluster) -> _Reasons:
    """The host's ROCm and MPI come into the image, where they need the glibc that they were linked with. NVIDIA's need an old one only."""
    if (facts.rocm or facts.mpi) and facts.glibc and cluster.glibc and is_older(facts.glibc, cluster.glibc):
        yield (
            Runs.UNKNOWN,
            f"{cluster.name} has glibc {cluster.glibc}, newer than the image's {facts.glibc}: its ROCm and MPI may not load in the image.",
        )


def _files(facts: ImageFacts, _cluster: Cluster) -> _Reasons:
    if facts.problem is not None:
        yield Runs.UNKNOWN, f"The image's files could not be looked at: {facts.problem}"


_CHECKS = (_processor, _nvidia, _amd, _mpi, _host_libraries, _files)
