"""Projects that give out only signed images: what goes out in whatever form, what does not and why, and that signers can do their work."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pysequoia import Tsk
from sqlalchemy import update

from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.public_keys import parse
from roadstead.content.memory import MemoryStore
from roadstead.errors import BlobUnknown, Conflict, GateRefused, Unauthenticated
from roadstead.metadata.database import Database
from roadstead.metadata.repositories import RepositorySelects
from roadstead.metadata.schema import manifest_references
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, TagName
from roadstead.registry import image_signatures
from roadstead.registry.claims import SIMPLE_SIGNING
from roadstead.registry.image_signatures import ImageSignature, ImageSignatures
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.sif.gate import SifGate
from roadstead.sif.signed_only import SignedOnly
from tests.conftest import MakeRegistry
from tests.rooms.sif.test_dsse import signed
from tests.support.factories import APP, Blob, Image, ManualClock, image, index, narrowed, push_image, push_manifest
from tests.support.image_signatures import cosign_bundle, cosign_old, cosign_tag, notation
from tests.support.pem import certificate, public_pem
from tests.support.sifs import container, root, sif_artifact, squashfs

LATEST = TagName("latest")
PROJECT = APP.project
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
FINGERPRINT = parse(public_pem(KEY)).fingerprint
IT = image("it")
UNSIGNED_SIF = sif_artifact(container([(root(), squashfs())]))
Derive = Callable[[Image, Image], Awaitable[Digest]]


@pytest.fixture
def registry(make_registry: MakeRegistry, database: Database, store: MemoryStore, clock: ManualClock) -> Registry:
    clock.now = datetime.now(UTC)
    gate = SignedOnly(database, OpenPgpKeys(database, clock), ImageSignatures(database, store, clock), clock)
    return make_registry(seams=Seams(push_gate=SifGate(database, store, clock), pull_gate=gate))


@pytest.fixture
async def strict(registry: Registry, admin: Actor) -> Registry:
    """A registry whose project trusts KEY, and gives out no image that it has not signed."""
    await registry.trust.add(admin, PROJECT, public_pem(KEY).decode(), "the build")
    await registry.trust.require(admin, PROJECT, images=True)
    return registry


@pytest.fixture
def derive(registry: Registry, database: Database) -> Derive:
    """Record what a conversion has made of an image."""

    async def record(source: Image, made: Image) -> Digest:
        place = await RepositorySelects(database).place(APP)
        assert place is not None
        body = json.loads(made.content) | {"subject": source.descriptor()}
        blobs = [one.content for one in made.blobs]
        return await registry.derived.record(place, APP, source.digest, "converter 1", json.dumps(body).encode(), blobs)

    return record


async def goes_out(registry: Registry, reference: Reference = LATEST, actor: Actor = ANONYMOUS) -> bool:
    return (await registry.manifests.get(actor, APP, reference)) is not None


async def refusal(registry: Registry, reference: Reference = LATEST, actor: Actor = ANONYMOUS) -> str:
    with pytest.raises((GateRefused, Unauthenticated)) as caught:
        await registry.manifests.get(actor, APP, reference)
    return caught.value.message


async def test_one_that_nobody_has_signed_does_not_go_out_and_the_message_says_whose_signature_is_wanted(
    strict: Registry, admin: Actor
) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    told = await refusal(strict)
    assert "gives out only images that a key which it trusts has signed. This one is not signed." in told
    assert f"{FINGERPRINT} (the build)" in told
    assert await refusal(strict, IT.digest) == told
    assert await refusal(strict, actor=admin) == told  # nobody is above it


@pytest.mark.parametrize(
    "made", [cosign_old(IT, KEY), cosign_bundle(IT, KEY), notation(IT, KEY, certificate(KEY, "Ada"))], ids=["old", "bundle", "jws"]
)
async def test_one_that_a_trusted_key_has_signed_goes_out_until_the_signature_is_deleted(
    strict: Registry, admin: Actor, made: Image
) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    await push_image(strict, admin, APP, made, cosign_tag(IT))
    assert await goes_out(strict)
    assert await goes_out(strict, IT.digest)
    await strict.manifests.delete(admin, APP, made.digest)
    assert "not signed" in await refusal(strict)


async def test_a_signature_by_an_unknown_key_does_not_count(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    await push_image(strict, admin, APP, cosign_bundle(IT, OTHER))
    assert "trusts no key that has made it" in await refusal(strict)


async def test_a_signature_over_another_image_does_not_count(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    await push_image(strict, admin, APP, cosign_old(image("another"), KEY), cosign_tag(IT))
    assert "and not this" in await refusal(strict)


async def test_a_damaged_signature_does_not_count(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    await push_image(strict, admin, APP, cosign_bundle(IT, KEY, content=b"{"))
    assert "damaged" in await refusal(strict)


async def test_a_certificate_counts_until_it_expires(strict: Registry, admin: Actor, clock: ManualClock) -> None:
    of_time = certificate(OTHER, "Ada")
    await strict.trust.add(admin, PROJECT, of_time.public_bytes(Encoding.PEM).decode())
    await push_image(strict, admin, APP, IT, "latest")
    await push_image(strict, admin, APP, notation(IT, OTHER, of_time))
    assert await goes_out(strict)
    clock.now = of_time.not_valid_after_utc
    assert "The certificate expired" in await refusal(strict)


async def test_a_tag_that_moves_to_an_unsigned_image_does_not_go_out(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    await push_image(strict, admin, APP, cosign_bundle(IT, KEY))
    await push_image(strict, admin, APP, image("another"), "latest")
    await refusal(strict)


async def test_the_platforms_of_a_signed_index_go_out(strict: Registry, admin: Actor) -> None:
    parts = [image("amd64"), image("arm64")]
    for part in parts:
        await push_image(strict, admin, APP, part)
    both = index(*parts)
    await push_manifest(strict, admin, APP, both, "latest")
    await refusal(strict)
    await refusal(strict, parts[0].digest)
    await push_image(strict, admin, APP, cosign_bundle(both, KEY))
    for reference in (LATEST, both.digest, parts[0].digest, parts[1].digest):
        assert await goes_out(strict, reference)


async def test_an_index_goes_out_once_all_that_it_names_is_signed(strict: Registry, admin: Actor) -> None:
    parts = [image("amd64"), image("arm64")]
    for part in parts:
        await push_image(strict, admin, APP, part)
    await push_manifest(strict, admin, APP, index(*parts), "latest")
    await push_image(strict, admin, APP, cosign_bundle(parts[0], KEY))
    await refusal(strict)
    await push_image(strict, admin, APP, cosign_bundle(parts[1], KEY))
    assert await goes_out(strict)


async def test_a_pull_looks_for_so_many_signatures_and_no_more(strict: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes that name indexes that name images, each of all: every one of them is looked at once."""
    looked: list[Digest] = []
    look = ImageSignatures.of

    async def counted(self: ImageSignatures, project_id: int, repository_id: int, digest: Digest) -> Sequence[ImageSignature]:
        looked.append(digest)
        return await look(self, project_id, repository_id, digest)

    def annotated(number: int, *children: Image) -> Image:
        made = index(*children)
        return Image(json.dumps(json.loads(made.content) | {"annotations": {"number": f"{number}"}}).encode(), made.media_type, ())

    monkeypatch.setattr(ImageSignatures, "of", counted)
    parts = [image(f"{number}") for number in range(4)]
    for part in parts:
        await push_image(strict, admin, APP, part)
    inner = [annotated(number, *parts) for number in range(4)]
    outer = [annotated(number, *inner) for number in range(4, 8)]
    for one in (*inner, *outer):
        await push_manifest(strict, admin, APP, one)
    assert "not signed" in await refusal(strict, inner[0].digest)
    assert len(looked) == len(set(looked)) <= 12
    monkeypatch.setattr(image_signatures, "_MOST_LOOKS", 2)
    looked.clear()
    await refusal(strict, inner[0].digest)
    assert len(looked) == 2
    await push_image(strict, admin, APP, cosign_bundle(inner[0], KEY))
    assert await goes_out(strict, inner[0].digest)


