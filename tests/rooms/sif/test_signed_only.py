"""Projects that give out only signed SIFs: what goes out, what does not and why, and who decides whose signatures count."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pysequoia import Tsk

from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.content.memory import MemoryStore
from roadstead.errors import Conflict, GateRefused, InvalidInput, NotFound, RoadsteadError, TooLarge
from roadstead.metadata.database import Database
from roadstead.oci.reference import TagName
from roadstead.registry import trust as trust_module
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.sif.format import DataType, Object
from roadstead.sif.gate import SifGate
from roadstead.sif.signed_only import SignedOnly
from tests.conftest import MakeRegistry
from tests.rooms.sif.test_signatures import OTHER, PAIR, clear_signed, metadata, public, signed, with_signature
from tests.support.factories import APP, ManualClock, image, push_image
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
