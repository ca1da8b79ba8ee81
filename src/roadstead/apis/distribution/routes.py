"""Paths of the distribution API: one compiled pattern, and the table of what may be asked of each kind.

Repository names hold slashes, so the pattern takes the longest name that leaves a known ending.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from roadstead.errors import InvalidName, NotFound

_PATTERN: Final = re.compile(
    r"/v2/(?:"
    r"(?P<name>.+)/(?:"
    r"manifests/(?P<manifest>[^/]+)"
    r"|blobs/uploads(?P<uploads>/?)"
    r"|blobs/uploads/(?P<upload>[^/]+)"
    r"|blobs/(?P<blob>[^/]+)"
    r"|tags/(?P<tags>list)"
    r"|referrers/(?P<referrers>[^/]+)"
    r")"
    r"|(?P<catalog>_catalog)"
    r")?"
)

# What may be done, by kind and method: the permission that a token needs for it.
ACTIONS: Final[dict[str, dict[str, str]]] = {
    "base": {"GET": "", "HEAD": ""},
    "catalog": {"GET": "*"},
    "manifest": {"GET": "pull", "HEAD": "pull", "PUT": "pull,push", "DELETE": "delete"},
    "blob": {"GET": "pull", "HEAD": "pull", "DELETE": "delete"},
    "uploads": {"POST": "pull,push"},
    "upload": {"GET": "pull,push", "PATCH": "pull,push", "PUT": "pull,push", "DELETE": "pull,push"},
    "tags": {"GET": "pull"},
    "referrers": {"GET": "pull"},
}


class Match(msgspec.Struct, frozen=True):
    """What a path names: the `kind`, the repository's name as typed ("" where there is none), and the last component, decoded."""

    kind: str
    name: str
    value: str


_BASE: Final = Match("base", "", "")
_CATALOG: Final = Match("catalog", "", "")


def match(path: str) -> Match:
    """Read a path as sent. Raises NotFound for one that this API does not have, InvalidName for a percent-encoded name or U+0000."""
    found = _PATTERN.fullmatch(path)
    if found is None:
        if path == "/v2":
            return _BASE
        raise NotFound("The distribution API has no such path.")
    kind = found.lastgroup
    if kind is None:
        return _BASE
    if kind == "catalog":
        return _CATALOG
    name, value = found["name"], found[kind]
    if "%" in name:
        # Nothing that a valid name holds needs encoding; an encoded slash would name another repository to a proxy than to us.
        raise InvalidName("A repository name in a URL is written without percent-encoding.")
    return Match(kind, name, _decoded(value) if "%" in value else value)


def _decoded(value: str) -> str:
    if "\0" in (decoded := unquote(value)):
        # PostgreSQL would fail on it, where SQLite finds nothing.
        raise InvalidName("The path has the character U+0000, which no name holds.")
    return decoded


def scope(found: Match, method: str) -> str | None:
    """The token scope that a request needs, as a challenge names it; None for the base."""
    actions = ACTIONS[found.kind].get(method)
    if not actions:
        return None
    return f"registry:catalog:{actions}" if found.kind == "catalog" else f"repository:{found.name}:{actions}"
