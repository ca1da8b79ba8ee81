"""TLS: what the server shows to its clients, from the site's own files or from an authority of its own, and how it follows their changes.

A `Source` gives a `Pair` (private key and certificates that belong together, checked). `Identity` keeps the present pair in one file,
which worker processes read when they start, so that none ever meets a certificate and a key of which only one has been replaced.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from roadstead.errors import Misconfigured

_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME: Final = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_LONGEST_NAME: Final = 253
_RSA_BITS: Final = (2048, 3072, 4096)
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")

ServerName: TypeAlias = str
"""A DNS name in small letters, perhaps with `*.` before it, or an IP address in its shortest form: made by `server_name` only."""


class OwnFiles(msgspec.Struct, frozen=True):
    """A certificate chain (the server's own first) and its private key, both PEM."""

    certificate: Path
    key: Path


Mode: TypeAlias = Literal["off", "self"] | OwnFiles


def parse_mode(text: str) -> Mode:
    """What `ROADSTEAD_TLS` says: `off`, `self`, or two paths with one comma between them. Raises ValueError."""
    if text == "off":
        return "off"
    if text == "self":
        return "self"
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(parts):
        raise ValueError("write off, self, or two paths with a comma between them, as in /etc/ssl/host.crt,/etc/ssl/host.key")
    return OwnFiles(Path(parts[0]), Path(parts[1]))


def server_name(text: str) -> ServerName:
    """A name that can stand in a certificate: a DNS name (international ones in their xn-- form) or an IP address. Raises ValueError."""
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        name = text.lower().removesuffix(".")
    if len(name) > _LONGEST_NAME or not _DNS_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
        raise ValueError(f"{text[:300]!r} is neither a DNS name nor an IP address")
    return name


def authority_name(authority: str) -> ServerName:
    """The name in a host and optional port, as in a Host header or a URL. Raises ValueError for anything else."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError(f"{authority[:300]!r} is not a host with an optional port")
    return server_name(found[1])


def covers(names: Iterable[ServerName], name: ServerName) -> bool:
    """Whether a certificate for `names` is one for `name`; `*` stands for one label (RFC 6125 §6.4.3)."""
    _, dot, parent = name.partition(".")
    return any(name == known or bool(dot and known == f"*.{parent}") for known in names)


def names_of_machine() -> tuple[ServerName, ...]:
    """What this machine calls itself, and its loopback. Asks the resolver, so it may take seconds."""
    found = [socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", "::1"]
    return tuple(dict.fromkeys(_valid(found)))


def _valid(texts: Iterable[str]) -> Iterable[ServerName]:
    for text in texts:
        try:
            yield server_name(text)
        except ValueError:
            continue  # A machine may call itself what no certificate can say.


class Pair(msgspec.Struct, frozen=True):
    """A private key and its certificates, checked: one PEM text with the key first, whom it is for, and until when."""

    pem: bytes
    names: tuple[ServerName, ...]
    not_before: datetime
    not_after: datetime
    mark: bytes = b""
    """By which its source knows it again."""


class Source(Protocol):
    """Where pairs come from."""

    @property
    def seconds(self) -> float:
        """How long to wait before asking again."""

    def newer(self, pair: Pair | None, now: datetime) -> Pair | None:
        """A pair to use instead of `pair`; None if `pair` is still the right one. Raises Misconfigured if there is none to use."""


class FileSource(msgspec.Struct, frozen=True):
    """The site's own files. They are read whole each time, so that it does not matter how they are replaced."""

    files: OwnFiles
    seconds: float = 2.0

    def newer(self, pair: Pair | None, now: datetime) -> Pair | None:
        """See Source."""
        texts = _read(self.files.certificate, "certificate"), _read(self.files.key, "key")
        mark = hashlib.sha256(b"\0".join(texts)).digest()
        return None if pair is not None and pair.mark == mark else msgspec.structs.replace(load_pair(self.files, now), mark=mark)


def load_pair(files: OwnFiles, now: datetime) -> Pair:
    """Read and check the site's own files. Raises Misconfigured: missing, unreadable, no PEM, no match, expired, not yet valid."""
    chain = _certificates(_read(files.certificate, "certificate"), files.certificate)
    key = _private_key(_read(files.key, "key"), files.key)
    leaf = chain[0]
    if not _usable(key) or leaf.version is not x509.Version.v3:
        raise Misconfigured(
            f"The TLS certificate {files.certificate} is of a kind that the server does not speak: it takes X.509 version 3 with "
            "RSA of 2048, 3072 or 4096 bits, ECDSA on P-256 or P-384, or Ed25519."
        )
    if spki(leaf.public_key()) != spki(key.public_key()):
        raise Misconfigured(f"The TLS key {files.key} does not belong to the first certificate in {files.certificate}.")
    if now >= leaf.not_valid_after_utc:
        raise Misconfigured(f"The TLS certificate {files.certificate} expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.")
    if now < leaf.not_valid_before_utc:
        raise Misconfigured(f"The TLS certificate {files.certificate} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.")
    return pair_of(key, chain)


def pair_of(key: PrivateKeyTypes, chain: list[x509.Certificate]) -> Pair:
    """A pair, from a key and a chain that were checked or have just been made."""
    leaf = chain[0]
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem += b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    return Pair(pem, _names(leaf), leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of a certificate as openssl and browsers write it: pairs of capital hexadecimal digits with colons."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def spki(key: object) -> bytes:
    """A public key's own bytes (SubjectPublicKeyInfo), by which keys are compared."""
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _names(certificate: x509.Certificate) -> tuple[ServerName, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return tuple(_valid([*found.get_values_for_type(x509.DNSName), *addresses]))


def _usable(key: PrivateKeyTypes) -> bool:
    """Whether the HTTP server's own library takes this key. Its workers would die of others, after the old ones were told to go."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size in _RSA_BITS
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, ed25519.Ed25519PrivateKey)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"The TLS {what} {path} cannot be read: {error.strerror}.") from error


def _certificates(text: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise Misconfigured(f"The TLS certificate {path} cannot be used: it must hold certificates in PEM form.") from error


def _private_key(text: bytes, path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(text, None)
    except TypeError as error:
        raise Misconfigured(f"The TLS key {path} is encrypted; the server needs it without a passphrase.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"The TLS key {path} cannot be used: it must hold a private key in PEM form.") from error


def host_text(name: ServerName) -> str:
    """A name as URLs write it: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name and isinstance(ip_address(name), IPv6Address) else name


def utc_now() -> datetime:
    """Now, aware, UTC."""
    return datetime.now(UTC)


class Identity:
    """The pair that the server shows at present, in one file of mode 0600 that `refresh` replaces as a whole."""

    def __init__(self, source: Source, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self._source = source
        self._clock = clock
        self._pair: Pair | None = None
        self._lock = threading.Lock()

    def refresh(self) -> bool:
        """Take a newer pair if there is one; whether there was. Raises Misconfigured and keeps the old one if that cannot be used."""
        with self._lock:
            newer = self._source.newer(self._pair, self._clock())
            if newer is None:
                return False
            _replace(self.path, newer.pem)
            self._pair = newer
            return True

    @property
    def pair(self) -> Pair:
        """The present pair; there is one after the first `refresh`."""
        assert self._pair is not None, "refresh first"
        return self._pair


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.new")
    with open(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123 - opened with its mode
        file.write(content)
    draft.replace(path)
