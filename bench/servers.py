"""Starters of the servers that are measured: each gives a running, ready server, and leaves no process behind."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from bench.client import Address
from bench.failure import BenchError

HOST: Final = "127.0.0.1"
ROADSTEAD: Final = Path(__file__).parent.parent / ".venv/bin/roadstead"
_READY_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.002
_STOP_SECONDS: Final = 15.0


class Server(msgspec.Struct, frozen=True):
    """A server that answers: its first process (leader of its own session), and the seconds from its start until it was ready."""

    name: str
    pid: int
    address: Address
    ready_after: float


class Starter(Protocol):
    """Starts one kind of server over a directory (made when missing, kept afterwards); the server ends with the context."""

    name: str

    @contextmanager
    def __call__(self, directory: Path) -> Iterator[Server]:
        """Yield the server when it is ready; fail with the end of its log when it is not in two minutes."""
        ...


class Roadstead:
    """Roadstead as a user starts it: `roadstead serve` with its defaults, SQLite and the local disk."""

    name = "Roadstead"

    @contextmanager
    def __call__(self, directory: Path) -> Iterator[Server]:
        """Start over `directory`; the administrator's password is the one of the first start there."""
        directory.mkdir(parents=True, exist_ok=True)
        password = _password(directory / "admin-password")
        address = Address(HOST, _free_port(), f"admin:{password}")
        command = [str(ROADSTEAD), "serve", "--data", str(directory / "data"), "--listen", f"{HOST}:{address.port}"]
        with _running(self.name, command, directory, {"ROADSTEAD_ADMIN_PASSWORD": password}, address, "/health/ready") as server:
            yield server


class DockerRegistry:
    """Debian's docker-registry with Debian's own settings, less the authentication: the most favourable case for it."""

    name = "docker-registry"

    @contextmanager
    def __call__(self, directory: Path) -> Iterator[Server]:
        """Start over `directory`, with the filesystem driver."""
        directory.mkdir(parents=True, exist_ok=True)
        address = Address(HOST, _free_port())
        config = directory / "config.yml"
        config.write_text(_DOCKER_REGISTRY_CONFIG.format(root=directory / "data", port=address.port, secret=secrets.token_hex(16)))
        with _running(self.name, ["docker-registry", "serve", str(config)], directory, {}, address, "/v2/") as server:
            yield server


class Nginx:
    """nginx with sendfile: what a file server can do at best. It serves the files below `directory`/files."""

    name = "nginx"

    @contextmanager
    def __call__(self, directory: Path) -> Iterator[Server]:
        """Start over `directory`; files may be added while it runs."""
        (directory / "files").mkdir(parents=True, exist_ok=True)
        address = Address(HOST, _free_port())
        config = directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(_NGINX_CONFIG.format(user=user, directory=directory, port=address.port))
        command = ["nginx", "-c", str(config), "-p", str(directory), "-e", str(directory / "nginx-error.log")]
        with _running(self.name, command, directory, {}, address, "/ready") as server:
            yield server


_DOCKER_REGISTRY_CONFIG: Final = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: {root}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
  secret: {secret}
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

_NGINX_CONFIG: Final = """\
{user}
daemon off;
worker_processes auto;
pid {directory}/nginx.pid;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {directory}/temp-body;
    proxy_temp_path {directory}/temp-proxy;
    fastcgi_temp_path {directory}/temp-fastcgi;
    uwsgi_temp_path {directory}/temp-uwsgi;
    scgi_temp_path {directory}/temp-scgi;
    server {{
        listen 127.0.0.1:{port};
        root {directory}/files;
        location = /ready {{ return 200 "ready"; }}
    }}
}}
"""


def _password(file: Path) -> str:
    if not file.exists():
        file.write_text(secrets.token_urlsafe(16))
    return file.read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    name: str, command: Sequence[str], directory: Path, extra: Mapping[str, str], address: Address, ready: str
) -> Iterator[Server]:
    # Settings of the user's own registries must not reach the servers under measurement.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ROADSTEAD_", "REGISTRY_"))}
    log = directory / "server.log"
    # setpriv: should the bench itself be killed, the kernel still ends the server.
    whole = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    started = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            whole,
            cwd=directory,
            env={**environment, **extra},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_ready(name, process, address, ready, log)
        yield Server(name, process.pid, address, time.monotonic() - started)
    finally:
        _stop(process)


def _await_ready(name: str, process: subprocess.Popen[bytes], address: Address, path: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers(address, path):
        if process.poll() is not None:
            raise BenchError(f"{name} ended with status {process.returncode} before it was ready; its log ends:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise BenchError(f"{name} was not ready after {_READY_SECONDS:.0f} seconds; its log ends:\n{_tail(log)}")
        time.sleep(_POLL_SECONDS)


def _answers(address: Address, path: str) -> bool:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server politely, then whatever is left of its session by force."""
    try:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
