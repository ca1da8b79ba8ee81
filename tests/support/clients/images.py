"""Small images, made here: the same bytes every time, nothing downloaded.

An image is a manifest with its config and layers as bytes; it can be written as an OCI layout directory for clients, pushed with
plain HTTP, and fetched back to be compared whole.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from tests.support.clients.tools import INSTALLED

OCI = "application/vnd.oci.image"
OCI_MANIFEST = f"{OCI}.manifest.v1+json"
OCI_INDEX = f"{OCI}.index.v1+json"
OCI_CONFIG = f"{OCI}.config.v1+json"
DOCKER = "application/vnd.docker"
DOCKER_MANIFEST = f"{DOCKER}.distribution.manifest.v2+json"
DOCKER_LIST = f"{DOCKER}.distribution.manifest.list.v2+json"
SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
SIF_LAYER_OF_OLD = "appliciation/vnd.sylabs.sif.layer.tar"  # As Singularity 3.0 to 3.2 spelt it.
ANY_MANIFEST = ", ".join([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST])

Json = dict[str, Any]


class Blob(msgspec.Struct, frozen=True):
    """Bytes with the media type under which a descriptor names them."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    def descriptor(self, **more: object) -> Json:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **more}


class Image(msgspec.Struct, frozen=True):
    """A manifest and all that it names: `blobs` (config first), and for an index its `children`."""

    manifest: Blob
    blobs: tuple[Blob, ...] = ()
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        return self.manifest.digest


class Compression(msgspec.Struct, frozen=True):
    """How a layer is stored: the end of its OCI media type, the end of Docker's (None: Docker has none), and the function."""

    oci: str
    docker: str | None
    compress: Callable[[bytes], bytes]


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zstd_stored(data: bytes) -> bytes:
    """A Zstandard frame of raw blocks (RFC 8878 section 3.1.1): valid for every reader, and no library is needed to write it."""
    size = 128 * 1024
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    frame = bytes.fromhex("28b52ffd") + b"\xa0" + len(data).to_bytes(4, "little")
    for number, block in enumerate(blocks, 1):
        frame += (len(block) << 3 | (number == len(blocks))).to_bytes(3, "little") + block
    return frame


GZIP = Compression("tar+gzip", "tar.gzip", gzipped)
ZSTD = Compression("tar+zstd", None, zstd_stored)
PLAIN = Compression("tar", "tar", bytes)


def tar(files: Mapping[str, bytes | str]) -> bytes:
    """A tar file: bytes make a file, a string a symbolic link to it, a name that ends with '/' a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode = 0o755
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            elif name.endswith("/"):
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def base() -> dict[str, bytes | str]:
    """The files of the smallest system that runs: a static busybox from the clients' tree, and things for `changes` to remove."""
    busybox = (INSTALLED / "root/usr/bin/busybox").read_bytes()
    system: dict[str, bytes | str] = {"bin/": b"", "bin/busybox": busybox, "tmp/": b"", "proc/": b"", "sys/": b"", "dev/": b""}
    system |= {f"bin/{applet}": "busybox" for applet in ("sh", "cat", "echo", "ls", "true")}
    return system | {"etc/": b"", "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n", "etc/removed": b"x", "opt/": b"", "opt/hidden": b"x"}


def changes(seed: str) -> dict[str, bytes | str]:
    """A second layer: one whiteout, one opaque directory, and `/etc/seed`, which makes the image like no other."""
    return {"etc/.wh.removed": b"", "opt/": b"", "opt/.wh..wh..opq": b"", "opt/shown": b"y", "etc/seed": seed.encode()}


def image(seed: str, compression: Compression = GZIP, *, architecture: str = "amd64", docker: bool = False) -> Image:
    """A two-layer image that runs busybox, in OCI's or Docker's media types."""
    return assemble([tar(base()), tar(changes(seed))], [compression, compression], architecture, docker)


def mixed_image(seed: str) -> Image:
    """An image whose layers are gzip, zstd and plain tar."""
    return assemble([tar(base()), tar(changes(seed)), tar({"etc/third": seed.encode()})], [GZIP, ZSTD, PLAIN], "amd64", docker=False)


def large_image(seed: str, size: int) -> Image:
    """An image with one layer of about `size` bytes that do not compress."""
    noise = random.Random(seed).randbytes(size)
    return assemble([tar({"noise": noise, "etc/": b"", "etc/seed": seed.encode()})], [GZIP], "amd64", docker=False)


def assemble(tars: Sequence[bytes], compressions: Sequence[Compression], architecture: str, docker: bool) -> Image:
    """Config, layers and manifest from the layers' tar files."""
    layers = []
    for plain, compression in zip(tars, compressions, strict=True):
        kind = f"{DOCKER}.image.rootfs.diff.{compression.docker}" if docker else f"{OCI}.layer.v1.{compression.oci}"
        layers.append(Blob(kind, compression.compress(plain)))
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}" for plain in tars]},
        "history": [{"created_by": "tests"} for _ in tars],
    }
    kind = f"{DOCKER}.container.image.v1+json" if docker else OCI_CONFIG
    return artifact(as_json(kind, config), layers, DOCKER_MANIFEST if docker else OCI_MANIFEST)


