"""Keys and certificates in PEM, as people hand them over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID


def public_pem(private: Any) -> bytes:
    """The public half."""
    pem: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def certificate(
    private: CertificateIssuerPrivateKeyTypes, name: str, since: timedelta = timedelta(0), lasts: timedelta = timedelta(days=1)
) -> x509.Certificate:
    """One that its own key has signed, valid from `since` now, or a minute ago."""
    begins = datetime.now(UTC) - timedelta(minutes=1) + since
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(who, who, private.public_key(), x509.random_serial_number(), begins, begins + lasts)
    return builder.sign(private, None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256())
