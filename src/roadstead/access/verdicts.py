"""What is to be said of a signature at a moment, whatever form it has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from roadstead.access.public_keys import PublicKey


class State(StrEnum):
    """One word for it."""

    VALID = "valid"
    ALTERED = "altered"
    INVALID = "invalid"
    UNKNOWN_KEY = "unknown-key"
    REVOKED_KEY = "revoked-key"
    EXPIRED_KEY = "expired-key"
    EXPIRED = "expired"
    UNSUPPORTED = "unsupported"


_BEST_FIRST: Final = (State.VALID, State.EXPIRED_KEY, State.EXPIRED, State.INVALID)


class Verdict(msgspec.Struct, frozen=True):
    """A signature, judged: `fingerprint` of the key (upper case), when it was made as far as it is known, and what is wrong, in words."""

    state: State
    fingerprint: str | None = None
    signed_at: datetime | None = None
    reason: str | None = None


def best(verdicts: Sequence[Verdict]) -> Verdict:
    """The one that several keys lead to: one that holds is enough."""
    return min(verdicts, key=lambda one: _BEST_FIRST.index(one.state))


def in_time(key: PublicKey, now: datetime, signed_at: datetime | None = None) -> Verdict:
    """What a signature that the key has made is worth: that of a certificate counts only while the certificate does."""
    if key.valid_from is not None and now < key.valid_from:
        return Verdict(State.EXPIRED_KEY, key.fingerprint, signed_at, f"The certificate counts from {key.valid_from:%Y-%m-%d} on.")
    if key.expires_at is not None and now >= key.expires_at:
        return Verdict(State.EXPIRED_KEY, key.fingerprint, signed_at, f"The certificate expired on {key.expires_at:%Y-%m-%d}.")
    return Verdict(State.VALID, key.fingerprint, signed_at)


def not_made(key: PublicKey, signed_at: datetime | None = None) -> Verdict:
    """Of a signature that names a key which has not made it."""
    return Verdict(State.INVALID, key.fingerprint, signed_at, "The key has not made this signature.")
