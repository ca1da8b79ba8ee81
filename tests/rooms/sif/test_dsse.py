"""Signatures of SIFs by keys that are not OpenPGP's: whose they are, and what projects that ask for signatures make of them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.public_keys import PublicKey, parse
from roadstead.access.verdicts import State, Verdict
from roadstead.content.memory import MemoryStore
from roadstead.errors import Conflict, Denied, GateRefused, InvalidInput, NotFound, TooLarge
from roadstead.metadata.database import Database
from roadstead.oci.reference import TagName
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.sif.facts import SignatureFacts
from roadstead.sif.format import DataType, HashType, Object, Signature
from roadstead.sif.gate import SifGate
from roadstead.sif.signatures import PAYLOAD_TYPE, judge
from roadstead.sif.signed import ShownSignatures
from roadstead.sif.signed_only import SignedOnly
from tests.conftest import MakeRegistry
from tests.rooms.sif.test_signatures import OBJECTS, PAIR, check, metadata, public
from tests.support.factories import APP, ManualClock, push_image
from tests.support.pem import certificate, public_pem
from tests.support.sifs import container, root, sif_artifact, squashfs

LATEST = TagName("latest")
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
TRUSTED = parse(public_pem(KEY))


def envelope(said: Any, private: ec.EllipticCurvePrivateKey = KEY, **fields: Any) -> bytes:
    """As `apptainer sign --key` writes it."""
    payload = json.dumps(said).encode()
    encoding = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode() + payload
    made = {"keyid": parse(public_pem(private)).key_id, "sig": base64.b64encode(private.sign(encoding, ec.ECDSA(hashes.SHA256()))).decode()}
    return json.dumps({"payloadType": PAYLOAD_TYPE, "payload": base64.b64encode(payload).decode(), "signatures": [made], **fields}).encode()


def with_envelope(message: bytes, objects: Any = OBJECTS, link: int = 1, named: bytes = bytes(20)) -> bytes:
    detail = Signature(HashType.SHA256, named)
    return container([*objects, (Object(DataType.SIGNATURE, group=0, link=link, link_to_group=True, detail=detail), message)])


def signed(private: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return with_envelope(envelope(metadata(container(list(OBJECTS)), len(OBJECTS)), private))


def judged(found: SignatureFacts, *keys: PublicKey) -> Verdict:
    return judge(found, [], lambda: datetime.now(UTC), keys)


async def test_a_signature_that_holds() -> None:
    found = await check(signed())
    assert (found.kind, found.fingerprint, found.fault, found.primary) == ("dsse", None, None, True)
    assert judged(found, parse(public_pem(OTHER)), TRUSTED) == Verdict(State.VALID, TRUSTED.fingerprint)


async def test_a_signature_by_an_unknown_key_names_it() -> None:
    for keys in ([], [parse(public_pem(OTHER))]):
        verdict = judged(await check(signed()), *keys)
        assert (verdict.state, TRUSTED.key_id in str(verdict.reason)) == (State.UNKNOWN_KEY, True)


async def test_a_signature_that_another_key_made() -> None:
    """The envelope names a key that is trusted; the signature is by one that is not."""
    said = metadata(container(list(OBJECTS)), len(OBJECTS))
    mallory = json.loads(envelope(said, OTHER))["signatures"][0]["sig"]
    forged = with_envelope(envelope(said, signatures=[{"keyid": TRUSTED.key_id, "sig": mallory}]))
    assert judged(await check(forged), TRUSTED).state == State.INVALID


async def test_a_payload_that_nobody_signed() -> None:
    """The signature of a trusted key over another file, in an envelope with this file's payload."""
    others = metadata(container(list(OBJECTS[:2])), 2)
    honest = json.loads(envelope(others))["signatures"]
    said = metadata(container(list(OBJECTS)), len(OBJECTS))
    assert judged(await check(with_envelope(envelope(said, signatures=honest))), TRUSTED).state == State.INVALID


