"""Whether an image runs on a cluster, and the reasons that are given."""

from __future__ import annotations

import pytest

from roadstead.sif.compatibility.image_facts import ImageFacts, Mpi
from roadstead.sif.compatibility.verdict import Cluster, Runs, judge, judge_best

KESTREL = Cluster("Kestrel", "amd64", level=4, glibc="2.34", driver="550.54.14", rocm="6.0", mpi="libmpi.so.12")
BARE = Cluster("Bare", "amd64")
MPICH, OPENMPI = Mpi("mpich", "libmpi.so.12", "/x"), Mpi("openmpi", "libmpi.so.40", "/x")
DEBIAN, OLD_OPENMPI = Mpi("mpich", "libmpich.so.12", "/x"), Mpi("openmpi", "libmpi.so.12", "/x")
INTEL = Mpi("intelmpi", "libmpi.so.12", "/x")


@pytest.mark.parametrize(
    ("facts", "runs", "because"),
    [
        (ImageFacts("amd64"), "yes", "The image is for amd64, as Kestrel is."),
        (ImageFacts("arm64"), "no", "The image is for arm64, and Kestrel is amd64."),
        (ImageFacts(), "unknown", "not known which architecture"),
        (ImageFacts("amd64", level=3), "yes", "need x86-64-v3, and the processors of Kestrel have x86-64-v4"),
        (ImageFacts("amd64", cuda="12.4", driver="525.60.13"), "yes", "needs driver 525.60.13 or newer, and Kestrel has 550.54.14."),
        (ImageFacts("amd64", cuda="13.0", driver="580"), "no", "needs driver 580 or newer, and Kestrel has 550.54.14."),
        (ImageFacts("amd64", cuda="99.0"), "unknown", "not known which driver CUDA 99.0 needs"),
        (ImageFacts("amd64", rocm="6.2"), "yes", "ROCm 6.2"),
        (ImageFacts("amd64", rocm="5.6"), "yes", "ROCm 5.6 is supported on the driver of 5.4 or newer, up to that of 6.0"),
        (ImageFacts("amd64", rocm="5.5.1"), "unknown", "up to that of 5.7, and Kestrel has that of 6.0."),
        (ImageFacts("amd64", rocm="6.2.4"), "yes", "on the driver of 6.0 or newer"),
        (ImageFacts("amd64", rocm="6.3"), "unknown", "on the driver of 6.1 or newer, up to that of 7.0, and Kestrel has that of 6.0."),
        (ImageFacts("amd64", rocm="99.0"), "unknown", "not known which drivers ROCm 99.0 needs"),
        (ImageFacts("amd64", glibc="2.35", mpi=(MPICH,)), "yes", "libmpi.so.12, can take its place"),
        (ImageFacts("amd64", glibc="2.35", mpi=(OPENMPI, MPICH)), "yes", "libmpi.so.40 (openmpi) and libmpi.so.12 (mpich)"),
        (ImageFacts("amd64", glibc="2.35", mpi=(OPENMPI,)), "no", "their ABIs differ"),
        (ImageFacts("amd64", glibc="2.35", mpi=(OPENMPI,)), "no", "if the cluster's launcher can start it"),
        (ImageFacts("amd64", glibc="2.35", mpi=(DEBIAN,)), "unknown", "the same ABI under another name"),
        (ImageFacts("amd64", glibc="2.35", mpi=(DEBIAN,)), "unknown", "only where it is bound as libmpich.so.12."),
        (ImageFacts("amd64", glibc="2.35", mpi=(DEBIAN, MPICH)), "yes", "can take its place"),
        (ImageFacts("amd64", glibc="2.35", mpi=(INTEL,)), "yes", "libmpi.so.12 (intelmpi)"),
        (ImageFacts("amd64", glibc="2.35", mpi=(OLD_OPENMPI,)), "no", "their ABIs differ"),
        (ImageFacts("amd64", glibc="2.31", mpi=(MPICH,)), "unknown", "Kestrel has glibc 2.34, newer than the image's 2.31"),
        (ImageFacts("amd64", glibc="2.9", cuda="12.4", driver="525.60.13"), "yes", "CUDA"),
        (ImageFacts("amd64", problem="It is encrypted."), "unknown", "could not be looked at: It is encrypted."),
    ],
)
def test_what_is_said_of_a_cluster_that_is_described_whole(facts: ImageFacts, runs: str, because: str) -> None:
    verdict = judge(facts, KESTREL)
    assert (verdict.cluster, verdict.runs) == ("Kestrel", runs)
    assert any(because in reason for reason in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    "facts",
    [
        ImageFacts("amd64", level=2),
        ImageFacts("amd64", cuda="12.4", driver="525.60.13"),
        ImageFacts("amd64", rocm="6.0"),
        ImageFacts("amd64", mpi=(MPICH,)),
    ],
)
def test_what_is_not_told_of_a_cluster_is_a_doubt(facts: ImageFacts) -> None:
    verdict = judge(facts, BARE)
    assert verdict.runs is Runs.UNKNOWN
    assert len(verdict.reasons) == 1
    assert "described for Bare" in verdict.reasons[0]


