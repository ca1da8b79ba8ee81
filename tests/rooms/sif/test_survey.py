"""Which files of an image are looked at: in layers and in SIFs, behind links, and behind what tries to lead elsewhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from roadstead.errors import InvalidSif
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.compatibility.survey import survey_layers, survey_sif
from roadstead.sif.format import FileSystem
from roadstead.sif.limits import Limits
from tests.rooms.sif.archives import archive, entry, folder, symlink
from tests.rooms.sif.sifs import Member, oci_config, sif, squashfs
from tests.support.elf import glibc, library

CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["CUDA_VERSION=12.4.1"]}}).encode()
SYSTEM = [
    symlink("lib", "usr/lib"),
    folder("etc"),
    symlink("etc/os-release", "../usr/lib/os-release"),
    entry("usr/lib/os-release", b"ID=rocky\nVERSION_ID=9.4\n"),
    entry("usr/lib/x86_64-linux-gnu/libc.so.6", glibc("2.34", level=2)),
    symlink("usr/lib/x86_64-linux-gnu/libmpi.so.40", "/usr/lib/x86_64-linux-gnu/openmpi/lib/libmpi.so.40.30.4"),
    entry("usr/lib/x86_64-linux-gnu/openmpi/lib/libmpi.so.40.30.4", library()),
]


def in_layers(*layers: Sequence[Member], limits: Limits | None = None) -> ImageFacts:
    return of_bytes(*(gzip.compress(archive(members)) for members in layers), limits=limits)


def of_bytes(*layers: bytes, limits: Limits | None = None) -> ImageFacts:
    opened: list[Callable[[], list[bytes]]] = [partial(list, [data]) for data in layers]
    return survey_layers(CONFIG, opened, limits or Limits())


def in_sif(*members: Member, limits: Limits | None = None) -> ImageFacts:
    return of_file(sif(squashfs(*members), oci_config(CONFIG)), limits)


def of_file(data: bytes, limits: Limits | None = None) -> ImageFacts:
    return survey_sif(lambda offset, length: data[offset : offset + length], len(data), limits or Limits())


def test_layers_and_a_sif_of_the_same_files_tell_the_same() -> None:
    facts = in_layers(SYSTEM)
    assert facts == in_sif(*SYSTEM)
    assert (facts.architecture, facts.level, facts.glibc, facts.cuda, facts.base) == ("amd64", 2, "2.34", "12.4.1", "rocky")
    assert [(one.family, one.path) for one in facts.mpi] == [("openmpi", "/lib/x86_64-linux-gnu/libmpi.so.40")]


def test_what_a_layer_above_takes_away_is_gone() -> None:
    facts = in_layers(SYSTEM, [entry("usr/lib/x86_64-linux-gnu/.wh.libmpi.so.40"), entry("usr/lib/x86_64-linux-gnu/openmpi/.wh..wh..opq")])
    assert facts.mpi == ()
    assert facts.glibc == "2.34"


@pytest.mark.parametrize("look", [lambda *members: in_layers(members), in_sif])
def test_links_in_a_circle_and_out_of_the_image_lead_nowhere(look: Callable[..., ImageFacts]) -> None:
    facts = look(
        symlink("lib64", "lib64"),
        symlink("lib", "usr/../lib/../lib"),
        folder("etc"),
        symlink("etc/os-release", "../../../../../../etc/hostname"),
        folder("usr"),
        symlink("usr/lib64", "/" + "x/" * 2000),
        folder("opt"),
        symlink("opt/rocm", "/proc/self"),
    )
    assert facts == ImageFacts("amd64", cuda="12.4.1", driver="525.60.13")


@pytest.mark.parametrize("look", [lambda *members: in_layers(members), in_sif])
def test_what_is_no_file_is_not_read(look: Callable[..., ImageFacts]) -> None:
    facts = look(folder("etc"), folder("etc/os-release"), folder("lib64"), entry("lib64/libc.so.6", kind=b"6"))
    assert (facts.base, facts.glibc) == (None, None)


def test_of_a_file_that_is_too_large_the_beginning_counts() -> None:
    large = glibc("2.34", level=2) + b"\0" * (9 << 20) + b"GNU C Library (x) stable release version 2.99."
    facts = in_layers([entry("lib64/libc.so.6", large)])
    assert (facts.glibc, facts.level) == ("2.34", 2)


def test_what_passes_a_limit_is_a_problem_and_no_failure() -> None:
    facts = in_layers(SYSTEM, limits=Limits(unpacked=100))
    assert (facts.architecture, facts.cuda, facts.glibc) == ("amd64", "12.4.1", None)
    assert facts.problem


def test_layers_that_are_no_archives_are_a_problem() -> None:
    assert of_bytes(b"no archive at all" * 100).problem


def test_a_root_that_cannot_be_read_is_a_problem() -> None:
    facts = of_file(sif(b"x" * 5000, system=FileSystem.ENCRYPTED_SQUASHFS, architecture="arm64"))
    assert facts.architecture == "arm64"
    assert "encrypted" in (facts.problem or "")
    assert of_file(sif(None)).problem


def test_a_file_system_that_is_damaged_costs_what_is_in_it() -> None:
    data = bytearray(sif(squashfs(*SYSTEM), oci_config(CONFIG)))
    first = data.index(b"hsqs") + 96  # what is stored begins behind the superblock
    for at in range(first, first + 200, 7):
        data[at] ^= 0x55
    facts = of_file(bytes(data))
    assert facts.architecture == "amd64"
    assert facts.glibc is None


def test_what_is_no_sif_is_refused() -> None:
    with pytest.raises(InvalidSif):
        of_file(b"x" * 5000)
