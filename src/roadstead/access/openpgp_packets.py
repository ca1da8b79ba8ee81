"""What OpenPGP data is made of (RFC 9580 §4.2, §6), read without looking into it: tags, lengths and armour.

A library that reads packets also unpacks those that are compressed, and those inside of them: two kilobytes become gigabytes. So what
comes from outside is held against these bounds before one sees it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from itertools import dropwhile
from typing import Final, NamedTuple

from roadstead.errors import InvalidInput

SIGNATURE: Final = 2
SECRET_KEY: Final = 5
PUBLIC_KEY: Final = 6
SECRET_SUBKEY: Final = 7
MARKER: Final = 10
TRUST: Final = 12
USER_ID: Final = 13
PUBLIC_SUBKEY: Final = 14
USER_ATTRIBUTE: Final = 17
PADDING: Final = 21

_TAG: Final = 0x80
_NEW: Final = 0x40
_BEGIN: Final = b"-----BEGIN PGP "
_DASHES: Final = b"-----"
_LONGEST_KIND: Final = 40
_HEADER: Final = re.compile(rb"[A-Za-z][A-Za-z0-9-]*: .*|[A-Za-z]+:")


class Packet(NamedTuple):
    """One packet: its type, and what is behind its length."""

    tag: int
    body: bytes


def walk(binary: bytes) -> Iterator[Packet]:
    """The packets, in their order. Raises InvalidInput for what is none, is cut off, or has no length from the beginning.

    Keys and signatures are never in pieces: partial lengths are for streams (§4.2.1.4).
    """
    at = 0
    while at < len(binary):
        first = binary[at]
        if not first & _TAG:
            raise _damaged()
        tag, width, length = _new(binary, at) if first & _NEW else _old(binary, at)
        begins = at + 1 + width
        at = begins + length
        if at > len(binary):
            raise _damaged()
        yield Packet(tag, binary[begins:at])


def _new(binary: bytes, at: int) -> tuple[int, int, int]:
    """Tag, bytes of the length, length (§4.2.1)."""
    tag, head = binary[at] & 0x3F, binary[at + 1 : at + 6]
    if head and head[0] < 192:
        return tag, 1, head[0]
    if len(head) >= 2 and head[0] < 224:
        return tag, 2, ((head[0] - 192) << 8) + head[1] + 192
    if len(head) == 5 and head[0] == 255:
        return tag, 5, int.from_bytes(head[1:], "big")
    raise _damaged()


def _old(binary: bytes, at: int) -> tuple[int, int, int]:
    """Tag, bytes of the length, length (§4.2.2), which must not be left to the end of the data."""
    tag, width = (binary[at] >> 2) & 0x0F, {0: 1, 1: 2, 2: 4}.get(binary[at] & 0x03)
    if width is None or at + 1 + width > len(binary):
        raise _damaged()
    return tag, width, int.from_bytes(binary[at + 1 : at + 1 + width], "big")


def unarmored(text: bytes) -> tuple[str, bytes] | None:
    """Which kind of block is in ASCII armour (as "PUBLIC KEY BLOCK"), and its bytes; None where there is no armour.

    Its checksum is not looked at, as §6.1 wants it. Raises InvalidInput for what is damaged, and for several blocks.
    """
    if text[:1] >= b"\x80":  # a packet: what looks like armour in it is somebody's user id
        return None
    _, begin, rest = text.partition(_BEGIN)
    if not begin:
        return None
    kind, dashes, rest = rest.partition(_DASHES)
    block, ended, behind = rest.partition(b"\n-----END PGP " + kind + dashes)
    if not dashes or not ended or len(kind) > _LONGEST_KIND:
        raise _damaged()
    if _BEGIN in behind:
        raise InvalidInput("Push one key at a time.")
    try:
        return kind.decode("ascii", "replace"), binascii.a2b_base64(b"".join(_data(block)), strict_mode=True)
    except binascii.Error as error:
        raise _damaged() from error


def _data(block: bytes) -> Iterator[bytes]:
    """The lines between the headers and the checksum."""
    lines = (line.strip() for line in block.split(b"\n"))
    for line in dropwhile(lambda line: _HEADER.fullmatch(line) is not None or not line, lines):
        if line.startswith(b"="):
            return
        yield line


def number(body: bytes, at: int) -> tuple[int, int]:
    """The bits of a number (MPI, §3.2) and where the next begins. Raises InvalidInput."""
    if at + 2 > len(body):
        raise _damaged()
    bits = int.from_bytes(body[at : at + 2], "big")
    return bits, at + 2 + (bits + 7) // 8


def _damaged() -> InvalidInput:
    return InvalidInput("This is not an OpenPGP public key, or it is damaged.")
