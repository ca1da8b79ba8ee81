"""OpenPGP keys: whose they are, what they are found by, what becomes of them, and what is no key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from pysequoia import Cert, Tsk
from sqlalchemy import Connection

from roadstead.access import openpgp
from roadstead.access.actor import ANONYMOUS, SYSTEM, Actor, Level, Limits, RobotRights, TokenScope
from roadstead.access.audit import Audit
from roadstead.access.openpgp_keys import MOST_KEYS, OpenPgpKeys
from roadstead.access.people import People
from roadstead.errors import Denied, InsufficientScope, InvalidInput, NotFound, RoadsteadError, TooLarge, Unauthenticated
from roadstead.metadata import accounts as account_rows
from roadstead.metadata import openpgp_keys as openpgp_key_rows
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Listing
from roadstead.metadata.openpgp_keys import MOST_FOUND
from roadstead.metadata.schema import openpgp_handles
from tests.conftest import add_account
from tests.support.factories import ManualClock
from tests.support.openpgp import HandMade, packet

ADA = "Ada <ada@example.org>"


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> OpenPgpKeys:
    return OpenPgpKeys(database, clock)


def key(*user_ids: str) -> Tsk:
    return Tsk.generate(user_ids=list(user_ids or (ADA,)))


def public(pair: Tsk) -> bytes:
    return bytes(pair.extract_certificate())


def revoked(pair: Tsk) -> bytes:
    """The public key with its revocation."""
    cert = pair.extract_certificate()
    return bytes(cert) + bytes(cert.revoke(pair.certifier()))


async def with_address(database: Database, name: str, address: str) -> Actor:
    actor = await add_account(database, name, is_admin=False)
    assert actor.account_id is not None
    account_id = actor.account_id
    await database.write(lambda connection: account_rows.change(connection, account_id, email=address))
    return actor


async def test_a_key_is_found_by_all_its_names(keys: OpenPgpKeys, user: Actor) -> None:
    cert = key().extract_certificate()
    pushed = await keys.push(user, str(cert).encode())
    assert pushed.fingerprint == cert.fingerprint
    for search in (cert.fingerprint, f"0x{cert.fingerprint.upper()}", cert.fingerprint[-16:], cert.fingerprint[-8:], "ADA@exam"):
        assert await keys.certificates(search) == [bytes(cert)]
    subkeys = [handle for handle in pushed.handles if len(handle) == 40 and handle != cert.fingerprint]
    assert subkeys
    assert [await keys.certificates(handle) for handle in subkeys] == [[bytes(cert)]] * len(subkeys)
    (row,) = await keys.search("ada", exact=False)
    assert (row.owner, row.user_ids, row.algorithm, row.bits, row.revoked, row.expired) == ("ada", (ADA,), 22, 255, False, False)


@pytest.mark.parametrize("digits", [16, 8])
async def test_a_key_id_is_found_without_the_zeros_at_its_beginning(keys: OpenPgpKeys, user: Actor, digits: int) -> None:
    """As Apptainer asks for the key of a signature: by a number."""
    cert = next(one for one in (key().extract_certificate() for _ in range(10_000)) if one.fingerprint[-digits] == "0")
    await keys.push(user, bytes(cert))
    written = f"{int(cert.fingerprint[-digits:], 16):#x}"
    assert len(written) < len("0x") + digits
    assert await keys.certificates(written) == [bytes(cert)]
    with pytest.raises(NotFound):
        await keys.certificates(written.removeprefix("0x"))  # that is a word


async def test_words_are_words_and_no_pattern(keys: OpenPgpKeys, user: Actor) -> None:
    await keys.push(user, public(key()))
    for search in ("%da", "a_a", "grace", "0" * 40, "0" * 8):
        with pytest.raises(NotFound):
            await keys.certificates(search)
    assert await keys.search("ada", exact=True) == []
    assert len(await keys.search(ADA.upper(), exact=True)) == 1


@pytest.mark.parametrize("search", ["a", "", "x" * 201])
async def test_a_search_has_a_length(keys: OpenPgpKeys, search: str) -> None:
    with pytest.raises(InvalidInput, match="Search for"):
        await keys.search(search, exact=False)


async def test_pages_of_a_search(keys: OpenPgpKeys, user: Actor) -> None:
    pushed = [await keys.push(user, public(key(f"Ada {number}"))) for number in range(3)]
    first = await keys.search("ada", exact=False, limit=2)
    rest = await keys.search("ada", exact=False, limit=2, after=first[-1].id)
    assert [row.fingerprint for row in (*first, *rest)] == [one.fingerprint for one in pushed]


async def test_pages_of_a_short_key_id(keys: OpenPgpKeys, user: Actor, database: Database) -> None:
    """Those whose own it is come first."""
    other, pair = key("Other"), HandMade()
    named = await keys.push(user, public(other))
    own = await keys.push(user, pair.certificate("Ada"))
    short = own.fingerprint[-8:]

    def share(connection: Connection) -> None:  # as if the other had a subkey with that key id
        (row,) = openpgp_key_rows.find(connection, named.fingerprint)
        connection.execute(openpgp_handles.insert(), [{"handle": short, "key_id": row.id}])

    await database.write(share)
    first = await keys.search(short, exact=False, limit=1)
    rest = await keys.search(short, exact=False, limit=1, after=first[0].id)
    assert [row.fingerprint for row in (*first, *rest)] == [own.fingerprint, named.fingerprint]
    assert await keys.search(short, exact=False, after=rest[0].id) == []
    assert await keys.certificates(short) == [own.binary, named.binary]


async def test_a_fingerprint_is_of_the_key_whose_own_it_is(keys: OpenPgpKeys, user: Actor, database: Database) -> None:
    """Also where another was recorded first that names it as a subkey, before bindings were asked for."""
    mallory, ada = HandMade(), HandMade()
    await keys.push(user, mallory.certificate("Mallory"))

    def claim(connection: Connection) -> None:
        (row,) = openpgp_key_rows.find(connection, mallory.fingerprint)
        handles = [ada.fingerprint, ada.fingerprint[-16:]]
        connection.execute(openpgp_handles.insert(), [{"handle": handle, "key_id": row.id} for handle in handles])

    await database.write(claim)
    assert len(await keys.certificates(ada.fingerprint)) == 1
    pushed = await keys.push(user, ada.certificate("Ada"))
    assert await keys.certificates(ada.fingerprint) == [pushed.binary]
    assert [row.fingerprint for row in await keys.search(ada.fingerprint, exact=True)] == [ada.fingerprint]
    assert [row.fingerprint for row in await keys.search(ada.fingerprint[-16:], exact=True)] == [ada.fingerprint, mallory.fingerprint]
    again = await keys.push(user, mallory.certificate("Mallory"))
    assert await keys.certificates(ada.fingerprint[-16:]) == [pushed.binary]
    assert await keys.certificates(again.fingerprint)


async def test_words_get_so_many_keys(keys: OpenPgpKeys, user: Actor) -> None:
    for number in range(MOST_FOUND + 1):
        await keys.push(user, public(key(f"Ada {number}")))
    assert len(await keys.certificates("ada")) == MOST_FOUND
    assert len(await keys.search("ada", exact=False)) == MOST_FOUND + 1


# --- whose ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrow", "error"),
    [
        ({"limits": Limits(Level.READ)}, Denied),
        ({"limits": Limits(project_ids=frozenset({1}))}, Denied),
        ({"robot": RobotRights({})}, Denied),
        ({"scope": TokenScope({})}, InsufficientScope),
    ],
    ids=["reads only", "some projects", "robot", "scope"],
)
async def test_a_narrow_credential_pushes_no_key(
    keys: OpenPgpKeys, user: Actor, narrow: dict[str, object], error: type[RoadsteadError]
) -> None:
    with pytest.raises(error):
        await keys.push(msgspec.structs.replace(user, **narrow), public(key()))


async def test_nobody_and_the_system_have_no_keys(keys: OpenPgpKeys) -> None:
    with pytest.raises(Unauthenticated):
        await keys.push(ANONYMOUS, public(key()))
    with pytest.raises(Denied):
        await keys.push(SYSTEM, public(key()))


async def test_a_key_of_another_account_is_not_touched(keys: OpenPgpKeys, user: Actor, database: Database) -> None:
    pair, other = key(), await add_account(database, "mallory", is_admin=False)
    await keys.push(user, public(pair))
    with pytest.raises(Denied, match="another account"):
        await keys.push(other, revoked(pair))
    with pytest.raises(Denied):
        await keys.remove(other, pair.extract_certificate().fingerprint)
    (row,) = await keys.search("ada", exact=False)
    assert (row.owner, row.revoked) == ("ada", False)


async def test_an_address_of_another_account_is_not_claimed(keys: OpenPgpKeys, user: Actor, database: Database) -> None:
    owner = await with_address(database, "grace", "Grace@Example.org")
    claiming = public(key("Somebody", "Hopper <grace@example.ORG>"))
    with pytest.raises(Denied, match="belongs to another account"):
        await keys.push(user, claiming)
    await keys.push(owner, claiming)


@pytest.mark.parametrize(
    "user_id",
    [
        "Grace <grace@example.org> <m@x.org>",
        "grace@example.org <m@x.org>",
        "grace@example.org (work)",
        "Grace <grace@example.org> (a) <>",
        "Grace <mailto:grace@example.org>",
        "Grace <grace@example.org",
        "Grace < GRACE@example.org >",
        "m@x.org,grace@example.org.",
        "x=grace@example.org",
        "Grace <gr\N{LATIN SMALL LETTER LONG S}@x> <grace@example.org>",
    ],
)
async def test_an_address_is_found_wherever_it_stands(keys: OpenPgpKeys, user: Actor, database: Database, user_id: str) -> None:
    await with_address(database, "grace", "grace@example.org")
    for pushed in (HandMade().certificate(user_id), HandMade().certificate("Mallory") + packet(13, b"\xff " + user_id.encode())):
        with pytest.raises(Denied, match=r"grace@example\.org"):
            await keys.push(user, pushed)


@pytest.mark.parametrize("user_id", ["ÅSA@example.org", "åsa@example.org", "Åsa <åSA@EXAMPLE.org>"])
async def test_addresses_are_folded_alike_by_both_databases(keys: OpenPgpKeys, user: Actor, database: Database, user_id: str) -> None:
    owner = await with_address(database, "asa", "Åsa@example.org")
    with pytest.raises(Denied, match="belongs to another account"):
        await keys.push(user, HandMade().certificate(user_id))
    await keys.push(owner, HandMade().certificate(user_id))
    await keys.push(user, HandMade().certificate("Ösa <ösa@example.org>"))


async def test_what_only_looks_alike_is_no_claim(keys: OpenPgpKeys, user: Actor, database: Database) -> None:
    await with_address(database, "grace", "grace@example.org")
    for other in ("agrace@example.org", "grace@example.org.uk", "grace at example.org", "grace@@example.org", "@", "a@"):
        await keys.push(user, HandMade().certificate(other))


async def test_a_key_has_so_many_addresses(keys: OpenPgpKeys, user: Actor) -> None:
    with pytest.raises(TooLarge, match="e-mail addresses"):
        await keys.push(user, HandMade().certificate(" ".join(f"a{number}@x" for number in range(129))))
    with pytest.raises(TooLarge, match="e-mail addresses"):
        await keys.push(user, HandMade().certificate("@".join(f"a{number}" for number in range(200))))


async def test_a_key_of_an_account_that_has_ended_is_nobodys(keys: OpenPgpKeys, user: Actor, admin: Actor, database: Database) -> None:
    """It stays, for the signatures that it has made; the name may be another account's by now, which is not given the key."""
    pair = key()
    pushed = await keys.push(user, public(pair))
    assert user.account_id is not None
    await People(database).remove(admin, user.account_id)
    (row,) = await keys.search(pushed.fingerprint, exact=True)
    assert row.owner is None
    assert await keys.certificates(pushed.fingerprint) == [pushed.binary]
    namesake = await add_account(database, "ada", is_admin=False)
    with pytest.raises(Denied, match="Administrators can remove it"):
        await keys.push(namesake, revoked(pair))
    await keys.remove(admin, pushed.fingerprint)
    assert (await keys.push(namesake, revoked(pair))).revoked
    (row,) = await keys.search(pushed.fingerprint, exact=True)
    assert row.owner == "ada"


