"""Small images with fresh content, and the requests by which a client such as crane pushes them."""

from __future__ import annotations

import hashlib
import json
import os
from typing import BinaryIO, Final

import msgspec

from bench.client import Connection, expect, target_of, with_digest

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
_PART_BYTES: Final = 1024
_OCTETS: Final = "Content-Type: application/octet-stream"


class Image(msgspec.Struct, frozen=True):
    """One image: a config and a layer of 1 KiB each, and the manifest that names them."""

    config: bytes
    layer: bytes
    manifest: bytes


def digest_of(content: bytes) -> str:
    """The sha256 digest of `content`, as `sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def fresh_image() -> Image:
    """An image whose blobs no server has seen."""
    layer = os.urandom(_PART_BYTES)
    config = _config(digest_of(layer))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(_CONFIG_TYPE, config),
        "layers": [_descriptor(_LAYER_TYPE, layer)],
    }
    return Image(config, layer, json.dumps(manifest).encode())


def _config(diff_id: str) -> bytes:
    plain = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}, "author": ""}
    missing = _PART_BYTES - len(json.dumps(plain))
    return json.dumps({**plain, "author": "x" * missing}).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def push_image(connection: Connection, repository: str, tag: str, image: Image) -> None:
    """Push the blobs that are missing, then the manifest under `tag`: nine requests when both blobs are fresh."""
    for blob in (image.config, image.layer):
        push_blob(connection, repository, blob)
    headers = [f"Content-Type: {MANIFEST_TYPE}"]
    expect(connection.request("PUT", f"/v2/{repository}/manifests/{tag}", headers, image.manifest), 201, "PUT of the manifest")


def push_blob(connection: Connection, repository: str, content: bytes) -> None:
    """HEAD, then POST, PATCH and PUT when the server does not have the blob."""
    digest = digest_of(content)
    if connection.request("HEAD", f"/v2/{repository}/blobs/{digest}").status == 200:
        return
    started = expect(connection.request("POST", f"/v2/{repository}/blobs/uploads/"), 202, "POST of an upload")
    patched = connection.request("PATCH", target_of(started.headers["location"]), [_OCTETS], content)
    location = expect(patched, 202, "PATCH of an upload").headers["location"]
    expect(connection.request("PUT", with_digest(location, digest)), 201, "PUT of an upload")


def push_file(connection: Connection, repository: str, file: BinaryIO, size: int, digest: str) -> None:
    """POST, PATCH and PUT of the first `size` bytes of `file`, which are what `digest` says."""
    started = expect(connection.request("POST", f"/v2/{repository}/blobs/uploads/"), 202, "POST of an upload")
    patched = connection.request_file("PATCH", target_of(started.headers["location"]), [_OCTETS], file, size)
    location = expect(patched, 202, "PATCH of an upload").headers["location"]
    expect(connection.request("PUT", with_digest(location, digest)), 201, "PUT of an upload")


def push_scope(repository: str) -> str:
    """The token scope that allows pushing to `repository`."""
    return f"repository:{repository}:pull,push"
