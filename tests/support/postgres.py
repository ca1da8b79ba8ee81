"""A real PostgreSQL for the tests: Debian's, started for the session on a free loopback port, with a database for each test that asks.

A test takes the fixture `postgres` and calls `postgres.fresh_database()`. tests/conftest.py names this module in `pytest_plugins`.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import free_port, poll

OWNER = "roadstead"
"""The database superuser that the tests connect as; nothing to do with accounts of the system."""
STOP_SECONDS = 15.0


class PostgresMissing(Exception):
    """There is no PostgreSQL server on this machine that this account could start."""


class Postgres:
    """A server that runs: `port` on 127.0.0.1, which trusts whoever connects."""

    def __init__(self, binaries: Path, port: int) -> None:
        self._binaries = binaries
        self.port = port

    def url(self, database: str) -> str:
        """The address of `database`, as ROADSTEAD_DATABASE_URL takes it."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    def fresh_database(self) -> str:
        """Make an empty database that nobody else uses; return its address. It goes when the server goes."""
        name = f"t_{secrets.token_hex(6)}"
        self.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run one statement outside the program under test; return what psql prints of its rows. Raises CalledProcessError."""
        command = [str(self._binaries / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()


def find_binaries() -> Path:
    """The directory of the newest PostgreSQL server that is installed. Raises PostgresMissing."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not found:
        raise PostgresMissing("PostgreSQL is not installed: apt-get install postgresql")
    return max(found, key=_version)


def _version(binaries: Path) -> int:
    major = re.match(r"\d+", binaries.parent.name)
    return int(major[0]) if major else 0


def _as_owner() -> list[str]:
    """What to put before a server command: PostgreSQL refuses to run as root, so root hands it to the account that Debian's package made.

    If this process dies without cleaning up, the kernel ends the server too.
    """
    command = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() != 0:
        return [*command, "--"]
    return [*command, "--reuid", "postgres", "--regid", "postgres", "--init-groups", "--"]


def _give_to_owner(directory: Path) -> None:
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            raise PostgresMissing("PostgreSQL does not run as root, and the account 'postgres' of Debian's package is missing") from None
        os.chown(directory, account.pw_uid, account.pw_gid)


def _initialise(binaries: Path, data: Path) -> None:
    """Make the cluster. It sorts by language, as a site's would, so that a query which forgets to say its collation is found."""
    options = ["--no-sync", "--auth=trust", f"--username={OWNER}", "--encoding=UTF8", "--locale=C.UTF-8"]
    if _version(binaries) >= 15:
        options += ["--locale-provider=icu", "--icu-locale=en-US"]
    command = [*_as_owner(), str(binaries / "initdb"), "-D", str(data), *options]
    done = subprocess.run(command, check=False, cwd=data.parent, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")


def _settings(port: int) -> list[str]:
    """What the server is told. Without fsync: these databases die with the tests, and what a power cut does is told by other means."""
    values = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        "full_page_writes": "off",
        "max_connections": "300",
        "log_min_messages": "warning",
    }
    return [argument for name, value in values.items() for argument in ("-c", f"{name}={value}")]


def _wait_until_ready(process: subprocess.Popen[bytes], binaries: Path, port: int, log: Path) -> None:
    command = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
    answered = poll(lambda: process.poll() is not None or subprocess.run(command, check=False).returncode == 0)
    if not answered or process.poll() is not None:
        raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # the fast shutdown: connections that a test left open do not hold it up
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_postgres() -> Iterator[Postgres]:
    """Start a server of its own in a temporary directory, give it out once, and stop it whatever happens. Raises PostgresMissing."""
    binaries = find_binaries()
    home = Path(tempfile.mkdtemp(prefix="roadstead-postgres-"))
    try:
        _give_to_owner(home)
        _initialise(binaries, home / "data")
        port = free_port()
        with (home / "log").open("wb") as log:
            command = [*_as_owner(), str(binaries / "postgres"), "-D", str(home / "data"), *_settings(port)]
            process = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_until_ready(process, binaries, port, home / "log")
            yield Postgres(binaries, port)
        finally:
            _stop(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole session. Skips by name where there is none; with ROADSTEAD_REQUIRE_POSTGRES=1 that is a failure."""
    try:
        yield from start_postgres()
    except PostgresMissing as missing:
        if os.environ.get("ROADSTEAD_REQUIRE_POSTGRES") == "1":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
