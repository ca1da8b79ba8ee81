"""Secrets of credentials: made, recognised, hashed.

    rsd_<kind>_<192 random letters and digits><6 of checksum>

`rsd_` and the checksum (CRC-32 of all before it) let a secret scanner find one in a source tree with no false alarms; the letter says
what kind it is. 204 characters make it longer than the 200 bytes that `apptainer remote login` demands of a token.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from typing import Final

PREFIX: Final = "rsd_"
KINDS: Final = {"cli": "c", "token": "p", "robot": "r", "refresh": "f", "session": "s"}
"""Kind of credential → its letter."""

FOR_TOOLS: Final = frozenset({"cli", "token", "robot"})
"""Kinds that are taken in place of a password and as a Bearer token; the others have one place each where they are taken."""

_ALPHABET: Final = string.digits + string.ascii_letters
_RANDOM: Final = 192
_CHECKSUM: Final = 6
_LENGTH: Final = len(PREFIX) + 2 + _RANDOM + _CHECKSUM
_HINT: Final = 12


def make_secret(kind: str) -> str:
    """A new secret of 1,143 random bits."""
    body = f"{PREFIX}{KINDS[kind]}_{''.join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))}"
    return body + _checksum(body)


def looks_like_secret(text: str) -> bool:
    """Whether this can be one of ours: form and checksum are right. Anything else is a password."""
    return len(text) == _LENGTH and text.startswith(PREFIX) and text[-_CHECKSUM:] == _checksum(text[:-_CHECKSUM])


def kind_of(secret: str) -> str | None:
    """The kind of credential that a secret is of."""
    return next((kind for kind, letter in KINDS.items() if secret.startswith(f"{PREFIX}{letter}_")), None)


def hash_secret(secret: str) -> str:
    """The hash by which a credential is stored and found. It needs neither salt nor slowness: nobody guesses that many random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def hint(secret: str) -> str:
    """The beginning of a secret, by which its owner knows it in a list."""
    return secret[:_HINT]


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
