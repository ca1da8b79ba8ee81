"""A certificate authority of the installation's own, for sites that have none: `ROADSTEAD_TLS=self`.

    DIRECTORY/ca.pem     its private key and its certificate, mode 0600: all that there is to keep, and what replicas share
    DIRECTORY/ca.crt     the certificate again, for people; nothing reads it

Certificates that it signs for the server are never kept: each start makes one, and so does a running server in time.
"""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from roadstead.errors import Misconfigured
from roadstead.serving.tls import Pair, ServerName, fingerprint, names_of_machine, pair_of, spki

CA_FILE: Final = "ca.pem"
CA_CERTIFICATE_FILE: Final = "ca.crt"
CA_LIFETIME: Final = timedelta(days=3653)
LEAF_LIFETIME: Final = timedelta(days=397)  # as long as browsers accept from anybody, so that none of them has to know us
_CLOCK_SKEW: Final = timedelta(hours=1)  # clients whose clocks are a little behind must not find it "not yet valid"
_LONGEST_COMMON_NAME: Final = 64  # ub-common-name, RFC 5280 appendix A


class Authority(msgspec.Struct, frozen=True):
    """The authority: its certificate, and the key that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> str:
        """See `tls.fingerprint`."""
        return fingerprint(self.certificate)

    @property
    def pem(self) -> bytes:
        """The certificate, for clients."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, names: tuple[ServerName, ...], now: datetime) -> Pair:
        """A new key, with a certificate for `names` that lives for LEAF_LIFETIME, or as long as the authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = now - _CLOCK_SKEW
        end = min(begin + LEAF_LIFETIME, self.certificate.not_valid_after_utc)
        common = next(([x509.NameAttribute(NameOID.COMMON_NAME, name)] for name in names if len(name) <= _LONGEST_COMMON_NAME), [])
        signer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _certificate(x509.Name(common), self.certificate.subject, key.public_key(), begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=not common)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False)
        )
        return pair_of(key, [builder.sign(self.key, hashes.SHA256())])


class SelfSigned(msgspec.Struct, frozen=True):
    """The settings of `ROADSTEAD_TLS=self`: where the authority is, the names asked for (None: the machine's own), and names that are
    always there.
    """

    directory: Path
    asked: tuple[ServerName, ...] | None = None
    always: tuple[ServerName, ...] = ()
    seconds: float = 60.0

    def names(self) -> tuple[ServerName, ...]:
        """The names that the certificate must have now. May ask the resolver."""
        asked = names_of_machine() if self.asked is None else self.asked
        return tuple(dict.fromkeys([*asked, *self.always]))

    def newer(self, pair: Pair | None, now: datetime) -> Pair | None:
        """See tls.Source: a new certificate when a third of the old one's life is left, or a name is missing from it.

        A name that is gone is no reason: it may only be the resolver that is away.
        """
        names = self.names()
        if pair is not None and set(names) <= set(pair.names) and now < pair.not_after - (pair.not_after - pair.not_before) / 3:
            return None
        return load_or_make(self.directory, now).issue(names, now)


def load_or_make(directory: Path, now: datetime) -> Authority:
    """The authority in `directory`, made if there is none. Raises Misconfigured: cannot be made, cannot be read, damaged, expired."""
    path = directory / CA_FILE
    try:
        _make(directory, now)
    except FileExistsError:
        pass
    except OSError as error:
        raise Misconfigured(f"The TLS authority {path} cannot be made: {error.strerror}.") from error
    authority = _load(path)
    if now >= authority.certificate.not_valid_after_utc:
        raise Misconfigured(
            f"The TLS authority {path} expired at {authority.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC. Move it away and "
            "restart to make another one; every client must then be set up again."
        )
    return authority


def load_certificate(directory: Path) -> x509.Certificate:
    """The certificate of the authority in `directory`. Raises Misconfigured if there is none or it is damaged."""
    return _load(directory / CA_FILE).certificate


def _load(path: Path) -> Authority:
    try:
        text = path.read_bytes()
        key, certificate = serialization.load_pem_private_key(text, None), x509.load_pem_x509_certificate(text)
    except OSError as error:
        raise Misconfigured(f"The TLS authority {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"The TLS authority {path} is damaged: it must hold a private key and its certificate in PEM form.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or spki(key.public_key()) != spki(certificate.public_key()):
        raise Misconfigured(f"The TLS authority {path} is damaged: its key is not the one of its certificate.")
    return Authority(certificate, key)


def _make(directory: Path, now: datetime) -> None:
    """Make the file whole or not at all: two replicas that start at once must end with the same authority."""
    path = directory / CA_FILE
    if path.exists():
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = _new(now)
    key = authority.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    draft = _write(directory / f"{CA_FILE}.{secrets.token_hex(4)}", key + authority.pem, 0o600)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()
    _write(directory / f"{CA_CERTIFICATE_FILE}.{secrets.token_hex(4)}", authority.pem, 0o644).replace(directory / CA_CERTIFICATE_FILE)


def _write(path: Path, content: bytes, mode: int) -> Path:
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:  # noqa: PTH123 - opened with its mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return path


def _new(now: datetime) -> Authority:
    """A new authority. It has no name constraints: names that a site adds later would need another authority, and so every client."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Two installations must not look like one to a client that knows both.
    called = f"Roadstead authority {secrets.token_hex(4)} of {socket.gethostname()}"[:_LONGEST_COMMON_NAME]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
    begin = now - _CLOCK_SKEW
    builder = (
        _certificate(name, name, key.public_key(), begin, begin + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: ServerName) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
