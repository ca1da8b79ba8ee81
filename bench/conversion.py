"""`python -m bench.conversion LAYER OUTPUT COMPRESSOR LEVEL`: one layer to one squashfs, in a process whose memory can be told."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, cast

from roadstead.sif.compression import Compression
from roadstead.sif.layers import Layer, merge
from roadstead.sif.limits import Limits
from roadstead.sif.squashfs import Settings, Writer

_CHUNK_BYTES: Final = 256 << 10


def main(layer: str, output: str, name: str, level: str) -> None:
    """Convert, and print seconds, peak resident memory (MiB) and size (bytes) as JSON."""
    begun = time.perf_counter()
    merged = merge([Layer(lambda: _chunks(Path(layer)))], Limits(), 0)
    compression = Compression(cast(Literal["gzip", "zstd"], name), int(level))
    how = Settings(compression=compression, threads=len(os.sched_getaffinity(0)))
    with Path(output).open("wb") as file, Writer(file, merged.tree, merged.links, merged.original, how) as writer:
        for inode, pieces in merged.contents():
            writer.add(inode, pieces)
        size = writer.finish()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - begun, "peak": peak, "size": size}))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


if __name__ == "__main__":
    main(*sys.argv[1:])
