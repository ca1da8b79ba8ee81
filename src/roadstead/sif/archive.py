"""Tar archives as they are written here: ustar, with PAX headers for what ustar cannot tell. The same members make the same bytes.

The format is that of POSIX.1-2017, pax. Names go into ustar's own field as the bytes that they are, as GNU tar does, and into a PAX header
where they have more than 100; extended attributes are written as star and Go's archive/tar do (``SCHILY.xattr.``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from roadstead.errors import NotConvertible
from roadstead.sif.tar import BLOCK, HEADER, LONGEST_HEADER, XATTR, Kind, Member
from roadstead.sif.tree import shown

END: Final = bytes(2 * BLOCK)
"""What stands behind the last member."""

_FLAGS: Final[Mapping[Kind, bytes]] = MappingProxyType(
    {
        Kind.FILE: b"0",
        Kind.LINK: b"1",
        Kind.SYMLINK: b"2",
        Kind.CHARACTER_DEVICE: b"3",
        Kind.BLOCK_DEVICE: b"4",
        Kind.DIRECTORY: b"5",
        Kind.FIFO: b"6",
    }
)
_LONGEST_NAME: Final = 100
_LARGEST_OWNER: Final = 0o7777777
_LARGEST_SIZE: Final = 0o77777777777


def header(member: Member) -> bytes:
    """What stands before the member's content, which has to be filled up to a multiple of 512 bytes.

    Raises NotConvertible if an attribute cannot be written, because its name has a '=', or if all of them are too long to be read again.
    """
    records = _records(member)
    return (_extended(records) if records else b"") + _block(member, _FLAGS[member.kind])


def _records(member: Member) -> dict[bytes, bytes]:
    """What the header block cannot tell."""
    found: dict[bytes, bytes] = {}
    for key, text in ((b"path", member.name), (b"linkpath", member.target)):
        if len(text) > _LONGEST_NAME:
            found[key] = text
    for key, number, most in (
        (b"uid", member.user, _LARGEST_OWNER),
        (b"gid", member.group, _LARGEST_OWNER),
        (b"size", member.size, _LARGEST_SIZE),
    ):
        if number > most:
            found[key] = b"%d" % number
    for name, value in member.attributes:
        if b"=" in name or b"\0" in name:
            raise NotConvertible(f"{shown(member.name)} has the extended attribute {shown(name)}, which no layer of an image can have.")
        found[XATTR + name] = value
    return found


def _extended(records: Mapping[bytes, bytes]) -> bytes:
    content = b"".join(_record(key, value) for key, value in sorted(records.items()))
    if len(content) > LONGEST_HEADER:
        raise NotConvertible(f"The extended attributes of one file take more than {LONGEST_HEADER} bytes.")
    described = Member(b"././@PaxHeader", Kind.FILE, 0, 0, 0, 0, len(content))
    return _block(described, b"x") + content + bytes(-len(content) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """``length keyword=value\\n``, where the length counts its own digits too."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + len(b"%d" % len(rest))
    length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest


def _block(member: Member, flag: bytes) -> bytes:
    major, minor = member.device
    block = HEADER.pack(
        member.name[:_LONGEST_NAME],
        b"%07o" % member.mode,
        b"%07o" % (member.user if member.user <= _LARGEST_OWNER else 0),
        b"%07o" % (member.group if member.group <= _LARGEST_OWNER else 0),
        b"%011o" % (member.size if member.size <= _LARGEST_SIZE else 0),
        b"%011o" % member.time,
        b" " * 8,
        flag,
        member.target[:_LONGEST_NAME],
        b"ustar\x0000",
        b"",
        b"",
        b"%07o" % major,
        b"%07o" % minor,
        b"",
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
