"""What the files and variables of an image tell of the machine that it needs.

Told by the image and believed by nobody: it is shown, and searched by. Whatever cannot be read costs nothing but its own absence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, Final

import msgspec

from roadstead.sif.compatibility.drivers import driver_for, rocm_drivers
from roadstead.sif.compatibility.elf import isa_level, machine
from roadstead.sif.compatibility.versions import parse_version

_TEXT: Final = 64 << 10
_LIBRARY: Final = 256 << 10  # The headers and notes stand at its beginning.
_LIBC: Final = 8 << 20
_LONGEST_WORD: Final = 100

_TRIPLETS: Final = ("x86_64-linux-gnu", "aarch64-linux-gnu", "powerpc64le-linux-gnu")
_LIBRARIES: Final = ("lib64", "usr/lib64", *(f"{top}/{name}" for top, name in product(("lib", "usr/lib"), _TRIPLETS)), "usr/lib", "lib")
_MPI_LIBRARIES: Final = (
    *_LIBRARIES,
    *(f"{top}/{name}/lib" for top, name in product(("usr/lib64", *(f"usr/lib/{one}" for one in _TRIPLETS)), ("openmpi", "mpich"))),
    *("usr/local/lib", "usr/local/lib64", "usr/local/mpi/lib", "opt/openmpi/lib", "opt/ompi/lib", "opt/mpich/lib", "opt/mpi/lib"),
    *("usr/local/openmpi/lib", "usr/local/mpich/lib", "opt/hpcx/ompi/lib", "opt/intel/oneapi/mpi/latest/lib"),
    *("opt/conda/lib", "opt/view/lib", "opt/views/view/lib"),  # of conda, and of Spack's images
)
_MPI: Final = {"libmpi.so.40": "openmpi", "libmpi.so.20": "openmpi", "libmpi.so.12": "mpich", "libmpich.so.12": "mpich"}
"""By the name that programs are linked with, the family. libmpi.so.12 is what all members of the MPICH ABI Compatibility Initiative have,
and Open MPI 1.10 had the same name with another ABI: `_family` tells them apart."""
_AMBIGUOUS: Final = "libmpi.so.12"
_SYMBOLS: Final = ((b"\0ompi_", "openmpi"), (b"\0MPIR_", "mpich"))
"""What the libraries export by names of their own."""
_OPENMPI_PATH: Final = re.compile(r"open-?mpi|/ompi/", re.ASCII)
_OS_RELEASE: Final = ("etc/os-release", "usr/lib/os-release")
_CUDA_VERSION, _CUDA_OLD = "usr/local/cuda/version.json", "usr/local/cuda/version.txt"
_ROCM: Final = ("opt/rocm/.info/version", "opt/rocm/.info/version-dev")
_MAIN: Final = ("libc.so.6", "ld-linux-x86-64.so.2", "libm.so.6", "libstdc++.so.6")
_ENVIRONMENT: Final = tuple(f".singularity.d/env/{name}" for name in ("10-docker2singularity.sh", "90-environment.sh"))

WANTED: Final[Mapping[str, int]] = MappingProxyType(
    {
        **{f"{directory}/{name}": _LIBRARY for directory, name in product(_LIBRARIES, _MAIN)},
        **{f"{directory}/libc.so.6": _LIBC for directory in _LIBRARIES},
        **{f"{directory}/{name}": _LIBRARY for directory, name in product(_MPI_LIBRARIES, _MPI)},
        **dict.fromkeys((*_OS_RELEASE, _CUDA_VERSION, _CUDA_OLD, *_ROCM, *_ENVIRONMENT), _TEXT),
    }
)
"""The paths that are looked at, from the root, and how many bytes of each are read."""

_GLIBC: Final = re.compile(rb"GNU C Library [^\0\n]{0,200}?release version ([0-9]{1,3}\.[0-9]{1,3})")
_GLIBC_SYMBOL: Final = re.compile(rb"\0GLIBC_2\.([0-9]{1,3})(?=\0)")
_EXPORT: Final = re.compile(r'^export ([A-Z_]{1,40})=(?:"\$\{\1:-)?"?([^"}\n]{0,2000})', re.MULTILINE | re.ASCII)
_REQUIRED_CUDA: Final = re.compile(r"(?:^|\s|,)cuda>=([0-9]{1,3}\.[0-9]{1,3})", re.ASCII)
_RELEASE: Final = re.compile(r"""^(ID|VERSION_ID|PRETTY_NAME)=["']?([^"'\n]{0,200})""", re.MULTILINE)
_PLAIN: Final = re.compile(r"[\w.+-]{1,40}", re.ASCII)


class Mpi(msgspec.Struct, frozen=True):
    """A library of MPI: `abi` is the name that programs are linked with, and `path` where it is."""

    family: str
    abi: str
    path: str


class ImageFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an image; what is not known, or not there, is None or ().

    `architecture` by Go's name; `level` is the highest x86-64 level that its main libraries record; `driver` is the oldest NVIDIA driver
    that runs its CUDA. `base` and `base_version` are ID and VERSION_ID of os-release(5).
    `problem` tells why the files could not be looked at. `labels` are for the search (see `sif.labels`): None in facts from before they
    were kept.
    """

    architecture: str | None = None
    level: int | None = None
    glibc: str | None = None
    cuda: str | None = None
    driver: str | None = None
    rocm: str | None = None
    mpi: tuple[Mpi, ...] = ()
    base: str | None = None
    base_version: str | None = None
    base_name: str | None = None
    problem: str | None = None
    labels: dict[str, str] | None = None

    @property
    def rocm_driver(self) -> str | None:
        """The oldest release of ROCm whose driver AMD supports under that of the image."""
        drivers = rocm_drivers(parse_version(self.rocm or "") or (0,))
        return None if drivers is None else ".".join(map(str, drivers[0]))


class _Section(msgspec.Struct, frozen=True):
    environment: Any = msgspec.field(default=None, name="Env")
    labels: Any = msgspec.field(default=None, name="Labels")


class _Configured(msgspec.Struct, frozen=True):
    architecture: Any = None
    config: Any = None


def facts_of(files: Mapping[str, bytes], configuration: bytes = b"", architecture: str | None = None) -> ImageFacts:
    """The facts from the beginnings of those of the WANTED files that are there, and the image's configuration, if it has one."""
    told, told_architecture = _told(configuration)
    environment = {**_exported(files), **told}
    cuda = _cuda(files, environment)
    base = _base(files)
    libraries = [data for path, data in files.items() if ".so." in path]
    return ImageFacts(
        architecture=architecture or told_architecture or next(filter(None, map(machine, libraries)), None),
        level=max(filter(None, map(isa_level, libraries)), default=None),
        glibc=next(filter(None, (_glibc(data) for path, data in files.items() if path.endswith("/libc.so.6"))), None),
        cuda=cuda,
        driver=None if cuda is None else driver_for(parse_version(cuda) or (0,)),
        rocm=_first_version([*(_text(files, path) for path in _ROCM), environment.get("ROCM_VERSION", "")]),
        mpi=_mpi(files),
        base=_word(base.get("ID")),
        base_version=_word(base.get("VERSION_ID")),
        base_name=_line(base.get("PRETTY_NAME", "")),
    )


def _told(configuration: bytes) -> tuple[dict[str, str], str | None]:
    """Variables and labels of a configuration, and its architecture. A label says what the variable of its name would."""
    try:
        whole = msgspec.json.decode(configuration, type=_Configured)
        section = msgspec.convert(whole.config or msgspec.json.decode(configuration), _Section)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}, None
    pairs = section.environment if isinstance(section.environment, list) else []
    variables = dict(pair.split("=", 1) for pair in pairs if isinstance(pair, str) and "=" in pair)
    labels = section.labels if isinstance(section.labels, dict) else {}
    version = labels.get("com.nvidia.cuda.version")
    told = {"CUDA_VERSION": version} if isinstance(version, str) else {}
    return {**told, **variables}, _word(whole.architecture)


