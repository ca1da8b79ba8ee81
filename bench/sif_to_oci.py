"""`python -m bench.sif_to_oci FILE.sif`: a SIF to an image's layer, beside `unsquashfs`, `tar` and `gzip`, in one run."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from roadstead.sif import format as sif_format
from roadstead.sif.to_oci import Layering, to_oci

_BY_HAND: Final = 'unsquashfs -n -q -o "$1" -d "$2/root" "$3" >/dev/null && tar -C "$2/root" -cf - . | gzip > "$2/layer.tar.gz"'


def main(sif: Path) -> None:
    """Convert in both ways; print seconds and sizes (bytes) of both, and the peak resident memory (MiB) of ours, as JSON."""
    with sif.open("rb") as file, tempfile.TemporaryDirectory() as directory:
        size = sif.stat().st_size

        def read_at(offset: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, offset)

        primary = sif_format.read(read_at, size).primary
        assert primary is not None, "a SIF that can be run has one"
        ours, theirs = Path(directory, "ours"), Path(directory, "layer.tar.gz")
        how = Layering(threads=len(os.sched_getaffinity(0)))
        with ours.open("w+b") as output:
            seconds = _timed(lambda: to_oci(read_at, size, output, how))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        by_hand = _timed(lambda: subprocess.run(["sh", "-c", _BY_HAND, "sh", str(primary.offset), directory, str(sif)], check=True))
        sizes = {"size": ours.stat().st_size, "size_by_hand": theirs.stat().st_size}
    print(json.dumps({"seconds": seconds, "seconds_by_hand": by_hand, "times": by_hand / seconds, "peak": peak, **sizes}))


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main(Path(sys.argv[1]))
