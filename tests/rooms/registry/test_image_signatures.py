"""Signatures of images by cosign and notation: what each is worth with the keys that a project trusts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from roadstead.access.actor import Actor
from roadstead.access.public_keys import parse
from roadstead.access.verdicts import State
from roadstead.oci.reference import TagName
from roadstead.registry import image_signatures
from roadstead.registry.claims import LONGEST
from roadstead.registry.image_signatures import ImageSignature
from roadstead.registry.registry import Registry
from tests.support.factories import APP, COPY, Image, ManualClock, image, index, push_image, push_manifest
from tests.support.image_signatures import cosign_bundle, cosign_old, cosign_tag, notation
from tests.support.pem import certificate, public_pem

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
TRUSTED = parse(public_pem(KEY))
IT = image("it")


@pytest.fixture(autouse=True)
def now(clock: ManualClock) -> datetime:
    clock.now = datetime.now(UTC)
    return clock.now


@pytest.fixture
async def pushed(registry: Registry, admin: Actor) -> Registry:
    """A registry with an image whose project trusts KEY."""
    await push_image(registry, admin, APP, IT, "latest")
    await registry.trust.add(admin, APP.project, public_pem(KEY).decode(), "the build")
    return registry


async def signatures(registry: Registry, of: Image = IT) -> list[ImageSignature]:
    row = await registry.manifests._selects.by_digest(APP, of.digest)
    assert row is not None
    return list(await registry.image_signatures.of(row.project_id, row.repository_id, row.digest))


async def state(registry: Registry, of: Image = IT) -> State:
    (one,) = await signatures(registry, of)
    return one.verdict.state


async def trust(registry: Registry, admin: Actor, pem: bytes) -> str:
    """Trust it; its fingerprint."""
    await registry.trust.add(admin, APP.project, pem.decode())
    return parse(pem).fingerprint


async def test_an_image_that_nobody_has_signed_has_none(pushed: Registry) -> None:
    assert await signatures(pushed) == []


async def test_a_signature_of_cosign_in_the_old_way(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, cosign_old(IT, KEY), cosign_tag(IT))
    (one,) = await signatures(pushed)
    assert (one.kind, one.verdict.state, one.verdict.fingerprint, one.name) == ("cosign", State.VALID, TRUSTED.fingerprint, "the build")


async def test_a_signature_of_cosign_as_a_bundle(pushed: Registry, admin: Actor) -> None:
    made = cosign_bundle(IT, KEY)
    await push_image(pushed, admin, APP, made)
    (one,) = await signatures(pushed)
    assert (one.verdict.state, one.verdict.fingerprint, one.manifest) == (State.VALID, TRUSTED.fingerprint, made.digest)


@pytest.mark.parametrize("private", [RSA, ed25519.Ed25519PrivateKey.generate()], ids=["RSA", "Ed25519"])
async def test_cosign_signs_by_other_keys_too(pushed: Registry, admin: Actor, private: Any) -> None:
    fingerprint = await trust(pushed, admin, public_pem(private))
    await push_image(pushed, admin, APP, cosign_old(IT, private), cosign_tag(IT))
    await push_image(pushed, admin, APP, cosign_bundle(IT, private))
    assert [(one.verdict.state, one.verdict.fingerprint) for one in await signatures(pushed)] == [(State.VALID, fingerprint)] * 2


@pytest.mark.parametrize("private", [KEY, RSA], ids=["ES256", "PS256"])
async def test_a_signature_of_notation(pushed: Registry, admin: Actor, private: Any) -> None:
    of_time = certificate(private, "Ada")
    fingerprint = await trust(pushed, admin, of_time.public_bytes(Encoding.PEM))
    await push_image(pushed, admin, APP, notation(IT, private, of_time))
    found = next(one for one in await signatures(pushed))
    assert (found.kind, found.verdict.state) == ("notation", State.VALID)
    assert found.verdict.fingerprint in (fingerprint, TRUSTED.fingerprint)  # the same key, with its certificate or without
    assert found.verdict.signed_at is not None


@pytest.mark.parametrize("make", [cosign_old, cosign_bundle])
async def test_a_signature_by_a_key_that_the_project_does_not_trust(pushed: Registry, admin: Actor, make: Any) -> None:
    await push_image(pushed, admin, APP, make(IT, OTHER), cosign_tag(IT))
    (one,) = await signatures(pushed)
    assert (one.verdict.state, one.verdict.fingerprint, one.name) == (State.UNKNOWN_KEY, None, None)


async def test_a_certificate_that_the_project_does_not_trust(pushed: Registry, admin: Actor) -> None:
    stranger = certificate(OTHER, "Ada")
    await push_image(pushed, admin, APP, notation(IT, OTHER, stranger))
    (one,) = await signatures(pushed)
    assert one.verdict.state is State.UNKNOWN_KEY
    assert parse(stranger.public_bytes(Encoding.PEM)).fingerprint in str(one.verdict.reason)


async def test_a_signature_that_claims_a_key_which_has_not_made_it(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, cosign_bundle(IT, OTHER, hinted=KEY))
    assert await state(pushed) is State.INVALID


async def test_a_jws_that_carries_the_certificate_of_another(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, notation(IT, OTHER, certificate(KEY, "Ada")))
    (one,) = await signatures(pushed)
    assert one.verdict.state is State.UNKNOWN_KEY  # what it carries is not what the project trusts
    of_time = certificate(KEY, "Ada")
    await trust(pushed, admin, of_time.public_bytes(Encoding.PEM))
    await push_image(pushed, admin, APP, notation(IT, OTHER, of_time))
    assert (await signatures(pushed))[0].verdict.state is State.INVALID


@pytest.mark.parametrize("make", [cosign_old, cosign_bundle, lambda it, key, **more: notation(it, key, certificate(key, "Ada"), **more)])
async def test_a_signature_over_another_digest(pushed: Registry, admin: Actor, make: Any) -> None:
    another = image("another")
    await push_image(pushed, admin, APP, make(IT, KEY, of=another), cosign_tag(IT))
    (one,) = await signatures(pushed)
    assert (one.verdict.state, another.digest in str(one.verdict.reason)) == (State.ALTERED, True)


async def test_a_signature_of_another_image_that_was_moved_under_the_tag(pushed: Registry, admin: Actor) -> None:
    another = image("another")
    await push_image(pushed, admin, APP, cosign_old(another, KEY), cosign_tag(IT))
    assert await state(pushed) is State.ALTERED


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b"\xff" * 100, b'{"a":' * 10_000, b'{"verificationMaterial":{},"dsseEnvelope":{}}', b"[]"]
)
async def test_a_damaged_signature(pushed: Registry, admin: Actor, content: bytes) -> None:
    await push_image(pushed, admin, APP, cosign_bundle(IT, KEY, content=content))
    assert await state(pushed) is State.ALTERED


@pytest.mark.parametrize("signature", ["", "*", "é", "AAAA"])
async def test_a_damaged_signature_of_the_old_way(pushed: Registry, admin: Actor, signature: str) -> None:
    await push_image(pushed, admin, APP, cosign_old(IT, KEY, signature=signature), cosign_tag(IT))
    assert await state(pushed) is (State.UNKNOWN_KEY if signature == "AAAA" else State.ALTERED)


async def test_one_that_is_too_long_is_not_read(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, cosign_bundle(IT, KEY, content=b"{" + b" " * LONGEST))
    assert await state(pushed) is State.ALTERED


@pytest.mark.parametrize(("since", "expected"), [(-2, State.EXPIRED_KEY), (0, State.VALID), (2, State.EXPIRED_KEY)])
async def test_a_certificate_counts_in_its_time(registry: Registry, admin: Actor, since: int, expected: State) -> None:
    await push_image(registry, admin, APP, IT)
    of_time = certificate(RSA, "Ada", timedelta(days=since))
    await trust(registry, admin, of_time.public_bytes(Encoding.PEM))
    await push_image(registry, admin, APP, notation(IT, RSA, of_time))
    assert await state(registry) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"io.cncf.notary.expiry": "2020-01-01T00:00:00Z"}, State.EXPIRED),
        ({"io.cncf.notary.expiry": "2999-01-01T00:00:00Z"}, State.VALID),
        ({"io.cncf.notary.expiry": "tomorrow"}, State.ALTERED),
        ({"io.cncf.notary.expiry": "2020-01-01T00:00:00"}, State.ALTERED),
        ({"crit": ["io.cncf.notary.signingScheme", "org.example.more"]}, State.UNSUPPORTED),
        ({"cty": "text/plain"}, State.ALTERED),
        ({"alg": "none"}, State.INVALID),
        ({"alg": "ES256"}, State.INVALID),
        ({"alg": "sha256"}, State.INVALID),
        ({"alg": 5}, State.ALTERED),
    ],
)
async def test_what_a_jws_says_of_itself(registry: Registry, admin: Actor, headers: Mapping[str, Any], expected: State) -> None:
    await push_image(registry, admin, APP, IT)
    of_time = certificate(RSA, "Ada")
    await trust(registry, admin, of_time.public_bytes(Encoding.PEM))
    await push_image(registry, admin, APP, notation(IT, RSA, of_time, protected=headers))
    assert await state(registry) is expected


async def test_cose_is_told_and_not_judged(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, notation(IT, KEY, certificate(KEY, "Ada"), cose=True))
    assert await state(pushed) is State.UNSUPPORTED


async def test_an_attestation_is_no_signature(pushed: Registry, admin: Actor) -> None:
    """Whoever states that a scanner has found faults does not say that the image may run."""
    await push_image(pushed, admin, APP, cosign_bundle(IT, KEY, predicate="https://cosign.sigstore.dev/attestation/vuln/v1"))
    assert await signatures(pushed) == []


async def test_what_refers_to_an_image_otherwise_is_no_signature(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, image("a bill of materials", subject=IT, artifact_type="application/spdx+json"))
    await push_image(pushed, admin, APP, index(subject=IT))
    assert await signatures(pushed) == []


async def test_a_signature_in_another_repository_does_not_count(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, COPY, IT, "latest")
    await push_image(pushed, admin, COPY, cosign_bundle(IT, KEY))
    assert await signatures(pushed) == []


async def test_keys_count_from_the_moment_they_are_trusted_until_they_are_not(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, cosign_bundle(IT, OTHER))
    assert await state(pushed) is State.UNKNOWN_KEY
    fingerprint = await trust(pushed, admin, public_pem(OTHER))
    assert await state(pushed) is State.VALID
    await pushed.trust.remove(admin, APP.project, fingerprint)
    assert await state(pushed) is State.UNKNOWN_KEY


async def test_a_signature_that_is_deleted_counts_no_more(pushed: Registry, admin: Actor) -> None:
    old, new = cosign_old(IT, KEY), cosign_bundle(IT, KEY)
    await push_image(pushed, admin, APP, old, cosign_tag(IT))
    await push_image(pushed, admin, APP, new)
    assert [one.verdict.state for one in await signatures(pushed)] == [State.VALID] * 2
    await pushed.manifests.delete(admin, APP, TagName(cosign_tag(IT)))
    assert [one.manifest for one in await signatures(pushed)] == [new.digest]
    await pushed.manifests.delete(admin, APP, new.digest)
    assert await signatures(pushed) == []


async def test_of_many_the_newest_are_looked_at(pushed: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_signatures, "MOST", 2)
    for private in (OTHER, RSA, KEY):
        await push_image(pushed, admin, APP, cosign_bundle(IT, private))
    assert [one.verdict.state for one in await signatures(pushed)] == [State.VALID, State.UNKNOWN_KEY]


async def test_other_referrers_do_not_hide_a_signature(pushed: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_signatures, "_WANTED", msgspec.structs.replace(image_signatures._WANTED, most=2))
    made = cosign_bundle(IT, KEY)
    await push_image(pushed, admin, APP, made)
    for number in range(3):
        await push_image(pushed, admin, APP, image(f"sbom {number}", subject=IT, artifact_type="application/spdx+json"))
        await push_image(pushed, admin, APP, cosign_bundle(IT, OTHER, predicate=f"https://cosign.sigstore.dev/attestation/{number}"))
    assert [one.manifest for one in await signatures(pushed)] == [made.digest]


async def test_attestations_that_do_not_say_so_do_not_hide_a_signature(
    pushed: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_signatures, "MOST", 1)
    monkeypatch.setattr(image_signatures, "_WANTED", msgspec.structs.replace(image_signatures._WANTED, most=4))
    made = cosign_bundle(IT, KEY, annotated=False)
    await push_image(pushed, admin, APP, made)
    for number in range(3):
        predicate = f"https://cosign.sigstore.dev/attestation/{number}"
        await push_image(pushed, admin, APP, cosign_bundle(IT, OTHER, predicate=predicate, annotated=False))
    assert [one.manifest for one in await signatures(pushed)] == [made.digest]


async def test_what_is_remembered_is_bounded_by_its_bytes(pushed: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_signatures, "_REMEMBERED", 6_000)
    for private in (KEY, OTHER, RSA, KEY, OTHER):
        await push_image(pushed, admin, APP, cosign_bundle(IT, private))
        await signatures(pushed)
        held = pushed.image_signatures._remembered.values()
        assert sum(len(claim.message) for claims in held for claim in claims) < 6_000
        assert pushed.image_signatures._held <= 6_000
    assert len(await signatures(pushed)) == 5


async def test_one_whose_bytes_are_gone_is_told(pushed: Registry, admin: Actor) -> None:
    made = cosign_bundle(IT, KEY)
    await push_image(pushed, admin, APP, made)
    await pushed.blobs.delete(admin, APP, made.blobs[1].digest)
    assert await state(pushed) is State.ALTERED
    await push_image(pushed, admin, APP, made)
    assert await state(pushed) is State.VALID


async def test_a_manifest_under_the_tag_that_is_no_signature(pushed: Registry, admin: Actor) -> None:
    await push_image(pushed, admin, APP, image("something"), cosign_tag(IT))
    assert await signatures(pushed) == []


async def test_an_old_manifest_of_many_signatures(pushed: Registry, admin: Actor) -> None:
    """As cosign appends: one layer each."""
    first, second = cosign_old(IT, OTHER), cosign_old(IT, KEY)
    body = json.loads(first.content)
    body["layers"] += json.loads(second.content)["layers"]
    both = Image(json.dumps(body).encode(), first.media_type, (*first.blobs, second.blobs[1]))
    await push_image(pushed, admin, APP, both, cosign_tag(IT))
    assert {one.verdict.state for one in await signatures(pushed)} == {State.VALID, State.UNKNOWN_KEY}
    await push_manifest(pushed, admin, APP, both, cosign_tag(IT))
