from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.content import hashing
from roadstead.content.hashing import LAYOUTS, Hashes, HashStates, Layout, wanted
from roadstead.errors import UnsupportedAlgorithm
from roadstead.oci.digest import ALGORITHMS, Digest

BOTH = frozenset({"sha256", "sha512"})
CODEC = """
import sys, msgspec
from roadstead.content.hashing import Hashes, HashStates
offset, state, rest = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=tuple[int, HashStates, bytes])
hashes = Hashes.restore(offset, ["sha256", "sha512"], state)
hashes.update(rest)
print(" ".join(sorted(hashes.digests().values())))
"""


def digests(content: bytes) -> dict[str, Digest]:
    return {algorithm: Digest.of(content, algorithm) for algorithm in BOTH}


def carried(hashes: Hashes, offset: int) -> Hashes:
    return Hashes.restore(offset, BOTH, msgspec.msgpack.decode(msgspec.msgpack.encode(hashes.export()), type=HashStates))


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_hashes_that_are_put_away_after_each_piece_see_the_whole(pieces: list[bytes]) -> None:
    hashes, offset = Hashes.begin(BOTH), 0
    for piece in pieces:
        hashes.update(piece)
        offset += len(piece)
        hashes = carried(hashes, offset)
    assert hashes.digests() == digests(b"".join(pieces))


def test_digests_may_be_asked_for_on_the_way() -> None:
    hashes = Hashes.begin(BOTH)
    hashes.update(b"abc")
    assert hashes.digests() == hashes.digests() == digests(b"abc")
    hashes.update(b"def")
    assert hashes.digests() == digests(b"abcdef")


def test_another_process_goes_on() -> None:
    hashes = Hashes.begin(BOTH)
    hashes.update(b"x" * 1001)
    sent = msgspec.msgpack.encode((1001, hashes.export(), b"y" * 77))
    done = subprocess.run([sys.executable, "-c", CODEC], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().split() == sorted(digests(b"x" * 1001 + b"y" * 77).values())


def test_this_machine_can_export_hashes() -> None:
    assert Hashes.begin(BOTH).export().states.keys() == BOTH
    assert hashing.marker()


def test_the_states_of_another_kind_of_process_are_ignored() -> None:
    hashes = Hashes.begin(BOTH)
    hashes.update(b"abc")
    foreign = msgspec.structs.replace(hashes.export(), marker="OpenSSL 9.9.9 vax")
    assert Hashes.restore(3, BOTH, foreign).algorithms == frozenset()


def test_a_state_of_the_wrong_length_is_ignored() -> None:
    states = HashStates(hashing.marker(), {"sha256": bytes(111), "sha512": bytes(217), "md5": bytes(92)})
    assert Hashes.restore(3, BOTH, states).algorithms == frozenset()


def test_without_libcrypto_hashes_work_and_are_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_libcrypto", lambda: None)
    hashes = Hashes.begin(BOTH)
    hashes.update(b"abc")
    assert hashes.digests() == digests(b"abc")
    assert hashes.export().states == {}


def test_a_library_without_the_functions_is_not_used() -> None:
    assert not hashing._proven(ctypes.CDLL(None))


@pytest.mark.parametrize("algorithm", sorted(BOTH))
def test_a_struct_that_is_larger_than_we_believe_is_noticed(algorithm: str) -> None:
    library, right = hashing._libcrypto(), LAYOUTS[algorithm]
    assert library is not None
    assert hashing._agrees(library, algorithm, right)
    assert not hashing._agrees(library, algorithm, Layout(right.prefix, right.context - 8, right.digest))


def test_the_algorithms_are_those_of_digests() -> None:
    assert LAYOUTS.keys() == ALGORITHMS.keys()
    assert all(layout.digest == hashlib.new(algorithm).digest_size for algorithm, layout in LAYOUTS.items())


def test_sha256_is_always_wanted() -> None:
    assert wanted(()) == {"sha256"}
    assert wanted({"sha512"}) == BOTH
    with pytest.raises(UnsupportedAlgorithm):
        wanted({"sha1"})
