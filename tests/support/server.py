"""The real server as a child process: what protocol tests, journeys and benchmarks talk to."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx2

from tests.support.program import PROGRAM, without_settings

ADMIN_PASSWORD = "correct horse battery"
DEADLINE = 30.0  # Seconds that the server may take to become ready or to go away.


class ServerError(AssertionError):
    """The server did not start or stop as it must; the message ends with the last lines of its log."""


class RoadsteadServer:
    """`roadstead serve` on a loopback port of its own, with its data in `data` and its output in `log` (beside the data).

    As a context manager it is started on entry and gone on exit.
    `environment` is added to a clean environment, `arguments` to the command line. Port and data stay the same for the object's
    whole life, so that `start` after `stop` or `kill` is a restart. It listens on `address`, which clients know by `name`; with `port`
    443 and TLS by that alone, as users type it.
    With ROADSTEAD_TLS its requests made by hand trust `authority`, at first the one that the server makes for itself.
    """

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        *,
        address: str = "127.0.0.1",
        name: str | None = None,
        port: int | None = None,
    ) -> None:
        self.data = data
        self.log = data.with_name(data.name + ".log")
        self.admin_password = ADMIN_PASSWORD
        self.address = address
        self.port = port or free_port(address)
        self.tls = (environment or {}).get("ROADSTEAD_TLS", "off") != "off"
        self.host = (name or address) + ("" if self.tls and self.port == 443 else f":{self.port}")
        self.url = f"{'https' if self.tls else 'http'}://{self.host}"
        self.authority = data / "tls" / "ca.crt"
        self._environment = {"ROADSTEAD_ADMIN_PASSWORD": self.admin_password, **(environment or {})}
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RoadsteadServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The main process, which leads a process group of its own."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """How the main process ended by itself (negative: the signal that killed it); None while it runs or if it was stopped."""
        return None if self._process is None else status_of(self._process.pid)

    def start(self) -> None:
        """Start, and return when `/health/ready` answers 200. Raises ServerError if that does not happen in time."""
        assert self._process is None, "the server is already running"
        command = [str(PROGRAM), "serve", "--data", str(self.data), "--listen", f"{self.address}:{self.port}", *self._arguments]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**without_settings(), **self._environment},
                start_new_session=True,
            )
        try:
            self._until(self._is_ready, "become ready")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """Ask the server to finish (SIGTERM); return its exit status. Raises ServerError if it stays."""
        os.kill(self.pid, signal.SIGTERM)
        try:
            self._until(lambda: self.exit_status is not None, "stop on SIGTERM")
            return self.exit_status or 0
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of the server at once; returns when they are gone. No error if it does not run."""
        if self._process is None:
            return
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)
        self._process = None
        # The workers are not our children, so they cannot be waited for; but a restart needs their port.
        self._until(lambda: not listening(self.port, self.address), "let go of its port")

    def http(self, *, anonymous: bool = False, timeout: float = 30.0) -> httpx2.Client:
        """A client for requests made by hand, as the administrator (Basic) or as nobody. Paths are relative to the server's root."""
        auth = None if anonymous else ("admin", self.admin_password)
        verify = ssl.create_default_context(cafile=self.authority) if self.tls else False
        return httpx2.Client(base_url=self.url, auth=auth, timeout=timeout, trust_env=False, verify=verify)

    def last_lines(self, count: int = 40) -> str:
        """The end of the log, for messages."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def _is_ready(self) -> bool:
        if self.exit_status is not None:
            raise ServerError(f"the server ended with status {self.exit_status}\n{self.last_lines()}")
        try:
            # Whether its certificate is good is a question for tests, not for its start.
            context = ssl._create_unverified_context() if self.tls else None
            with urllib.request.urlopen(f"{self.url}/health/ready", timeout=DEADLINE, context=context) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        if not poll(condition):
            raise ServerError(f"the server did not {what} within {DEADLINE:.0f} s\n{self.last_lines()}")


def poll(condition: Callable[[], bool], deadline: float = DEADLINE) -> bool:
    """Ask `condition` every 20 ms, for what happens in another process without an event; False if `deadline` seconds pass."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def status_of(child: int) -> int | None:
    """The exit status of a child process (negative: the signal that killed it), None while it runs.

    The child is left a zombie, so that its id, and the process group's of the same number, cannot become a stranger's before `kill`.
    """
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now, of the loopback interface unless another address of this machine is given."""
    with socket.create_server((address, 0)) as listener:
        return int(listener.getsockname()[1])


def listening(port: int, address: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on this port, of the loopback interface unless another address is given."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def told_of(pid: int, what: str) -> str:
    """What the kernel tells of a process (proc(5)); nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/{what}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid: int) -> set[int]:
    """The processes that the process has started."""
    return set(map(int, told_of(pid, f"task/{pid}/children").split()))


def job_keepers(server: RoadsteadServer) -> set[int]:
    """The process that keeps a server's job worker running, if it is there."""
    return {child for child in children(server.pid) if told_of(child, "comm") == "job-keeper\n"}