async def test_a_signature_over_another_file() -> None:
    others = [*OBJECTS[:1], (Object(DataType.GENERIC, name="a name"), b"SOME BYTES"), *OBJECTS[2:]]
    found = await check(with_envelope(envelope(metadata(container(others), len(others)))))
    assert (found.fault, judged(found, TRUSTED).state) == ("Object 2 is not what was signed.", State.ALTERED)


@pytest.mark.parametrize(("since", "state"), [(-2, State.EXPIRED_KEY), (0, State.VALID), (2, State.EXPIRED_KEY)])
async def test_a_certificate_counts_in_its_time(since: int, state: State) -> None:
    of_time = parse(certificate(KEY, "Ada", timedelta(days=since)).public_bytes(Encoding.PEM))
    assert judged(await check(signed()), of_time) == Verdict(
        state, of_time.fingerprint, reason=judged(await check(signed()), of_time).reason
    )
    assert judged(await check(signed()), of_time, TRUSTED).state == State.VALID


@pytest.mark.parametrize(
    "message",
    [
        b"{",
        b'{"payloadType": "application/vnd.sylabs.sif-metadata+json"}',
        envelope({}),
        envelope({}, payloadType="application/vnd.in-toto+json"),
        envelope({}, payload="*"),
        envelope({}, payload="é"),
        envelope({}, signatures=[]),
        envelope({}, signatures=[{"sig": ""}] * 17),
        b'{"a":' * 10_000,
        b"{\xff",
    ],
    ids=["cut", "nothing", "no metadata", "another type", "no base64", "no ascii", "unsigned", "many", "deep", "no text"],
)
async def test_an_envelope_may_be_anything(message: bytes) -> None:
    assert judged(await check(with_envelope(message)), TRUSTED).state == State.ALTERED


async def test_an_envelope_that_names_no_key_is_nobodys() -> None:
    said = metadata(container(list(OBJECTS)), len(OBJECTS))
    made = json.loads(envelope(said))["signatures"][0]["sig"]
    assert judged(await check(with_envelope(envelope(said, signatures=[{"sig": made}]))), TRUSTED).state == State.UNKNOWN_KEY


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> OpenPgpKeys:
    clock.now = datetime.now(UTC)
    return OpenPgpKeys(database, clock)


@pytest.fixture
def registry(make_registry: MakeRegistry, database: Database, store: MemoryStore, keys: OpenPgpKeys, clock: ManualClock) -> Registry:
    gate = SignedOnly(database, keys, ImageSignatures(database, store, clock), clock)
    return make_registry(seams=Seams(push_gate=SifGate(database, store, clock), pull_gate=gate))


async def test_it_is_shown_by_the_keys_that_the_project_trusts(
    database: Database, registry: Registry, keys: OpenPgpKeys, clock: ManualClock, admin: Actor
) -> None:
    shown = ShownSignatures(database, registry.repositories, registry.image_signatures, keys, clock)
    await push_image(registry, admin, APP, sif_artifact(signed()), "latest")
    (one,) = await shown.all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.kind, one.fingerprint) == ("unknown-key", "dsse", None)
    await registry.trust.add(admin, APP.project, public_pem(KEY).decode())
    (one,) = await shown.all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.fingerprint, one.owner, one.reason) == ("valid", TRUSTED.fingerprint, None, None)


async def test_the_openpgp_key_that_is_named_beside_an_envelope_says_nothing(
    database: Database, registry: Registry, keys: OpenPgpKeys, clock: ManualClock, admin: Actor, user: Actor
) -> None:
    """An envelope by anybody, whose descriptor names the key of somebody who is known here."""
    await keys.push(user, public(PAIR))
    message = envelope(metadata(container(list(OBJECTS)), len(OBJECTS)), OTHER)
    named = bytes.fromhex(PAIR.extract_certificate().fingerprint)
    await push_image(registry, admin, APP, sif_artifact(with_envelope(message, named=named)), "latest")
    (one,) = await ShownSignatures(database, registry.repositories, registry.image_signatures, keys, clock).all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.fingerprint, one.owner, one.user_ids) == ("unknown-key", None, None, ())


