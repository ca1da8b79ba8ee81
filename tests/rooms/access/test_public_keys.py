"""Public keys and certificates in PEM: what is read, what is refused, and whose signature is whose."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from roadstead.access.public_keys import LARGEST, parse
from roadstead.errors import InvalidInput, TooLarge
from tests.support.pem import certificate, public_pem

EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()


def test_a_public_key_is_named_by_its_der() -> None:
    found = parse(public_pem(EC))
    der = EC.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (found.kind, found.fingerprint, found.expires_at) == ("public-key", hashlib.sha256(der).hexdigest().upper(), None)
    assert parse(found.pem.encode()) == found


def test_a_certificate_has_its_own_fingerprint_and_the_id_of_its_key() -> None:
    cert = certificate(EC, "Ada")
    found = parse(cert.public_bytes(Encoding.PEM))
    assert (found.kind, found.subject) == ("certificate", "CN=Ada")
    assert found.fingerprint == cert.fingerprint(hashes.SHA256()).hex().upper()
    assert found.key_id == parse(public_pem(EC)).key_id
    assert (found.valid_from, found.expires_at) == (cert.not_valid_before_utc, cert.not_valid_after_utc)


def test_each_kind_of_key_knows_its_signatures() -> None:
    made = {
        public_pem(EC): EC.sign(b"it", ec.ECDSA(hashes.SHA256())),
        public_pem(RSA): RSA.sign(b"it", padding.PKCS1v15(), hashes.SHA256()),
        public_pem(ED): ED.sign(b"it"),
    }
    for pem in made:
        for other, signature in made.items():
            assert parse(pem).made(signature, b"it", "sha256") == (pem == other)
            assert not parse(pem).made(signature, b"another", "sha256")
    assert not parse(public_pem(EC)).made(made[public_pem(EC)], b"it", "md5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not one public key"),
        (b"\xff" * 100, "not one public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "cannot be read"),
        (public_pem(EC) + public_pem(ED), "not one public key"),
        (EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "private key"),
        (public_pem(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (public_pem(ec.generate_private_key(ec.SECP256K1())), "P-256"),
        (public_pem(dsa.generate_private_key(2048)), "Ed25519"),
    ],
    ids=["nothing", "no text", "no key", "no certificate", "two", "private", "short", "curve", "kind"],
)
def test_what_may_not_be_trusted_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse(text)


def test_a_key_that_is_too_large_is_not_read() -> None:
    for size in (LARGEST + 1, 5_000_000):
        with pytest.raises(TooLarge):
            parse(public_pem(EC).ljust(size))
