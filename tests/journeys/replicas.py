"""A site that has outgrown one machine: two replicas over one PostgreSQL and one S3 store, parts of which can be taken away for a while."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2

from tests.support.postgres import Postgres
from tests.support.seaweedfs import SeaweedFS
from tests.support.server import RoadsteadServer, listening, poll

PREFIX = "site/images"
APPLICATION = "roadstead-site"
"""What PostgreSQL is told by the parameters of the database's address."""
BACK_AGAIN = 60.0  # Seconds that a part which was taken away may take to answer again.


class Site:
    """Two replicas with nothing in common but what the settings name. `a` streams blobs itself, `b` redirects to the store.

    As a context manager both are started at the same moment on entry, and gone on exit.
    """

    def __init__(self, home: Path, postgres: Postgres, seaweedfs: SeaweedFS, **settings: str) -> None:
        self.postgres = postgres
        self.seaweedfs = seaweedfs
        self.database = postgres.fresh_database()
        self.bucket = seaweedfs.fresh_bucket()
        shared = {
            **seaweedfs.environment,
            "ROADSTEAD_DATABASE_URL": f"{self.database}?sslmode=prefer&application_name={APPLICATION}",
            "ROADSTEAD_SECRET_KEY_FILE": str(home / "shared" / "secret.key"),
            **settings,
        }
        store = seaweedfs.url(self.bucket, PREFIX)
        self.a = RoadsteadServer(home / "a", {**shared, "ROADSTEAD_STORAGE_URL": f"{store}&redirect=false"})
        self.b = RoadsteadServer(home / "b", {**shared, "ROADSTEAD_STORAGE_URL": store})
        self._stack = ExitStack()

    def __enter__(self) -> Site:
        with ThreadPoolExecutor(2) as threads:
            starts = [threads.submit(server.start) for server in (self.a, self.b)]
        for server in (self.a, self.b):
            self._stack.callback(server.kill)
        for start in starts:
            if start.exception():
                self._stack.close()
            start.result()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def clients(self) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
        """The administrator's clients of `a` and of `b`; they follow redirects."""
        with self.a.http() as a, self.b.http() as b:
            a.follow_redirects = b.follow_redirects = True
            yield a, b

    def query(self, statement: str) -> list[str]:
        """Ask the database behind Roadstead's back; the rows as psql prints them."""
        return self.postgres.execute(statement, self.database.rpartition("/")[2]).splitlines()

    def rows(self, table: str, condition: str = "true") -> int:
        """How many rows there are."""
        return int(self.query(f"SELECT count(*) FROM {table} WHERE {condition}")[0])

    def stored(self) -> set[str]:
        """The names of all objects in the bucket, without the prefix: keys, and what lies beside them."""
        start, client = f"{PREFIX}/content/", self.seaweedfs.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        names = {entry["Key"] for page in pages for entry in page.get("Contents", [])}
        assert all(name.startswith(start) for name in names), "something was written outside the prefix"
        return {name.removeprefix(start) for name in names}

    def errors(self) -> list[str]:
        """What the replicas' logs say of failures that nobody foresaw. Fails if a replica ended by itself."""
        for server in (self.a, self.b):
            assert server.exit_status is None, f"{server.data.name} ended with status {server.exit_status}\n{server.last_lines()}"
        logs = [server.log.read_text(errors="replace") for server in (self.a, self.b)]
        return [line for log in logs for line in log.splitlines() if '"unexpected failure"' in line or '"start failed"' in line]


class Part:
    """A server process of the tests' support, known by the port it listens on, that can be taken away and put back as it was."""

    def __init__(self, port: int, answers: Callable[[], bool], stop: signal.Signals, put_back_with: Sequence[str] = ()) -> None:
        self._port = port
        self._answers = answers
        self._stop = stop
        self._pid = listener(port)
        process = Path(f"/proc/{self._pid}")
        self._command = [*(os.fsdecode(part) for part in (process / "cmdline").read_bytes().split(b"\0")[:-1]), *put_back_with]
        self._directory = (process / "cwd").readlink()
        self._owner = process.stat()
        self._ours: subprocess.Popen[bytes] | None = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """Without the part; on leaving it is back and answers, on the same port, with the data it had."""
        self._take_away()
        try:
            yield
        finally:
            self._put_back()

    def close(self) -> None:
        """End the process if it is one that was put back; the one before is its fixture's."""
        if self._ours is not None:
            self._take_away()

    def _take_away(self) -> None:
        os.kill(self._pid, self._stop)
        if self._ours is not None:
            self._ours.wait(BACK_AGAIN)
        assert poll(lambda: not listening(self._port)), f"port {self._port} is still listened on"

    def _put_back(self) -> None:
        # As in the fixtures: if this process dies without cleaning up, the kernel ends the server too.
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._command]
        user, group = (None, None) if self._owner.st_uid == os.geteuid() else (self._owner.st_uid, self._owner.st_gid)
        quiet = subprocess.DEVNULL
        self._ours = subprocess.Popen(command, cwd=self._directory, stdin=quiet, stdout=quiet, stderr=quiet, user=user, group=group)
        self._pid = self._ours.pid
        assert poll(self._answers, BACK_AGAIN), f"{self._command[0]} did not come back"


def postgres_part(postgres: Postgres) -> Part:
    """PostgreSQL; it goes by the fast shutdown, which ends every connection."""

    def answers() -> bool:
        with suppress(subprocess.CalledProcessError):
            return postgres.execute("SELECT 1") == "1"
        return False

    return Part(postgres.port, answers, signal.SIGINT)


def seaweedfs_part(seaweedfs: SeaweedFS) -> Part:
    """SeaweedFS; it goes without a word. Back again, its one master would wait ten seconds for the votes of others."""
    options = ["-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"]
    return Part(int(seaweedfs.endpoint.rpartition(":")[2]), seaweedfs.accepts_objects, signal.SIGKILL, options)


def listener(port: int) -> int:
    """The process that listens on this port of the loopback interface (proc(5), "/proc/net/tcp")."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].partition(":")[2], 16) == port}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(descriptor.readlink()) in sockets:
                return int(descriptor.parts[2])
    raise AssertionError(f"nobody listens on port {port}")
