"""Which subkeys a key is found by: those that it has bound to sign for it, and that have said so themselves."""

from __future__ import annotations

import pytest
from pysequoia import CipherSuite, Profile, Tsk
from pysequoia.packet import PacketPile, Tag

from roadstead.access import openpgp
from roadstead.access.openpgp_bindings import signing_subkeys
from tests.support.openpgp import HandMade, packet, subpacket

SIGN, ENCRYPT = 0x02, 0x0C


@pytest.fixture(scope="module")
def mallory() -> HandMade:
    return HandMade()


@pytest.fixture(scope="module")
def ada() -> HandMade:
    return HandMade()


def found_by(mallory: HandMade, ada: HandMade, packets: bytes) -> bool:
    """Whether Mallory's key, with these packets behind it, is found by Ada's fingerprint."""
    key = openpgp.parse(mallory.certificate("Mallory") + packets)
    assert key.fingerprint == mallory.fingerprint
    assert mallory.fingerprint in key.handles
    handles = {ada.fingerprint, ada.fingerprint[-16:], ada.fingerprint[-8:]}
    assert handles <= set(key.handles) or handles.isdisjoint(key.handles)
    return ada.fingerprint in key.handles


def test_a_subkey_that_both_have_bound_is_found(mallory: HandMade, ada: HandMade) -> None:
    back = ada.signature(0x19, mallory.hashed + ada.hashed)
    assert found_by(mallory, ada, mallory.binding(ada, SIGN, back))


def test_the_key_of_somebody_else_is_not_a_subkey(mallory: HandMade, ada: HandMade) -> None:
    over = mallory.hashed + ada.hashed
    back = ada.signature(0x19, over)
    for packets in (
        packet(14, ada.body),
        mallory.binding(ada, SIGN),
        mallory.binding(ada, ENCRYPT),
        mallory.binding(ada, SIGN, mallory.signature(0x19, over)),
        mallory.binding(ada, SIGN, ada.signature(0x19, over, good=False)),
        mallory.binding(ada, SIGN, ada.signature(0x19, ada.hashed + mallory.hashed)),
        mallory.binding(ada, SIGN, ada.signature(0x18, over)),
        mallory.binding(ada, SIGN, back, good=False),
        mallory.binding(ada, ENCRYPT, back),
        packet(14, ada.body) + packet(2, ada.signature(0x18, over, subpacket(27, b"\x02"), subpacket(32, back))),
        packet(14, ada.body) + packet(2, mallory.signature(0x18, over, b"", subpacket(27, b"\x02") + subpacket(32, back))),
        packet(14, ada.body) + packet(2, mallory.signature(0x28, over, subpacket(27, b"\x02"), subpacket(32, back))),
    ):
        assert not found_by(mallory, ada, packets)


def test_what_rests_on_sha1_binds_nothing(mallory: HandMade, ada: HandMade) -> None:
    over = mallory.hashed + ada.hashed
    assert not found_by(mallory, ada, mallory.binding(ada, SIGN, ada.signature(0x19, over), hashing=2))
    assert not found_by(mallory, ada, mallory.binding(ada, SIGN, ada.signature(0x19, over, hashing=2)))


@pytest.mark.parametrize("suite", [CipherSuite.Cv25519, CipherSuite.RSA2k, CipherSuite.P256, CipherSuite.P384, CipherSuite.P521])
def test_the_signing_subkeys_that_programs_make(suite: CipherSuite) -> None:
    cert = Tsk.generate(user_ids=["Ada"], cipher_suite=suite).extract_certificate()
    subkeys = [one for one in PacketPile.from_bytes(bytes(cert)) if one.tag == Tag.PublicSubkey]
    (signing,) = signing_subkeys(bytes(cert))
    assert signing in [one.body for one in subkeys] and len(subkeys) == 2
    found = {one.fingerprint for one in subkeys if one.body == signing}
    assert {handle for handle in openpgp.parse(bytes(cert)).handles if len(handle) == 40} == found | {cert.fingerprint}


def test_keys_of_version_6_are_found_by_their_own_fingerprint() -> None:
    cert = Tsk.generate(user_ids=["Ada"], profile=Profile.RFC9580).extract_certificate()
    assert {len(handle) for handle in openpgp.parse(bytes(cert)).handles} == {64, 16, 8}


def test_damaged_bindings_bind_nothing(mallory: HandMade, ada: HandMade) -> None:
    whole = mallory.signature(0x18, mallory.hashed + ada.hashed, subpacket(27, b"\x02"), subpacket(32, b"\x04\x19"))
    for at in range(len(whole)):
        assert not signing_subkeys(mallory.certificate("M") + packet(14, ada.body) + packet(2, whole[:at]))
        assert not signing_subkeys(mallory.certificate("M") + packet(14, ada.body[:at]) + packet(2, whole))
