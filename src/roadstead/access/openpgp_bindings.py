"""Which subkeys a key has bound to itself to sign with, and they to it (RFC 9580 §5.2.1, types 0x18 and 0x19).

Anybody may write anybody's key behind a key of their own and be found by its fingerprint. Sequoia does not tell which subkeys are bound,
so these signatures are verified here. Only version 4 is read: there is no other in a SIF.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from roadstead.access import openpgp_packets as packets
from roadstead.access.openpgp_packets import Packet
from roadstead.errors import InvalidInput

_BINDING: Final = 0x18
_BACK: Final = 0x19
_KEY_FLAGS: Final = 27
_EMBEDDED: Final = 32
_SIGNS: Final = 0x02
_VERSION: Final = 4
_HASHES: Final[dict[int, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]]] = {
    8: hashes.SHA256,
    9: hashes.SHA384,
    10: hashes.SHA512,
}  # what is older counts for nothing
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "2a8648ce3d030107": ec.SECP256R1,
    "2b81040022": ec.SECP384R1,
    "2b81040023": ec.SECP521R1,
}
_ED25519: Final = "2b06010401da470f01"


class _Signature(msgspec.Struct, frozen=True):
    """A signature of version 4 (§5.2.3): what of it is hashed, the subpackets that are and that are not, and its numbers."""

    kind: int
    algorithm: int
    hashing: int
    hashed: bytes
    said: list[tuple[int, bytes]]
    beside: list[tuple[int, bytes]]
    numbers: bytes

    def of(self, kind: int) -> Iterator[bytes]:
        """The subpackets of a kind, wherever they are."""
        return (body for found, body in (*self.said, *self.beside) if found == kind)


def signing_subkeys(certificate: bytes) -> frozenset[bytes]:
    """The bodies of the subkeys that sign for a key, which both have said. The certificate has been held against its bounds."""
    first, *rest = packets.walk(certificate)
    return frozenset(subkey for subkey, signatures in _with_signatures(rest) if _is_bound(first.body, subkey, signatures))


def _with_signatures(found: Iterable[Packet]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Each subkey, and the signatures that follow it."""
    subkey, signatures = None, list[bytes]()
    for packet in found:
        if packet.tag == packets.SIGNATURE:
            signatures.append(packet.body)
        else:
            if subkey is not None:
                yield subkey, signatures
            subkey, signatures = packet.body if packet.tag == packets.PUBLIC_SUBKEY else None, []
    if subkey is not None:
        yield subkey, signatures


def _is_bound(primary: bytes, subkey: bytes, signatures: Iterable[bytes]) -> bool:
    both = _hashed_key(primary) + _hashed_key(subkey)
    for body in signatures:
        binding = _read(body)
        if binding is None or binding.kind != _BINDING or not any(flags[:1] and flags[0] & _SIGNS for flags in _flags(binding)):
            continue
        backs = [back for back in map(_read, binding.of(_EMBEDDED)) if back is not None and back.kind == _BACK]
        if any(_made(subkey, back, both) for back in backs[:1]) and _made(primary, binding, both):
            return True
    return False


def _flags(binding: _Signature) -> Iterator[bytes]:
    """What the key is for, as far as it is signed."""
    return (body for kind, body in binding.said if kind == _KEY_FLAGS)


def _hashed_key(body: bytes) -> bytes:
    """A key as signatures hash it (§5.2.4)."""
    return b"\x99" + (len(body) & 0xFFFF).to_bytes(2, "big") + body


def _read(body: bytes) -> _Signature | None:
    """A signature, None where it is of another version or damaged."""
    if len(body) < 6 or body[0] != _VERSION:
        return None
    said_ends = 6 + int.from_bytes(body[4:6], "big")
    beside_ends = said_ends + 2 + int.from_bytes(body[said_ends : said_ends + 2], "big")
    if beside_ends + 2 > len(body):
        return None
    said, beside = _subpackets(body[6:said_ends]), _subpackets(body[said_ends + 2 : beside_ends])
    return _Signature(body[1], body[2], body[3], body[:said_ends], said, beside, body[beside_ends + 2 :])


def _subpackets(area: bytes) -> list[tuple[int, bytes]]:
    """The subpackets of an area (§5.2.3.7); what is behind a damaged one is not read."""
    found, at = [], 0
    while at < len(area):
        first = area[at]
        if first < 192:
            length, at = first, at + 1
        elif first < 255:
            length, at = ((first - 192) << 8) + int.from_bytes(area[at + 1 : at + 2], "big") + 192, at + 2
        else:
            length, at = int.from_bytes(area[at + 1 : at + 5], "big"), at + 5
        if not length or at + length > len(area):
            break
        found.append((area[at] & 0x7F, area[at + 1 : at + length]))
        at += length
    return found


def _made(key: bytes, signature: _Signature, over: bytes) -> bool:
    """Whether a key has made a signature over these keys."""
    algorithm = _HASHES.get(signature.hashing)
    if algorithm is None or len(key) < 6 or key[0] != _VERSION or key[5] != signature.algorithm:
        return False
    content = over + signature.hashed + b"\x04\xff" + len(signature.hashed).to_bytes(4, "big")
    digest = hashlib.new(algorithm.name, content).digest()
    try:
        _verify(key[5], key[6:], signature.numbers, digest, Prehashed(algorithm()))
    except (InvalidSignature, InvalidInput, UnsupportedAlgorithm, ValueError, OverflowError):
        return False
    return True


def _verify(algorithm: int, material: bytes, numbers: bytes, digest: bytes, hashed: Prehashed) -> None:
    """Raises InvalidSignature for one that the key has not made, InvalidInput, ValueError for what is none, or no key (§5.2.3, §5.5.2)."""
    if algorithm in (1, 3):
        modulus, exponent = _numbers(material, 2)
        rsa_key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        (made,) = _numbers(numbers, 1)
        return rsa_key.verify(made.to_bytes((rsa_key.key_size + 7) // 8, "big"), digest, padding.PKCS1v15(), hashed)
    if algorithm == 27:
        return ed25519.Ed25519PublicKey.from_public_bytes(material).verify(numbers, digest)
    first, second = _numbers(numbers, 2)
    if algorithm == 17:
        p, q, g, y = _numbers(material, 4)
        dsa_key = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()
        return dsa_key.verify(encode_dss_signature(first, second), digest, hashed)
    if algorithm not in (19, 22) or not material:
        raise InvalidSignature
    curve = material[1 : 1 + material[0]].hex()
    (encoded,) = _numbers(material[1 + material[0] :], 1)
    point = encoded.to_bytes((encoded.bit_length() + 7) // 8, "big")
    if algorithm == 22 and curve == _ED25519 and point[:1] == b"\x40":
        return ed25519.Ed25519PublicKey.from_public_bytes(point[1:]).verify(first.to_bytes(32, "big") + second.to_bytes(32, "big"), digest)
    if algorithm == 19 and curve in _CURVES:
        ec_key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve](), point)
        return ec_key.verify(encode_dss_signature(first, second), digest, ec.ECDSA(hashed))
    raise InvalidSignature


def _numbers(body: bytes, count: int) -> list[int]:
    found, at = [], 0
    for _ in range(count):
        _, ends = packets.number(body, at)
        found.append(int.from_bytes(body[at + 2 : ends], "big"))
        at = ends
    return found
