"""A server with TLS: how it starts, what it shows, and how it follows new certificates while transfers are under way."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from roadstead.cli.patient import listeners
from roadstead.serving.tls import OwnFiles, fingerprint
from roadstead.serving.tls_authority import Authority
from tests.support.certificates import site_authority, site_files
from tests.support.program import PROGRAM, without_settings
from tests.support.server import RoadsteadServer, children, job_keepers, poll

WORKERS = 2
SELF = {"ROADSTEAD_TLS": "self"}
REPOSITORY = "library/over-tls"
LARGE = b"over TLS" * (6 << 20)  # more than sockets and their buffers hold
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return site_authority(tmp_path)


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> OwnFiles:
    return site_files(tmp_path, authority)


@pytest.fixture
def server(tmp_path: Path, files: OwnFiles) -> Iterator[RoadsteadServer]:
    """A server with the site's files."""
    environment = {"ROADSTEAD_TLS": f"{files.certificate},{files.key}"}
    with RoadsteadServer(tmp_path / "data", environment, ["--workers", str(WORKERS)]) as server:
        server.authority = tmp_path / "site" / "ca.crt"
        yield server


def in_file(files: OwnFiles) -> int:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).serial_number


def shown(server: RoadsteadServer) -> int:
    """The serial number of the certificate that a new connection meets."""
    with connected(server) as connection:
        return serial(connection)


def serial(connection: ssl.SSLSocket) -> int:
    certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


