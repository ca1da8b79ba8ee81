"""Names of stored content: random, so that two uploads never meet and nothing can be guessed."""

from __future__ import annotations

import re
import secrets

KEY = re.compile(r"[0-9a-f]{32}")
"""A key is 128 random bits in lower-case hexadecimal. Its first two digits spread keys over 256 folders."""


def new_key() -> str:
    """A key that nobody has had before."""
    return secrets.token_hex(16)


def is_key(text: str) -> bool:
    """Whether `text` can be a key of a store. Anything else lies under no path: it is treated as missing, never looked up."""
    return KEY.fullmatch(text) is not None