async def test_what_holds_nothing_is_not_asked_for_signatures(strict: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_signatures, "_MOST_LOOKS", 0)
    statement = cosign_bundle(IT, OTHER)
    await push_image(strict, admin, APP, IT)
    await push_image(strict, admin, APP, statement)
    assert await goes_out(strict, statement.digest)
    assert "too much around" in await refusal(strict, IT.digest)


async def test_an_unsigned_image_does_not_go_out_because_a_signed_image_is_beside_it_in_an_index(strict: Registry, admin: Actor) -> None:
    mine, theirs = image("mine"), image("theirs")
    for part in (mine, theirs):
        await push_image(strict, admin, APP, part)
    await push_manifest(strict, admin, APP, index(mine, theirs))
    await push_image(strict, admin, APP, cosign_bundle(theirs, KEY))
    await refusal(strict, mine.digest)


async def test_the_sif_that_was_made_of_an_image_goes_out_with_it(strict: Registry, admin: Actor, derive: Derive) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    made = await derive(IT, UNSIGNED_SIF)
    assert "that image has no signature that counts" in await refusal(strict, made)
    await refusal(strict, made, admin)
    await push_image(strict, admin, APP, cosign_bundle(IT, KEY))
    assert await goes_out(strict, made)


async def test_the_sif_of_a_platform_of_a_signed_index_goes_out(strict: Registry, admin: Actor, derive: Derive) -> None:
    await push_image(strict, admin, APP, IT)
    both = index(IT)
    await push_manifest(strict, admin, APP, both)
    made = await derive(IT, UNSIGNED_SIF)
    await refusal(strict, made)
    await push_image(strict, admin, APP, cosign_bundle(both, KEY))
    assert await goes_out(strict, made)


