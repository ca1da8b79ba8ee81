"""A SIF of a Docker image, by Apptainer's own conversion on the node and by ours on the server, both from the same server.

Each round pushes each image with a configuration that no server and no client has seen, so that nobody has converted it before, and every
pull has a cache of its own. The time is that of the whole command, from the request to the last byte on disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from bench.client import Connection, expect
from bench.failure import BenchError
from bench.images import MANIFEST_TYPE, digest_of, push_blob, push_file, push_scope
from bench.layers import PackedLayer, installed_files, pack_files, pack_small_files
from bench.results import Row
from bench.rounds import Arena, interleave, settle
from bench.servers import ROADSTEAD, Server

_REPOSITORY: Final = "library/sif-pull"
_CLIENTS: Final = Path(os.environ.get("ROADSTEAD_CLIENTS", "/var/lib/roadstead-clients"))
_APPTAINER: Final = _CLIENTS / "bin/apptainer"
_LARGE_FILES: Final = 40_000
_LARGE_BYTES: Final = 1_100 << 20
_LARGE_LAYERS: Final = 5
_SMALL_FILES: Final = 10_000
_LOOK_SECONDS: Final = 0.02
_PEAK: Final = re.compile(r"at most (\d+) MiB of memory")
_DEADLINE: Final = 900
_MEMORY: Final = Path("/dev/shm")
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_LARGE, _SMALL = "large image", "10,000 small files"


def measure(arena: Arena) -> list[Row]:
    """First and later pulls of both images, sizes, what a conversion takes in memory and on disk, and the way back."""
    if not _APPTAINER.exists():
        raise BenchError(
            f"{_APPTAINER} is missing: run tests/support/clients/install-clients.sh as root, or name another tree in ROADSTEAD_CLIENTS"
        )
    images = {_LARGE: _large_image(arena.directory), _SMALL: [pack_small_files(arena.directory / "small.tar.gz", _SMALL_FILES, 1)]}
    for name, layers in images.items():
        told = sum(layer.size for layer in layers) / 2**20, sum(layer.unpacked for layer in layers) / 2**20
        arena.announce(f"  {name}: {told[0]:,.0f} MiB, {told[1]:,.0f} MiB unpacked")
    with arena.start_subject() as server:
        rounds = [_Round(arena, server, name, layers) for name, layers in images.items()]
        found = {one.name: interleave(arena, [one.play]) for one in rounds}
    return [row for name, figures in found.items() for row in _rows(name, figures)]


def _rows(name: str, found: dict[str, list[float]]) -> Iterator[Row]:
    speed = {kind: [1 / seconds for seconds in found[f"{kind} s"]] for kind in ("first", "later", "docker://")}
    rival = "apptainer pull docker://"
    yield Row(f"first pull as SIF, {name}", "pulls/s", speed["first"], rival, speed["docker://"], at_least=5.0)
    yield Row(f"every later pull, {name}", "pulls/s", speed["later"], rival, speed["docker://"], at_least=20.0)
    inverse = {kind: [1 / size for size in found[f"{kind} MiB"]] for kind in ("ours", "docker://")}
    yield Row(f"images to the MiB, {name}", "", inverse["ours"], rival, inverse["docker://"], at_least=1 / 1.02)
    yield Row(f"memory of the converter, {name}", "MiB", found["peak MiB"], below=300.0)
    back = {kind: [1 / seconds for seconds in found[f"{kind} s"]] for kind in ("back", "by hand")}
    yield Row(f"SIF to a layer again, {name}", "layers/s", back["back"], "unsquashfs, tar, gzip", back["by hand"], at_least=2.0)
    yield Row(f"memory of that, {name}", "MiB", found["back peak MiB"], below=300.0)
    yield Row(f"temporary disk of a conversion to the size of its result, {name}", "", found["disk"], below=1.05)


class _Round:
    """One image, pushed anew in every round and pulled in each way."""

    def __init__(self, arena: Arena, server: Server, name: str, layers: Sequence[PackedLayer]) -> None:
        self.name = name
        self._arena = arena
        self._server = server
        self._layers = layers
        self._number = 0

    def play(self) -> dict[str, float]:
        """Push, and pull: as SIF for the first time, once more, and as docker://."""
        self._number += 1
        tag = f"{self.name.replace(',', '').replace(' ', '-')}-{self._number}"
        self._push(tag)
        image = f"{self._server.address.host}:{self._server.address.port}/{_REPOSITORY}:{tag}"
        settle(self._arena.directory)
        kept = self._arena.directory / "pulled.sif"
        with _watched(self._arena.directory) as taken:
            first, ours = self._pull(f"oras://{image}.sif")
        later, _ = self._pull(f"oras://{image}.sif", keep=kept)
        settle(self._arena.directory)
        on_the_node, theirs = self._pull("--no-https", f"docker://{image}")
        back = _back(kept)
        return {
            "first s": first,
            "later s": later,
            "docker:// s": on_the_node,
            "ours MiB": ours / 2**20,
            "docker:// MiB": theirs / 2**20,
            "peak MiB": self._peak(),
            "disk": max(taken) / ours,
            "back s": back["seconds"],
            "by hand s": back["seconds_by_hand"],
            "back peak MiB": back["peak"],
        }

    def _push(self, tag: str) -> None:
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Labels": {"bench.tag": tag}},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self._layers]},
        }
        written = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG_TYPE, "digest": digest_of(written), "size": len(written)},
            "layers": [{"mediaType": _LAYER_TYPE, "digest": layer.digest, "size": layer.size} for layer in self._layers],
        }
        with Connection(self._server.address) as connection:
            connection.authorise([push_scope(_REPOSITORY)])
            if self._number == 1:
                for layer in self._layers:
                    with layer.path.open("rb") as file:
                        push_file(connection, _REPOSITORY, file, layer.size, layer.digest)
            push_blob(connection, _REPOSITORY, written)
            target, headers = f"/v2/{_REPOSITORY}/manifests/{tag}", [f"Content-Type: {MANIFEST_TYPE}"]
            expect(connection.request("PUT", target, headers, json.dumps(manifest).encode()), 201, "PUT of the manifest")

    def _pull(self, *what: str, keep: Path | None = None) -> tuple[float, int]:
        """Seconds, and the size of the SIF (bytes), of which a copy may be kept.

        The node keeps everything in memory, so that the disk measured is the server's.
        """
        user, _, password = (self._server.address.credentials or ":").partition(":")
        with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="bench-") as home:
            own = {"HOME": home, "TMPDIR": home, "APPTAINER_CACHEDIR": f"{home}/cache", "APPTAINER_TMPDIR": home}
            login = {"APPTAINER_DOCKER_USERNAME": user, "APPTAINER_DOCKER_PASSWORD": password}
            command = [str(_APPTAINER), "pull", *what[:-1], f"{home}/pulled.sif", what[-1]]
            begun = time.perf_counter()
            done = subprocess.run(
                command, cwd=home, env={**os.environ, **own, **login}, capture_output=True, text=True, timeout=_DEADLINE, check=False
            )
            seconds = time.perf_counter() - begun
            if done.returncode != 0:
                raise BenchError(f"apptainer pull {what[-1]} failed: {done.stderr[-600:]}")
            if keep is not None:
                shutil.copyfile(Path(home, "pulled.sif"), keep)
            return seconds, Path(home, "pulled.sif").stat().st_size

    def _peak(self) -> float:
        """What the converter says it took (MiB), in the log of the job that ran last."""
        newest = max(job["id"] for job in self._jobs("list", "--kind", "convert"))
        lines = [line["line"] for line in self._jobs("show", str(newest))["log"]]
        told = [float(found[1]) for line in lines if (found := _PEAK.search(line))]
        if not told:
            raise BenchError(f"the log of job {newest} does not tell what memory was used: {lines}")
        return max(told)

    def _jobs(self, *what: str) -> Any:
        command = [str(ROADSTEAD), "jobs", *what, "--json", "--data", str(self._arena.directory / "subject/data")]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _back(sif: Path) -> dict[str, float]:
    """The SIF to a layer again, by us and by hand: what `bench.sif_to_oci` prints."""
    done = subprocess.run([sys.executable, "-m", "bench.sif_to_oci", str(sif)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextmanager
def _watched(directory: Path) -> Iterator[list[int]]:
    """How many bytes more than at the beginning the filesystem of `directory` held, looked at again and again while the context is open."""
    taken, ended = [0], threading.Event()
    before = _held(directory)

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            taken.append(_held(directory) - before)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield taken
    finally:
        ended.set()
        watcher.join()


def _held(directory: Path) -> int:
    found = os.statvfs(directory)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _large_image(directory: Path) -> list[PackedLayer]:
    """This machine's programs and libraries, as many as make the image that is asked for, in layers of about the same size."""
    layers: list[list[Path]] = [[] for _ in range(_LARGE_LAYERS)]
    total = 0
    for path in islice(installed_files(32 << 20), _LARGE_FILES):
        size = path.lstat().st_size
        if total + size > _LARGE_BYTES:
            break
        layers[total * _LARGE_LAYERS // _LARGE_BYTES].append(path)
        total += size
    return [pack_files(directory / f"large-{number}.tar.gz", files) for number, files in enumerate(layers)]
