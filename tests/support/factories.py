"""Values that tests push and compare: blobs, images, indexes with their exact bytes and digests, request bodies, a clock set by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from roadstead.access.actor import Actor, TokenScope
from roadstead.content.store import Stream
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.manifests import Pushed
from roadstead.registry.registry import Registry
from roadstead.registry.uploads import Body

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

APP = RepositoryName("library/app")
"""In the public project."""

COPY = RepositoryName("library/copy")
"""In the public project too."""

VAULT = RepositoryName("vault/app")
"""In the private project."""


class ManualClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: datetime = BEGINNING) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """What time it is."""
        return self.now

    def advance(self, by: timedelta) -> datetime:
        """Let time pass; return the new time."""
        self.now += by
        return self.now


class Blob(msgspec.Struct, frozen=True):
    """Bytes and their sha256."""

    content: bytes

    @property
    def digest(self) -> Digest:
        """By sha256."""
        return Digest.of(self.content)

    def descriptor(self, kind: str) -> dict[str, Any]:
        """How a manifest names these bytes, as its layer or config of media type `kind`."""
        return {"mediaType": kind, "digest": str(self.digest), "size": len(self.content)}


class Image(msgspec.Struct, frozen=True):
    """A manifest with its exact bytes, and the blobs that it names, config first."""

    content: bytes
    media_type: str
    blobs: tuple[Blob, ...] = ()

    @property
    def digest(self) -> Digest:
        """By sha256."""
        return Digest.of(self.content)

    def descriptor(self) -> dict[str, Any]:
        """How an index, or a referrer, names this manifest."""
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.content)}


def blob(text: str = "layer") -> Blob:
    """A blob of these characters."""
    return Blob(text.encode())


def image(
    *layers: str,
    config: str = "{}",
    subject: Image | None = None,
    artifact_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
    kind: str = media_type.OCI_MANIFEST,
    layer_type: str = media_type.OCI_LAYER,
    config_type: str = media_type.OCI_CONFIG,
) -> Image:
    """An image whose layers have these characters (one layer, "layer", if none are given)."""
    blobs = (blob(config), *(blob(text) for text in layers or ("layer",)))
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": blobs[0].descriptor(config_type),
        "layers": [layer.descriptor(layer_type) for layer in blobs[1:]],
    }
    if subject is not None:
        body["subject"] = subject.descriptor()
    if artifact_type is not None:
        body["artifactType"] = artifact_type
    if annotations is not None:
        body["annotations"] = dict(annotations)
    return Image(json.dumps(body).encode(), kind, blobs)


def index(*children: Image, subject: Image | None = None) -> Image:
    """An index of these manifests."""
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type.OCI_INDEX,
        "manifests": [child.descriptor() for child in children],
    }
    if subject is not None:
        body["subject"] = subject.descriptor()
    return Image(json.dumps(body).encode(), media_type.OCI_INDEX)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """These parts, one after the other."""
    for part in parts:
        yield part


def body(*parts: bytes, length: int | None = None, start: int | None = None) -> Body:
    """A request's body of these parts."""
    return Body(chunks(*parts), length, start)


async def broken(*parts: bytes, error: BaseException) -> AsyncIterator[bytes]:
    """These parts, and then the connection breaks with `error`."""
    for part in parts:
        yield part
    raise error


async def push_blob(registry: Registry, actor: Actor, name: RepositoryName, content: Blob) -> Digest:
    """Push a blob at once; return its digest."""
    await registry.uploads.push(actor, name, content.digest, body(content.content))
    return content.digest


async def push_manifest(registry: Registry, actor: Actor, name: RepositoryName, manifest: Image, *tags: str) -> Pushed:
    """Push a manifest by its digest, with tags."""
    return await registry.manifests.put(
        actor, name, manifest.digest, manifest.content, manifest.media_type, [TagName.parse(tag) for tag in tags]
    )


async def push_image(registry: Registry, actor: Actor, name: RepositoryName, manifest: Image, *tags: str) -> Pushed:
    """Push an image whole, as a client does: blobs, then the manifest."""
    for one in manifest.blobs:
        await push_blob(registry, actor, name, one)
    return await push_manifest(registry, actor, name, manifest, *tags)


async def read_blob(registry: Registry, actor: Actor, name: RepositoryName, digest: Digest) -> bytes:
    """A blob's bytes, out of the store in memory."""
    content = (await registry.blobs.open(actor, name, digest)).content
    assert isinstance(content, Stream)
    return b"".join([chunk async for chunk in content.chunks])


def narrowed(actor: Actor, scope: Mapping[RepositoryName, str]) -> Actor:
    """The actor with a token that covers these actions ("pull,push") of these repositories."""
    return msgspec.structs.replace(actor, scope=TokenScope({name: frozenset(actions.split(",")) for name, actions in scope.items()}))
