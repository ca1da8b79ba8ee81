"""What is looked at before Sequoia sees it: packets, armour, sizes; and what a key or a message of two kilobytes may cost."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pysequoia import ArmorKind, CipherSuite, Tsk, armor

from roadstead.access import openpgp
from roadstead.access.openpgp_packets import Packet, unarmored, walk
from roadstead.errors import InvalidInput, RoadsteadError, TooLarge
from tests.support.openpgp import HandMade, compressed, key_body, literal, number, packet

MEGABYTE = 1024 * 1024

MEASURE = """
import resource, sys
from roadstead.access import openpgp
from roadstead.errors import InvalidInput
with open(sys.argv[2], "rb") as file:
    given = file.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "key":
    try:
        openpgp.parse(given)
    except InvalidInput:
        pass
    else:
        raise SystemExit("it was accepted")
else:
    assert openpgp.signature_time(given) is None
    with open(sys.argv[3], "rb") as file:
        assert openpgp.verify(given, file.read()) is None
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.fixture(scope="module")
def pair() -> HandMade:
    return HandMade()


def bomb() -> bytes:
    """A gigabyte and more, packed twice into two kilobytes."""
    small = compressed(compressed(literal(8 * MEGABYTE)) * 128)
    assert len(small) < 8 * 1024
    return small


