"""OpenPGP keys made by hand (RFC 9580), for what no program writes: false bindings, nested packets, numbers that are too large."""

from __future__ import annotations

import hashlib
import struct
import zlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CREATED = 1_700_000_000
_ED25519 = bytes.fromhex("092b06010401da470f01")
_HASHES = {2: "sha1", 8: "sha256"}


def packet(tag: int, body: bytes) -> bytes:
    """A packet with a length of five bytes (§4.2.1.3)."""
    return bytes([0xC0 | tag, 255]) + struct.pack(">I", len(body)) + body


def subpacket(kind: int, body: bytes) -> bytes:
    """One of a signature (§5.2.3.7)."""
    return b"\xff" + struct.pack(">I", len(body) + 1) + bytes([kind]) + body


def number(bits: int) -> bytes:
    """A number of so many bits (MPI, §3.2)."""
    return struct.pack(">H", bits) + (1 << (bits - 1) | 1).to_bytes((bits + 7) // 8, "big")


def key_body(algorithm: int, material: bytes) -> bytes:
    """The body of a key packet of version 4 (§5.5.2.2)."""
    return b"\x04" + struct.pack(">I", CREATED) + bytes([algorithm]) + material


def literal(size: int) -> bytes:
    """So many zeros as a message."""
    return packet(11, b"b\0\0\0\0\0" + bytes(size))


def compressed(content: bytes) -> bytes:
    """Packets in a compressed one."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packet(8, b"\x01" + deflate.compress(content) + deflate.flush())


class HandMade:
    """A pair of keys (Ed25519, version 4) that signs whatever it is told."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        public = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.body = key_body(22, _ED25519 + _mpi(b"\x40" + public))
        self.hashed = b"\x99" + struct.pack(">H", len(self.body)) + self.body
        self.fingerprint = hashlib.sha1(self.hashed, usedforsecurity=False).hexdigest()

    def signature(self, kind: int, over: bytes, said: bytes = b"", beside: bytes = b"", *, good: bool = True, hashing: int = 8) -> bytes:
        """The body of a signature, with subpackets that are signed (`said`) and not (`beside`)."""
        said = subpacket(2, struct.pack(">I", CREATED + 1)) + subpacket(33, b"\x04" + bytes.fromhex(self.fingerprint)) + said
        head = bytes([4, kind, 22, hashing]) + struct.pack(">H", len(said)) + said
        digest = hashlib.new(_HASHES[hashing], over + head + b"\x04\xff" + struct.pack(">I", len(head))).digest()
        made = bytearray(self._private.sign(digest))
        made[5] ^= not good
        beside = subpacket(16, bytes.fromhex(self.fingerprint[-16:])) + beside
        return head + struct.pack(">H", len(beside)) + beside + digest[:2] + _mpi(bytes(made[:32])) + _mpi(bytes(made[32:]))

    def certificate(self, user_id: str) -> bytes:
        """The public key with a user id that is bound to it."""
        named = user_id.encode()
        over = self.hashed + b"\xb4" + struct.pack(">I", len(named)) + named
        return packet(6, self.body) + packet(13, named) + packet(2, self.signature(0x13, over, subpacket(27, b"\x03")))

    def binding(self, other: HandMade, flags: int, back: bytes | None = None, *, good: bool = True, hashing: int = 8) -> bytes:
        """The packets of another's key as a subkey of this one, with what a signature of that key says `back`."""
        said, beside = subpacket(27, bytes([flags])), b"" if back is None else subpacket(32, back)
        return packet(14, other.body) + packet(
            2, self.signature(0x18, self.hashed + other.hashed, said, beside, good=good, hashing=hashing)
        )


def _mpi(content: bytes) -> bytes:
    value = int.from_bytes(content, "big")
    return struct.pack(">H", value.bit_length()) + value.to_bytes((value.bit_length() + 7) // 8, "big")