async def test_a_pull_is_refused_until_a_trusted_key_has_signed(registry: Registry, admin: Actor) -> None:
    await registry.trust.add(admin, APP.project, public_pem(KEY).decode(), "the build")
    await registry.trust.require(admin, APP.project, sifs=True)
    await push_image(registry, admin, APP, sif_artifact(signed(OTHER)), "latest")
    with pytest.raises(GateRefused) as caught:
        await registry.manifests.get(ANONYMOUS, APP, LATEST)
    assert f"{TRUSTED.fingerprint} (the build)" in caught.value.message
    await push_image(registry, admin, APP, sif_artifact(signed()), "latest")
    await registry.manifests.get(ANONYMOUS, APP, LATEST)


async def test_a_certificate_that_has_expired_lets_nothing_out(registry: Registry, clock: ManualClock, admin: Actor) -> None:
    of_time = certificate(KEY, "Ada")
    await registry.trust.add(admin, APP.project, of_time.public_bytes(Encoding.PEM).decode())
    await registry.trust.require(admin, APP.project, sifs=True)
    await push_image(registry, admin, APP, sif_artifact(signed()), "latest")
    await registry.manifests.get(ANONYMOUS, APP, LATEST)
    clock.now = of_time.not_valid_after_utc
    with pytest.raises(GateRefused, match="The certificate expired on"):
        await registry.manifests.get(ANONYMOUS, APP, LATEST)


async def test_of_several_sifs_in_one_manifest_the_signatures_inside_are_not_shown(
    database: Database, registry: Registry, keys: OpenPgpKeys, clock: ManualClock, admin: Actor
) -> None:
    shown = ShownSignatures(database, registry.repositories, registry.image_signatures, keys, clock)
    await push_image(registry, admin, APP, sif_artifact(signed(), container([(root(), squashfs())])), "latest")
    assert await shown.all(ANONYMOUS, APP, LATEST) == []


async def test_a_signature_of_another_group_only_does_not_count(registry: Registry, admin: Actor) -> None:
    note = (Object(DataType.GENERIC, name="a name"), b"some bytes")
    objects = [note, (Object(DataType.PARTITION, group=2, detail=root().detail), squashfs())]
    await registry.trust.add(admin, APP.project, public_pem(KEY).decode())
    await registry.trust.require(admin, APP.project, sifs=True)
    data = with_envelope(envelope(metadata(container(objects), 1)), objects)
    await push_image(registry, admin, APP, sif_artifact(data), "latest")
    with pytest.raises(GateRefused, match="does not cover the root file system"):
        await registry.manifests.get(ANONYMOUS, APP, LATEST)


async def test_keys_in_pem_are_added_and_removed_by_who_configures(registry: Registry, admin: Actor, user: Actor) -> None:
    pem = certificate(KEY, "Ada").public_bytes(Encoding.PEM).decode()
    with pytest.raises(Denied):
        await registry.trust.add(user, APP.project, pem)
    await registry.trust.add(admin, APP.project, pem)
    with pytest.raises(Conflict):
        await registry.trust.add(admin, APP.project, pem)
    with pytest.raises(InvalidInput):
        await registry.trust.add(admin, APP.project, "-----BEGIN CERTIFICATE-----")
    with pytest.raises(TooLarge):
        await registry.trust.add(admin, APP.project, pem + " " * 5_000_000)
    (one,) = (await registry.trust.of_project(admin, APP.project)).keys
    assert (one.kind, one.name, len(one.fingerprint)) == ("certificate", "CN=Ada", 64)
    await registry.trust.remove(admin, APP.project, one.fingerprint.lower())
    with pytest.raises(NotFound):
        await registry.trust.remove(admin, APP.project, one.fingerprint)
