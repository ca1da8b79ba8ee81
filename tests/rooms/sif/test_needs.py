"""What one can search for by what images need."""

from __future__ import annotations

import pytest

from roadstead.errors import InvalidInput
from roadstead.metadata.compatibility import Condition
from roadstead.sif.compatibility.image_facts import ImageFacts, Mpi
from roadstead.sif.needs import parse_needs, searched, tells_needs


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("cuda:12", Condition("cuda", least=12_000_000, below=13_000_000)),
        ("CUDA=12.4", Condition("cuda", least=12_000_004, below=12_000_005)),
        ("cuda:12.4.1", Condition("cuda", least=12_000_004, below=12_000_005)),
        ("glibc>=2.31", Condition("glibc", least=2_000_031)),
        ("glibc>2.31", Condition("glibc", least=2_000_032)),
        ("glibc<2.31", Condition("glibc", below=2_000_031)),
        ("glibc<=2.31", Condition("glibc", below=2_000_032)),
        ("level<=2", Condition("level", below=3_000_000)),
        ("arch:arm64", Condition("architecture", word="arm64")),
        ("os:Rocky", Condition("base", word="rocky")),
        ("mpi:libmpi.so.12", Condition("mpi", word="libmpi.so.12")),
    ],
)
def test_a_need_is_a_condition(text: str, condition: Condition) -> None:
    assert tells_needs(text)
    assert parse_needs(text) == (condition,)


def test_every_word_must_hold() -> None:
    assert len(parse_needs(" cuda:12   mpi:openmpi ")) == 2


@pytest.mark.parametrize(
    "text", ["", "   ", "cuda", "colour:red", "arch>arm64", "cuda:new", "cuda:1.2.3.4.5.6", "cuda:'", "x" * 201, "cuda:\0"]
)
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_needs(text)


@pytest.mark.parametrize("text", ["", "climate", "climate/app:1.0", "cuda", "cuda:12 climate", "sha256:abcdef", "colour:red"])
def test_a_name_is_no_need(text: str) -> None:
    assert not tells_needs(text)


def test_what_of_the_facts_is_searched_by() -> None:
    facts = ImageFacts("amd64", level=3, glibc="2.9", cuda="12.4.1", mpi=(Mpi("mpich", "libmpi.so.12", "/x"),), base="debian")
    kept = searched(facts)
    assert (kept.architecture, kept.level, kept.glibc, kept.cuda, kept.rocm, kept.base) == (
        "amd64",
        3_000_000,
        2_000_009,
        12_000_004,
        None,
        "debian",
    )
    assert kept.mpi == " mpich libmpi.so.12 "
