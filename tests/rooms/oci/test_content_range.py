from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import InvalidRange, RangeNotSatisfiable
from roadstead.oci.content_range import parse_byte_ranges, parse_chunk_range

any_text = st.text(st.characters())
range_like = st.text(st.sampled_from("0123456789-/*, bytes=\u0663"), max_size=24)
offsets = st.integers(0, 2**62 - 1)


@given(offsets, offsets)
def test_a_chunk_range_survives_the_round_trip(first: int, length: int) -> None:
    last = first + length
    for text in (f"{first}-{last}", f"bytes {first}-{last}/*", f"bytes {first}-{last}/{last + 1}"):
        assert parse_chunk_range(text) == (first, last)


@given(any_text | range_like)
def test_any_text_is_a_chunk_range_or_refused(text: str) -> None:
    try:
        first, last = parse_chunk_range(text)
    except InvalidRange as error:
        assert error.message.startswith("The Content-Range ")
    else:
        assert 0 <= first <= last


@pytest.mark.parametrize(
    ("text", "span"), [("0-0", (0, 0)), ("0-1023", (0, 1023)), (" 1024-2047 ", (1024, 2047)), ("Bytes 5-9/10", (5, 9))]
)
def test_chunk_ranges_that_clients_send_are_read(text: str, span: tuple[int, int]) -> None:
    assert parse_chunk_range(text) == span


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "write the first and last byte offset"),
        ("0", "write the first and last byte offset"),
        ("0-", "write the first and last byte offset"),
        ("-5", "write the first and last byte offset"),
        ("0--1", "write the first and last byte offset"),
        ("bytes=0-5", "write the first and last byte offset"),
        ("bytes */5", "write the first and last byte offset"),
        ("0-1, 2-3", "write the first and last byte offset"),
        ("\u0661-\u0662", "write the first and last byte offset"),
        ("5-4", "it ends before it begins"),
        ("bytes 0-10/10", "it ends beyond its own total size"),
        ("0-" + "9" * 19, "the last offset must be less than"),
        ("0-" + "9" * 9999, "the last offset must be less than"),
    ],
)
def test_a_refused_chunk_range_says_why(text: str, rule: str) -> None:
    with pytest.raises(InvalidRange) as refusal:
        parse_chunk_range(text)
    assert rule in refusal.value.message


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=500-1499", (500, 1000)),
        ("bytes=500-", (500, 1548)),
        ("bytes=-500", (1548, 500)),
        ("bytes=2000-5000", (2000, 48)),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 2048)),
        ("bytes=-5000", (0, 2048)),
        ("bytes=-" + "9" * 9999, (0, 2048)),
        ("bytes=0-" + "9" * 9999, (0, 2048)),
        ("bytes=" + "0" * 9999 + "7-8", (7, 2)),
        ("BYTES=1-2", (1, 2)),
    ],
)
def test_a_satisfiable_range_is_clipped_to_the_content(header: str, span: tuple[int, int]) -> None:
    assert parse_byte_ranges(header, 2048) == span


@pytest.mark.parametrize("header", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0", "bytes=" + "9" * 9999 + "-"])
def test_a_range_outside_the_content_is_not_satisfiable(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as refusal:
        parse_byte_ranges(header, 2048)
    assert refusal.value.detail == {"size": 2048}


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=--5", "bytes=0-1,3-4", "items=0-5", "bytes 0-5", "bytes=\u0661-\u0662", "0-5"],
)
def test_a_range_that_is_not_one_of_bytes_is_ignored(header: str) -> None:
    assert parse_byte_ranges(header, 2048) is None


def test_empty_content_has_no_bytes_to_range_over() -> None:
    assert parse_byte_ranges("bytes=-5", 0) is None
    with pytest.raises(RangeNotSatisfiable):
        parse_byte_ranges("bytes=0-", 0)


@given(st.binary(min_size=1, max_size=64), st.integers(0, 80), st.integers(0, 80))
def test_a_range_selects_what_a_slice_does(content: bytes, first: int, last: int) -> None:
    expected = content[first : last + 1]
    if not expected:
        with pytest.raises(RangeNotSatisfiable):
            parse_byte_ranges(f"bytes={first}-{last}", len(content))
    else:
        assert parse_byte_ranges(f"bytes={first}-{last}", len(content)) == (first, len(expected))


@given(any_text | range_like | range_like.map("bytes={}".format), offsets)
def test_any_header_is_ignored_or_lies_within_the_content(header: str, size: int) -> None:
    try:
        span = parse_byte_ranges(header, size)
    except RangeNotSatisfiable:
        return
    if span is not None:
        start, length = span
        assert 0 <= start < start + length <= size
