"""Pages of artifacts that their project may not give out, and of those that are signed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.public_keys import parse
from roadstead.content.memory import MemoryStore
from roadstead.metadata.database import Database
from roadstead.registry.image_signatures import ImageSignatures
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.sif.gate import SifGate
from roadstead.sif.signed_only import SignedOnly
from tests.conftest import MakeRegistry
from tests.rooms.sif.test_signatures import PAIR, public, signed
from tests.rooms.web.conftest import Visit
from tests.support.factories import APP, ManualClock, image, push_image
from tests.support.image_signatures import cosign_old, cosign_tag
from tests.support.pem import public_pem
from tests.support.sifs import sif_artifact

HERE = f"/repositories/{APP}"
KEY = ec.generate_private_key(ec.SECP256R1())
FINGERPRINT = parse(public_pem(KEY)).fingerprint
IT = image("it")


@pytest.fixture
def registry(make_registry: MakeRegistry, database: Database, store: MemoryStore, clock: ManualClock) -> Registry:
    """One that gives out what is signed only, where a project wants that."""
    clock.now = datetime.now(UTC)
    gate = SignedOnly(database, OpenPgpKeys(database, clock), ImageSignatures(database, store, clock), clock)
    return make_registry(seams=Seams(push_gate=SifGate(database, store, clock), pull_gate=gate))


async def test_what_is_not_given_out_says_why(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, IT, "latest")
    assert "A pull is refused" not in (await visit().get(f"{HERE}:latest")).text
    await registry.trust.add(admin, "library", public_pem(KEY).decode(), "the build")
    await registry.trust.require(admin, "library", images=True)
    for browser in (visit(), visit(admin)):
        shown = await browser.get(f"{HERE}:latest")
        assert "A pull is refused: The project 'library' gives out only images" in shown.text
        assert "This one is not signed." in shown.text
    # By its digest, who may sign it gets it.
    assert "A pull is refused" in (await visit().get(f"{HERE}@{IT.digest}")).text
    assert "A pull is refused" not in (await visit(admin).get(f"{HERE}@{IT.digest}")).text


async def test_the_signature_of_an_image_is_told_with_its_key(visit: Visit, registry: Registry, admin: Actor) -> None:
    await registry.trust.add(admin, "library", public_pem(KEY).decode(), "the build")
    await push_image(registry, admin, APP, IT, "latest")
    await push_image(registry, admin, APP, cosign_old(IT, KEY), cosign_tag(IT))
    shown = await visit().get(f"{HERE}:latest")
    assert f"the build {FINGERPRINT}" in shown.text
    assert 'class="badge good">valid' in shown.html
    assert "<li>Signature" in shown.html


async def test_the_signature_of_a_sif_is_told_with_its_key(
    visit: Visit, registry: Registry, access: Access, admin: Actor, user: Actor
) -> None:
    await access.openpgp_keys.push(user, public(PAIR))
    await push_image(registry, admin, APP, sif_artifact(signed()), "1.0")
    shown = await visit().get(f"{HERE}:1.0")
    assert 'class="badge good">valid' in shown.html
    assert "Ada <ada@example.org>" in shown.text
    assert "of ada" in shown.text
    assert "Partitions" in shown.text
