"""The installation's secret keys, and what is encrypted with them.

The key file holds one key a line, 64 hexadecimal digits each, mode 0600, the same on all replicas. The first line encrypts; the
others still decrypt what was encrypted before they were replaced, so a key is rotated by adding a line in front.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from roadstead.errors import Misconfigured

_BYTES: Final = 32
_NONCE: Final = 12


class Sealed(msgspec.Struct, frozen=True):
    """Encrypted bytes, and the id of the key that opens them."""

    key_id: str
    ciphertext: bytes


class Vault:
    """Encrypts what must be read back (AES-256-GCM, a random nonce in front) and derives keys for one purpose each.

    The keys themselves are never used directly, logged or stored elsewhere.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_key_id(key): key for key in keys}
        self._current = _key_id(keys[0])

    @property
    def current(self) -> str:
        """The id of the key that encrypts now."""
        return self._current

    def seal(self, purpose: str, content: bytes) -> Sealed:
        """Encrypt; only `open` with the same `purpose` gives it back."""
        nonce = secrets.token_bytes(_NONCE)
        ciphertext = AESGCM(self.derive(f"encryption of {purpose}")).encrypt(nonce, content, purpose.encode())
        return Sealed(self._current, nonce + ciphertext)

    def open(self, purpose: str, sealed: Sealed) -> bytes:
        """Decrypt. Raises Misconfigured if the key is not in the key file any more, or the bytes are damaged."""
        if sealed.key_id not in self._keys:
            raise Misconfigured(f"The {purpose} was encrypted with key {sealed.key_id}, which is not in the secret key file.")
        cipher = AESGCM(self.derive(f"encryption of {purpose}", sealed.key_id))
        try:
            return cipher.decrypt(sealed.ciphertext[:_NONCE], sealed.ciphertext[_NONCE:], purpose.encode())
        except InvalidTag as error:
            raise Misconfigured(f"The {purpose} cannot be decrypted: it is damaged.") from error

    def derive(self, purpose: str, key_id: str | None = None) -> bytes:
        """32 bytes for one purpose (HKDF-Expand, RFC 5869 §2.3, one block)."""
        return hmac.digest(self._keys[key_id or self._current], purpose.encode() + b"\x01", hashlib.sha256)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"roadstead key id" + key).hexdigest()[:16]


def load_or_make(path: Path) -> Vault:
    """Read the key file, or make it on first start. Raises Misconfigured if it is damaged or cannot be read."""
    try:
        _make(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise Misconfigured(f"The secret key file {path} cannot be made: {error.strerror}.") from error
    try:
        keys = [bytes.fromhex(line) for line in path.read_text().split()]
    except (OSError, ValueError) as error:
        raise Misconfigured(f"The secret key file {path} cannot be read: {error}.") from error
    if not keys or any(len(key) != _BYTES for key in keys):
        raise Misconfigured(f"The secret key file {path} is damaged: it must hold {_BYTES * 2} hexadecimal digits a line.")
    return Vault(keys)


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
