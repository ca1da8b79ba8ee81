"""The oldest NVIDIA driver that runs what was made with a version of CUDA, on Linux.

Source: NVIDIA, "CUDA Toolkit Release Notes": the table "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version
Compatibility", and for versions before 11 "CUDA Toolkit and Corresponding Driver Versions".
"""

from __future__ import annotations

from typing import Final

from roadstead.sif.compatibility.versions import Version

_OF_MAJOR: Final = {11: "450.80.02", 12: "525.60.13", 13: "580"}
"""From CUDA 11 on, a driver of the first of a major version runs what all of that version made."""

_OF_VERSION: Final = {
    (8, 0): "375.26",
    (9, 0): "384.81",
    (9, 1): "390.46",
    (9, 2): "396.26",
    (10, 0): "410.48",
    (10, 1): "418.39",
    (10, 2): "440.33",
}


def driver_for(cuda: Version) -> str | None:
    """The oldest driver; None for a version that is not known here."""
    return _OF_MAJOR.get(cuda[0], _OF_VERSION.get((cuda[0], (*cuda, 0)[1])))
