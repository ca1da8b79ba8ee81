"""Signatures of SIFs: what fits the bytes, whose key has signed it, and what only looks so.

What is signed is put together here by itself, from the bytes of a container; that Apptainer does the same is seen in tests/protocols.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pysequoia import SignatureMode, Tsk
from pysequoia import sign as sequoia_sign

from roadstead.access.verdicts import State, Verdict
from roadstead.sif import signatures
from roadstead.sif.facts import SignatureFacts
from roadstead.sif.format import DataType, HashType, Object, Signature
from roadstead.sif.signatures import LONGEST, check_signatures, judge
from tests.support.sifs import container, root, squashfs

PAIR = Tsk.generate("Ada <ada@example.org>")
OTHER = Tsk.generate("Mallory")
OBJECTS: tuple[tuple[Object, bytes], ...] = (
    (Object(DataType.DEFINITION), b"bootstrap: docker\n"),
    (Object(DataType.GENERIC, name="a name"), b"some bytes"),
    (root(), squashfs()),
)


def metadata(data: bytes, count: int, algorithm: str = "sha256") -> dict[str, Any]:
    """What is signed of a container's first objects."""

    def digest(content: bytes) -> str:
        return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"

    said = []
    for number in range(count):
        raw = data[4096 + 585 * number : 4096 + 585 * (number + 1)]
        offset, size = struct.unpack_from("<qq", raw, 17)
        protected = raw[:5] + struct.pack("<I", number) + raw[13:17] + raw[25:33] + raw[41:49] + raw[57:]
        said.append({"relativeId": number, "descriptorDigest": digest(protected), "objectDigest": digest(data[offset : offset + size])})
    return {"version": 1, "header": {"digest": digest(data[:45] + data[48:64])}, "objects": said}


def clear_signed(text: str, pair: Tsk = PAIR) -> bytes:
    return sequoia_sign(pair.signer(), text.encode(), mode=SignatureMode.CLEAR)


def with_signature(message: bytes, objects: Sequence[tuple[Object, bytes]] = OBJECTS, pair: Tsk = PAIR, link: int = 1) -> bytes:
    """A container with a signature of this content."""
    detail = Signature(HashType.SHA256, bytes.fromhex(pair.extract_certificate().fingerprint))
    signature = Object(DataType.SIGNATURE, group=0, link=link, link_to_group=True, detail=detail)
    return container([*objects, (signature, message)])


def signed(pair: Tsk = PAIR, algorithm: str = "sha256") -> bytes:
    """A container that is signed as Apptainer does."""
    said = metadata(container(list(OBJECTS)), len(OBJECTS), algorithm)
    return with_signature(clear_signed(json.dumps(said), pair), pair=pair)


async def check(data: bytes) -> SignatureFacts:
    async def read(offset: int, length: int) -> bytes:
        assert offset >= 0 and length >= 0 and offset + length <= len(data)
        return data[offset : offset + length]

    (found,) = await check_signatures(read, len(data))
    return found


def judged(found: SignatureFacts, *certificates: bytes, later: timedelta = timedelta(0)) -> Verdict:
    """What is thought of it now, or so much later. Keys and signatures have the time at which they were made."""
    return judge(found, certificates, lambda: datetime.now(UTC) + later)


