"""`roadstead serve`: the HTTP workers under Granian, and one job worker beside them."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import typer
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels

from roadstead.cli.patient import PatientServer
from roadstead.errors import Misconfigured
from roadstead.serving.tls import Identity, Source, fingerprint, host_text
from roadstead.serving.tls_authority import SelfSigned, load_certificate
from roadstead.settings import Settings

_STOP_SECONDS = 10
_LAST_YEAR = timedelta(days=365)
_BUFFER = 64 * 1024  # bytes that a connection may hold for a slow client; the default of 408 KiB takes 0.3 GB for 500 stalled pulls
_CONNECTIONS = 4096
"""Connections that one worker takes at a time; what comes then waits in the kernel, /health/live too. Granian's own number is 1024 by the
number of workers, which clients that wait for a conversion (`Patience.waiters` of each worker, at most) would use up."""
_BACKLOG = 2048
_FILES = 65536  # a service manager gives 1024 to begin with, which fewer connections would use up
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    source = settings.tls_source
    _require_free(settings)
    _allow_files()
    with _memory_folder() as folder:
        identity = _identified(source, folder) if source else None
        # Only now, as the metrics library looks for its folder when it is imported.
        import roadstead.apis.harbor.door  # noqa: PLC0415 - the workers take this door; imported here, they share it
        import roadstead.app.server  # noqa: F401, PLC0415 - see above
        from roadstead.app.system import prepare  # noqa: PLC0415
        from roadstead.cli.beside import job_worker  # noqa: PLC0415 - it imports `app` too

        password = asyncio.run(prepare(settings))
        _greet(settings, password)
        # Everything is imported now: the processes that are forked from here on share it, and do not look through it for garbage.
        gc.freeze()
        with job_worker(settings, _STOP_SECONDS):
            if source is None or identity is None:
                _server(settings).serve()
            else:
                _serve_tls(settings, source, identity)


def _identified(source: Source, folder: Path) -> Identity:
    """What the server shows, checked and ready before anything listens. In memory only: private keys are not copied to a disk."""
    identity = Identity(source, folder / "identity.pem")
    identity.refresh()
    return identity


def _serve_tls(settings: Settings, source: Source, identity: Identity) -> None:
    """Serve, and let new workers take over whenever there is a newer certificate. SIGHUP looks for one at once."""
    server = _server(settings, identity)
    teller = _Teller(identity)
    server.on_reload(teller.refresh)
    stopping = threading.Event()
    keeper = threading.Thread(target=_follow, args=(teller, source.seconds, stopping), name="tls-keeper", daemon=True)
    keeper.start()
    try:
        server.serve()
    finally:
        stopping.set()


class _Teller:
    """Refreshes an identity while the server runs; what is wrong with it is printed once, not at every look."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._told = ""

    def refresh(self) -> bool:
        try:
            changed = self._identity.refresh()
        except Misconfigured as error:
            if error.message != self._told:
                typer.echo(f"{error.message} The server keeps the certificate that it has.", err=True)
            self._told = error.message
            return False
        self._told = ""
        if changed:
            typer.echo(f"New TLS certificate, valid until {self._identity.pair.not_after:%Y-%m-%d %H:%M} UTC.", err=True)
        return changed


def _follow(teller: _Teller, seconds: float, stopping: threading.Event) -> None:
    while not stopping.wait(seconds):
        if teller.refresh():
            os.kill(os.getpid(), signal.SIGHUP)


def _server(settings: Settings, identity: Identity | None = None) -> PatientServer:
    """The HTTP workers as forks of this process: they share the memory of all that is imported, and start at once."""
    multiprocessing.set_start_method("fork")
    host, port = settings.address
    return PatientServer(
        "roadstead.app.server:create",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        backlog=_BACKLOG,
        backpressure=_CONNECTIONS,
        loop=Loops.uvloop,
        # On a plain port a TLS hello must be answered "HTTP/1.1 400": docker's containerd store falls back to http only then.
        # With TLS the client says in the handshake which version it speaks.
        http=HTTPModes.auto if identity else HTTPModes.http1,
        ssl_cert=identity and identity.path,
        ssl_key=identity and identity.path,
        # Computing nodes keep old systems for long: what has no TLS 1.3 is still there. The ciphers of 1.2 are modern ones only.
        ssl_protocol_min=SSLProtocols.tls12,
        http1_settings=HTTP1Settings(max_buffer_size=_BUFFER),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
        log_level=LogLevels.warning,
    )


def _require_free(settings: Settings) -> None:
    """Fail clearly, before anything is made, if the address cannot be had; the server itself would only log it."""
    host, port = settings.address
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Misconfigured(f"Cannot listen on {settings.listen}: {error.strerror or error}.") from error


def _allow_files() -> None:
    """As many open files as this user may have, and no more than are of use; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _greet(settings: Settings, password: str | None) -> None:
    url = _url(settings)
    typer.echo(f"Roadstead {version('roadstead')} at {url}, data in {settings.data.absolute()}", err=True)
    if isinstance(settings.tls_source, SelfSigned):
        certificate = load_certificate(settings.tls_source.directory)
        typer.echo(f"TLS by this registry's own authority. How clients come to trust it: {url}/trust", err=True)
        typer.echo(f"SHA-256 fingerprint of the authority: {fingerprint(certificate)}", err=True)
        if certificate.not_valid_after_utc - datetime.now(UTC) < _LAST_YEAR:
            typer.echo(f"The authority expires at {certificate.not_valid_after_utc:%Y-%m-%d}: see docs/guide/tls.md", err=True)
    if password is not None:
        typer.echo(f"\n  First start. Log in as 'admin' with this password, which is not shown again:\n\n      {password}\n", err=True)


def _url(settings: Settings) -> str:
    """An address that reaches this server, most likely."""
    host = settings.address[0] if settings.address[0] not in ("0.0.0.0", "::") else socket.gethostname()  # noqa: S104 - compared, not bound
    scheme = "http" if settings.tls_source is None else "https"
    return settings.public_url or f"{scheme}://{host_text(host)}:{settings.address[1]}"


@contextmanager
def _memory_folder() -> Iterator[Path]:
    """A folder for the counters of worker processes and for the certificate; those of servers that were killed are removed.

    In memory, so that a server can be started, and counts, while the disk is full. Its name says whose it is: pid namespace and process.
    """
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(gettempdir())
    ours = f"roadstead-metrics-{Path('/proc/self/ns/pid').stat().st_ino}-"
    for old in memory.glob(f"{ours}*"):
        if not Path("/proc", old.name.removeprefix(ours).partition("-")[0]).exists():
            shutil.rmtree(old, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{ours}{os.getpid()}-", dir=memory, ignore_cleanup_errors=True) as mine:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = mine
        yield Path(mine)
