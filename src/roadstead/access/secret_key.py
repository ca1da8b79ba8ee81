"""The installation's secret key: a file of 32 random bytes in hexadecimal, mode 0600, the same on all replicas."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from roadstead.errors import Misconfigured

_BYTES = 32


class SecretKey:
    """Derives one key per purpose; the secret itself is never used directly, logged or stored elsewhere."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (HKDF-Expand, RFC 5869 §2.3, one block)."""
        return hmac.digest(self._secret, purpose.encode() + b"\x01", hashlib.sha256)


def load_or_make(path: Path) -> SecretKey:
    """Read the key file, or make it on first start. Raises Misconfigured if it is damaged or cannot be read."""
    try:
        _make(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise Misconfigured(f"The secret key file {path} cannot be made: {error.strerror}.") from error
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"The secret key file {path} cannot be read: {error}.") from error
    if len(secret) != _BYTES:
        raise Misconfigured(f"The secret key file {path} is damaged: it must hold {_BYTES * 2} hexadecimal digits.")
    return SecretKey(secret)


def _make(path: Path) -> None:
    """Make the file whole or not at all: two processes that start at once must end with the same key."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(_BYTES).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()
