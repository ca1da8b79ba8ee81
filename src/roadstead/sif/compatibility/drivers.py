"""The oldest driver that runs what was made with a version of CUDA, or of ROCm, on Linux.

Sources: NVIDIA, "CUDA Toolkit Release Notes": the table "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version
Compatibility", and for versions before 11 "CUDA Toolkit and Corresponding Driver Versions". AMD, "User and kernel-space support matrix":
a driver and what is above it fit each other over two releases of ROCm either way.
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

_ROCM: Final = (*((5, minor) for minor in range(8)), *((6, minor) for minor in range(5)), *((7, minor) for minor in range(3)))
"""The releases, in their order. Of later ones it is not known here which come between."""

_REACH: Final = 2


def driver_for(cuda: Version) -> str | None:
    """The oldest driver; None for a version that is not known here."""
    return _OF_MAJOR.get(cuda[0], _OF_VERSION.get((cuda[0], (*cuda, 0)[1])))


def rocm_drivers(rocm: Version) -> tuple[Version, Version] | None:
    """The releases of ROCm whose drivers AMD supports under this one: the oldest and the newest. None for one that is not known here."""
    release = (rocm[0], (*rocm, 0)[1])
    if release not in _ROCM:
        return None
    at = _ROCM.index(release)
    return _ROCM[max(0, at - _REACH)], _ROCM[min(len(_ROCM) - 1, at + _REACH)]