@contextmanager
def connected(server: RoadsteadServer, alpn: str = "http/1.1", newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=server.authority)
    context.maximum_version = newest
    context.set_alpn_protocols([alpn])
    with (
        socket.create_connection((server.address, server.port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=server.address) as connection,
    ):
        yield connection


def taken_over(server: RoadsteadServer, files: OwnFiles) -> bool:
    """Whether the certificate in the files is shown and the workers that showed another one take no more connections."""
    return poll(lambda: shown(server) == in_file(files)) and poll(lambda: listeners(server.port) == WORKERS)


def workers(server: RoadsteadServer) -> set[int]:
    """The process ids of the HTTP workers."""
    return children(server.pid) - job_keepers(server)


def test_an_authority_of_its_own_is_made_and_told(tmp_path: Path) -> None:
    with RoadsteadServer(tmp_path / "data", SELF) as server:
        certificate = x509.load_pem_x509_certificate(server.authority.read_bytes())
        log = server.log.read_text()
        assert f"Roadstead 0.1.0 at {server.url}," in log and server.url.startswith("https://")
        assert f"SHA-256 fingerprint of the authority: {fingerprint(certificate)}\n" in log
        with server.http(anonymous=True) as http:
            assert f'realm="{server.url}/service/token"' in http.get("/v2/").headers["www-authenticate"]
            assert x509.load_pem_x509_certificate(http.get("/ca.crt").content) == certificate
            assert fingerprint(certificate) in http.get("/trust").text
            assert http.get("/trust.sh", headers={"Host": "x';id;'"}).status_code == 400
            assert http.get("/trust.sh", headers={"Host": "evil.example"}).status_code == 421
        first = shown(server)
        server.stop()
        server.start()
        assert x509.load_pem_x509_certificate(server.authority.read_bytes()) == certificate
        assert shown(server) != first


def test_the_private_keys_can_be_read_by_nobody_else(tmp_path: Path) -> None:
    with RoadsteadServer(tmp_path / "data", SELF) as server:
        opened = [file for file in tmp_path.rglob("*") if file.is_file() and b"PRIVATE KEY" in file.read_bytes()]
        assert [(file.name, file.stat().st_mode & 0o777) for file in opened] == [("ca.pem", 0o600)]
        (folder,) = Path("/dev/shm").glob(f"roadstead-metrics-*-{server.pid}-*")
        identity = folder / "identity.pem"
        assert (folder.stat().st_mode & 0o777, identity.stat().st_mode & 0o777) == (0o700, 0o600)
        server.stop()
        assert not folder.exists()


def test_http_2_and_tls_1_2_are_spoken(server: RoadsteadServer) -> None:
    with connected(server, "h2") as connection:
        assert (connection.selected_alpn_protocol(), connection.version()) == ("h2", "TLSv1.3")
    with connected(server, newest=ssl.TLSVersion.TLSv1_2) as connection:
        assert (connection.selected_alpn_protocol(), connection.version()) == ("http/1.1", "TLSv1.2")


def test_a_certificate_of_an_unknown_authority_is_refused_by_the_client(server: RoadsteadServer, tmp_path: Path) -> None:
    server.authority = tmp_path / "other" / "ca.crt"
    (tmp_path / "other").mkdir()
    server.authority.write_bytes(site_authority(tmp_path / "other").pem)
    with pytest.raises(ssl.SSLCertVerificationError), connected(server):
        pass


@pytest.mark.parametrize(
    "sent", [b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\0" * 65536], ids=["http", "half", "zeros"]
)
def test_what_is_no_tls_ends_its_own_connection_only(server: RoadsteadServer, sent: bytes) -> None:
    with socket.create_connection((server.address, server.port), timeout=30) as plain:
        with suppress(OSError):  # it may have hung up already
            plain.sendall(sent)
            plain.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            assert b"HTTP/1.1 200" not in plain.recv(4096)
    with server.http() as http:
        assert http.get("/v2/").status_code == 200


def test_new_files_are_shown_without_a_restart(server: RoadsteadServer, files: OwnFiles, tmp_path: Path, authority: Authority) -> None:
    pid, before = server.pid, shown(server)
    assert before == in_file(files)
    site_files(tmp_path, authority)
    assert taken_over(server, files)
    assert {shown(server) for _ in range(10)} == {in_file(files)} != {before}
    assert server.pid == pid
    assert "New TLS certificate, valid until" in server.log.read_text()


def test_sighup_looks_for_new_files_at_once_and_is_harmless(server: RoadsteadServer, files: OwnFiles) -> None:
    old = workers(server)
    os.kill(server.pid, signal.SIGHUP)
    assert poll(lambda: not old & workers(server))
    assert shown(server) == in_file(files)


def test_half_replaced_files_change_nothing_until_they_are_whole(
    server: RoadsteadServer, files: OwnFiles, tmp_path: Path, authority: Authority
) -> None:
    before, certificate = in_file(files), files.certificate.read_bytes()
    site_files(tmp_path, authority)
    replaced, _ = files.certificate.read_bytes(), files.certificate.write_bytes(certificate)
    complaint = "does not belong to the first certificate"
    assert poll(lambda: complaint in server.log.read_text())
    os.kill(server.pid, signal.SIGHUP)  # New workers must come up all the same, with what was good.
    old = workers(server)
    assert poll(lambda: not old & workers(server))
    assert shown(server) == before
    files.certificate.write_bytes(replaced)
    assert taken_over(server, files)
    assert server.log.read_text().count(complaint) == 1


def push(server: RoadsteadServer) -> None:
    with server.http() as http:
        answer = http.post(f"/v2/{REPOSITORY}/blobs/uploads/", params={"digest": DIGEST}, content=LARGE)
        assert answer.status_code == 201, answer.text


def begin_pull(connection: ssl.SSLSocket, server: RoadsteadServer) -> bytes:
    """Ask for the large blob and read its first bytes; what came of the body."""
    connection.sendall(f"GET /v2/{REPOSITORY}/blobs/{DIGEST} HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode())
    head, _, body = read(connection, 1 << 16).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


def read(connection: ssl.SSLSocket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size and (chunk := connection.recv(size - len(received))):
        received += chunk
    return bytes(received)


def test_a_pull_under_way_ends_well_however_often_others_take_over(
    server: RoadsteadServer, files: OwnFiles, tmp_path: Path, authority: Authority
) -> None:
    push(server)
    old = workers(server)
    with connected(server) as connection:
        body = begin_pull(connection, server)
        for _ in range(2):
            site_files(tmp_path, authority)
            assert taken_over(server, files)
        assert serial(connection) != in_file(files)
        assert poll(lambda: len(workers(server)) == WORKERS + 1), "of all old workers only the one that is sending stays"
        assert len(old & workers(server)) == 1
        body += read(connection, len(LARGE) - len(body))
        assert hashlib.sha256(body).hexdigest() == DIGEST.partition(":")[2]
    assert poll(lambda: not old & workers(server)), "it goes when it is done"


def test_a_push_under_way_ends_well(server: RoadsteadServer, files: OwnFiles, tmp_path: Path, authority: Authority) -> None:
    with server.http() as http:
        location = http.post(f"/v2/{REPOSITORY}/blobs/uploads/").headers["Location"]

        def body() -> Iterator[bytes]:
            half = len(LARGE) // 2
            yield LARGE[:half]
            site_files(tmp_path, authority)
            assert taken_over(server, files)
            yield LARGE[half:]

        headers = {"Content-Length": str(len(LARGE))}
        answer = http.put(location, params={"digest": DIGEST}, content=body(), headers=headers)
        assert answer.status_code == 201, answer.text
        assert http.head(f"/v2/{REPOSITORY}/blobs/{DIGEST}").headers["Content-Length"] == str(len(LARGE))


def test_a_pull_over_http_2_survives_too(server: RoadsteadServer, files: OwnFiles, tmp_path: Path, authority: Authority) -> None:
    push(server)
    command = ["curl", "-sS", "--http2", "--cacert", str(server.authority), "--limit-rate", "12M", "-w", "%{http_version}"]
    command += ["-o", str(tmp_path / "pulled"), f"{server.url}/v2/{REPOSITORY}/blobs/{DIGEST}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert poll(lambda: (tmp_path / "pulled").exists() and (tmp_path / "pulled").stat().st_size > 0)
        curl.send_signal(signal.SIGSTOP)  # however long the new workers take, the pull is under way meanwhile
        site_files(tmp_path, authority)
        assert taken_over(server, files)
        still_running = curl.poll() is None
        curl.send_signal(signal.SIGCONT)
        said, _ = curl.communicate(timeout=60)
    assert still_running and (curl.returncode, said) == (0, "2")
    assert hashlib.sha256((tmp_path / "pulled").read_bytes()).hexdigest() == DIGEST.partition(":")[2]


def test_a_server_with_old_workers_stops_as_fast_as_any(
    server: RoadsteadServer, files: OwnFiles, tmp_path: Path, authority: Authority
) -> None:
    push(server)
    with connected(server) as connection:
        begin_pull(connection, server)
        site_files(tmp_path, authority)
        assert taken_over(server, files)
        assert poll(lambda: len(workers(server)) == WORKERS + 1)
        remaining = workers(server)
        assert server.stop() == 0
        assert not [pid for pid in remaining if Path(f"/proc/{pid}").exists()]


def refused(tmp_path: Path, **environment: str) -> str:
    """Start a server that must not start; what it said."""
    command = [str(PROGRAM), "serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, env={**without_settings(), **environment}, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert not (tmp_path / "data").exists(), "it was refused before anything was made"
    return done.stderr


def test_a_start_that_cannot_work_says_why(tmp_path: Path, authority: Authority, files: OwnFiles) -> None:
    both = f"{files.certificate},{files.key}"
    assert "write off, self, or two paths" in refused(tmp_path, ROADSTEAD_TLS="yes")
    assert "'a b' is neither a DNS name nor an IP address" in refused(tmp_path, ROADSTEAD_TLS="self", ROADSTEAD_TLS_NAMES="ok, a b")
    assert "the address begins with https" in refused(tmp_path, ROADSTEAD_TLS=both, ROADSTEAD_PUBLIC_URL="http://r.example")
    assert "is not a host" in refused(tmp_path, ROADSTEAD_TLS="self", ROADSTEAD_PUBLIC_URL="https://user@r.example")
    assert "cannot be read: No such file" in refused(tmp_path, ROADSTEAD_TLS=f"{files.certificate},/nowhere/host.key")
    site_files(tmp_path, authority, now=datetime.now(UTC) - timedelta(days=400))
    assert "expired at" in refused(tmp_path, ROADSTEAD_TLS=both)
    site_files(tmp_path, authority, now=datetime.now(UTC) + timedelta(days=1))
    assert "not valid before" in refused(tmp_path, ROADSTEAD_TLS=both)


def test_keys_of_every_usual_kind_are_taken(tmp_path: Path, authority: Authority) -> None:
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        files = site_files(tmp_path, authority)
        template = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        builder = x509.CertificateBuilder(template.issuer, template.subject, key.public_key(), template.serial_number)
        builder = builder.not_valid_before(template.not_valid_before_utc).not_valid_after(template.not_valid_after_utc)
        for extension in template.extensions:
            if extension.oid != x509.SubjectKeyIdentifier.oid:
                builder = builder.add_extension(extension.value, extension.critical)
        signed = builder.sign(authority.key, hashes.SHA256())
        files.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        environment = {"ROADSTEAD_TLS": f"{files.certificate},{files.key}"}
        with RoadsteadServer(tmp_path / type(key).__name__, environment, ["--workers", "1"]) as server:
            server.authority = tmp_path / "site" / "ca.crt"
            assert shown(server) == signed.serial_number
