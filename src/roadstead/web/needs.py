"""What an image needs of a machine and where it runs, as its page and the search tell it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from roadstead.oci.platform import written
from roadstead.oci.reference import RepositoryName
from roadstead.registry.artifacts import Artifact
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.compatibility.verdict import Verdict, judge_best
from roadstead.sif.compatible import KNOWN, ShownFacts
from roadstead.web.call import Call

_COMING = ("waiting", "running")

Line = tuple[str, str]


class OneImage(msgspec.Struct, frozen=True):
    """An image, by its platform where it is one of several; `lines` are its facts with their names, and `shown` tells the rest."""

    platform: str | None
    lines: tuple[Line, ...]
    shown: ShownFacts


class Needs(msgspec.Struct, frozen=True):
    """The images of an artifact, and for each cluster whether the best of them runs there. `coming` says that somebody is looking still."""

    images: tuple[OneImage, ...]
    verdicts: tuple[Verdict, ...]
    coming: bool
    known: bool


async def needs_of(call: Call, name: RepositoryName, artifact: Artifact) -> Needs | None:
    """None for what is no image. Raises as `Compatibility.of`."""
    shown = await call.rooms.compatibility.of(call.actor, name, artifact.digest)
    if not shown:
        return None
    platforms = {child.digest: written(child.platform) for child in artifact.children}
    images = tuple(OneImage(platforms.get(one.digest), tuple(fact_lines(one.facts)), one) for one in shown)
    known = all(one.state == KNOWN for one in shown)
    clusters = await call.rooms.clusters.all(call.actor) if known else ()
    verdicts = tuple(judge_best([one.facts for one in shown if one.facts is not None], cluster) for cluster in clusters)
    return Needs(images, verdicts, any(one.state in _COMING for one in shown), known)


def fact_lines(facts: ImageFacts | None) -> Iterator[Line]:
    """Each fact that is known with its name."""
    if facts is None:
        return
    if facts.architecture:
        yield "Architecture", facts.architecture
    if facts.level:
        yield "Processor", f"x86-64-v{facts.level} or newer"
    if facts.glibc:
        yield "glibc", facts.glibc
    if facts.cuda:
        yield "CUDA", facts.cuda + (f", with NVIDIA driver {facts.driver} or newer" if facts.driver else "")
    if facts.rocm:
        yield "ROCm", facts.rocm + (f", with the driver of ROCm {facts.rocm_driver} or newer" if facts.rocm_driver else "")
    for mpi in facts.mpi:
        yield "MPI", f"{mpi.family} ({mpi.abi}), at {mpi.path}"
    if base := facts.base_name or " ".join(filter(None, (facts.base, facts.base_version))):
        yield "Distribution", base


def in_one_line(facts: ImageFacts) -> str:
    """The same for a list of what was found."""
    return " · ".join(said if name in ("Architecture", "Distribution") else f"{name} {said}" for name, said in fact_lines(facts))
