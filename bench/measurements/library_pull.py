"""A SIF of 1 GiB by `apptainer pull library://`, which fetches ranges three at a time, and the same bytes by one GET of curl.

Both write to memory, and the client's cache is off, so that it stores the file once, as curl does.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from bench.client import Connection, expect
from bench.content import Content, random_content
from bench.failure import BenchError
from bench.images import MANIFEST_TYPE, digest_of, push_blob, push_file, push_scope
from bench.results import Row
from bench.rounds import Arena, interleave, settle
from bench.servers import Server
from roadstead.sif.format import DataType, FileSystem, Object, Partition, PartitionType, Writer

_REPOSITORY: Final = "library/library-pull"
_APPTAINER: Final = Path(os.environ.get("ROADSTEAD_CLIENTS", "/var/lib/roadstead-clients")) / "bin/apptainer"
_BYTES: Final = 1 << 30
_STEP: Final = 16 << 20
_MEMORY: Final = Path("/dev/shm")
_DEADLINE: Final = 300
_IDENTITY: Final = UUID("4f0d1d09-9c0f-4c4b-8d6e-0f2f0c1f7a11")
_CONFIG_TYPE: Final = "application/vnd.sylabs.sif.config.v1+json"
_LAYER_TYPE: Final = "application/vnd.sylabs.sif.layer.v1.sif"


def measure(arena: Arena) -> list[Row]:
    """Both ways in turns, from one server."""
    if not _APPTAINER.exists():
        raise BenchError(f"{_APPTAINER} is missing: run tests/support/clients/install-clients.sh as root")
    with arena.start_subject() as server:
        with random_content(_BYTES) as content:
            digest = push_sif(server, written(arena.directory / "it.sif", content), _REPOSITORY)
        settle(arena.directory)
        address = f"http://{server.address.host}:{server.address.port}"

        def apptainer() -> dict[str, float]:
            command = [str(_APPTAINER), "pull", "--disable-cache", "--library", address, "pulled", f"library://{_REPOSITORY}:one"]
            return {"library:// MiB/s": _speed(command)}

        def curl() -> dict[str, float]:
            return {"curl MiB/s": _speed(["curl", "-fsS", "-o", "pulled", f"{address}/v2/{_REPOSITORY}/blobs/{digest}"])}

        found = interleave(arena, [apptainer, curl])
    return [Row("library:// pull of 1 GiB", "MiB/s", found["library:// MiB/s"], "curl", found["curl MiB/s"], at_least=0.9)]


def written(path: Path, content: Content) -> Path:
    """A SIF that holds the content."""
    content.file.seek(0)
    pieces: Iterator[bytes] = iter(lambda: content.file.read(_STEP), b"")
    with path.open("wb") as output:
        writer = Writer(output, identity=_IDENTITY, made=0)
        writer.add(Object(DataType.PARTITION, detail=Partition(FileSystem.RAW, PartitionType.PRIMARY_SYSTEM, "amd64")), pieces)
        writer.finish()
    return path


def push_sif(server: Server, path: Path, repository: str) -> str:
    """Push the SIF as the tag `one`; the digest of its file."""
    named = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    digest, size = f"sha256:{named}", path.stat().st_size
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": _LAYER_TYPE, "digest": digest, "size": size}],
    }
    with Connection(server.address) as connection, path.open("rb") as file:
        connection.authorise([push_scope(repository)])
        push_file(connection, repository, file, size, digest)
        push_blob(connection, repository, b"{}")
        headers, target = [f"Content-Type: {MANIFEST_TYPE}"], f"/v2/{repository}/manifests/one"
        expect(connection.request("PUT", target, headers, json.dumps(manifest).encode()), 201, "PUT of the manifest")
    path.unlink()
    return digest


def _speed(command: list[str]) -> float:
    """MiB a second of the whole command, which writes the file `pulled`."""
    with _home() as home:
        own = {"HOME": home, "TMPDIR": home, "APPTAINER_TMPDIR": home, "APPTAINER_CACHEDIR": f"{home}/cache"}
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=home, env={**os.environ, **own}, capture_output=True, text=True, timeout=_DEADLINE, check=False)
        seconds = time.perf_counter() - begun
        if done.returncode != 0:
            raise BenchError(f"{command[0]} failed: {done.stderr[-600:]}")
        return Path(home, "pulled").stat().st_size / 2**20 / seconds


@contextmanager
def _home() -> Iterator[str]:
    """An empty directory in memory, so that the disk that is measured is the server's."""
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="bench-") as home:
        yield home