async def test_the_sif_of_a_signed_image_is_a_signed_sif(strict: Registry, admin: Actor, derive: Derive) -> None:
    await strict.trust.require(admin, PROJECT, sifs=True, images=False)
    await push_image(strict, admin, APP, IT, "latest")
    made = await derive(IT, UNSIGNED_SIF)
    await refusal(strict, made)
    await push_image(strict, admin, APP, cosign_bundle(IT, KEY))
    assert await goes_out(strict, made)


async def test_the_file_of_a_sif_that_was_made_goes_out_with_it_also_if_it_has_to_be_made_again(
    strict: Registry, database: Database, admin: Actor, derive: Derive
) -> None:
    await strict.trust.require(admin, PROJECT, sifs=True, images=False)
    await push_image(strict, admin, APP, IT, "latest")
    await derive(IT, UNSIGNED_SIF)
    file = UNSIGNED_SIF.blobs[1].digest

    async def refused() -> None:
        with pytest.raises(GateRefused, match="that image has no signature that counts"):
            await strict.blobs.open(ANONYMOUS, APP, file)

    await refused()
    await strict.blobs.delete(admin, APP, file)  # as it is evicted
    await refused()
    gone = update(manifest_references).where(manifest_references.c.digest == file).values(content_id=None)
    await database.write(lambda connection: connection.execute(gone))  # as it is collected
    await refused()
    await push_image(strict, admin, APP, cosign_bundle(IT, KEY))
    with pytest.raises(BlobUnknown):  # nothing here makes it again
        await strict.blobs.open(ANONYMOUS, APP, file)


async def test_sifs_are_not_asked_but_images_that_are_made_of_them_are(strict: Registry, admin: Actor, derive: Derive) -> None:
    await push_image(strict, admin, APP, UNSIGNED_SIF, "latest")
    assert await goes_out(strict)
    made = await derive(UNSIGNED_SIF, IT)
    assert "not signed" in await refusal(strict, made)
    await push_image(strict, admin, APP, cosign_bundle(UNSIGNED_SIF, KEY))
    assert await goes_out(strict, made)


async def test_the_signature_in_a_sif_is_one_of_the_image_that_is_made_of_it(strict: Registry, admin: Actor, derive: Derive) -> None:
    theirs = sif_artifact(signed(OTHER))
    await push_image(strict, admin, APP, theirs)
    made = await derive(theirs, IT)
    await refusal(strict, made)
    mine = sif_artifact(signed(KEY))
    await push_image(strict, admin, APP, mine)
    assert await goes_out(strict, await derive(mine, image("made of another")))


async def test_who_may_push_may_fetch_by_digest_what_is_to_be_signed(strict: Registry, admin: Actor, user: Actor) -> None:
    await push_image(strict, admin, APP, IT, "latest")
    assert await goes_out(strict, IT.digest, admin)
    assert await goes_out(strict, IT.digest, narrowed(admin, {APP: "pull"}))  # as clients ask for no more before they push
    with pytest.raises(GateRefused):
        await strict.manifests.get(user, APP, IT.digest)
    with pytest.raises(Unauthenticated, match="not signed"):  # so that clients show the credentials that they have
        await strict.manifests.get(ANONYMOUS, APP, IT.digest)
    with pytest.raises(GateRefused):
        await strict.manifests.get(ANONYMOUS, APP, LATEST)


async def test_a_virtual_tag_of_an_unsigned_image_is_a_tag(
    make_registry: MakeRegistry, strict: Registry, database: Database, store: MemoryStore, clock: ManualClock, admin: Actor
) -> None:
    class Itself:
        """What TAG.oci of an image stands for is that image."""

        async def absent(self, *_: object) -> Digest:
            return IT.digest

        async def as_image(self, *_: object) -> None:
            return None

    gate = SignedOnly(database, OpenPgpKeys(database, clock), ImageSignatures(database, store, clock), clock)
    resolving = make_registry(seams=Seams(resolver=Itself(), pull_gate=gate))
    await push_image(strict, admin, APP, IT, "latest")
    assert await goes_out(resolving, IT.digest, admin)
    for actor in (admin, ANONYMOUS):
        with pytest.raises(GateRefused):
            await resolving.manifests.get(actor, APP, TagName("latest.oci"))


