"""A layer of 1 GiB and one of a million entries to squashfs, beside mksquashfs over the same files: speed, size, memory.

mksquashfs gets the files unpacked for nothing; Roadstead begins with the compressed layer.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.failure import BenchError
from bench.layers import SOURCE, installed_files
from bench.results import Row
from bench.rounds import Arena, Contender, interleave, settle

_WANTED_BYTES: Final = 1 << 30
_LEAST_BYTES: Final = 256 << 20
_ENTRIES: Final = 1_000_000
_ENTRIES_EACH: Final = 1000
_RIVAL: Final = "mksquashfs"


def measure(arena: Arena) -> list[Row]:
    """gzip on both sides with as many threads as the machine gives; zstd beside it."""
    layer, root = arena.directory / "layer.tar.gz", arena.directory / "root"
    size = _make_layer(layer, root)
    settle(arena.directory)
    contenders = [
        _roadstead(arena, layer, "gzip", 6),
        _roadstead(arena, layer, "zstd", 3),
        _mksquashfs(arena, root),
    ]
    found = interleave(arena, contenders)
    return [*_rows(size / 2**20, found), _million(arena)]


def _rows(unpacked: float, found: Mapping[str, list[float]]) -> list[Row]:
    speed = {name: [unpacked / value for value in found[f"{name} s"]] for name in ("gzip", "zstd", _RIVAL)}
    packing = {name: [unpacked / value for value in found[f"{name} MiB"]] for name in ("gzip", "zstd", _RIVAL)}
    return [
        Row("layer to squashfs, gzip", "MiB/s", speed["gzip"], _RIVAL, speed[_RIVAL], at_least=5.0),
        Row("the same, zstd", "MiB/s", speed["zstd"], f"{_RIVAL} gzip", speed[_RIVAL]),
        Row("bytes packed into one, gzip", "", packing["gzip"], _RIVAL, packing[_RIVAL], at_least=0.98),
        Row("the same, zstd", "", packing["zstd"], f"{_RIVAL} gzip", packing[_RIVAL]),
        Row("memory of a conversion of 1 GiB", "MiB", found["gzip peak"], below=300.0),
    ]


def _million(arena: Arena) -> Row:
    layer = arena.directory / "million.tar.gz"
    _make_million(layer)
    figures = _convert(layer, arena.directory / "million.sqfs", "gzip", 6)
    return Row(f"memory of a conversion of {_ENTRIES:,} entries", "MiB", [figures["peak"]], below=300.0)


def _roadstead(arena: Arena, layer: Path, name: str, level: int) -> Contender:
    def attempt() -> dict[str, float]:
        figures = _convert(layer, arena.directory / f"{name}.sqfs", name, level)
        return {f"{name} s": figures["seconds"], f"{name} MiB": figures["size"] / 2**20, f"{name} peak": figures["peak"]}

    return attempt


def _convert(layer: Path, output: Path, name: str, level: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.conversion", str(layer), str(output), name, str(level)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _mksquashfs(arena: Arena, root: Path) -> Contender:
    output = arena.directory / "theirs.sqfs"
    threads = str(len(os.sched_getaffinity(0)))

    def attempt() -> dict[str, float]:
        begun = time.perf_counter()
        command = ["mksquashfs", str(root), str(output), "-noappend", "-no-progress", "-comp", "gzip", "-processors", threads]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return {f"{_RIVAL} s": time.perf_counter() - begun, f"{_RIVAL} MiB": output.stat().st_size / 2**20}

    return attempt


def _make_layer(layer: Path, root: Path) -> int:
    """Pack about 1 GiB of this machine's programs and libraries, and unpack it as `root`; its size in bytes."""
    size = 0
    with (
        gzip.open(layer, "wb", compresslevel=1) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in installed_files():
            archive.add(path, path.relative_to("/"), recursive=False)
            size += path.lstat().st_size
            if size >= _WANTED_BYTES:
                break
    if size < _LEAST_BYTES:
        raise BenchError(f"{SOURCE} has only {size >> 20} MiB to convert, and {_LEAST_BYTES >> 20} are needed")
    root.mkdir()
    with tarfile.open(layer) as archive:
        archive.extractall(root, filter="tar")
    return size


def _make_million(layer: Path) -> None:
    with (
        gzip.open(layer, "wb", compresslevel=1) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for number in range(_ENTRIES):
            archive.addfile(tarfile.TarInfo(f"directory-{number // _ENTRIES_EACH:05}/file-{number:07}.py"))
            archive.members.clear()  # type: ignore[attr-defined]
