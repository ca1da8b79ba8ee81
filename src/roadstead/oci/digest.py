"""Digests: the names of content by its hash (image-spec v1.1, descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from roadstead.errors import InvalidDigest, UnsupportedAlgorithm

ALGORITHMS: Mapping[str, int] = MappingProxyType({"sha256": 64, "sha512": 128})
"""Each supported algorithm and the number of hexadecimal digits of its hash (image-spec, descriptor.md, "Registered Algorithms")."""

DIGEST_LIMIT = 256
"""The longest text (characters) looked at as a digest. The specification sets none; sha512, the longest supported, takes 135."""

_SUPPORTED = re.compile("|".join(f"{name}:[0-9a-f]{{{length}}}" for name, length in ALGORITHMS.items()))
_ALGORITHM = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*")
_ENCODED = re.compile(r"[a-zA-Z0-9=_-]+")


class Digest(str):
    """A valid digest of a supported algorithm, such as ``sha256:<64 hexadecimal digits>``.

    It is a `str`, so it binds to SQL, hashes and compares as its text. Text from outside enters by `parse`; calling the class
    itself checks nothing and is only for text that was a Digest before, such as a database column.
    """

    __slots__ = ()

    @property
    def algorithm(self) -> str:
        """The part before the colon: a key of `ALGORITHMS`."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The part after the colon: the hash in lower-case hexadecimal."""
        return self.partition(":")[2]

    def matches(self, content: bytes) -> bool:
        """Whether `content` hashes to this digest."""
        return hashlib.new(self.algorithm, content, usedforsecurity=False).hexdigest() == self.encoded

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read a digest (image-spec, descriptor.md, "Digests": ``algorithm ":" encoded``).

        Raises UnsupportedAlgorithm if the text is well formed but of an algorithm not in `ALGORITHMS`, else InvalidDigest with
        the rule that it breaks.
        """
        if _SUPPORTED.fullmatch(text):
            return cls(text)
        raise _refusal(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of `content`. Raises UnsupportedAlgorithm."""
        if algorithm not in ALGORITHMS:
            raise _unsupported(algorithm)
        return cls(f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}")

    @classmethod
    def from_hash(cls, algorithm: str, hexdigest: str) -> Digest:
        """The digest with this hash in lower-case hexadecimal. Raises as `parse` does."""
        return cls.parse(f"{algorithm}:{hexdigest}")


def _refusal(text: str) -> InvalidDigest:
    """Say which rule `text`, which is not a supported digest, breaks."""
    algorithm, colon, encoded = text.partition(":")
    if len(text) > DIGEST_LIMIT:
        return _invalid(text, f"it has {len(text)} characters; at most {DIGEST_LIMIT} are allowed")
    if not colon:
        return _invalid(text, "it has no colon between algorithm and hash")
    if not _ALGORITHM.fullmatch(algorithm):
        return _invalid(text, "before the colon there must be an algorithm in lower-case letters and digits")
    if not _ENCODED.fullmatch(encoded):
        return _invalid(text, "after the colon there must be a hash of letters, digits, '=', '_' and '-'")
    if algorithm not in ALGORITHMS:
        return _unsupported(algorithm)
    if len(encoded) != ALGORITHMS[algorithm]:
        return _invalid(text, f"a {algorithm} hash has {ALGORITHMS[algorithm]} digits, this one {len(encoded)}")
    return _invalid(text, f"a {algorithm} hash is written with the digits 0-9 and a-f only, in lower case")


def _invalid(text: str, rule: str) -> InvalidDigest:
    return InvalidDigest(f"The digest {text[:80]!r} is not valid: {rule}.")


def _unsupported(algorithm: str) -> UnsupportedAlgorithm:
    known = " and ".join(ALGORITHMS)
    return UnsupportedAlgorithm(f"The digest algorithm {algorithm[:80]!r} is not supported: this registry takes {known}.")
