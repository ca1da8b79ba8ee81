"""Byte ranges: of an upload's chunk (distribution-spec, "Pushing a blob in chunks") and of a download (RFC 9110 §14)."""

from __future__ import annotations

import re

from roadstead.errors import InvalidRange, RangeNotSatisfiable

_OFFSET_LIMIT = 2**63 - 1
_CHUNK = re.compile(r"([0-9]+)-([0-9]+)|bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", re.IGNORECASE)
_BYTES = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.IGNORECASE)


def parse_chunk_range(text: str) -> tuple[int, int]:
    """Read an upload's Content-Range: the offsets of the chunk's first and last byte, both inclusive, from 0.

    Takes ``0-1023`` (distribution-spec, "Pushing a blob in chunks") and, as some clients send it, the form of RFC 9110 §14.4,
    ``bytes 0-1023/2048`` or ``bytes 0-1023/*``. Raises InvalidRange.
    """
    found = _CHUNK.fullmatch(text.strip())
    if not found:
        raise InvalidRange(f"The Content-Range {text[:80]!r} is not valid: write the first and last byte offset, as in 0-1023.")
    first, last = _number(found[1] or found[3]), _number(found[2] or found[4])
    if last < first:
        raise InvalidRange(f"The Content-Range {text[:80]!r} is not valid: it ends before it begins.")
    if last == _OFFSET_LIMIT:
        raise InvalidRange(f"The Content-Range {text[:80]!r} is not valid: the last offset must be less than {_OFFSET_LIMIT}.")
    if found[5] not in (None, "*") and _number(found[5]) <= last:
        raise InvalidRange(f"The Content-Range {text[:80]!r} is not valid: it ends beyond its own total size.")
    return first, last


def parse_byte_ranges(header: str, size: int) -> tuple[int, int] | None:
    """Read a request's Range for content of `size` bytes: (start, length) in bytes, the end clipped to the content (RFC 9110 §14.1.2).

    None where the header is to be ignored and all content sent: another unit than bytes, several ranges, or bad syntax (§14.2).
    Raises RangeNotSatisfiable, with the detail `size`, for a range that begins beyond the end or ends before it begins, and for
    the last 0 bytes.
    """
    found = _BYTES.fullmatch(header.strip())
    if not found or found[0].endswith("=-"):
        return None
    if not found[1]:
        return _suffix(_number(found[2]), size)
    first = _number(found[1])
    last = min(_number(found[2]), size - 1) if found[2] else size - 1
    # RFC 9110 calls 500-0 invalid and lets a server ignore it; the distribution conformance suite demands 416.
    if first > last:
        raise _unsatisfiable(size)
    return first, last - first + 1


def _suffix(length: int, size: int) -> tuple[int, int] | None:
    """The last `length` bytes. Of empty content that is satisfiable but has no Content-Range to say so: then all (nothing) is sent."""
    if length == 0:
        raise _unsatisfiable(size)
    if size == 0:
        return None
    taken = min(length, size)
    return size - taken, taken


def _unsatisfiable(size: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(f"The requested range lies outside the content, which has {size} bytes.", size=size)


def _number(digits: str) -> int:
    """The value, at most `_OFFSET_LIMIT`: int() itself refuses thousands of digits, and no content is that long."""
    significant = digits.lstrip("0")
    return _OFFSET_LIMIT if len(significant) > 19 else min(int(significant or "0"), _OFFSET_LIMIT)