async def test_a_refusal_names_only_keys_that_could_help(strict: Registry, admin: Actor, user: Actor, clock: ManualClock) -> None:
    pair = Tsk.generate("Ada").extract_certificate()
    await OpenPgpKeys(strict.manifests._database, clock).push(user, bytes(pair))
    await strict.trust.add(admin, PROJECT, pair.fingerprint)
    await strict.trust.require(admin, PROJECT, sifs=True)
    await push_image(strict, admin, APP, IT, "latest")
    told = await refusal(strict)
    assert FINGERPRINT in told
    assert pair.fingerprint.upper() not in told  # nobody signs images by OpenPGP
    await push_image(strict, admin, APP, UNSIGNED_SIF, "latest")
    told = await refusal(strict)
    assert FINGERPRINT in told
    assert pair.fingerprint.upper() in told


async def test_signatures_go_out_unsigned(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, IT)
    old, new, jws = cosign_old(IT, OTHER), cosign_bundle(IT, OTHER), notation(IT, OTHER, certificate(OTHER, "Ada"))
    for one in (old, new, jws, notation(IT, OTHER, certificate(OTHER, "Ada"), cose=True)):
        await push_image(strict, admin, APP, one)
        assert await goes_out(strict, one.digest)
    await push_manifest(strict, admin, APP, old, cosign_tag(IT))
    await push_manifest(strict, admin, APP, index(new, jws), "fallback")
    assert await goes_out(strict, TagName(cosign_tag(IT)))
    assert await goes_out(strict, TagName("fallback"))


def archive() -> bytes:
    """A tar archive whose first file's name begins as JSON does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo('{"critical":{}}'))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"\x1f\x8b" + bytes(600), archive(), b"", bytes(1024)], ids=["gzip", "tar", "nothing", "zeros"])
async def test_an_image_that_calls_its_layers_signatures_is_an_image_all_the_same(strict: Registry, admin: Actor, content: bytes) -> None:
    """Some clients do not look at the media type of a layer."""
    blobs = (Blob(b"{}"), Blob(content))
    descriptors = {"config": blobs[0].descriptor(media_type.OCI_CONFIG), "layers": [blobs[1].descriptor(SIMPLE_SIGNING)]}
    body = {"schemaVersion": 2, "mediaType": media_type.OCI_MANIFEST, **descriptors}
    await push_image(strict, admin, APP, Image(json.dumps(body).encode(), media_type.OCI_MANIFEST, blobs), "latest")
    await refusal(strict)


async def test_an_image_with_a_sif_for_a_layer_is_an_image_all_the_same(strict: Registry, admin: Actor) -> None:
    body = json.loads(UNSIGNED_SIF.content)
    body["layers"].append(IT.blobs[1].descriptor(media_type.OCI_LAYER))
    mixed = Image(json.dumps(body).encode(), UNSIGNED_SIF.media_type, (*UNSIGNED_SIF.blobs, IT.blobs[1]))
    await push_image(strict, admin, APP, mixed, "latest")
    await refusal(strict)


async def test_a_policy_that_names_no_key_is_refused(registry: Registry, admin: Actor, user: Actor, clock: ManualClock) -> None:
    with pytest.raises(Conflict, match="trusts no key"):
        await registry.trust.require(admin, PROJECT, images=True)
    pair = Tsk.generate("Ada")
    await OpenPgpKeys(registry.manifests._database, clock).push(user, bytes(pair.extract_certificate()))
    await registry.trust.add(admin, PROJECT, pair.extract_certificate().fingerprint)
    with pytest.raises(Conflict, match="For images it is a public key or a certificate"):
        await registry.trust.require(admin, PROJECT, images=True)
    assert not (await registry.trust.of_project(admin, PROJECT)).only_signed_images


async def test_the_last_key_that_could_sign_images_stays(strict: Registry, admin: Actor) -> None:
    with pytest.raises(Conflict, match="last key"):
        await strict.trust.remove(admin, PROJECT, FINGERPRINT)
    await strict.trust.require(admin, PROJECT, images=False)
    await strict.trust.remove(admin, PROJECT, FINGERPRINT)


async def test_projects_that_do_not_ask_pay_nothing(
    registry: Registry, database: Database, store: MemoryStore, clock: ManualClock, admin: Actor
) -> None:
    await push_image(registry, admin, APP, IT, "latest")
    row = await registry.manifests.get(ANONYMOUS, APP, LATEST)
    place = await RepositorySelects(database).place(APP)
    assert place is not None
    gate: Any = SignedOnly(database, OpenPgpKeys(database, clock), ImageSignatures(database, store, clock), clock)
    for held in list(vars(gate)):
        setattr(gate, held, None)  # there is nothing that it could ask
    await gate.manifest(ANONYMOUS, APP, LATEST, row)
    await gate.blob(ANONYMOUS, place, APP, IT.blobs[1].digest)