def artifact(config: Blob, layers: Sequence[Blob], media_type: str = OCI_MANIFEST, **more: object) -> Image:
    """A manifest over any config and layers; `more` are further members of the manifest."""
    content = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
        **more,
    }
    return Image(as_json(media_type, content), (config, *layers))


def multi_arch(seed: str, *, docker: bool = False) -> Image:
    """An index of one image for amd64 and one for arm64, in OCI's or Docker's media types."""
    children = [image(f"{seed} {architecture}", architecture=architecture, docker=docker) for architecture in ("amd64", "arm64")]
    platforms = [{"os": "linux", "architecture": architecture} for architecture in ("amd64", "arm64")]
    entries = [child.manifest.descriptor(platform=platform) for child, platform in zip(children, platforms, strict=True)]
    kind = DOCKER_LIST if docker else OCI_INDEX
    return Image(as_json(kind, {"schemaVersion": 2, "mediaType": kind, "manifests": entries}), (), tuple(children))


def as_json(media_type: str, content: Json) -> Blob:
    return Blob(media_type, json.dumps(content).encode())


def write_layout(directory: Path, images: Mapping[str, Image]) -> None:
    """Write an OCI image layout (image-spec, image-layout.md) that holds each image under its name."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for whole in images.values():
        for blob in everything(whole):
            (blobs / blob.digest.removeprefix("sha256:")).write_bytes(blob.data)
    named = [whole.manifest.descriptor(annotations={"org.opencontainers.image.ref.name": name}) for name, whole in images.items()]
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": named}))


def read_layout(directory: Path) -> dict[str, Image]:
    """Read back the images of an OCI image layout by name. Fails the test if a blob is absent or damaged."""
    index = json.loads((directory / "index.json").read_bytes())
    return {
        entry.get("annotations", {}).get("org.opencontainers.image.ref.name", ""): read_image(directory, entry)
        for entry in index["manifests"]
    }


def read_image(directory: Path, descriptor: Json) -> Image:
    def read(wanted: Json) -> Blob:
        blob = Blob(wanted["mediaType"], (directory / "blobs" / wanted["digest"].replace(":", "/")).read_bytes())
        assert (blob.digest, len(blob.data)) == (wanted["digest"], wanted["size"])
        return blob

    return walk(read(descriptor), read, lambda child: read_image(directory, child))


def walk(manifest: Blob, read: Callable[[Json], Blob], descend: Callable[[Json], Image]) -> Image:
    """The whole image of a manifest, its blobs got by `read` and an index's children by `descend`."""
    content = json.loads(manifest.data)
    named = [content["config"], *content["layers"]] if "config" in content else []
    return Image(manifest, tuple(read(blob) for blob in named), tuple(descend(child) for child in content.get("manifests", ())))


def everything(whole: Image) -> list[Blob]:
    """All blobs and manifests of an image, children before the manifest that names them."""
    below = [blob for child in whole.children for blob in everything(child)]
    return [*below, *whole.blobs, whole.manifest]


def push(http: httpx2.Client, repository: str, tag: str, whole: Image) -> None:
    """Push an image by hand (distribution-spec, "POST then PUT"), so that a pull by one client needs no other client."""
    for child in whole.children:
        push(http, repository, child.digest, child)
    for blob in whole.blobs:
        started = http.post(f"/v2/{repository}/blobs/uploads/")
        assert started.status_code == 202, started.text
        location = httpx2.URL(started.headers["Location"])
        done = http.put(location.copy_merge_params({"digest": blob.digest}), content=blob.data)
        assert done.status_code == 201, done.text
    put = http.put(f"/v2/{repository}/manifests/{tag}", content=whole.manifest.data, headers={"Content-Type": whole.manifest.media_type})
    assert put.status_code == 201, put.text


def fetch(http: httpx2.Client, repository: str, reference: str) -> Image:
    """Fetch an image whole, children included. Fails the test if anything is absent or is not what its digest says."""
    answer = http.get(f"/v2/{repository}/manifests/{reference}", headers={"Accept": ANY_MANIFEST})
    assert answer.status_code == 200, answer.text
    manifest = Blob(answer.headers["Content-Type"], answer.content)
    assert answer.headers["Docker-Content-Digest"] == manifest.digest
    return walk(manifest, lambda blob: fetch_blob(http, repository, blob), lambda child: fetch(http, repository, child["digest"]))


def fetch_blob(http: httpx2.Client, repository: str, descriptor: Json) -> Blob:
    """Fetch what a descriptor names, checked against its digest and size."""
    answer = http.get(f"/v2/{repository}/blobs/{descriptor['digest']}")
    assert answer.status_code == 200, answer.text
    blob = Blob(descriptor["mediaType"], answer.content)
    assert (blob.digest, len(blob.data)) == (descriptor["digest"], descriptor["size"])
    return blob
