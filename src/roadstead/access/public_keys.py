"""Public keys and certificates in PEM: read with bounds, named, and asked whether they have made a signature.

For what is signed without OpenPGP. A certificate is trusted as the one that it is: nobody asks who issued it, only whether its time has
come or gone. Neither has a way to be revoked; who trusts it no more removes it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from roadstead.errors import InvalidInput, TooLarge

LARGEST: Final = 16 * 1024
"""Bytes of a key or certificate in PEM; an ordinary one has 200 to 2,000."""

_BEGINS: Final = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----\s*$", re.MULTILINE)
_REMEMBERED: Final = 512
"""Keys that a process keeps as they are read, of at most 16 KiB each: every signature is asked of each key."""

_SMALLEST: Final = 2048
_GREATEST: Final = 8192  # bits of RSA: verifying costs more with each
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_HASHES: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {"sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}
_PSS: Final[Mapping[str, type[hashes.HashAlgorithm]]] = {"PS256": hashes.SHA256, "PS384": hashes.SHA384, "PS512": hashes.SHA512}
_RAW: Final[Mapping[str, tuple[type[ec.EllipticCurve], type[hashes.HashAlgorithm]]]] = {
    "ES256": (ec.SECP256R1, hashes.SHA256),
    "ES384": (ec.SECP384R1, hashes.SHA384),
    "ES512": (ec.SECP521R1, hashes.SHA512),
}
_Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class PublicKey(msgspec.Struct, frozen=True):
    """One key. `kind` is "public-key" or "certificate"; `fingerprint` is the SHA-256 of its DER, in upper-case hexadecimal.

    `key_id` is that of the key alone, as OpenSSH and DSSE write it ("SHA256:…"), and `of_key` the fingerprint of the key alone, which is
    that of a public key itself. `subject` and the times are those of a certificate.
    """

    kind: str
    fingerprint: str
    key_id: str
    of_key: str
    pem: str
    subject: str | None = None
    valid_from: datetime | None = None
    expires_at: datetime | None = None

    def made(self, signature: bytes, message: bytes, algorithm: str) -> bool:
        """Whether the key has made this signature of the message.

        `algorithm` is one of JOSE's (RFC 7518 §3: "PS256" to "PS512", "ES256" to "ES512"), or the hash alone, "sha256", "sha384" or
        "sha512" (not asked by Ed25519), where RSA is that of PKCS #1 version 1.5, and ECDSA in DER.
        """
        try:
            _verify(_checked(_read(self.kind, self.pem.encode())[1]), signature, message, algorithm)  # read once, and remembered
        except (InvalidSignature, InvalidInput):
            return False
        return True


def parse(text: bytes) -> PublicKey:
    """Read one public key or certificate in PEM. Raises InvalidInput for what is none, or weak, and TooLarge for one beyond the bounds."""
    if len(text) > LARGEST:
        raise TooLarge(f"The key is too large: a public key or certificate may have {LARGEST // 1024} KiB.")
    return _parse(text)


@lru_cache(_REMEMBERED)
def _parse(text: bytes) -> PublicKey:
    labels = [found.decode() for found in _BEGINS.findall(text)]
    if any("PRIVATE KEY" in label for label in labels):
        raise InvalidInput("This is a private key, which nobody else may have: consider it lost, and give the public key of a new one.")
    kind = {("PUBLIC KEY",): "public-key", ("CERTIFICATE",): "certificate"}.get(tuple(labels))
    if kind is None:
        raise InvalidInput("This is not one public key or one certificate in PEM.")
    certificate, found = _read(kind, text)
    return _described(certificate, _checked(found))


@lru_cache(_REMEMBERED)
def _read(kind: str, text: bytes) -> tuple[x509.Certificate | None, PublicKeyTypes]:
    try:
        if kind == "public-key":
            return None, load_pem_public_key(text)
        certificate = x509.load_pem_x509_certificate(text)
        return certificate, certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"This {kind.replace('-', ' ')} cannot be read.") from error


def _checked(key: PublicKeyTypes) -> _Key:
    """The key, if it is of a kind that may be trusted."""
    if isinstance(key, rsa.RSAPublicKey):
        if not _SMALLEST <= key.key_size <= _GREATEST:
            raise InvalidInput(f"The key has {key.key_size} bits; RSA is accepted from {_SMALLEST} to {_GREATEST}.")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey) or (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)):
        return key
    raise InvalidInput("Keys are RSA, ECDSA on P-256, P-384 or P-521, or Ed25519.")


def _described(certificate: x509.Certificate | None, key: _Key) -> PublicKey:
    of_key = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    der = of_key if certificate is None else certificate.public_bytes(Encoding.DER)
    wire = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    named = PublicKey(
        kind="public-key",
        fingerprint=hashlib.sha256(der).hexdigest().upper(),
        of_key=hashlib.sha256(of_key).hexdigest().upper(),
        key_id="SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("="),
        pem=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )
    if certificate is None:
        return named
    return msgspec.structs.replace(
        named,
        kind="certificate",
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        subject=certificate.subject.rfc4514_string(),
        valid_from=certificate.not_valid_before_utc,
        expires_at=certificate.not_valid_after_utc,
    )


def _verify(key: _Key, signature: bytes, message: bytes, algorithm: str) -> None:
    """Raises InvalidSignature."""
    pss, (curve, raw), hashed = _PSS.get(algorithm), _RAW.get(algorithm, (None, None)), _HASHES.get(algorithm)
    if isinstance(key, rsa.RSAPublicKey) and pss is not None:
        key.verify(signature, message, padding.PSS(padding.MGF1(pss()), padding.PSS.DIGEST_LENGTH), pss())
    elif isinstance(key, rsa.RSAPublicKey) and hashed is not None:
        key.verify(signature, message, padding.PKCS1v15(), hashed())
    elif isinstance(key, ec.EllipticCurvePublicKey) and curve is not None and raw is not None and isinstance(key.curve, curve):
        key.verify(_in_der(signature, (key.curve.key_size + 7) // 8), message, ec.ECDSA(raw()))
    elif isinstance(key, ec.EllipticCurvePublicKey) and hashed is not None:
        key.verify(signature, message, ec.ECDSA(hashed()))
    elif isinstance(key, ed25519.Ed25519PublicKey) and hashed is not None:
        key.verify(signature, message)
    else:
        raise InvalidSignature


def _in_der(signature: bytes, length: int) -> bytes:
    """A signature that is two numbers of so many bytes (RFC 7518 §3.4)."""
    if len(signature) != 2 * length:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:length]), int.from_bytes(signature[length:]))
