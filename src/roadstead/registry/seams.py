"""Where rooms above plug in. `app` passes the implementations; with nothing plugged in a seam costs one comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Actor
from roadstead.content.store import Opened, Span
from roadstead.metadata.manifests import ManifestRow
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest
from roadstead.oci.reference import Reference, RepositoryName, TagName

SpanOf = Callable[[int], tuple[int, int] | None]
"""Which part of a blob of so many bytes is wanted: start and length (bytes); None for all of it. May raise RangeNotSatisfiable."""


class OpenBlob(msgspec.Struct, frozen=True):
    """A blob opened for reading: its whole `size` in bytes, and the `span` of it that `content` holds (None: all)."""

    size: int
    span: Span | None
    content: Opened


class PushedManifest(msgspec.Struct, frozen=True):
    """A manifest that was pushed by one or more tags."""

    project_id: int
    repository_id: int
    name: RepositoryName
    digest: Digest
    manifest: Manifest


class MissingContentSource(Protocol):
    """Asked for content that is not here, after the policy has allowed the pull; a pull-through cache is one.

    Answers None for "not there either". What it raises reaches the client.
    """

    async def manifest(self, actor: Actor, place: PlaceRow, name: RepositoryName, reference: Reference) -> ManifestRow | None:
        """Find a manifest that the repository does not have."""

    async def blob(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest, span_of: SpanOf) -> OpenBlob | None:
        """Find a blob that the repository does not have."""


class ReferenceResolver(Protocol):
    """Says what a tag stands for that is not what is recorded under it, after the policy has allowed the pull.

    Answers the digest of a manifest of the same repository, or None for "nothing else". What it raises reaches the client.
    """

    async def absent(self, actor: Actor, place: PlaceRow, name: RepositoryName, tag: TagName) -> Digest | None:
        """What a tag stands for that the repository does not have: a virtual tag."""

    async def as_image(self, actor: Actor, name: RepositoryName, found: ManifestRow) -> Digest | None:
        """What a client that can only run images is given in place of what it found under a tag."""


class PushGate(Protocol):
    """Asked before a manifest is recorded. Bounded: it reads the manifest, and of its layers no more than a few small pieces."""

    async def check(self, actor: Actor, place: PlaceRow, name: RepositoryName, manifest: Manifest, content: bytes) -> None:
        """Return to let it in. Raises GateRefused with the reason, or InvalidInput for what is damaged."""


class PushFollower(Protocol):
    """Told of tags that point to a manifest from now on, in the push's own transaction: what is to follow is written there or never."""

    def tagged(self, connection: Connection, pushed: PushedManifest) -> None:
        """Write down what follows. What it raises undoes the push."""


class PullGate(Protocol):
    """Asked at every pull, on every door, after the policy: signature policy, quarantine."""

    async def manifest(self, actor: Actor, name: RepositoryName, reference: Reference, manifest: ManifestRow) -> None:
        """Return to let out what was found for a reference. Raises GateRefused with the reason."""

    async def blob(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest) -> None:
        """Return to let it out. Raises GateRefused with the reason."""


class Seams(msgspec.Struct, frozen=True):
    """What is plugged in."""

    missing_content: MissingContentSource | None = None
    resolver: ReferenceResolver | None = None
    push_gate: PushGate | None = None
    pull_gate: PullGate | None = None
    push_follower: PushFollower | None = None
