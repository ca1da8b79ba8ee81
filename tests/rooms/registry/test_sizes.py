from __future__ import annotations

import pytest

from roadstead.errors import InvalidAccount
from roadstead.registry.sizes import human_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("1KiB", 1024),
        ("1kB", 1000),
        ("100GiB", 100 << 30),
        (" 100 gib ", 100 << 30),
        ("1.5TB", 1_500_000_000_000),
        ("0.5MiB", 512 << 10),
        ("1.9999999", 1),
        ("7.999PiB", 7999 * (1 << 50) // 1000),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", "1,5GB", "1e9", "10 apples", "1G", "1..5GB", ".5GB", "0x10", "8192PiB", "9" * 5000, "１GiB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidAccount) as raised:
        parse_size(text)
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 << 30, "100.0 GiB"),
        ((1 << 40) - 1, "1024.0 GiB"),
        (1 << 60, "1024.0 PiB"),
    ],
)
def test_a_size_is_written(size: int, text: str) -> None:
    assert human_size(size) == text