def public(pair: Tsk) -> bytes:
    return bytes(pair.extract_certificate())


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_a_signature_that_holds(algorithm: str) -> None:
    found = await check(signed(algorithm=algorithm))
    assert (found.kind, found.group, found.fault) == ("pgp", 1, None)
    verdict = judged(found, public(OTHER), public(PAIR))
    assert (verdict.state, verdict.reason) == (State.VALID, None)
    assert verdict.fingerprint == PAIR.extract_certificate().fingerprint.upper()
    assert verdict.signed_at is not None and abs(verdict.signed_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_signature_by_an_unknown_key() -> None:
    found = await check(signed())
    assert judged(found).state == judged(found, public(OTHER)).state == State.UNKNOWN_KEY
    assert judged(found, b"rubbish").state == State.UNKNOWN_KEY


async def test_every_object_is_read_once_whatever_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "_PIECE", 1000)
    plain = container(list(OBJECTS))
    several = []
    for algorithm in ("sha256", "sha384", "sha512", "sha256"):
        detail = Signature(HashType.SHA256, bytes.fromhex(PAIR.extract_certificate().fingerprint))
        entity = Object(DataType.SIGNATURE, group=0, link=1, link_to_group=True, detail=detail)
        several.append((entity, clear_signed(json.dumps(metadata(plain, len(OBJECTS), algorithm)))))
    data = container([*OBJECTS, *several])
    pieces: list[tuple[int, int]] = []

    async def read(offset: int, length: int) -> bytes:
        pieces.append((offset, length))
        return data[offset : offset + length]

    found = await check_signatures(read, len(data))
    assert [(one.fault, one.primary) for one in found] == [(None, True)] * 4
    assert all(judged(one, public(PAIR)).state is State.VALID for one in found)
    (at,) = [at for at in range(len(data)) if data.startswith(squashfs(), at)]
    of_root = [(offset, length) for offset, length in pieces if offset + length > at and offset < at + len(squashfs())]
    assert sum(length for _, length in of_root) == len(squashfs())
    assert max(length for _, length in of_root) == 1000


async def test_one_signature_that_does_not_fit_spoils_no_other() -> None:
    plain = container(list(OBJECTS))
    good = metadata(plain, len(OBJECTS))
    wrong = json.loads(json.dumps(good))
    wrong["objects"][2]["objectDigest"] = good["objects"][1]["objectDigest"]
    detail = Signature(HashType.SHA256, bytes.fromhex(PAIR.extract_certificate().fingerprint))
    entity = Object(DataType.SIGNATURE, group=0, link=1, link_to_group=True, detail=detail)
    data = container([*OBJECTS, *((entity, clear_signed(json.dumps(said))) for said in (wrong, good))])

    async def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    first, second = await check_signatures(read, len(data))
    assert (first.fault, first.message, first.primary) == ("Object 3 is not what was signed.", None, False)
    assert (second.fault, second.primary) == (None, True)


async def test_a_signature_by_a_key_that_was_revoked() -> None:
    cert = PAIR.extract_certificate()
    revoked = bytes(cert) + bytes(cert.revoke(PAIR.certifier()))
    assert judged(await check(signed()), revoked).state == State.REVOKED_KEY


async def test_a_signature_by_a_key_that_has_expired_since() -> None:
    pair = Tsk.generate("brief", validity_seconds=3600)
    found = await check(signed(pair))
    assert judged(found, public(pair)).state == State.VALID
    assert judged(found, public(pair), later=timedelta(hours=2)).state == State.EXPIRED_KEY


async def test_a_signature_that_another_key_made() -> None:
    """The descriptor names a key that is trusted; the signature is by one that is not."""
    said = metadata(container(list(OBJECTS)), len(OBJECTS))
    found = await check(with_signature(clear_signed(json.dumps(said), OTHER), pair=PAIR))
    assert judged(found, public(PAIR), public(OTHER)).state == State.INVALID


async def test_a_signature_over_another_file() -> None:
    others = [*OBJECTS[:1], (Object(DataType.GENERIC, name="a name"), b"SOME BYTES"), *OBJECTS[2:]]
    said = metadata(container(others), len(others))
    found = await check(with_signature(clear_signed(json.dumps(said))))
    assert found.fault == "Object 2 is not what was signed."
    assert judged(found, public(PAIR)).state == State.ALTERED


@pytest.mark.parametrize(
    ("position", "fault"),
    [
        (10, "The header is not what was signed."),  # of the launch script
        (50, "The header is not what was signed."),  # of the identity
        (4096 + 585 + 75, "The descriptor of object 2 is not what was signed."),  # of its name
        (4096 + 585 * 2 + 41, "The descriptor of object 3 is not what was signed."),  # when it was made
    ],
)
async def test_what_was_changed_since_is_told(position: int, fault: str) -> None:
    data = bytearray(signed())
    data[position] ^= 1
    assert (await check(bytes(data))).fault == fault