def _exported(files: Mapping[str, bytes]) -> dict[str, str]:
    """The variables that Apptainer's scripts set in an image."""
    return {name: value for path in _ENVIRONMENT for name, value in _EXPORT.findall(_text(files, path))}


def _text(files: Mapping[str, bytes], path: str) -> str:
    return files.get(path, b"").decode("utf-8", "replace")


def _glibc(data: bytes) -> str | None:
    """By what the library says when it is run, else the newest version of its symbols."""
    if found := _GLIBC.search(data):
        return found[1].decode()
    minors = [int(minor) for minor in _GLIBC_SYMBOL.findall(data)]
    return f"2.{max(minors)}" if minors else None


def _cuda(files: Mapping[str, bytes], environment: Mapping[str, str]) -> str | None:
    required = _REQUIRED_CUDA.search(environment.get("NVIDIA_REQUIRE_CUDA", "")[:_TEXT])
    old = _text(files, _CUDA_OLD).removeprefix("CUDA Version ")
    return _first_version(
        [environment.get("CUDA_VERSION", ""), _json_version(files.get(_CUDA_VERSION, b"")), old, required[1] if required else ""]
    )


class _Cuda(msgspec.Struct, frozen=True):
    version: Any = None


class _CudaFile(msgspec.Struct, frozen=True):
    cuda: _Cuda = _Cuda()


def _json_version(data: bytes) -> str:
    try:
        version = msgspec.json.decode(data, type=_CudaFile).cuda.version
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    return version if isinstance(version, str) else ""


def _first_version(texts: Iterable[str]) -> str | None:
    """The first that begins as a version does, without what follows it."""
    for text in texts:
        begins = re.match(r"[0-9]{1,4}(?:\.[0-9]{1,4}(?![0-9])){1,2}", text[:_LONGEST_WORD].strip(), re.ASCII)
        if begins:
            return begins[0]
    return None


def _mpi(files: Mapping[str, bytes]) -> tuple[Mpi, ...]:
    """Each name of each family once, where it is found first."""
    found: dict[tuple[str, str], Mpi] = {}
    for path, data in files.items():
        abi = path.rpartition("/")[2]
        if abi in _MPI and machine(data) is not None:
            family = _family(path, abi, data)
            found.setdefault((family, abi), Mpi(family, abi, f"/{path}"))
    return tuple(found.values())


def _family(path: str, abi: str, data: bytes) -> str:
    """By what a library of the ambiguous name exports, as far as that was read, else by where it lies."""
    if path.startswith("opt/intel/"):
        return "intelmpi"
    if abi != _AMBIGUOUS:
        return _MPI[abi]
    exported = next((family for symbol, family in _SYMBOLS if symbol in data), None)
    return exported or ("openmpi" if _OPENMPI_PATH.search(path) else _MPI[abi])


def _base(files: Mapping[str, bytes]) -> dict[str, str]:
    return next((dict(_RELEASE.findall(_text(files, path))) for path in _OS_RELEASE if path in files), {})


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else None


def _line(text: str) -> str | None:
    return text[:_LONGEST_WORD].strip() if text.isprintable() and text.strip() else None
