"""Certificates and keys as a site would hand them out, for servers under test."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from roadstead.serving.tls import OwnFiles
from roadstead.serving.tls_authority import Authority, load_or_make


def site_authority(directory: Path) -> Authority:
    """An authority of the site, which Roadstead knows nothing of."""
    return load_or_make(directory / "site", datetime.now(UTC))


def site_files(directory: Path, authority: Authority, names: tuple[str, ...] = ("127.0.0.1",), now: datetime | None = None) -> OwnFiles:
    """A certificate for `names`, issued at `now`, as the files host.crt and host.key in `directory`; those that are there are replaced."""
    text = authority.issue(names, now or datetime.now(UTC)).pem
    files = OwnFiles(directory / "host.crt", directory / "host.key")
    key = serialization.load_pem_private_key(text, None)
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    files.certificate.write_bytes(x509.load_pem_x509_certificate(text).public_bytes(serialization.Encoding.PEM))
    return files
