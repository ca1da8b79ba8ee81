"""Copying an artifact from one repository to another: no byte moves, its blobs are mounted and its manifests pushed again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from roadstead.access.actor import Action, Actor
from roadstead.errors import TooLarge
from roadstead.metadata import artifacts, derived, tags
from roadstead.metadata.database import Database
from roadstead.oci.artifact_type import scheme_of
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.reference import Reference, RepositoryName, TagName
from roadstead.registry.blobs import Blobs
from roadstead.registry.manifests import TAGS_LIMIT, Manifests
from roadstead.registry.repositories import Repositories

_LIMIT: Final = 1000
_AT_ONCE: Final = 16


class _Part(msgspec.Struct, frozen=True):
    """A manifest to be copied: what it names as an index, and the tags that go with it."""

    names: tuple[Digest, ...]
    tags: tuple[TagName, ...]


class Copies:
    """A copy is a pull there and a push here: it needs both permissions, and asks the gates of both."""

    def __init__(self, database: Database, repositories: Repositories, blobs: Blobs, manifests: Manifests) -> None:
        self._database = database
        self._repositories = repositories
        self._blobs = blobs
        self._manifests = manifests

    async def copy(self, actor: Actor, source: RepositoryName, reference: Reference, target: RepositoryName) -> Digest:
        """Copy an artifact with its tags, with all that an index names and what speaks about any of it (signatures); returns its digest.

        What is named comes before what names it, so that a copy that fails leaves nothing that is tagged and not whole, and may be
        repeated. Raises ManifestUnknown, ReferenceMissing, QuotaExceeded, GateRefused, TooLarge beyond a thousand manifests, and what
        `locate` raises.
        """
        await self._repositories.locate(actor, target, Action.PUSH)
        root = await self._manifests.get(actor, source, reference, count=False)
        parts = await self._database.read(partial(_parts, repository_id=root.repository_id, root=root.manifest_id, digest=root.digest))
        for digest in _ordered(parts):
            row = await self._manifests.get(actor, source, digest, count=False)
            await self._mount(actor, source, target, parse_manifest(row.content, row.media_type))
            await self._manifests.put(actor, target, digest, row.content, row.media_type, parts[digest].tags)
        return root.digest

    async def _mount(self, actor: Actor, source: RepositoryName, target: RepositoryName, manifest: Manifest) -> None:
        """Mount what the manifest names; what the source does not have is missed by the push that follows."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(digest: Digest) -> None:
            async with turns:
                await self._blobs.mount(actor, target, digest, source)

        # All are waited for, so that none goes on when the copy has failed.
        outcomes = await asyncio.gather(*(one(blob.digest) for blob in manifest.blobs()), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


def _parts(connection: Connection, repository_id: int, root: int, digest: Digest) -> dict[Digest, _Part]:
    """Everything that belongs to an artifact, itself included. Raises TooLarge."""
    found: dict[Digest, _Part] = {}
    waiting = {root: digest}
    while waiting:
        manifest_id, digest = waiting.popitem()
        speaking, named = artifacts.dependents(connection, repository_id, manifest_id, digest)
        made = derived.of(connection, repository_id, [digest])  # is made there too when it is asked for
        tagged = tags.newest_of(connection, [manifest_id], TAGS_LIMIT).get(manifest_id, ())
        # A part of an index takes no tags along, but cosign finds what it says by theirs.
        kept = [tag.name for tag in tagged if manifest_id == root or scheme_of(tag.name)]
        found[digest] = _Part(tuple(named.values()), tuple(kept))
        if len(found) + len(waiting) > _LIMIT:
            raise TooLarge(f"The artifact has more than {_LIMIT} manifests; copy its parts.")
        waiting |= {each: one for each, one in (speaking | named).items() if one not in found and each not in made}
    return found


def _ordered(parts: Mapping[Digest, _Part]) -> Iterable[Digest]:
    """The digests, what is named before what names it. Nothing names itself: names are hashes."""
    done: dict[Digest, None] = {}
    for start in reversed(tuple(parts)):
        stack = [start]
        while stack:
            missing = [digest for digest in parts[stack[-1]].names if digest in parts and digest not in done]
            if missing:
                stack += missing
            else:
                done[stack.pop()] = None
    return done