async def test_who_pushes_and_removes_keys_is_in_the_audit_log(keys: OpenPgpKeys, user: Actor, admin: Actor, database: Database) -> None:
    pair = key()
    pushed = await keys.push(user, public(pair))
    await keys.push(user, revoked(pair))
    await keys.remove(admin, pushed.fingerprint)
    rows, _ = await Audit(database).list(admin, Listing())
    told = [(row.actor, row.action, row.detail) for row in reversed(rows) if row.resource == pushed.fingerprint]
    assert told == [("ada", "create", ADA), ("ada", "update", f"revoked: {ADA}"), ("admin", "delete", None)]


async def test_the_owner_and_administrators_remove_a_key(keys: OpenPgpKeys, user: Actor, admin: Actor) -> None:
    for actor in (user, admin, SYSTEM):
        pushed = await keys.push(user, public(key()))
        await keys.remove(actor, pushed.fingerprint.upper())
        with pytest.raises(NotFound):
            await keys.certificates(pushed.fingerprint)
        with pytest.raises(NotFound):
            await keys.remove(actor, pushed.fingerprint)


async def test_an_account_has_so_many_keys(keys: OpenPgpKeys, user: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_KEYS == 100
    monkeypatch.setattr("roadstead.access.openpgp_keys.MOST_KEYS", 1)
    pair = key()
    await keys.push(user, public(pair))
    with pytest.raises(TooLarge):
        await keys.push(user, public(key()))
    assert (await keys.push(user, revoked(pair))).revoked


# --- what becomes of a key ------------------------------------------------------------------------------------------------------------


async def test_a_revocation_stays(keys: OpenPgpKeys, user: Actor) -> None:
    pair = key()
    await keys.push(user, public(pair))
    assert (await keys.push(user, revoked(pair))).revoked
    assert (await keys.push(user, public(pair))).revoked
    (row,) = await keys.search("ada", exact=False)
    assert row.revoked
    (binary,) = await keys.certificates(row.fingerprint)
    assert Cert.from_bytes(binary).is_revoked


async def test_a_key_that_has_expired_says_so(keys: OpenPgpKeys, user: Actor, clock: ManualClock) -> None:
    clock.now = datetime.now(UTC)
    pushed = await keys.push(user, public(Tsk.generate(ADA, validity_seconds=3600)))
    assert pushed.expires_at is not None
    assert [row.expired for row in await keys.search("ada", exact=False)] == [False]
    clock.advance(timedelta(hours=2))
    assert [row.expired for row in await keys.search("ada", exact=False)] == [True]


async def test_a_key_that_has_expired_already_is_pushed(keys: OpenPgpKeys, user: Actor, clock: ManualClock) -> None:
    """Signatures of its time are still looked up by it."""
    pair = Tsk.generate(ADA, validity_seconds=3600)
    cert = pair.extract_certificate()
    expired = bytes(cert.set_expiration(datetime.now(UTC) - timedelta(seconds=1), pair.certifier()))
    clock.now = datetime.now(UTC)
    pushed = await keys.push(user, expired)
    (row,) = await keys.search(cert.fingerprint, exact=True)
    assert (row.expired, row.user_ids, row.revoked) == (True, (ADA,), False)
    assert pushed.expires_at is not None and pushed.expires_at <= clock.now


# --- what is no key -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b"", b"rubbish", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n", b"\x99", b"\xff" * 1000],
    ids=["nothing", "rubbish", "armoured rubbish", "beginning", "high bytes"],
)
async def test_what_is_no_key_is_refused(keys: OpenPgpKeys, user: Actor, text: bytes) -> None:
    with pytest.raises(InvalidInput):
        await keys.push(user, text)