def grown(tmp_path: Path, kind: str, given: bytes, key: bytes = b"") -> int:
    """The bytes of memory that it costs, measured in a process of its own."""
    files = [tmp_path / "given", tmp_path / "key"]
    for file, content in zip(files, (given, key), strict=True):
        file.write_bytes(content)
    done = subprocess.run([sys.executable, "-c", MEASURE, kind, *map(str, files)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("in_armor", [True, False])
def test_a_small_key_costs_little_memory(tmp_path: Path, pair: HandMade, in_armor: bool) -> None:
    given = pair.certificate("Ada <ada@example.org>") + bomb()
    text = armor(given, ArmorKind.PublicKey).encode() if in_armor else given
    assert grown(tmp_path, "key", text) < 64 * MEGABYTE


def test_a_small_signature_costs_little_memory(tmp_path: Path, pair: HandMade) -> None:
    message = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n" + armor(bomb(), ArmorKind.Signature).encode()
    assert grown(tmp_path, "message", message, pair.certificate("Ada <ada@example.org>")) < 64 * MEGABYTE


def test_a_message_has_so_many_signatures_and_nothing_else(pair: HandMade) -> None:
    one = packet(2, pair.signature(0x01, b"x"))
    text = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n"

    def message(signatures: bytes) -> bytes:
        return text + armor(signatures, ArmorKind.Signature).encode()

    assert openpgp.signature_time(message(one)) is not None
    assert openpgp.verify(message(one), pair.certificate("Ada")) == b"x"
    assert openpgp.verify(message(one * 8), pair.certificate("Ada")) == b"x"
    other = b"-----BEGIN PGP MESSAGE-----\n\neHg=\n-----END PGP MESSAGE-----\n"
    for wrong in (
        message(one * 9),
        message(one + literal(1)),
        message(b""),
        message(one)[1:],
        text,
        text + other + message(one)[len(text) :],
    ):
        assert openpgp.signature_time(wrong) is None
        assert openpgp.verify(wrong, pair.certificate("Ada")) is None


@pytest.mark.parametrize("tag", [0, 1, 3, 4, 8, 9, 11, 18, 19, 20, 40, 60, 63])
def test_a_key_is_made_of_its_own_packets_only(pair: HandMade, tag: int) -> None:
    with pytest.raises(InvalidInput):
        openpgp.parse(pair.certificate("Ada") + packet(tag, b"x"))


@pytest.mark.parametrize("tag", [5, 7])
def test_a_private_key_is_known_by_its_packets(pair: HandMade, tag: int) -> None:
    with pytest.raises(InvalidInput, match="private key"):
        openpgp.parse(pair.certificate("Ada") + packet(tag, pair.body))


@pytest.mark.parametrize(
    "packets", [packet(12, b"\x01\x78"), packet(10, b"PGP"), packet(21, b"\0" * 100)], ids=["trust", "marker", "padding"]
)
def test_what_else_a_key_may_hold(pair: HandMade, packets: bytes) -> None:
    assert openpgp.parse(pair.certificate("Ada") + packets).fingerprint == pair.fingerprint


@pytest.mark.parametrize(
    "material",
    [number(16385) + number(17), number(2048) + number(65), number(65535) + number(65535)],
    ids=["modulus", "exponent", "both"],
)
def test_numbers_have_bounds(pair: HandMade, material: bytes) -> None:
    """They hold for subkeys too, which are verified as well."""
    large = key_body(1, material)
    for text in (packet(6, large) + packet(13, b"Ada"), pair.certificate("Ada") + packet(14, large)):
        with pytest.raises(InvalidInput, match="bits"):
            openpgp.parse(text)


@pytest.mark.parametrize("material", [number(4097), number(3072) + number(513)])
def test_the_numbers_of_dsa_have_bounds(pair: HandMade, material: bytes) -> None:
    with pytest.raises(InvalidInput, match="bits"):
        openpgp.parse(pair.certificate("Ada") + packet(14, key_body(17, material)))


def test_an_ordinary_rsa_key_is_within_them() -> None:
    cert = Tsk.generate(user_ids=["Ada"], cipher_suite=CipherSuite.RSA2k).extract_certificate()
    found = openpgp.parse(str(cert).encode())
    assert (found.algorithm, found.bits) == (1, 2048)


# --- packets --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "tag", "length"),
    [
        (b"\xcd\x02", 13, 2),
        (b"\xcd\xc0\x00", 13, 192),
        (b"\xcd\xdf\xff", 13, 8383),
        (b"\xcd\xff\x00\x00\x00\x02", 13, 2),
        (b"\xb4\x02", 13, 2),
        (b"\xb5\x01\x00", 13, 256),
        (b"\xb6\x00\x00\x00\x02", 13, 2),
    ],
)
def test_every_form_of_length(written: bytes, tag: int, length: int) -> None:
    body = b"x" * length
    assert list(walk(written + body + b"\xcd\x01y")) == [Packet(tag, body), Packet(13, b"y")]
    with pytest.raises(InvalidInput):
        list(walk(written + body[:-1]))


@pytest.mark.parametrize(
    "written", [b"\xcd", b"\xcd\xe0x", b"\xcd\xfex", b"\xcd\xc0", b"\xcd\xff\x00", b"\xb7x", b"\xb5\x00", b"\xb4", b"\x4d\x01x", b"plain"]
)
def test_what_is_no_packet(written: bytes) -> None:
    """Among them partial lengths (224 to 254), and those that are left to the end."""
    with pytest.raises(InvalidInput):
        list(walk(written))


@given(st.binary(max_size=300))
def test_any_bytes_are_packets_or_refused(content: bytes) -> None:
    with suppress(InvalidInput):
        assert sum(len(one.body) for one in walk(content)) <= len(content)


# --- armour ---------------------------------------------------------------------------------------------------------------------------


def block(lines: str, kind: str = "PUBLIC KEY BLOCK") -> bytes:
    return f"-----BEGIN PGP {kind}-----\n{lines}\n-----END PGP {kind}-----\n".encode()


@pytest.mark.parametrize(
    "lines",
    ["\neHg=\n=abcd", "eHg=", "Comment: it is ä\nVersion: 1\n\neHg=", "\r\neHg=\r", "\n  eHg=  \n\n", "Comment:\n\ne\nHg="],
)
def test_armour_comes_in_many_forms(lines: str) -> None:
    assert unarmored(b"as it was mailed:\n" + block(lines)) == ("PUBLIC KEY BLOCK", b"xx")


@pytest.mark.parametrize("text", [block("\n!!!!"), block("\neHg"), block("\neHg=")[:-20], b"-----BEGIN PGP ", block("", "K" * 41)])
def test_armour_that_is_damaged(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        unarmored(text)


def test_what_is_in_armour_is_one_public_key(pair: HandMade) -> None:
    key = pair.certificate("Ada")
    for text, said in (
        (armor(key, ArmorKind.PublicKey) * 2, "one key at a time"),
        (armor(key, ArmorKind.SecretKey), "private key"),
        (armor(key, ArmorKind.Message), "but a message"),
    ):
        with pytest.raises(InvalidInput, match=said):
            openpgp.parse(text.encode())


def test_armour_in_a_user_id_is_a_user_id(pair: HandMade) -> None:
    inside = str(Tsk.generate(user_ids=["Mallory"]).extract_certificate())
    assert openpgp.parse(pair.certificate(inside)).fingerprint == pair.fingerprint


def test_many_headers_and_beginnings_are_read_once(pair: HandMade) -> None:
    for text in (b"-----BEGIN PGP X-----\n" * 5000, block("A: b\n" * 20_000 + "\neHg=")):
        with pytest.raises(RoadsteadError):
            openpgp.parse(text)
    with pytest.raises(TooLarge):
        openpgp.parse(packet(6, pair.body) + packet(13, b"x" * openpgp.LARGEST))
