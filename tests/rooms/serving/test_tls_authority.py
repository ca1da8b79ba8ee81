from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from roadstead.errors import Misconfigured
from roadstead.serving.tls import Identity, Pair
from roadstead.serving.tls_authority import CA_LIFETIME, LEAF_LIFETIME, Authority, SelfSigned, load_certificate, load_or_make

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = ("registry.example", "*.cluster.example", "10.0.0.1", "2001:db8::1")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return load_or_make(tmp_path / "tls", NOW)


def leaf_of(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.pem)


def test_it_is_made_once_and_its_key_is_nobodys_business(tmp_path: Path, authority: Authority) -> None:
    assert load_or_make(tmp_path / "tls", NOW).certificate == authority.certificate == load_certificate(tmp_path / "tls")
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "tls" / "ca.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls" / "ca.crt").read_bytes() == authority.pem
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["ca.crt", "ca.pem"]


def test_servers_that_make_it_at_once_end_with_the_same(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def make(_: int) -> str:
        start.wait()
        return load_or_make(tmp_path / "tls", NOW).fingerprint

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(make, range(8)))) == 1
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["ca.crt", "ca.pem"]


def test_two_installations_are_told_apart(tmp_path: Path, authority: Authority) -> None:
    assert load_or_make(tmp_path / "other", NOW).certificate.subject != authority.certificate.subject


def test_it_may_sign_for_servers_and_for_nothing_below(authority: Authority) -> None:
    certificate = authority.certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == CA_LIFETIME
    assert isinstance(authority.key.curve, ec.SECP256R1)


def test_a_servers_certificate_says_what_clients_look_for(authority: Authority) -> None:
    leaf = leaf_of(authority.issue(NAMES, NOW))
    leaf.verify_directly_issued_by(authority.certificate)
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == LEAF_LIFETIME <= timedelta(days=397)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["registry.example", "*.cluster.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "2001:db8::1"]


@pytest.mark.parametrize("host", ["registry.example", "node1.cluster.example", "10.0.0.1", "2001:db8::1"])
def test_openssl_accepts_it_for_its_names(tmp_path: Path, authority: Authority, host: str) -> None:
    assert shake_hands(authority, authority.issue(NAMES, NOW), tmp_path, host) == "TLSv1.3"


@pytest.mark.parametrize("host", ["other.example", "a.b.cluster.example", "10.0.0.2"])
def test_openssl_refuses_it_for_other_names(tmp_path: Path, authority: Authority, host: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        shake_hands(authority, authority.issue(NAMES, NOW), tmp_path, host)


def test_a_name_that_is_too_long_for_a_subject_is_fine(tmp_path: Path, authority: Authority) -> None:
    name = ".".join(["a" * 60] * 3)
    assert shake_hands(authority, authority.issue((name,), NOW), tmp_path, name) == "TLSv1.3"


def shake_hands(authority: Authority, pair: Pair, directory: Path, host: str) -> str | None:
    """A whole handshake in memory, with every check of OpenSSL's strict mode; the version of TLS."""
    (directory / "pair.pem").write_bytes(pair.pem)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=authority.pem.decode())
    server.load_cert_chain(directory / "pair.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there, server_hostname=host), server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].version()


def test_it_does_not_outlive_its_authority(tmp_path: Path, authority: Authority) -> None:
    late = NOW + CA_LIFETIME - timedelta(days=30)
    assert authority.issue(NAMES, late).not_after == authority.certificate.not_valid_after_utc


def test_it_is_renewed_when_a_third_of_its_life_is_left(tmp_path: Path) -> None:
    now = NOW
    identity = Identity(SelfSigned(tmp_path / "tls", NAMES), tmp_path / "identity.pem", lambda: now)
    assert identity.refresh()
    first = identity.pair
    due = first.not_after - LEAF_LIFETIME / 3
    now = due - timedelta(seconds=1)
    assert not identity.refresh()
    now = due
    assert identity.refresh()
    assert identity.pair.not_after - now > LEAF_LIFETIME - timedelta(days=1)
    assert not identity.refresh()
    leaf_of(identity.pair).verify_directly_issued_by(load_certificate(tmp_path / "tls"))


def test_a_new_name_is_a_reason_and_a_lost_one_is_none(tmp_path: Path) -> None:
    def source(*names: str) -> SelfSigned:
        return SelfSigned(tmp_path / "tls", names, ("public.example",))

    pair = source("a.example", "b.example").newer(None, NOW)
    assert pair is not None and pair.names == ("a.example", "b.example", "public.example")
    assert source("b.example").newer(pair, NOW) is None
    renewed = source("b.example", "c.example").newer(pair, NOW)
    assert renewed is not None and renewed.names == ("b.example", "c.example", "public.example")


def test_without_names_it_takes_the_machines(tmp_path: Path) -> None:
    pair = SelfSigned(tmp_path / "tls", None, ("10.9.8.7",)).newer(None, NOW)
    assert pair is not None and {"localhost", "127.0.0.1", "::1", "10.9.8.7"} <= set(pair.names)


def test_an_authority_may_lie_in_a_directory_that_cannot_be_written(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "tls" / "ca.crt").unlink()
    (tmp_path / "tls").chmod(0o500)
    try:
        assert load_or_make(tmp_path / "tls", NOW).fingerprint == authority.fingerprint
        assert [path.name for path in (tmp_path / "tls").iterdir()] == ["ca.pem"]
    finally:
        (tmp_path / "tls").chmod(0o700)


def test_an_expired_authority_stops_the_server(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(Misconfigured, match=r"ca\.pem expired at .* Move it away"):
        load_or_make(tmp_path / "tls", NOW + CA_LIFETIME)


def test_a_damaged_authority_is_never_replaced(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "tls" / "ca.pem"
    other = load_or_make(tmp_path / "other", NOW)
    text = path.read_bytes()
    for damaged in (b"", text[:100], authority.pem, text.replace(authority.pem, other.pem)):
        path.write_bytes(damaged)
        with pytest.raises(Misconfigured, match=r"ca\.pem is damaged"):
            load_or_make(tmp_path / "tls", NOW)
        assert path.read_bytes() == damaged


def test_where_it_cannot_be_made_the_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Misconfigured, match=r"file/tls/ca\.pem cannot be made"):
        load_or_make(tmp_path / "file" / "tls", NOW)
