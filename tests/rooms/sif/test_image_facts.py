"""What files and variables of an image tell of the machine that it needs; and what they cannot do, whatever they say."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.sif.compatibility.drivers import driver_for
from roadstead.sif.compatibility.elf import isa_level, machine
from roadstead.sif.compatibility.image_facts import ImageFacts, Mpi, facts_of
from tests.support.elf import AMD64, ARM64, glibc, isa_note, library

LIBC = "lib/x86_64-linux-gnu/libc.so.6"
DEBIAN = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


def config(**more: object) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "config": more}).encode()


def test_an_image_with_everything() -> None:
    files = {
        LIBC: glibc("2.36", level=2),
        "usr/lib64/libstdc++.so.6": library(3),
        "usr/lib/x86_64-linux-gnu/libmpi.so.40": library(),
        "opt/rocm/.info/version": b"6.1.2-90\n",
        "etc/os-release": DEBIAN,
    }
    assert facts_of(files, config(Env=["CUDA_VERSION=12.4.1"])) == ImageFacts(
        architecture="amd64",
        level=3,
        glibc="2.36",
        cuda="12.4.1",
        driver="525.60.13",
        rocm="6.1.2",
        mpi=(Mpi("openmpi", "libmpi.so.40", "/usr/lib/x86_64-linux-gnu/libmpi.so.40"),),
        base="debian",
        base_version="12",
        base_name="Debian GNU/Linux 12 (bookworm)",
    )


def test_an_image_with_nothing_tells_nothing() -> None:
    assert facts_of({}) == ImageFacts()


def test_the_machine_of_the_libraries_counts_where_nobody_says_the_architecture() -> None:
    assert facts_of({LIBC: library(machine=ARM64)}).architecture == "arm64"
    assert facts_of({LIBC: library(machine=ARM64)}, config()).architecture == "amd64"
    assert facts_of({LIBC: library(machine=ARM64)}, config(), "ppc64le").architecture == "ppc64le"


def test_glibc_is_known_by_its_symbols_where_it_says_no_version() -> None:
    assert facts_of({LIBC: library(text=b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_PRIVATE\0")}).glibc == "2.34"
    assert facts_of({LIBC: library(text=b"\0GLIBC_2.\0GLIBC_x\0")}).glibc is None


# The section .note.gnu.property of small libraries as GNU ld has written it, and what `readelf -n` says of each.
NOTES = {
    "x86-64-baseline": ("040000001000000005000000474e5500 028000c0040000000100000000000000", 1),
    "x86-64-v2": ("040000001000000005000000474e5500 028000c0040000000200000000000000", 2),
    "x86-64-v3": ("040000001000000005000000474e5500 028000c0040000000400000000000000", 3),
    "x86-64-v4": ("040000001000000005000000474e5500 028000c0040000000800000000000000", 4),
    "x86-64-baseline, x86-64-v2, x86-64-v3": ("040000001000000005000000474e5500 028000c0040000000700000000000000", 3),
    "IBT, SHSTK; x86-64-baseline": (
        "040000002000000005000000474e5500 020000c0040000000300000000000000 028000c0040000000100000000000000",
        1,
    ),
    "x86-64-v2; used: x86-64-v4": (
        "040000002000000005000000474e5500 028000c0040000000200000000000000 020001c0040000000f00000000000000",
        2,
    ),
    "IBT, SHSTK": ("040000001000000005000000474e5500 020000c0040000000300000000000000", None),
    "behind a build id": (
        "040000001400000003000000474e5500 000102030405060708090a0b0c0d0e0f10111213"
        "040000001000000005000000474e5500 028000c0040000000400000000000000",
        3,
    ),
    "of another vendor": ("040000001000000005000000584e5500 028000c0040000000800000000000000", None),
}


@pytest.mark.parametrize("said", NOTES)
def test_the_level_is_the_highest_that_is_needed(said: str) -> None:
    note, level = NOTES[said]
    assert isa_level(library(note=bytes.fromhex(note))) == level
    assert facts_of({LIBC: library(), "usr/lib64/libm.so.6": library(note=bytes.fromhex(note))}).level == level


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_each_level(level: int) -> None:
    assert isa_level(library(level)) == level
    assert isa_level(library(level, machine=ARM64)) is None


@pytest.mark.skipif(not Path("/lib/x86_64-linux-gnu/libc.so.6").exists(), reason="this machine has no glibc for x86-64 where Debian has it")
def test_the_c_library_of_this_machine_is_understood() -> None:
    data = Path("/lib/x86_64-linux-gnu/libc.so.6").read_bytes()
    facts = facts_of({LIBC: data})
    assert facts.architecture == "amd64"
    # Its one property of that kind, found without the notes around it.
    _, needed, behind = data[: 64 << 10].partition(struct.pack("<II", 0xC0008002, 4))
    assert facts.level == (int.from_bytes(behind[:4], "little").bit_length() if needed else None)
    assert facts.glibc is not None and facts.glibc.startswith("2.")


@pytest.mark.parametrize(
    ("files", "environment", "cuda"),
    [
        ({}, ["CUDA_VERSION=11.8.0"], "11.8.0"),
        ({}, ["NVIDIA_REQUIRE_CUDA=cuda>=12.2 brand=tesla,driver>=470"], "12.2"),
        ({"usr/local/cuda/version.json": b'{"cuda": {"name": "CUDA SDK", "version": "12.3.20231101"}}'}, [], "12.3"),
        ({"usr/local/cuda/version.txt": b"CUDA Version 10.2.89\n"}, [], "10.2.89"),
        ({".singularity.d/env/10-docker2singularity.sh": b'#!/bin/sh\nexport CUDA_VERSION="${CUDA_VERSION:-"12.1.0"}"\n'}, [], "12.1.0"),
        ({}, ["CUDA_VERSION=newest"], None),
        ({"usr/local/cuda/version.json": b'{"cuda": {"version": 12}}'}, [], None),
    ],
)
def test_where_cuda_is_told(files: dict[str, bytes], environment: list[str], cuda: str | None) -> None:
    assert facts_of(files, config(Env=environment)).cuda == cuda


@pytest.mark.parametrize(
    ("version", "driver"),
    [
        # NVIDIA, "CUDA Toolkit Release Notes", for Linux on x86-64.
        *(((13, minor), "580") for minor in range(3)),
        *(((12, minor), "525.60.13") for minor in range(10)),
        *(((11, minor), "450.80.02") for minor in range(9)),
        ((10, 2), "440.33"),  # 10.2.89
        ((10, 1), "418.39"),  # 10.1.105 and updates
        ((10, 0), "410.48"),  # 10.0.130
        ((9, 2), "396.26"),  # 9.2.88
        ((9, 1), "390.46"),  # 9.1.85
        ((9, 0), "384.81"),  # 9.0.76
        ((8, 0), "375.26"),  # 8.0.61 GA2
        ((12,), "525.60.13"),
        ((12, 4, 1), "525.60.13"),
        ((10,), "410.48"),
        ((7, 5), None),
        ((10, 3), None),
        ((99, 1), None),
    ],
)
def test_the_oldest_driver_of_a_version_of_cuda(version: tuple[int, ...], driver: str | None) -> None:
    assert driver_for(version) == driver


def test_a_label_says_what_no_variable_does() -> None:
    labels = {"com.nvidia.cuda.version": "9.0.176"}
    assert facts_of({}, config(Labels=labels)).driver == "384.81"
    assert facts_of({}, config(Labels=labels, Env=["CUDA_VERSION=10.1"])).cuda == "10.1"


def test_mpi_is_known_by_the_name_that_programs_are_linked_with() -> None:
    several = {
        "opt/intel/oneapi/mpi/latest/lib/libmpi.so.12": library(),
        "usr/lib64/openmpi/lib/libmpi.so.40": library(),
        "usr/local/lib/libmpi.so.40": library(),
        "usr/lib/libmpich.so.12": b"a text file",
    }
    assert [(one.family, one.abi) for one in facts_of(several).mpi] == [("intelmpi", "libmpi.so.12"), ("openmpi", "libmpi.so.40")]


@pytest.mark.parametrize(
    ("path", "text", "family"),
    [
        ("usr/lib64/libmpi.so.12", b"\0ompi_mpi_comm_world\0MPI_Init", "openmpi"),
        ("usr/lib64/openmpi/lib/libmpi.so.12", b"\0MPIR_Version\0MPI_Init", "mpich"),
        ("usr/lib64/openmpi/lib/libmpi.so.12", b"\0MPI_Init", "openmpi"),
        ("opt/openmpi/lib/libmpi.so.12", b"", "openmpi"),
        ("opt/hpcx/ompi/lib/libmpi.so.12", b"", "openmpi"),
        ("usr/lib64/mpich/lib/libmpi.so.12", b"", "mpich"),
        ("usr/lib/libmpi.so.12", b"\0icompi_x", "mpich"),
        ("opt/intel/oneapi/mpi/latest/lib/libmpi.so.12", b"\0MPIR_x", "intelmpi"),
        ("usr/lib/x86_64-linux-gnu/libmpich.so.12", b"", "mpich"),
        ("usr/lib/libmpi.so.40", b"", "openmpi"),
    ],
)
def test_whose_a_library_of_mpi_is(path: str, text: bytes, family: str) -> None:
    (one,) = facts_of({path: library(text=text)}).mpi
    assert (one.family, one.abi) == (family, path.rpartition("/")[2])


def test_two_libraries_of_one_name_are_both_told() -> None:
    several = {"usr/lib64/openmpi/lib/libmpi.so.12": library(), "usr/lib64/mpich/lib/libmpi.so.12": library()}
    assert [one.family for one in facts_of(several).mpi] == ["openmpi", "mpich"]


@pytest.mark.parametrize(
    ("rocm", "driver"), [("6.4.1", "6.2"), ("6.0", "5.6"), ("5.0.2", "5.0"), ("7.2", "7.0"), ("8.1", None), (None, None)]
)
def test_the_oldest_driver_of_a_version_of_rocm(rocm: str | None, driver: str | None) -> None:
    assert ImageFacts(rocm=rocm).rocm_driver == driver


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x7fELF",
        library(2)[:70],
        library(2)[:-9],
        library(note=isa_note(1 << 31)),
        library(note=isa_note(2, size=2**32 - 1)[:12]),
        library(note=struct.pack("<III", 2**32 - 1, 2**32 - 1, 5) + b"GNU\0"),
        library(note=b"\xff" * 64),
        library(note=b"\0" * 65_000),
        b"\x7fELF\x01\x01\x01".ljust(64, b"\0"),
        struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, AMD64, 1, 0, 2**64 - 1, 0, 0, 64, 56, 65535, 0, 0, 0),
        library(2).replace(struct.pack("<Q", 120), struct.pack("<Q", 2**63)),
    ],
)
def test_a_damaged_library_tells_no_level(damaged: bytes) -> None:
    assert isa_level(damaged) is None
    assert facts_of({LIBC: damaged, "etc/os-release": DEBIAN}).base == "debian"


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_no_bytes_raise(data: bytes, more: bytes) -> None:
    whole = library(2)
    at = random.Random(data).randrange(len(whole))
    for file in (data, whole[:at] + data + whole[at:]):
        machine(file)
        assert isa_level(file) in (None, 1, 2, 3, 4)
        facts_of({LIBC: file, "etc/os-release": more, "usr/local/cuda/version.json": more, "opt/rocm/.info/version": more}, data)


@pytest.mark.parametrize(
    "said",
    [
        b"ID=" + b"x" * 60_000,
        b'ID="<script>"\nVERSION_ID=$(reboot)\nPRETTY_NAME="\x1b[2J"',
        b"ID=\xff\xfe\nVERSION_ID=\x00\nPRETTY_NAME=a\x00b",
        b"=\n" * 30_000,
    ],
)
def test_a_hostile_os_release_is_no_base(said: bytes) -> None:
    facts = facts_of({"etc/os-release": said, LIBC: glibc("2.31")})
    assert (facts.base, facts.base_version, facts.base_name) == (None, None, None)
    assert facts.glibc == "2.31"


@pytest.mark.parametrize(
    "configuration",
    [
        b"[" * 100_000,
        b"null",
        b"{",
        b'"text"',
        b'{"config": [1]}',
        b'{"config": {"Env": {"a": 1}, "Labels": ["x"]}}',
        b'{"config": {"Env": [1, null, "NAMELESS", "CUDA_VERSION=' + b"9" * 5000 + b'"]}}',
        b'{"config": {"Labels": {"com.nvidia.cuda.version": {"a": 1}}}}',
        b'{"architecture": 7, "config": null}',
        b'{"architecture": "amd64\\u0000"}',
    ],
)
def test_a_hostile_configuration_or_label_costs_its_own_absence(configuration: bytes) -> None:
    facts = facts_of({LIBC: glibc("2.31", level=2)}, configuration)
    assert (facts.cuda, facts.glibc, facts.level, facts.architecture) == (None, "2.31", 2, "amd64")
