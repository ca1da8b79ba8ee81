"""OpenPGP certificates ("public keys"; RFC 9580): read, checked, merged and written, with bounds. Sequoia does the cryptography.

What a key says of itself (whether it is revoked, when it expires, which user ids are bound to it) is what Sequoia's standard policy says
of it now, so that a signature of a broken algorithm counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from typing import Final, TypeVar

import msgspec
from pysequoia import ArmorKind, Cert, Sig, armor
from pysequoia import verify as sequoia_verify
from pysequoia.packet import Packet, PacketPile, Tag

from roadstead.access import openpgp_packets as packets
from roadstead.access.openpgp_bindings import signing_subkeys
from roadstead.errors import InvalidInput, TooLarge

_T = TypeVar("_T")

LARGEST: Final = 64 * 1024
"""Bytes of a key without its armour; an ordinary one has 1 to 10 thousand."""

MOST_USER_IDS: Final = 32
_MOST_PACKETS: Final = 256
_MOST_ADDRESSES: Final = 128
_MOST_SIGNATURES: Final = 8
_ALLOWED: Final = frozenset(
    {
        packets.PUBLIC_KEY,
        packets.PUBLIC_SUBKEY,
        packets.USER_ID,
        packets.USER_ATTRIBUTE,
        packets.SIGNATURE,
        packets.TRUST,
        packets.MARKER,
        packets.PADDING,
    }
)
"""What a public key is made of (RFC 9580 §10.1); in particular nothing that is compressed."""

_RSA: Final = frozenset({1, 2, 3})
_LIMITS: Final = {**dict.fromkeys(_RSA, (16384, 64)), 17: (4096, 512, 4096, 4096)}
"""Bits of the numbers of RSA (modulus, exponent) and DSA (p, q, g, y): larger ones take seconds to verify. Curves have their sizes."""

_NEVER_LOCAL: Final = re.compile(r"[\s\x00-\x1f<>()\[\]\"',;:\\]")
_SELDOM_LOCAL: Final = re.compile(r"[^\w.+-]")
_DOMAIN: Final = re.compile(r"[\w.-]+")

_CLEAR_SIGNED: Final = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE: Final = b"\n-----BEGIN PGP SIGNATURE-----"
_BITS: Final = {22: 255, 25: 255, 27: 255, 28: 448}
"""Bits of the algorithms that have one size (RFC 9580 §9.1); what is neither here nor RSA is told as 0."""


class Certificate(msgspec.Struct, frozen=True):
    """A key and what it says. `handles`: fingerprints and key ids, long and short, in lower-case hexadecimal, of it and of those subkeys
    that sign for it and have said so themselves.

    `addresses` are those of all user ids, bound to the key or not, case-folded.
    """

    binary: bytes
    fingerprint: str
    handles: tuple[str, ...]
    algorithm: int
    bits: int
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    user_ids: tuple[str, ...]
    addresses: frozenset[str]

    @property
    def armored(self) -> bytes:
        """As keys are sent."""
        return armored(self.binary)


def armored(binary: bytes) -> bytes:
    """A certificate in ASCII armour (RFC 9580 §6.2)."""
    return armor(binary, ArmorKind.PublicKey).encode()


def parse(text: bytes) -> Certificate:
    """Read one key, armoured or binary. Raises InvalidInput for what is none, TooLarge for one beyond the bounds."""
    if len(text) > 2 * LARGEST:
        raise TooLarge(f"The key is too large: a key may have {LARGEST // 1024} KiB.")
    binary = _without_armor(text)
    _check_packets(binary)
    with _reading():
        found = Cert.split_bytes(binary)
    if len(found) != 1:
        raise InvalidInput("Push one key at a time.")
    return _described(found[0])


def merge(old: bytes, new: bytes) -> Certificate:
    """One key of two states of it: what either has, so that a revocation stays. Raises as `parse` does."""
    with _reading():
        merged = Cert.from_bytes(old).merge(Cert.from_bytes(new))
        binary = bytes(merged)
    _check_packets(binary)
    return _described(merged)


def verify(message: bytes, certificate: bytes) -> bytes | None:
    """What a clear-signed message says, if the key or one of its subkeys has signed it and could when it did; else None."""
    with _reading():
        cert = Cert.from_bytes(certificate)
    try:
        text, signatures = _clear_signed(message)
        with _reading():
            return sequoia_verify(text + b"\n" + armor(signatures, ArmorKind.Signature).encode(), lambda _ids: [cert]).bytes
    except InvalidInput:
        return None


def signature_time(message: bytes) -> datetime | None:
    """When the signature of a clear-signed message says that it was made."""
    try:
        _, signatures = _clear_signed(message)
        with _reading():
            return Sig.from_bytes(signatures).created
    except InvalidInput:
        return None


def _clear_signed(message: bytes) -> tuple[bytes, bytes]:
    """A clear-signed message (RFC 9580 §7) up to its signatures, and those: nothing else is in their armour. Raises InvalidInput."""
    text, begin, armored_signatures = message.partition(_SIGNATURE)
    if not text.startswith(_CLEAR_SIGNED) or b"-----BEGIN PGP " in text[len(_CLEAR_SIGNED) :]:
        raise InvalidInput("This is no clear-signed message.")
    found = packets.unarmored(begin.lstrip() + armored_signatures)
    if found is None:
        raise InvalidInput("This message has no signature.")
    tags = [packet.tag for packet in packets.walk(found[1])]
    if not 0 < tags.count(packets.SIGNATURE) == len(tags) <= _MOST_SIGNATURES:
        raise InvalidInput(f"What should be 1 to {_MOST_SIGNATURES} signatures is something else.")
    return text, found[1]


def _without_armor(text: bytes) -> bytes:
    found = packets.unarmored(text)
    if found is None:
        return text
    kind, binary = found
    if kind == "PRIVATE KEY BLOCK":
        raise _private()
    if kind != "PUBLIC KEY BLOCK":
        raise InvalidInput(f"This is not an OpenPGP public key, but a {kind.lower()}.")
    return binary


def _check_packets(binary: bytes) -> None:
    """Everything that can be said before a byte is unpacked or a signature verified."""
    found = list(packets.walk(binary))
    tags = [packet.tag for packet in found]
    if packets.SECRET_KEY in tags or packets.SECRET_SUBKEY in tags:
        raise _private()
    if not tags or tags[0] != packets.PUBLIC_KEY or not _ALLOWED.issuperset(tags):
        raise InvalidInput("This is not an OpenPGP public key.")
    if tags.count(packets.USER_ID) > MOST_USER_IDS:
        raise TooLarge(f"The key has {tags.count(packets.USER_ID)} user ids; {MOST_USER_IDS} are accepted.")
    if len(tags) > _MOST_PACKETS:
        raise TooLarge(f"The key has {len(tags)} packets; {_MOST_PACKETS} are accepted. Push it without the signatures of others.")
    if len(binary) > LARGEST:
        raise TooLarge(f"The key is too large: it has {len(binary)} bytes, and {LARGEST} are accepted.")
    for packet in found:
        if packet.tag in (packets.PUBLIC_KEY, packets.PUBLIC_SUBKEY):
            _check_numbers(packet.body)


def _check_numbers(body: bytes) -> None:
    """Refuse a key whose numbers are beyond the bounds of its algorithm (RFC 9580 §5.5.2)."""
    if len(body) < 6:
        raise InvalidInput("This is not an OpenPGP public key, or it is damaged.")
    at = 10 if body[0] == 6 else 6
    for most in _LIMITS.get(body[5], ()):
        bits, at = packets.number(body, at)
        if bits > most:
            raise InvalidInput(f"The key has a number of {bits} bits where {most} are accepted.")


def _private() -> InvalidInput:
    return InvalidInput("This is a private key, which nobody else may have: consider it lost, and push the public key of a new one.")


def _described(cert: Cert) -> Certificate:
    with _reading():
        binary = bytes(cert)
        pile = list(PacketPile.from_bytes(binary))  # only what has been walked through before
        primary, *_ = pile
        signing = signing_subkeys(binary)
        keys = [primary, *(packet for packet in pile if packet.tag == Tag.PublicSubkey and packet.body in signing)]
        named = [packet for packet in pile if packet.tag == Tag.UserID]
        # Of a key that is revoked or has expired, Sequoia tells no user ids any more; people look for it all the same.
        user_ids = [str(one) for one in cert.user_ids] or [packet.user_id or "" for packet in named]
        addresses = frozenset(one.casefold() for packet in named for one in _addresses(packet.body.decode(errors="replace")))
        if len(addresses) > _MOST_ADDRESSES:
            raise TooLarge(f"The key has {len(addresses)} e-mail addresses; {_MOST_ADDRESSES} are accepted.")
        algorithm, bits = _algorithm(primary)
        return Certificate(
            binary=binary,
            fingerprint=cert.fingerprint.lower(),
            handles=tuple(sorted({handle for key in keys for handle in _handles(key)})),
            algorithm=algorithm,
            bits=bits,
            created_at=_required(primary.key_created),
            expires_at=cert.expiration,
            revoked=cert.is_revoked,
            user_ids=tuple(_plain(one) for one in user_ids),
            addresses=addresses,
        )


def _handles(key: Packet) -> Iterator[str]:
    fingerprint, key_id = _required(key.fingerprint).lower(), _required(key.key_id).lower()
    yield from (fingerprint, key_id, key_id[-8:])


def _algorithm(key: Packet) -> tuple[int, int]:
    """Number of the algorithm and bits of a public key packet (RFC 9580 §5.5.2); version 6 has a length more in front."""
    body = key.body
    algorithm, material = body[5], 10 if body[0] == 6 else 6
    if algorithm in _RSA:
        return algorithm, int.from_bytes(body[material : material + 2], "big")
    return algorithm, _BITS.get(algorithm, 0)


def _addresses(said: str) -> Iterator[str]:
    """Everything in a user id that somebody could take for an e-mail address, wherever it stands."""
    for before, behind in pairwise(said.split("@")):
        domain = _DOMAIN.match(behind)
        for separators in (_NEVER_LOCAL, _SELDOM_LOCAL):
            local = separators.split(before)[-1]
            if domain is not None and local:
                yield f"{local}@{domain[0].rstrip('.-')}"


def _plain(text: str) -> str:
    """A user id that every database takes."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _required(value: _T | None) -> _T:
    if value is None:
        raise ValueError
    return value


@contextmanager
def _reading() -> Iterator[None]:
    """Sequoia raises RuntimeError with a stack trace for its users' eyes, and where it has a fault itself a panic that is no Exception."""
    try:
        yield
    except (TooLarge, InvalidInput):
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
            raise InvalidInput("This is not an OpenPGP public key, or it is damaged.") from error
        raise
