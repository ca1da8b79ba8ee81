"""ELF files for tests: a header, one segment of notes, and whatever follows."""

from __future__ import annotations

import struct

AMD64, ARM64 = 62, 183
_HEADER, _PROGRAM = 64, 56


def library(level: int | None = None, *, machine: int = AMD64, text: bytes = b"", note: bytes | None = None) -> bytes:
    """A shared library; with `level` it records that it needs that x86-64 level. `note` takes the place of that record."""
    notes = note if note is not None else b"" if level is None else isa_note(1 << (level - 1))
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<16sHHIQQQIHHHHHH", identity, 3, machine, 1, 0, _HEADER, 0, 0, _HEADER, _PROGRAM, 1, 0, 0, 0)
    program = struct.pack("<IIQQQQQQ", 4, 4, _HEADER + _PROGRAM, 0, 0, len(notes), len(notes), 8)
    return header + program + notes + text


def isa_note(bits: int, size: int | None = None) -> bytes:
    """GNU's property note that says which instruction sets are needed; `size` is what it says of its own length."""
    described = struct.pack("<III4x", 0xC0008002, 4, bits)
    return struct.pack("<III", 4, len(described) if size is None else size, 5) + b"GNU\0" + described


def glibc(version: str, level: int | None = None) -> bytes:
    """A C library that says its version as glibc does."""
    said = f"GNU C Library (Debian GLIBC {version}-1) stable release version {version}.\n"
    return library(level, text=b"\0GLIBC_2.2.5\0GLIBC_2.14\0" + said.encode())