async def test_a_key_that_is_cut_off_is_refused_or_less(keys: OpenPgpKeys, user: Actor) -> None:
    whole = public(key())
    for length in range(1, len(whole) - 1, 37):
        try:
            cut = openpgp.parse(whole[:length])
        except InvalidInput:
            continue
        assert len(cut.binary) <= length


async def test_a_private_key_is_refused(keys: OpenPgpKeys, user: Actor) -> None:
    with pytest.raises(InvalidInput, match="private key"):
        await keys.push(user, str(key()).encode())


async def test_two_keys_at_a_time_are_refused(keys: OpenPgpKeys, user: Actor) -> None:
    with pytest.raises(InvalidInput, match="one key"):
        await keys.push(user, public(key()) + public(key()))


async def test_a_key_of_five_megabytes_is_refused(keys: OpenPgpKeys, user: Actor) -> None:
    with pytest.raises(TooLarge):
        await keys.push(user, b"\x99" * 5_000_000)


def user_id_packets(count: int) -> bytes:
    """User ids without any signature, in the old packet format (RFC 9580 §4.2.2): two bytes and one letter each."""
    return b"\xb4\x01a" * count


@pytest.mark.parametrize("count", [33, 10_000])
async def test_a_key_of_so_many_user_ids_is_refused(keys: OpenPgpKeys, user: Actor, count: int) -> None:
    with pytest.raises(TooLarge, match="user ids"):
        await keys.push(user, public(key()) + user_id_packets(count))


async def test_many_small_pushes_make_no_large_key(keys: OpenPgpKeys, user: Actor) -> None:
    """What is merged is bounded too."""
    pair = key("a0")
    await keys.push(user, public(pair))
    cert = pair.extract_certificate()
    with pytest.raises(TooLarge, match="user ids"):
        for number in range(1, openpgp.MOST_USER_IDS + 1):
            await keys.push(user, bytes(cert.add_user_id(f"a{number} <a{number}@example.org>", pair.certifier())))
    (row,) = await keys.search(cert.fingerprint, exact=False)
    assert len(row.user_ids) == openpgp.MOST_USER_IDS


async def test_a_user_id_may_hold_anything(keys: OpenPgpKeys, user: Actor) -> None:
    await keys.push(user, public(key("A\0da\n<ada@example.org>", "Åda")))
    (row,) = await keys.search("åda", exact=True)
    assert set(row.user_ids) == {"A\ufffdda\ufffd<ada@example.org>", "Åda"}
