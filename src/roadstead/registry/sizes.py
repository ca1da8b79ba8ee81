"""Sizes as people write and read them: 100GiB, 1.5 TB, 4096."""

from __future__ import annotations

import re
from typing import Final

from roadstead.errors import InvalidAccount

UNLIMITED: Final = -1
"""How configuration and clients write that there is no limit."""

LARGEST: Final = 2**63 - 1
"""Bytes: what the database can hold."""

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_POWERS: Final = {
    "": 1,
    "b": 1,
    **{unit.lower(): 1024**power for power, unit in enumerate(_UNITS, 1)},
    **{f"{unit[0].lower()}b": 1000**power for power, unit in enumerate(_UNITS, 1)},
}
_WRITTEN: Final = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,30}))?\s*([a-z]*)", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes. KiB, MiB … are powers of 1024, kB, MB … of 1000, in any case; without a unit it is bytes. Raises InvalidAccount."""
    found = _WRITTEN.fullmatch(text.strip())
    factor: int | None = _POWERS.get(found[3].lower()) if found else None
    if found is None or factor is None:
        raise InvalidAccount(f"{text[:40]!r} is not a size: write a number and a unit, as in 100GiB, 1.5TB or 4096 (bytes).")
    fraction = found[2] or ""
    # Whole numbers throughout: a float would lose bytes of what is larger than 8 PiB.
    size = int(found[1] + fraction) * factor // int("1" + "0" * len(fraction))
    if size > LARGEST:
        raise InvalidAccount(f"{text[:40]!r} is more than can be counted.")
    return size


def human_size(size: int) -> str:
    """The size with one decimal in the largest unit that leaves a whole: 1.5 GiB, 0 bytes."""
    if abs(size) < 1024:
        return f"{size} bytes"
    power = min((abs(size).bit_length() - 1) // 10, len(_UNITS))
    return f"{size / 1024**power:.1f} {_UNITS[power - 1]}"