async def test_what_may_change_may() -> None:
    """When the container was changed last, and where an object lies, are not signed."""
    data = bytearray(signed())
    data[72] ^= 1  # when it was changed
    assert (await check(bytes(data))).fault is None


async def test_every_byte_of_an_object_counts() -> None:
    data = signed()
    for number in range(len(OBJECTS)):
        offset, size = struct.unpack_from("<qq", data, 4096 + 585 * number + 17)
        for position in (offset, offset + size - 1):
            changed = bytearray(data)
            changed[position] ^= 1
            assert (await check(bytes(changed))).fault == f"Object {number + 1} is not what was signed."


async def test_an_object_more_or_less_than_was_signed() -> None:
    said = metadata(container(list(OBJECTS)), len(OBJECTS))
    message = clear_signed(json.dumps(said))
    more = [*OBJECTS, (Object(DataType.GENERIC, name="smuggled"), b"in")]
    for objects in (more, OBJECTS[:1] + OBJECTS[2:], OBJECTS[:2]):
        assert "all objects of its group" in str((await check(with_signature(message, objects))).fault)


async def test_a_signature_of_no_group() -> None:
    said = metadata(container(list(OBJECTS)), len(OBJECTS))
    assert (await check(with_signature(clear_signed(json.dumps(said)), link=9))).fault == "It signs no group of objects."


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("SIFHASH:\n" + "0" * 64, "old form"),
        ("{}", "cannot be read"),
        ("[" * 100_000, "too long"),
        ("[" * 10_000, "cannot be read"),
        ('{"version": 2, "header": {"digest": "sha256:0"}, "objects": []}', "version 2"),
        ('{"version": 1, "header": {"digest": "md5:0"}, "objects": []}', "all objects"),
        ("é" * 10, "cannot be read"),
    ],
    ids=["old", "nothing", "long", "deep", "newer", "weak", "no text"],
)
async def test_what_is_signed_may_be_anything(text: str, fault: str) -> None:
    assert fault in str((await check(with_signature(clear_signed(text)))).fault)


async def test_a_weak_digest_is_not_taken() -> None:
    said = metadata(container(list(OBJECTS)), len(OBJECTS), "md5")
    assert "digest" in str((await check(with_signature(clear_signed(json.dumps(said))))).fault)


@pytest.mark.parametrize("message", [b"", b"rubbish", b"\xff" * 100, b"-----BEGIN PGP SIGNED MESSAGE-----"])
async def test_a_signature_may_be_anything(message: bytes) -> None:
    found = await check(with_signature(message))
    assert judged(found, public(PAIR)).state in (State.ALTERED, State.UNSUPPORTED)


def test_dsse_of_a_time_at_which_it_was_not_kept_is_not_judged() -> None:
    assert judged(SignatureFacts("sha256", group=1, kind="dsse"), public(PAIR)).state == State.UNSUPPORTED


async def test_a_signature_that_is_too_long_is_not_read() -> None:
    found = await check(with_signature(b"x" * (LONGEST + 1)))
    assert found.fault == "It is too long to be looked at."


@pytest.mark.parametrize(("where", "state"), [("before", State.INVALID), ("in the head", State.ALTERED), ("behind", State.ALTERED)])
async def test_text_that_the_key_has_not_signed_is_not_taken_for_signed(where: str, state: State) -> None:
    """A message of a trusted key about another image, with one about this image beside it that nobody has signed."""
    honest = clear_signed(json.dumps(metadata(container(list(OBJECTS[:2])), 2)))
    forged = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n%s\n-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
    forged %= json.dumps(metadata(container(list(OBJECTS)), len(OBJECTS))).encode()
    beginning = forged.partition(b"-----BEGIN PGP SIGNATURE")[0]
    mixed = {"before": forged + honest, "in the head": beginning + honest, "behind": honest + forged}[where]
    assert judged(await check(with_signature(mixed)), public(PAIR)).state == state
