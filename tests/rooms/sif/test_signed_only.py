"""Projects that give out only signed SIFs: what goes out, what does not and why, and who decides whose signatures count."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from pysequoia import Tsk
from sqlalchemy import update

from roadstead.access.actor import ANONYMOUS, Actor, Role
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.content.memory import MemoryStore
from roadstead.errors import Conflict, GateRefused, InvalidInput, NotFound, RoadsteadError, TooLarge
from roadstead.metadata.database import Database
from roadstead.metadata.schema import sif_facts
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName, TagName
from roadstead.registry import trust as trust_module
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.sif import signed_only as signed_only_module
from roadstead.sif.format import DataType, Object
from roadstead.sif.gate import SifGate
from roadstead.sif.signed_only import SignedOnly
from tests.conftest import MakeRegistry
from tests.rooms.sif.test_signatures import OTHER, PAIR, clear_signed, metadata, public, signed, with_signature
from tests.support.factories import APP, Blob, Image, ManualClock, image, push_blob, push_image, push_manifest
from tests.support.sifs import container, root, sif_artifact, squashfs

LATEST = TagName("latest")
PROJECT = APP.project
KEY = PAIR.extract_certificate().fingerprint.upper()


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> OpenPgpKeys:
    clock.now = datetime.now(UTC)
    return OpenPgpKeys(database, clock)


@pytest.fixture
def registry(make_registry: MakeRegistry, database: Database, store: MemoryStore, keys: OpenPgpKeys, clock: ManualClock) -> Registry:
    gate = SignedOnly(database, keys, ImageSignatures(database, store, clock), clock)
    return make_registry(seams=Seams(push_gate=SifGate(database, store, clock), pull_gate=gate))


@pytest.fixture
async def strict(registry: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor) -> Registry:
    """A registry whose project trusts PAIR, and gives out nothing that it has not signed."""
    await keys.push(user, public(PAIR))
    await registry.trust.add(admin, PROJECT, KEY)
    await registry.trust.require(admin, PROJECT, sifs=True)
    return registry


async def refusal(registry: Registry, actor: Actor = ANONYMOUS) -> str:
    with pytest.raises(GateRefused) as caught:
        await registry.manifests.get(actor, APP, LATEST)
    return caught.value.message


async def test_a_sif_that_a_trusted_key_has_signed_goes_out(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, sif_artifact(signed()), "latest")
    assert (await strict.manifests.get(ANONYMOUS, APP, LATEST)).only_signed_sifs
    assert (await strict.sifs.find(ANONYMOUS, APP, LATEST)).name == APP


async def test_one_that_nobody_has_signed_does_not_and_the_message_says_whose_signature_is_wanted(strict: Registry, admin: Actor) -> None:
    unsigned = container([(root(), squashfs())])
    await push_image(strict, admin, APP, sif_artifact(unsigned), "latest")
    message = await refusal(strict)
    assert "This one is not signed." in message
    assert KEY in message
    assert "Ada" in message
    assert await refusal(strict, admin) == message  # nobody is above it
    with pytest.raises(GateRefused):
        await strict.sifs.find(admin, APP, LATEST)
    with pytest.raises(GateRefused):
        await strict.sifs.download(admin, APP, LATEST)


async def test_it_can_be_deleted_all_the_same(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, sif_artifact(container([(root(), squashfs())])), "latest")
    await strict.sifs.delete(admin, APP, LATEST)
    with pytest.raises(NotFound):
        await strict.manifests.get(admin, APP, LATEST)


async def test_projects_that_do_not_ask_give_out_everything(registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, sif_artifact(container([(root(), squashfs())])), "latest")
    assert await registry.manifests.get(ANONYMOUS, APP, LATEST)


async def test_images_are_not_asked_for_signatures_of_sifs(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, image(), "latest")
    assert await strict.manifests.get(ANONYMOUS, APP, LATEST)


async def test_a_signature_by_a_key_that_is_not_trusted_does_not_count(
    strict: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor
) -> None:
    await keys.push(user, public(OTHER))
    await push_image(strict, admin, APP, sif_artifact(signed(OTHER)), "latest")
    assert f"does not trust {OTHER.extract_certificate().fingerprint.upper()}" in await refusal(strict)


async def test_a_signature_over_other_objects_than_the_root_file_system_does_not_count(strict: Registry, admin: Actor) -> None:
    objects = [(Object(DataType.GENERIC, group=2, name="a name"), b"harmless"), (root(), squashfs())]
    said = metadata(container(objects), 1)
    await push_image(strict, admin, APP, sif_artifact(with_signature(clear_signed(json.dumps(said)), objects, link=2)), "latest")
    assert "does not cover the root file system" in await refusal(strict)


async def test_a_file_that_was_changed_after_it_was_signed_does_not_go_out(strict: Registry, admin: Actor) -> None:
    data = bytearray(signed())
    data[50] ^= 1
    await push_image(strict, admin, APP, sif_artifact(bytes(data)), "latest")
    await refusal(strict)


async def test_a_key_that_is_revoked_stops_what_it_signed(strict: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor) -> None:
    await push_image(strict, admin, APP, sif_artifact(signed()), "latest")
    await strict.manifests.get(ANONYMOUS, APP, LATEST)
    cert = PAIR.extract_certificate()
    await keys.push(user, bytes(cert) + bytes(cert.revoke(PAIR.certifier())))
    assert "has been revoked" in await refusal(strict)


async def test_a_policy_that_names_no_key_is_refused(registry: Registry, admin: Actor) -> None:
    with pytest.raises(Conflict, match="trusts no key"):
        await registry.trust.require(admin, PROJECT, sifs=True)
    assert not (await registry.trust.of_project(admin, PROJECT)).only_signed_sifs


async def test_the_last_key_stays_while_signatures_are_asked_for(strict: Registry, admin: Actor) -> None:
    with pytest.raises(Conflict, match="last key"):
        await strict.trust.remove(admin, PROJECT, KEY)
    assert [key.fingerprint for key in (await strict.trust.of_project(admin, PROJECT)).keys] == [KEY]
    await strict.trust.require(admin, PROJECT, sifs=False)
    await strict.trust.remove(admin, PROJECT, KEY.lower())
    assert (await strict.trust.of_project(admin, PROJECT)).keys == []


@pytest.mark.parametrize(
    ("fingerprint", "error"),
    [("A" * 16, InvalidInput), ("Z" * 40, InvalidInput), ("", InvalidInput), ("A" * 5_000_000, InvalidInput), ("A" * 40, NotFound)],
)
async def test_only_keys_that_are_here_can_be_trusted(
    registry: Registry, admin: Actor, fingerprint: str, error: type[RoadsteadError]
) -> None:
    with pytest.raises(error):
        await registry.trust.add(admin, PROJECT, fingerprint)


async def test_a_key_is_trusted_once_and_only_so_many(
    strict: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Conflict, match="already"):
        await strict.trust.add(admin, PROJECT, KEY)
    monkeypatch.setattr(trust_module, "MOST_KEYS", 1)
    other = Tsk.generate("Eve")
    await keys.push(user, public(other))
    with pytest.raises(TooLarge):
        await strict.trust.add(admin, PROJECT, other.extract_certificate().fingerprint)


# --- what is not called a SIF, and what is not the SIF that is signed ---------------------------------------------------------------

UNSIGNED = container([(root(), squashfs())])
SIGNED = signed()


def artifact(*sifs: bytes) -> Image:
    """An artifact manifest whose blobs are these SIFs."""
    blobs = tuple(map(Blob, sifs))
    named = [one.descriptor(media_type.SIF_LAYER) for one in blobs]
    body = {"mediaType": media_type.OCI_ARTIFACT_MANIFEST, "artifactType": "x/y", "blobs": named}
    return Image(json.dumps(body).encode(), media_type.OCI_ARTIFACT_MANIFEST, blobs)


def called(data: bytes, layer_type: str, config_type: str = media_type.OCI_EMPTY) -> Image:
    """A manifest whose one layer is this file, under that name."""
    return sif_artifact(data, layer_type=layer_type, config_type=config_type)


async def gives_nothing(registry: Registry, made: Image, reference: Reference = LATEST) -> str:
    """That no way leads to it; what is told of the last."""
    ways = [
        registry.manifests.get(ANONYMOUS, APP, reference),
        registry.manifests.get(ANONYMOUS, APP, made.digest),
        registry.sifs.find(ANONYMOUS, APP, reference),
        registry.sifs.download(ANONYMOUS, APP, reference),
        registry.sifs.download(ANONYMOUS, APP, made.digest),
        registry.blobs.open(ANONYMOUS, APP, made.blobs[-1].digest),
    ]
    for way in ways:
        with pytest.raises(GateRefused) as caught:
            await way
    return caught.value.message


async def test_a_sif_in_an_artifact_manifest_is_a_sif(strict: Registry, admin: Actor) -> None:
    unsigned = artifact(UNSIGNED)
    await push_image(strict, admin, APP, unsigned, "latest")
    assert "not signed" in await gives_nothing(strict, unsigned)
    await push_image(strict, admin, APP, artifact(SIGNED), "latest")
    for given in (strict.sifs.find(ANONYMOUS, APP, LATEST), strict.sifs.download(ANONYMOUS, APP, LATEST)):
        assert (await given).file == Digest.of(SIGNED)
    assert await strict.manifests.get(ANONYMOUS, APP, LATEST)


@pytest.mark.parametrize("config_type", [media_type.OCI_EMPTY, media_type.SIF_CONFIG, media_type.OCI_CONFIG])
async def test_a_sif_under_another_name_is_a_sif(strict: Registry, admin: Actor, config_type: str) -> None:
    hidden = called(UNSIGNED, "application/octet-stream", config_type)
    await push_image(strict, admin, APP, hidden, "latest")
    told = await refusal(strict)
    assert "is called application/octet-stream" in told
    assert media_type.SIF_LAYER in told
    with pytest.raises(GateRefused):
        await strict.blobs.open(ANONYMOUS, APP, hidden.blobs[1].digest)


async def test_one_under_another_name_goes_out_where_its_signature_is_known(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, called(SIGNED, "application/octet-stream"), "latest")
    await refusal(strict)
    await push_image(strict, admin, APP, sif_artifact(SIGNED))
    assert await strict.manifests.get(ANONYMOUS, APP, LATEST)


async def test_a_file_system_that_could_be_run_is_refused(strict: Registry, admin: Actor) -> None:
    bare = called(squashfs(), "application/octet-stream")
    await push_image(strict, admin, APP, bare, "latest")
    assert "is a file system that could be run as it is" in await refusal(strict)
    with pytest.raises(GateRefused):
        await strict.blobs.open(ANONYMOUS, APP, bare.blobs[1].digest)


async def test_what_is_no_sif_goes_out_whatever_it_is_called(strict: Registry, admin: Actor) -> None:
    chart = called(b"\x1f\x8b a chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/vnd.cncf.helm.config.v1+json")
    await push_image(strict, admin, APP, chart, "latest")
    assert await strict.manifests.get(ANONYMOUS, APP, LATEST)
    assert await strict.blobs.open(ANONYMOUS, APP, chart.blobs[1].digest)


async def test_more_parts_than_are_looked_into_do_not_go_out(strict: Registry, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_only_module, "_MOST_PARTS", 1)
    await push_image(strict, admin, APP, called(b"text", "text/plain"), "latest")
    assert "It has 2 parts" in await refusal(strict)


@pytest.mark.parametrize("files", [(SIGNED, UNSIGNED), (UNSIGNED, SIGNED), (SIGNED, signed(OTHER))])
async def test_of_several_sifs_none_goes_out(strict: Registry, admin: Actor, files: tuple[bytes, ...]) -> None:
    for several in (sif_artifact(*files), artifact(*files)):
        await push_image(strict, admin, APP, several, "latest")
        assert "It names 2 SIFs" in await refusal(strict)


async def test_a_signed_sif_beside_an_unsigned_one_under_another_name_does_not_help(strict: Registry, admin: Actor) -> None:
    await push_image(strict, admin, APP, sif_artifact(SIGNED), "good")
    blobs = (Blob(b"{}"), Blob(SIGNED), Blob(UNSIGNED))
    layers = [blobs[1].descriptor("text/plain"), blobs[2].descriptor(media_type.SIF_LAYER)]
    body = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_MANIFEST,
        "config": blobs[0].descriptor(media_type.SIF_CONFIG),
        "layers": layers,
    }
    await push_image(strict, admin, APP, Image(json.dumps(body).encode(), media_type.OCI_MANIFEST, blobs), "latest")
    assert "It names 2 SIFs" in await refusal(strict)


# --- blobs ----------------------------------------------------------------------------------------------------------------------


async def test_the_file_of_a_refused_sif_does_not_go_out_by_its_digest(strict: Registry, admin: Actor, user: Actor) -> None:
    await push_image(strict, admin, APP, sif_artifact(UNSIGNED), "latest")
    file = Digest.of(UNSIGNED)
    (found,) = await strict.sifs.search(ANONYMOUS, "app")  # tells it
    assert found.file == file
    for actor in (ANONYMOUS, user):
        for way in (strict.blobs.open(actor, APP, file), strict.blobs.size(actor, APP, file)):
            with pytest.raises(GateRefused, match="This one is not signed"):
                await way
    assert (await strict.blobs.open(admin, APP, file)).size == len(UNSIGNED)  # who may push
    await push_image(strict, admin, APP, sif_artifact(SIGNED), "latest")
    assert (await strict.blobs.open(ANONYMOUS, APP, Digest.of(SIGNED))).size == len(SIGNED)


async def test_a_file_that_no_manifest_names_does_not_go_out(strict: Registry, admin: Actor) -> None:
    await push_blob(strict, admin, APP, Blob(SIGNED))
    with pytest.raises(GateRefused, match="No image here names it"):
        await strict.blobs.open(ANONYMOUS, APP, Digest.of(SIGNED))


async def test_a_key_that_is_revoked_stops_the_file_too(
    strict: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor, clock: ManualClock
) -> None:
    await push_image(strict, admin, APP, sif_artifact(SIGNED), "latest")
    file = Digest.of(SIGNED)
    await strict.blobs.open(ANONYMOUS, APP, file)
    cert = PAIR.extract_certificate()
    await keys.push(user, bytes(cert) + bytes(cert.revoke(PAIR.certifier())))
    clock.advance(timedelta(seconds=10))
    with pytest.raises(GateRefused, match="has been revoked"):
        await strict.blobs.open(ANONYMOUS, APP, file)


async def test_nobody_carries_a_refused_file_out_by_a_mount(strict: Registry, admin: Actor, user: Actor) -> None:
    await push_image(strict, admin, APP, sif_artifact(UNSIGNED), "latest")
    await push_image(strict, admin, APP, sif_artifact(SIGNED), "signed")
    mine = RepositoryName("mine/app")
    await strict.projects.ensure("mine", public=True)
    await strict.projects.add_member(admin, "mine", user.name, Role.DEVELOPER)
    for source in (APP, None):
        assert not await strict.blobs.mount(user, mine, Digest.of(UNSIGNED), source)
    assert await strict.blobs.mount(user, mine, Digest.of(SIGNED), APP)
    assert await strict.blobs.mount(admin, RepositoryName(f"{PROJECT}/other"), Digest.of(UNSIGNED), None)


# --- pushing --------------------------------------------------------------------------------------------------------------------


async def test_an_unsigned_sif_is_pushed_as_library_clients_do_and_goes_out_once_it_is_signed(
    strict: Registry, admin: Actor, user: Actor
) -> None:
    file = Digest.of(UNSIGNED)
    for _ in range(2):  # the second time all of it is here
        present = await strict.sifs.announce(admin, APP, file)
        if present is None:
            await push_blob(strict, admin, APP, Blob(UNSIGNED))
        recorded = await strict.sifs.record(admin, APP, file)
        await strict.sifs.tag(admin, APP, LATEST, file, "amd64")
        assert (recorded.file, recorded.size) == (file, len(UNSIGNED))
    assert present == recorded
    assert await strict.sifs.look_up(admin, APP, file) == recorded
    for actor in (ANONYMOUS, user):
        with pytest.raises(GateRefused):
            await strict.sifs.look_up(actor, APP, file)
    with pytest.raises(GateRefused):
        await strict.sifs.look_up(admin, APP, LATEST)
    assert "not signed" in await refusal(strict)
    await push_blob(strict, admin, APP, Blob(SIGNED))
    await strict.sifs.record(admin, APP, Digest.of(SIGNED))
    await strict.sifs.tag(admin, APP, LATEST, Digest.of(SIGNED), "amd64")
    assert (await strict.sifs.find(ANONYMOUS, APP, LATEST)).file == Digest.of(SIGNED)


async def test_what_an_earlier_program_read_is_read_anew_when_it_is_pushed_again(
    strict: Registry, admin: Actor, database: Database
) -> None:
    made = sif_artifact(SIGNED)
    await push_image(strict, admin, APP, made, "latest")
    earlier = {"size": len(SIGNED), "signatures": [{"hash": "sha256", "fingerprint": KEY}]}
    await database.write(lambda connection: connection.execute(update(sif_facts).values(facts=json.dumps(earlier))))
    assert "Signatures of this kind are not verified" in await refusal(strict)
    await push_manifest(strict, admin, APP, made, "latest")
    assert await strict.manifests.get(ANONYMOUS, APP, LATEST)


async def test_a_key_that_has_expired_stops_what_it_signed(
    strict: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor, clock: ManualClock
) -> None:
    short = Tsk.generate("Short", validity_seconds=3600)
    await keys.push(user, public(short))
    await strict.trust.add(admin, PROJECT, short.extract_certificate().fingerprint)
    await push_image(strict, admin, APP, sif_artifact(signed(short)), "latest")
    assert await strict.manifests.get(ANONYMOUS, APP, LATEST)
    clock.advance(timedelta(hours=2))
    assert "The key expired on" in await refusal(strict)


async def test_only_who_configures_a_project_decides_whom_it_trusts(registry: Registry, user: Actor) -> None:
    for act in (
        registry.trust.add(user, PROJECT, KEY),
        registry.trust.remove(user, PROJECT, KEY),
        registry.trust.require(user, PROJECT, sifs=True),
    ):
        with pytest.raises(RoadsteadError) as caught:
            await act
        assert not isinstance(caught.value, Conflict)
    assert (await registry.trust.of_project(user, PROJECT)).keys == []
