"""How much an image may be: what keeps a hostile one from costing more than an honest one."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """The bounds of one conversion. Whoever passes one is refused with ImageTooLarge, which names it.

    Sizes in bytes. `ratio` is how many times larger than its compressed form a layer may be once it has passed `ratio_from`.
    """

    layers: int = 512
    entries: int = 4_000_000
    unpacked: int = 256 << 30
    ratio: int = 200
    ratio_from: int = 64 << 20
    attributes: int = 16 << 20
    names: int = 1 << 30
