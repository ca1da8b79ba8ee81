"""The measurements by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bench.measurements import (
    blob_get,
    blob_push,
    conversion,
    library_pull,
    lookups,
    manifest_get,
    memory,
    pages,
    private_pulls,
    pull,
    sif_pull,
    small_pushes,
    start,
)
from bench.results import Row
from bench.rounds import Arena

MEASUREMENTS: Final[Mapping[str, Callable[[Arena], list[Row]]]] = {
    "manifest-get": manifest_get.measure,
    "private-pulls": private_pulls.measure,
    "blob-get": blob_get.measure,
    "blob-push": blob_push.measure,
    "small-pushes": small_pushes.measure,
    "memory": memory.measure,
    "conversion": conversion.measure,
    "sif-pull": sif_pull.measure,
    "library-pull": library_pull.measure,
    "pull": pull.measure,
    "lookups": lookups.measure,
    "pages": pages.measure,
    "start": start.measure,
}
