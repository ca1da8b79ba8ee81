from __future__ import annotations

import hashlib
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.errors import InvalidDigest, UnsupportedAlgorithm
from roadstead.oci.digest import ALGORITHMS, Digest

any_text = st.text(st.characters())
algorithms = st.sampled_from(sorted(ALGORITHMS))


@given(st.binary(), algorithms)
def test_a_digest_survives_the_round_trip_through_text(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest == Digest.from_hash(digest.algorithm, digest.encoded)
    assert digest.encoded == hashlib.new(algorithm, content).hexdigest()


@given(st.binary(), st.binary(), algorithms)
def test_a_digest_matches_its_own_content_only(content: bytes, other: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert digest.matches(content)
    assert digest.matches(other) == (content == other)


@given(any_text | st.from_regex(r"[a-z0-9+._-]{1,9}:[a-zA-Z0-9=_-]*", fullmatch=True) | st.from_regex(r"sha(256|512):[0-9a-fA-F]*\n?"))
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidDigest as error:
        assert error.message.endswith(".")
        assert len(error.message) < 1200
    else:
        assert digest == text
        assert len(digest.encoded) == ALGORITHMS[digest.algorithm]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "no colon"),
        ("latest", "no colon"),
        ("sha256", "no colon"),
        ("sha256:", "after the colon there must be a hash"),
        (":" + "0" * 64, "before the colon there must be an algorithm"),
        ("SHA256:" + "0" * 64, "before the colon there must be an algorithm"),
        ("sha256+:" + "0" * 64, "before the colon there must be an algorithm"),
        ("sha256:baddigeststring", "a sha256 hash has 64 digits, this one 15"),
        ("sha256:" + "0" * 63, "has 64 digits, this one 63"),
        ("sha512:" + "0" * 64, "has 128 digits, this one 64"),
        ("sha256:" + "A" * 64, "in lower case"),
        ("sha256:" + "g" * 64, "0-9 and a-f only"),
        ("sha256:" + "0" * 63 + "\u0660", "after the colon there must be a hash"),
        ("sha256:" + "0" * 64 + "\n", "after the colon there must be a hash"),
        ("sha256:../../etc/passwd", "after the colon there must be a hash"),
        ("sha256:" + "0" * 10_000, "it has 10007 characters; at most 256 are allowed"),
    ],
)
def test_a_refusal_says_which_rule_broke(text: str, rule: str) -> None:
    with pytest.raises(InvalidDigest) as refusal:
        Digest.parse(text)
    assert rule in refusal.value.message
    assert not isinstance(refusal.value, UnsupportedAlgorithm)


@pytest.mark.parametrize(
    "text",
    ["md5:" + "0" * 32, "blake3:" + "0" * 64, "sha384:" + "0" * 96, "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8"],
)
def test_a_well_formed_digest_of_another_algorithm_is_unsupported(text: str) -> None:
    with pytest.raises(UnsupportedAlgorithm, match="this registry takes sha256 and sha512"):
        Digest.parse(text)


def test_hashing_by_another_algorithm_is_unsupported() -> None:
    with pytest.raises(UnsupportedAlgorithm, match="md5"):
        Digest.of(b"", "md5")


def test_a_digest_binds_to_sql_as_text() -> None:
    digest = Digest.of(b"content")
    with sqlite3.connect(":memory:") as connection:
        assert connection.execute("select ?, typeof(?)", (digest, digest)).fetchone() == (str(digest), "text")
    connection.close()
