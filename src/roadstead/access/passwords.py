"""Passwords: hashed by argon2id in a thread, a few at a time; one that was right is remembered for a short while.

What is remembered is a keyed hash of name and password, together with the stored hash that it was checked against: a changed
password is refused at the next request. What was wrong is never remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from roadstead.content.threads import thread_pool
from roadstead.metadata.accounts import AccountRow

_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED_LIMIT: Final = 4096
_LONGEST: Final = 4096

# RFC 9106 §4, second recommended option's class: 19 MiB and two passes (26 ms), as OWASP advises.
_hasher: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """The encoded argon2id hash (about 26 ms: call it in a thread)."""
    return _hasher.hash(password)


class PasswordChecker:
    """Checks passwords; at most two at a time, so that a flood of guesses cannot take the memory."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._threads = thread_pool(2, "argon2")
        self._nobody = hash_password(secrets.token_hex(16))

    async def check(self, account: AccountRow | None, name: str, password: str) -> bool:
        """Whether `password` is the account's. An unknown account takes as long as a known one."""
        stored = (account.password_hash if account else None) or self._nobody
        if len(password) > _LONGEST:
            return False
        known = hmac.digest(self._key, f"{name}\0{password}".encode(), hashlib.sha256)
        if self._recall(known, stored):
            return account is not None
        right = await asyncio.get_running_loop().run_in_executor(self._threads, _verify, stored, password)
        if right and account is not None:
            self._remember(known, stored)
            return True
        return False

    def _recall(self, known: bytes, stored: str) -> bool:
        until, against = self._remembered.get(known, (0.0, ""))
        return until > time.monotonic() and hmac.compare_digest(against, stored)

    def _remember(self, known: bytes, stored: str) -> None:
        self._remembered[known] = (time.monotonic() + _REMEMBERED_SECONDS, stored)
        while len(self._remembered) > _REMEMBERED_LIMIT:
            self._remembered.popitem(last=False)


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (Argon2Error, InvalidHashError):
        return False
