from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from roadstead.errors import Misconfigured
from roadstead.serving.tls import (
    FileSource,
    Identity,
    OwnFiles,
    authority_name,
    covers,
    load_pair,
    names_of_machine,
    parse_mode,
    server_name,
)
from roadstead.serving.tls_authority import Authority
from tests.support.certificates import site_authority, site_files

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return site_authority(tmp_path)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("off", "off"),
        ("self", "self"),
        ("/a/b.crt,/a/b.key", OwnFiles(Path("/a/b.crt"), Path("/a/b.key"))),
        (" host.crt , host.key ", OwnFiles(Path("host.crt"), Path("host.key"))),
    ],
)
def test_a_mode_is_a_word_or_two_paths(text: str, mode: object) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize("text", ["", "on", "Self", "/a/b.pem", "/a,", ",/a", "/a,/b,/c", ","])
def test_anything_else_is_no_mode(text: str) -> None:
    with pytest.raises(ValueError, match="write off, self, or two paths"):
        parse_mode(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Registry.Example.ORG", "registry.example.org"),
        ("registry.example.org.", "registry.example.org"),
        ("login_1", "login_1"),
        ("*.example.org", "*.example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("10.0.0.1", "10.0.0.1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("::1", "::1"),
    ],
)
def test_a_name_is_written_in_one_way(text: str, name: str) -> None:
    assert server_name(text) == name


NO_NAMES = [
    "",
    ".",
    "a..b",
    "-a",
    "a-",
    "a b",
    "a/b",
    "a'b",
    "a$(id)",
    "a\nb",
    "bücher.example",
    "*",
    "a.*.b",
    "1.2.3",
    "300.1.1.1",
    "x" * 64,
    "a." * 127 + "a",
]


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a DNS name nor an IP address"):
        server_name(text)


@pytest.mark.parametrize(
    ("text", "name"), [("r.example", "r.example"), ("r.example:5000", "r.example"), ("[::1]:5000", "::1"), ("10.0.0.1:1", "10.0.0.1")]
)
def test_the_name_is_read_from_a_host(text: str, name: str) -> None:
    assert authority_name(text) == name


@pytest.mark.parametrize(
    "text", ["", ":5000", "a:b", "a:123456", "a:5000:1", "u@a", "a/b", "a'", "a;id", "a\r\nX: y", "[::1", "[::1]x", "a:5000\n", "a,b"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a host|neither"):
        authority_name(text)


def test_a_star_stands_for_one_label() -> None:
    names = ("r.example", "*.cluster.example")
    assert [
        name for name in ("r.example", "a.cluster.example", "a.b.cluster.example", "cluster.example", "x.r.example") if covers(names, name)
    ] == [
        "r.example",
        "a.cluster.example",
    ]


def test_a_machine_has_its_loopback_among_its_names() -> None:
    assert {"localhost", "127.0.0.1", "::1"} <= set(names_of_machine())


def test_files_that_fit_make_a_pair(tmp_path: Path, authority: Authority) -> None:
    pair = load_pair(site_files(tmp_path, authority, ("r.example", "10.0.0.1")), NOW)
    assert pair.names == ("r.example", "10.0.0.1")
    assert pair.not_after > NOW + timedelta(days=390)
    key, leaf = serialization.load_pem_private_key(pair.pem, None), x509.load_pem_x509_certificate(pair.pem)
    assert key.public_key() == leaf.public_key()


def test_the_chain_is_kept_in_its_order(tmp_path: Path, authority: Authority) -> None:
    files = site_files(tmp_path, authority)
    files.certificate.write_bytes(files.certificate.read_bytes() + authority.pem)
    chain = x509.load_pem_x509_certificates(load_pair(files, NOW).pem)
    assert chain[1] == authority.certificate


def _missing(files: OwnFiles) -> None:
    files.certificate.unlink()


def _key_missing(files: OwnFiles) -> None:
    files.key.unlink()


def _directory(files: OwnFiles) -> None:
    files.key.unlink()
    files.key.mkdir()


def _no_pem(files: OwnFiles) -> None:
    files.certificate.write_bytes(b"\x30\x82 not PEM")


def _no_key(files: OwnFiles) -> None:
    files.key.write_bytes(files.certificate.read_bytes())


def _other_key(files: OwnFiles) -> None:
    write_key(files.key, serialization.NoEncryption())


def _encrypted(files: OwnFiles) -> None:
    write_key(files.key, serialization.BestAvailableEncryption(b"secret"))


def _strange_key(files: OwnFiles) -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _weak_key(files: OwnFiles) -> None:
    key = rsa.generate_private_key(65537, 1024)
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def write_key(path: Path, encryption: serialization.KeySerializationEncryption) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_missing, r"certificate .*host\.crt cannot be read: No such file"),
        (_key_missing, r"key .*host\.key cannot be read: No such file"),
        (_directory, r"key .*host\.key cannot be read: Is a directory"),
        (_no_pem, r"certificate .*host\.crt cannot be used: it must hold certificates in PEM form"),
        (_no_key, r"key .*host\.key cannot be used: it must hold a private key in PEM form"),
        (_other_key, r"key .*host\.key does not belong to the first certificate in .*host\.crt"),
        (_strange_key, "of a kind that the server does not speak"),
        (_weak_key, "of a kind that the server does not speak"),
        (_encrypted, r"key .*host\.key is encrypted"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, authority: Authority, damage: object, said: str) -> None:
    files = site_files(tmp_path, authority)
    assert callable(damage)
    damage(files)
    with pytest.raises(Misconfigured, match=said):
        load_pair(files, NOW)


def test_a_certificate_has_its_time(tmp_path: Path, authority: Authority) -> None:
    files = site_files(tmp_path, authority)
    pair = load_pair(files, NOW)
    with pytest.raises(Misconfigured, match=r"expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC"):
        load_pair(files, pair.not_after)
    with pytest.raises(Misconfigured, match="not valid before"):
        load_pair(files, pair.not_before - timedelta(seconds=1))


def test_the_identity_follows_the_files_as_a_pair(tmp_path: Path, authority: Authority) -> None:
    files = site_files(tmp_path, authority)
    identity = Identity(FileSource(files), tmp_path / "identity.pem")
    assert identity.refresh()
    assert not identity.refresh()
    assert identity.path.stat().st_mode & 0o777 == 0o600
    shown = identity.path.read_bytes()

    before = files.certificate.read_bytes()
    site_files(tmp_path, authority)
    after, _ = files.certificate.read_bytes(), files.certificate.write_bytes(before)
    with pytest.raises(Misconfigured, match="does not belong"):
        identity.refresh()
    assert identity.path.read_bytes() == shown

    files.certificate.write_bytes(after)
    assert identity.refresh()
    assert identity.path.read_bytes() == identity.pair.pem != shown
