from __future__ import annotations

import pytest

from roadstead.content.parts import ANNOUNCED_LARGEST, COUNT, LARGEST, MIB, SMALLEST, check_room, is_part, part_size, room
from roadstead.errors import TooLarge

GB = 10**9


def parts_of(total: int, request: int, announced: int | None) -> int:
    """How many parts an upload of `total` bytes takes, in requests of `request` bytes each, by the rules that the writer follows."""
    number = 1
    rest = 0
    for start in range(0, total, request):
        rest += min(request, total - start)
        while rest >= (size := part_size(number, announced)):
            rest, number = rest - size, number + 1
        if is_part(number, rest):
            rest, number = 0, number + 1
    return number - 1 + (rest > 0)


@pytest.mark.parametrize("announced", [None, 500 * GB])
def test_500_gb_in_one_request_fit(announced: int | None) -> None:
    check_room(1, 0, 500 * GB)
    assert parts_of(500 * GB, 500 * GB, announced) <= COUNT


@pytest.mark.parametrize("request_size", [5 * MIB, 5 * MIB + 1, 6 * MIB, 9 * MIB, 17 * MIB, 33 * MIB, 70 * MIB, 1 << 30])
def test_500_gb_in_requests_of_any_size_fit(request_size: int) -> None:
    assert parts_of(500 * GB, request_size, None) <= COUNT
    assert parts_of(500 * GB, request_size, request_size) <= COUNT


def test_what_the_table_says() -> None:
    sizes = [part_size(number) for number in (1, 1000, 1001, 2000, 2001, 3000, 3001, COUNT)]
    assert sizes == [8 * MIB, 8 * MIB, 16 * MIB, 16 * MIB, 32 * MIB, 32 * MIB, 64 * MIB, 64 * MIB]
    assert room(1) == 504_000 * MIB


@pytest.mark.parametrize("announced", [5000 * GB, 5 << 40])
def test_5_tb_are_refused_before_the_first_byte(announced: int) -> None:
    with pytest.raises(TooLarge, match="too large for this registry's object store"):
        check_room(1, 0, announced)


def test_5_tb_that_nobody_announced_are_refused_at_the_last_part() -> None:
    with pytest.raises(TooLarge):
        parts_of(5000 * GB, 5000 * GB, None)


def test_the_room_left_shrinks_with_what_is_there() -> None:
    check_room(5000, 0, 300 * GB)
    with pytest.raises(TooLarge):
        check_room(5000, 0, 400 * GB)
    check_room(COUNT + 1, 0, None)
    with pytest.raises(TooLarge):
        check_room(COUNT + 1, 0, 1)


@pytest.mark.parametrize(("announced", "size"), [(0, 8), (8 << 30, 9), (10 * GB, 10), (20 << 30, 21), (40 << 30, 32), (600 << 30, 32)])
def test_parts_are_a_thousandth_of_what_is_announced(announced: int, size: int) -> None:
    assert part_size(1, announced) == size * MIB


def test_every_part_is_one_that_s3_takes_and_memory_holds() -> None:
    for announced in (None, 1, 10 * GB, 500 * GB, 5000 * GB):
        assert all(SMALLEST <= part_size(number, announced) <= LARGEST for number in range(1, COUNT + 1))
    assert ANNOUNCED_LARGEST <= LARGEST


def test_a_short_part_is_at_least_the_smallest() -> None:
    assert not is_part(1, SMALLEST - 1)
    assert is_part(1, SMALLEST)
    assert not is_part(2001, SMALLEST)
    assert is_part(2001, 32 * MIB)
