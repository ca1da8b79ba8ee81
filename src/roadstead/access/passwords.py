"""Passwords: hashed by argon2id in a thread, a few at a time; one that was right is remembered for a short while.

For half a day one that was right is *familiar*: it is hashed again, but need not wait behind failed logins.

What is remembered is a keyed hash of name and password, together with the stored hash that it was checked against: a changed
password is refused at the next request. What was wrong is never remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from roadstead.content.threads import thread_pool
from roadstead.errors import InvalidAccount
from roadstead.metadata.accounts import AccountState

_REMEMBERED_SECONDS: Final = 60.0
_FAMILIAR_SECONDS: Final = 12 * 3600.0
_REMEMBERED_LIMIT: Final = 4096
_LONGEST: Final = 4096
SHORTEST: Final = 10
"""Characters of the shortest password that is accepted."""

_RUNS: Final = "01234567890123456789 abcdefghijklmnopqrstuvwxyz qwertyuiopasdfghjklzxcvbnm"
COMMON_PASSWORDS: Final = frozenset(
    """
    password12 password123 password1234 password12345 password123456 passw0rd12 passw0rd123 p@ssw0rd12 p@ssw0rd123
    p@ssword123 1234567890 12345678910 123456789a 123456789abc 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc qwertyuiop
    qwerty1234 qwerty12345 qwerty123456 iloveyou12 iloveyou123 letmein123 letmein1234 welcome123 welcome1234
    admin12345 admin123456 administrator administrator1 changeme123 changeme1234 change-me-now default123
    football12 football123 baseball12 baseball123 basketball superman12 superman123 sunshine12 sunshine123
    princess12 princess123 dragon1234 monkey1234 shadow1234 master1234 trustno1234 whatever12 whatever123
    abcdefghij abcd123456 abc1234567 aa12345678 a123456789 q1w2e3r4t5 q1w2e3r4t5y6 zaq12wsxcde asdfghjkl1
    asdfghjkl; zxcvbnm123 0987654321 9876543210 1111111111 0000000000 1122334455 1212121212 1231231234
    11223344556677 123123123123 987654321a computer12 computer123 internet12 internet123 starwars12 starwars123
    michael123 jennifer12 jennifer123 charlie123 harbor12345 harbor123456 registry12 registry123 container1
    container123 docker1234 docker12345 singularity apptainer1 apptainer123 roadstead1 roadstead12 roadstead123
    kubernetes supercomputer hpcadmin12 hpcadmin123 cluster123 cluster1234 slurmslurm secretsecret
    """.split()  # noqa: SIM905 - words read better so
)
"""Of the passwords that attackers try first, those long enough to be accepted otherwise, and the words of this field."""

# RFC 9106 §4, second recommended option's class: 19 MiB and two passes (26 ms), as OWASP advises.
_hasher: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """The encoded argon2id hash (about 26 ms: call it in a thread)."""
    return _hasher.hash(password)


def require_good_password(password: str, name: str) -> None:
    """Raise InvalidAccount, with the rule, for a password that is too easy to guess.

    By length and a list, with no recipes of characters (NIST SP 800-63B §3.1.1.2).
    """
    if not SHORTEST <= len(password) <= _LONGEST:
        raise InvalidAccount(f"A password has from {SHORTEST} to {_LONGEST} characters.")
    plain = password.casefold()
    if plain in COMMON_PASSWORDS or len(set(plain)) < 4 or plain in _RUNS or plain[::-1] in _RUNS:
        raise InvalidAccount("This password is one of those that are tried first; choose another.")
    if name and name.casefold() in plain and len(plain) < len(name) + SHORTEST:
        raise InvalidAccount("The password is hardly more than the account's name; choose another.")


@cache
def _of_nobody() -> str:
    """A hash that no password has, made once a process and ahead of any login: the first would be told by the time that it takes."""
    return hash_password(secrets.token_hex(16))


class PasswordChecker:
    """Checks passwords; at most two at a time, so that a flood of guesses cannot take the memory."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._threads = thread_pool(2, "argon2")
        self._nobody = _of_nobody()

    async def check(self, account: AccountState | None, name: str, password: str) -> bool:
        """Whether `password` is the account's. An unknown account takes as long as a known one."""
        stored = (account.password_hash if account else None) or self._nobody
        if len(password) > _LONGEST:
            return False
        known = self._known(name, password)
        if self._recall(known, stored, _REMEMBERED_SECONDS):
            return account is not None
        right = await asyncio.get_running_loop().run_in_executor(self._threads, _verify, stored, password)
        if right and account is not None:
            self._remember(known, stored)
            return True
        return False

    def familiar(self, account: AccountState | None, name: str, password: str) -> bool:
        """Whether `password` was the account's not long ago, and it has had no other since."""
        if account is None or account.password_hash is None or len(password) > _LONGEST:
            return False
        return self._recall(self._known(name, password), account.password_hash, _FAMILIAR_SECONDS)

    def _known(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}\0{password}".encode(), hashlib.sha256)

    def _recall(self, known: bytes, stored: str, seconds: float) -> bool:
        at, against = self._remembered.get(known, (-math.inf, ""))
        return time.monotonic() - at < seconds and hmac.compare_digest(against, stored)

    def _remember(self, known: bytes, stored: str) -> None:
        self._remembered[known] = (time.monotonic(), stored)
        self._remembered.move_to_end(known)
        while len(self._remembered) > _REMEMBERED_LIMIT:
            self._remembered.popitem(last=False)


def _verify(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (Argon2Error, InvalidHashError):
        return False
