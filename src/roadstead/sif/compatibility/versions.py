"""Versions as numbers with points between them."""

from __future__ import annotations

import re
from typing import Final

Version = tuple[int, ...]

_VERSION: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,3}", re.ASCII)
_STEP: Final = 1_000_000


def parse_version(text: str) -> Version | None:
    """`12.4.1` as numbers; None for what is no version."""
    return tuple(map(int, text.split("."))) if _VERSION.fullmatch(text) else None


def is_older(one: str, other: str) -> bool:
    """Whether a version comes before another."""
    return (parse_version(one) or ()) < (parse_version(other) or ())


def ordered(text: str | None) -> int | None:
    """A version as one number that keeps its order as far as its second part, which is what is searched by."""
    version = parse_version(text or "")
    if version is None:
        return None
    major, minor = (*version, 0)[:2]
    return major * _STEP + minor


def next_after(version: Version) -> int:
    """The first number of `ordered` behind all that begin with this version."""
    return (version[0] + 1) * _STEP if len(version) == 1 else version[0] * _STEP + version[1] + 1
