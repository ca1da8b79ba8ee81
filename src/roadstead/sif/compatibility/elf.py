"""The little of an ELF file that tells what machine it needs, from its first bytes.

The header and the program headers are those of the System V ABI (elf.h); the x86-64 level is that of the x86-64 psABI, "Program Property":
the note NT_GNU_PROPERTY_TYPE_0 with the property GNU_PROPERTY_X86_ISA_1_NEEDED. Nothing raises: what is damaged tells nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM: Final = struct.Struct("<IIQQQQQQ")
_NOTE: Final = struct.Struct("<III")
_PROPERTY: Final = struct.Struct("<II")
_NOTES: Final = (4, 0x6474E553)  # PT_NOTE, PT_GNU_PROPERTY
_PROPERTIES: Final = 5  # NT_GNU_PROPERTY_TYPE_0
_ISA_NEEDED: Final = 0xC0008002
_MOST_PROGRAMS: Final = 64
_MOST_NOTES: Final = 64
_LARGEST_NOTE: Final = 64 << 10
_MACHINES: Final = {62: "amd64", 183: "arm64", 21: "ppc64le", 22: "s390x", 243: "riscv64"}


def machine(data: bytes) -> str | None:
    """The architecture by Go's name; None for what is no 64-bit ELF file or of another architecture."""
    header = _header(data)
    return None if header is None else _MACHINES.get(header[2])


def isa_level(data: bytes) -> int | None:
    """The x86-64 level that is recorded as needed, from 1 to 4; None where none is."""
    if machine(data) != "amd64":
        return None
    levels = [_level(description) for note in _note_segments(data) for description in _property_notes(note)]
    return max((level for level in levels if level), default=None)


def _header(data: bytes) -> tuple[int, ...] | None:
    """The fields of the header of a 64-bit file, least significant byte first."""
    if len(data) < _HEADER.size or not data.startswith(b"\x7fELF\x02\x01"):
        return None
    return _HEADER.unpack_from(data)


def _note_segments(data: bytes) -> Iterator[bytes]:
    header = _header(data)
    if header is None or header[9] != _PROGRAM.size:
        return
    for number in range(min(header[10], _MOST_PROGRAMS)):
        at = header[5] + number * _PROGRAM.size
        if at + _PROGRAM.size > len(data):
            return
        kind, _, offset, _, _, size, _, _ = _PROGRAM.unpack_from(data, at)
        if kind in _NOTES and size <= _LARGEST_NOTE:
            yield data[offset : offset + size]


def _property_notes(notes: bytes) -> Iterator[bytes]:
    """The descriptions of GNU's property notes, which are aligned to 8 bytes."""
    at = 0
    for _ in range(_MOST_NOTES):
        if at + _NOTE.size > len(notes):
            return
        name_size, size, kind = _NOTE.unpack_from(notes, at)
        begins = at + _NOTE.size + _aligned(name_size, 4)
        if kind == _PROPERTIES and notes[at + _NOTE.size :][:4] == b"GNU\0":
            yield notes[begins : begins + size]
            at = begins + _aligned(size, 8)
        else:
            at = begins + _aligned(size, 4)


def _level(description: bytes) -> int:
    """The highest level among the properties; each bit stands for one, and those that are not known here do not count."""
    at, level = 0, 0
    while at + _PROPERTY.size <= len(description):
        kind, size = _PROPERTY.unpack_from(description, at)
        value = description[at + _PROPERTY.size : at + _PROPERTY.size + size]
        if kind == _ISA_NEEDED and len(value) == 4:
            level = max(level, (int.from_bytes(value, "little") & 0xF).bit_length())
        at += _PROPERTY.size + _aligned(size, 8)
    return level


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to
