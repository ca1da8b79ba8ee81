"""`roadstead serve`: the HTTP workers under Granian, and one job worker beside them."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import typer
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from roadstead.errors import Misconfigured
from roadstead.settings import Settings

_RESTART_SECONDS = 2.0
_STOP_SECONDS = 10
_BUFFER = 64 * 1024  # bytes that a connection may hold for a slow client; the default of 408 KiB takes 0.3 GB for 500 stalled pulls
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    _require_free(settings)
    with _metrics_folder():
        # Only now, as the metrics library looks for its folder when it is imported.
        from roadstead.app import prepare  # noqa: PLC0415

        password = asyncio.run(prepare(settings))
        _greet(settings, password)
        with _job_worker():
            _serve(settings)


def _serve(settings: Settings) -> None:
    """Run the HTTP workers as forks of this process: they share the memory of all that is imported, and start at once."""
    multiprocessing.set_start_method("fork")
    gc.freeze()
    host, port = settings.address
    Server(
        "roadstead.app:create",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=settings.workers,
        loop=Loops.uvloop,
        # On a plain port a TLS hello must be answered "HTTP/1.1 400": docker's containerd store falls back to http only then.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=_BUFFER),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=_STOP_SECONDS,
        log_level=LogLevels.warning,
    ).serve()


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


def _greet(settings: Settings, password: str | None) -> None:
    host = settings.address[0] if settings.address[0] not in ("0.0.0.0", "::") else socket.gethostname()  # noqa: S104 - compared, not bound
    url = settings.public_url or f"http://{host}:{settings.address[1]}"
    typer.echo(f"Roadstead {version('roadstead')} at {url}, data in {settings.data.absolute()}", err=True)
    if password is not None:
        typer.echo(f"\n  First start. Log in as 'admin' with this password, which is not shown again:\n\n      {password}\n", err=True)


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """A folder in which worker processes keep their counters; those of servers that were killed are removed.

    In memory, so that a server can be started, and counts, while the disk is full. Its name says whose it is: pid namespace and process.
    """
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(gettempdir())
    ours = f"roadstead-metrics-{Path('/proc/self/ns/pid').stat().st_ino}-"
    for old in memory.glob(f"{ours}*"):
        if not Path("/proc", old.name.removeprefix(ours).partition("-")[0]).exists():
            shutil.rmtree(old, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{ours}{os.getpid()}-", dir=memory, ignore_cleanup_errors=True) as mine:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = mine
        yield


@contextmanager
def _job_worker() -> Iterator[None]:
    """One `roadstead worker` as a child process, started again if it dies."""
    stopping = threading.Event()
    keeper = threading.Thread(target=_keep_running, args=(stopping,), name="job-worker-keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        keeper.join(_STOP_SECONDS * 2)


def _keep_running(stopping: threading.Event) -> None:
    while not stopping.is_set():
        process = subprocess.Popen([sys.executable, "-m", "roadstead", "worker"], stdin=subprocess.DEVNULL)
        while process.poll() is None and not stopping.wait(0.2):
            pass
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        stopping.wait(_RESTART_SECONDS)
