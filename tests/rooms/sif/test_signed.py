"""Signatures as people see them: who, when, whether they hold, and who may ask."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from roadstead.access.actor import ANONYMOUS, Actor
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.access.people import People
from roadstead.content.memory import MemoryStore
from roadstead.errors import ManifestUnknown, Unauthenticated
from roadstead.metadata import openpgp_keys
from roadstead.metadata.database import Database
from roadstead.metadata.schema import openpgp_handles
from roadstead.oci.reference import TagName
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.sif.gate import SifGate
from roadstead.sif.signed import ShownSignatures
from tests.conftest import MakeRegistry
from tests.rooms.sif.test_signatures import PAIR, public, signed
from tests.support.factories import APP, VAULT, ManualClock, image, push_image
from tests.support.openpgp import HandMade
from tests.support.sifs import sif_artifact

LATEST = TagName("latest")


@pytest.fixture
def guarded(make_registry: MakeRegistry, database: Database, store: MemoryStore, clock: ManualClock) -> Registry:
    return make_registry(seams=Seams(push_gate=SifGate(database, store, clock)))


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> OpenPgpKeys:
    return OpenPgpKeys(database, clock)


@pytest.fixture
def shown(database: Database, guarded: Registry, keys: OpenPgpKeys, clock: ManualClock) -> ShownSignatures:
    clock.now = datetime.now(UTC)
    return ShownSignatures(database, guarded.repositories, guarded.image_signatures, keys, clock)


async def test_a_signature_is_judged_by_the_keys_of_the_moment(
    shown: ShownSignatures, guarded: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor
) -> None:
    await push_image(guarded, admin, APP, sif_artifact(signed()), "latest")
    (one,) = await shown.all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.kind, one.owner, one.user_ids) == ("unknown-key", "pgp", None, ())
    await keys.push(user, public(PAIR))
    (one,) = await shown.all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.owner, one.user_ids, one.reason) == ("valid", "ada", ("Ada <ada@example.org>",), None)
    assert one.signed_at is not None
    cert = PAIR.extract_certificate()
    await keys.push(user, bytes(cert) + bytes(cert.revoke(PAIR.certifier())))
    assert [one.state for one in await shown.all(ANONYMOUS, APP, LATEST)] == ["revoked-key"]


async def test_who_only_names_the_key_is_not_its_owner(
    shown: ShownSignatures, guarded: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor, database: Database
) -> None:
    """As keys were recorded before bindings of subkeys were asked for."""
    await push_image(guarded, admin, APP, sif_artifact(signed()), "latest")
    await keys.push(user, HandMade().certificate("Mallory"))

    def claim(connection: Connection) -> None:
        (row,) = openpgp_keys.search(connection, "mallory", exact=True, after=0, limit=1)
        connection.execute(openpgp_handles.insert(), [{"handle": PAIR.extract_certificate().fingerprint, "key_id": row.id}])

    await database.write(claim)
    (one,) = await shown.all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.owner, one.user_ids) == ("unknown-key", None, ())
    await keys.push(admin, public(PAIR))
    (one,) = await shown.all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.owner, one.user_ids) == ("valid", "admin", ("Ada <ada@example.org>",))


async def test_a_signature_of_an_account_that_has_ended_still_holds(
    shown: ShownSignatures, guarded: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor, database: Database
) -> None:
    await push_image(guarded, admin, APP, sif_artifact(signed()), "latest")
    await keys.push(user, public(PAIR))
    assert user.account_id is not None
    await People(database).remove(admin, user.account_id)
    (one,) = await shown.all(ANONYMOUS, APP, LATEST)
    assert (one.state, one.owner, one.user_ids) == ("valid", None, ("Ada <ada@example.org>",))


async def test_a_file_that_was_changed_is_told(
    shown: ShownSignatures, guarded: Registry, keys: OpenPgpKeys, admin: Actor, user: Actor
) -> None:
    await keys.push(user, public(PAIR))
    data = bytearray(signed())
    data[50] ^= 1
    await push_image(guarded, admin, APP, sif_artifact(bytes(data)), "latest")
    (one,) = await shown.all(admin, APP, LATEST)
    assert (one.state, one.reason) == ("altered", "The header is not what was signed.")


async def test_what_is_no_sif_has_no_signatures(shown: ShownSignatures, guarded: Registry, admin: Actor) -> None:
    await push_image(guarded, admin, APP, image(), "latest")
    assert await shown.all(admin, APP, LATEST) == []


async def test_only_who_may_pull_sees_them(shown: ShownSignatures, guarded: Registry, admin: Actor) -> None:
    await push_image(guarded, admin, VAULT, sif_artifact(signed()), "latest")
    with pytest.raises(Unauthenticated):
        await shown.all(ANONYMOUS, VAULT, LATEST)
    with pytest.raises(ManifestUnknown):
        await shown.all(admin, VAULT, TagName("absent"))