def test_a_cluster_whose_mpich_has_debians_name() -> None:
    debian = Cluster("Debian", "amd64", mpi="libmpich.so.12")
    assert judge(ImageFacts("amd64", mpi=(DEBIAN,)), debian).runs is Runs.YES
    assert judge(ImageFacts("amd64", mpi=(MPICH,)), debian).runs is Runs.UNKNOWN
    assert judge(ImageFacts("amd64", mpi=(OPENMPI,)), debian).runs is Runs.NO


def test_open_mpi_is_of_one_abi_for_each_of_its_names() -> None:
    new = Cluster("New", "amd64", mpi="libmpi.so.40")
    assert judge(ImageFacts("amd64", mpi=(OPENMPI,)), new).runs is Runs.YES
    for other in (MPICH, OLD_OPENMPI, Mpi("openmpi", "libmpi.so.20", "/x")):
        assert judge(ImageFacts("amd64", mpi=(other,)), new).runs is Runs.NO


# AMD, "User and kernel-space support matrix": which releases a driver has been tested with.
TESTED = {
    "6.2": "6.0 6.1 6.2 6.3",
    "6.1": "5.7 6.0 6.1 6.2 6.3",
    "6.0": "5.6 5.7 6.0 6.1 6.2",
    "5.7": "5.5 5.6 5.7 6.0 6.1",
    "5.6": "5.4 5.5 5.6 5.7 6.0",
    "5.5": "5.3 5.4 5.5 5.6 5.7",
    "5.4": "5.2 5.3 5.4 5.5 5.6",
    "5.3": "5.1 5.2 5.3 5.4 5.5",
}


@pytest.mark.parametrize("driver", TESTED)
def test_what_amd_has_tested_with_a_driver_runs_on_it(driver: str) -> None:
    cluster = Cluster("Amd", "amd64", rocm=driver)
    releases = [f"5.{minor}" for minor in range(8)] + [f"6.{minor}" for minor in range(4)]
    yes = [release for release in releases if judge(ImageFacts("amd64", rocm=f"{release}.1"), cluster).runs is Runs.YES]
    assert yes == TESTED[driver].split()


def test_every_x86_64_has_the_first_level() -> None:
    assert judge(ImageFacts("amd64", level=1), BARE).runs is Runs.YES


def test_a_level_says_nothing_of_another_architecture() -> None:
    assert judge(ImageFacts("arm64", level=4), Cluster("Arm", "arm64", level=1)).runs is Runs.YES


def test_a_no_comes_with_what_speaks_against_it_first_and_then_with_the_doubts() -> None:
    old = Cluster("Old", "amd64", level=2, driver="470.57.02")
    verdict = judge(ImageFacts("amd64", level=3, cuda="12.4", driver="525.60.13", mpi=(MPICH,)), old)
    assert verdict.runs is Runs.NO
    assert [reason.split(",")[0] for reason in verdict.reasons] == [
        "The image's libraries need x86-64-v3",
        "CUDA 12.4 needs driver 525.60.13 or newer",
        "The image has MPI",
    ]
    assert all("as Old is" not in reason for reason in verdict.reasons)


def test_of_an_index_the_image_counts_that_is_for_the_cluster() -> None:
    arm, slow, fast = ImageFacts("arm64"), ImageFacts("amd64", level=1), ImageFacts("amd64", level=4)
    old = Cluster("Old", "amd64", level=2)
    assert judge_best([arm, fast], old) == judge(fast, old)
    assert judge_best([arm, fast, slow], old) == judge(slow, old)
    assert judge_best([arm, fast], Cluster("Arm", "arm64")).runs is Runs.YES
    power = judge_best([arm, slow, fast], Cluster("Power", "ppc64le"))
    assert (power.runs, power.reasons) == (Runs.NO, ("None of its images is for ppc64le, as Power is: they are for arm64, amd64.",))
    assert judge_best([arm], old) == judge(arm, old)
