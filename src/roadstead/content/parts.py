"""How large the parts of a multipart upload are.

S3 takes at most 10,000 parts of at least 5 MiB (the last may be smaller). A part is held in memory, so it should be small; an upload
whose length nobody announced must nevertheless fit. So parts grow with their number:

    parts          each      together so far
        1– 1,000    8 MiB      7.8 GiB
    1,001– 2,000   16 MiB     23.4 GiB
    2,001– 3,000   32 MiB     54.7 GiB
    3,001–10,000   64 MiB    492.2 GiB = 528 GB

Where a length was announced, parts are a thousandth of it (at most 32 MiB) if that is more. An upload that is suspended leaves a
short part only among the first 2,000; later the rest becomes a tail object until the part is full. So, whatever the requests, at
least 514 GB fit; what does not fit raises TooLarge.
"""

from __future__ import annotations

from roadstead.errors import TooLarge

MIB = 1 << 20
SMALLEST = 5 * MIB
"""The least that S3 accepts as a part that is not the last."""
FIRST = 8 * MIB
ANNOUNCED_LARGEST = 32 * MIB
LARGEST = 64 * MIB
COUNT = 10_000
"""The most parts that S3 accepts."""
SHORT_ALLOWED = 2_000
"""Up to this number, a part may be cut short by a suspended request."""


def part_size(number: int, announced: int | None = None) -> int:
    """The size (bytes) of part `number` (from 1) in an upload whose request announced so many bytes. Raises TooLarge beyond the last."""
    if number > COUNT:
        raise TooLarge("The content is too large for this registry's object store: it has more parts than a store accepts.")
    thousandth = -(-(announced or 0) // (1000 * MIB)) * MIB
    return max(min(FIRST << (number - 1) // 1000, LARGEST), min(thousandth, ANNOUNCED_LARGEST))


def room(number: int, announced: int | None = None) -> int:
    """How many bytes fit into part `number` and all that follow."""
    return sum(part_size(following, announced) for following in range(number, COUNT + 1))


def is_part(number: int, size: int) -> bool:
    """Whether the `size` bytes left when an upload is suspended become part `number` at once, rather than a tail object."""
    return size >= (SMALLEST if number <= SHORT_ALLOWED else part_size(number))


def check_room(number: int, waiting: int, announced: int | None) -> None:
    """Raise TooLarge if `waiting` and `announced` bytes do not fit into part `number` and those that follow."""
    needed = waiting + (announced or 0)
    if needed <= FIRST * (COUNT + 1 - number):
        return  # No part is smaller than that: there is nothing to add up.
    capacity = room(number, announced)
    if needed > capacity:
        raise TooLarge(f"The content is too large for this registry's object store: {capacity // 10**9} GB more would fit.")
