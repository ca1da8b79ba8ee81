"""SIFs by name, architecture and the hash of the file: what `library://` asks for, in the manifests that `oras://` pushes and pulls.

A tag stands for one SIF, or for an index of several of which each is for another architecture.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import msgspec

from roadstead.access import policy
from roadstead.access.actor import Action, Actor
from roadstead.errors import (
    BlobUnknown,
    Denied,
    GateRefused,
    InsufficientScope,
    InUse,
    InvalidInput,
    InvalidManifest,
    InvalidTag,
    ManifestUnknown,
    NotConvertible,
    ProjectUnknown,
    ReferenceMissing,
    Refused,
    TagMoved,
)
from roadstead.metadata import artifacts, sifs, tags
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestRow
from roadstead.metadata.sifs import FoundRow
from roadstead.oci import media_type
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import index_of, parse_manifest
from roadstead.oci.reference import TAG_LIMIT, Reference, RepositoryName, TagName
from roadstead.oci.sif_manifest import EMPTY_CONFIG, sif_layer, sif_manifest
from roadstead.registry.blobs import Blobs
from roadstead.registry.manifests import Manifests, Standing, unknown
from roadstead.registry.pulls import PullCounter
from roadstead.registry.repositories import Repositories
from roadstead.registry.uploads import Body, Uploads

_T = TypeVar("_T")

_CONVERTED: Final = ".sif"  # behind a tag: the SIF that is made of it
_SAME_FILE: Final = 10
_TAGS_LISTED: Final = 100
_FOUND: Final = 100
_PARTS: Final = 32
_ATTEMPTS: Final = 10
_OLD_INDEXES: Final = 100


class SifImage(msgspec.Struct, frozen=True):
    """A SIF in a repository: the digest and size (bytes) of its file, the digest of the manifest that names it, and its tags where asked.

    `architecture` by Go's name, None where it is not known.
    """

    name: RepositoryName
    file: Digest
    size: int
    manifest: Digest
    architecture: str | None
    tags: tuple[TagName, ...] = ()


class _Given(msgspec.Struct, frozen=True):
    """The manifest of a SIF, its one layer, and its architecture where that is known."""

    row: ManifestRow
    layer: Descriptor
    architecture: str | None


class _Present(msgspec.Struct, frozen=True):
    """What a tag stands for at one moment, and the SIFs that this is: none, one, or one for each of several architectures."""

    standing: Standing
    several: Sequence[_Given] = ()


class Sifs:
    """Reading goes by `Manifests.get` and writing by `Manifests.put`, with their policy, gates, quota and audit."""

    def __init__(
        self, database: Database, repositories: Repositories, blobs: Blobs, uploads: Uploads, manifests: Manifests, pulls: PullCounter
    ) -> None:
        self._database = database
        self._repositories = repositories
        self._blobs = blobs
        self._uploads = uploads
        self._manifests = manifests
        self._pulls = pulls

    async def find(
        self, actor: Actor, name: RepositoryName, reference: Reference, architecture: str | None = None, *, count: bool = False
    ) -> SifImage:
        """The SIF of that tag, or whose file has that digest; `count` it as a pull.

        A tag that is an image of layers stands for the SIF made of it. Raises ManifestUnknown, also where there is none for
        `architecture` (None: any), and what `Manifests.get` raises.
        """
        if isinstance(reference, Digest):
            given = await self._by_file(actor, name, reference)
        else:
            given = await self._by_tag(actor, name, reference, architecture)
        if not _is_for(given.architecture, architecture):
            raise _none_for(name, reference, architecture)
        return self._image(actor, name, reference, given, count=count)

    async def look_up(self, actor: Actor, name: RepositoryName, reference: Reference, architecture: str | None = None) -> SifImage:
        """As `find`, for who asks what there is and not for its bytes: who may push is told of a file that does not go out, too."""
        try:
            return await self.find(actor, name, reference, architecture)
        except GateRefused:
            if not isinstance(reference, Digest) or not await self._may_push(actor, name):
                raise
        return await self._ungated(actor, name, reference)

    async def _may_push(self, actor: Actor, name: RepositoryName) -> bool:
        try:
            await self._repositories.locate(actor, name, Action.PUSH)
        except Refused:
            return False
        return True

    async def download(
        self, actor: Actor, name: RepositoryName, reference: Reference, architecture: str | None = None, *, count: bool = False
    ) -> SifImage:
        """The SIF that TAG.sif stands for, or of the manifest or file of that digest; `count` it as a pull.

        So a real tag of that name wins, as for `oras://`. Raises as `find`, and NotConvertible for the digest of an image of layers.
        """
        if isinstance(reference, Digest):
            given = await self._by_digest(actor, name, reference, architecture)
        else:
            given = await self._by_suffixed(actor, name, reference, architecture)
        if not _is_for(given.architecture, architecture):
            raise _none_for(name, reference, architecture)
        return self._image(actor, name, reference, given, count=count)

    def _image(self, actor: Actor, name: RepositoryName, reference: Reference, given: _Given, *, count: bool) -> SifImage:
        if count:
            self._pulls.count(actor, name, reference, given.row)
        return SifImage(name, given.layer.digest, given.layer.size, given.row.digest, given.architecture)

    async def _by_suffixed(self, actor: Actor, name: RepositoryName, tag: TagName, architecture: str | None) -> _Given:
        try:
            row = await self._manifests.get(actor, name, TagName.parse(tag + _CONVERTED), count=False)
        except (InvalidTag, ManifestUnknown, NotConvertible):
            # It is too long for the suffix, is nothing that is converted, or an index of SIFs for none of the platforms of the project.
            return await self._by_tag(actor, name, tag, architecture)
        given = await self._chosen(actor, name, row, architecture)
        if given is None:
            raise _no_sif(name, tag)
        return given

    async def _by_digest(self, actor: Actor, name: RepositoryName, digest: Digest, architecture: str | None) -> _Given:
        try:
            row = await self._manifests.get(actor, name, digest, count=False)
        except ManifestUnknown:
            return await self._by_file(actor, name, digest)
        given = await self._chosen(actor, name, row, architecture)
        if given is None:
            raise NotConvertible(f"{name!s}@{digest!s} is not a SIF; the one that is made of it is named by a tag.")
        return given

    async def _by_file(self, actor: Actor, name: RepositoryName, file: Digest, *, gated: bool = True) -> _Given:
        repository_id = (await self._repositories.locate(actor, name, Action.PULL)).repository_id
        found: Sequence[Digest] = ()
        if repository_id is not None:
            found = await self._database.read(partial(sifs.of_file, repository_id=repository_id, file=file, limit=_SAME_FILE))
        for digest in found:
            given = await self._given(await self._manifests.get(actor, name, digest, count=False, gated=gated))
            if given is not None:
                return given
        raise unknown(name, file)

    async def _by_tag(self, actor: Actor, name: RepositoryName, tag: TagName, architecture: str | None) -> _Given:
        row = await self._manifests.get(actor, name, tag, count=False)
        given = await self._chosen(actor, name, row, architecture)
        if given is None and len(tag) + len(_CONVERTED) <= TAG_LIMIT:
            try:
                row = await self._manifests.get(actor, name, TagName(tag + _CONVERTED), count=False)
            except ManifestUnknown:
                raise _no_sif(name, tag) from None
            given = await self._chosen(actor, name, row, architecture)
        if given is None:
            raise _no_sif(name, tag)
        return given

    async def _chosen(self, actor: Actor, name: RepositoryName, row: ManifestRow, architecture: str | None) -> _Given | None:
        """The SIF that a manifest is, or that an index has for the architecture. None where it is neither.

        Raises ManifestUnknown for an index of SIFs that has none for it.
        """
        if row.media_type not in media_type.INDEX_TYPES:
            return await self._given(row)
        several = await self._several(actor, name, row)
        if not several:
            return None
        fitting = [one for one in several if _is_for(one.architecture, architecture)]
        if not fitting:
            raise _none_for(name, row.digest, architecture)
        await self._manifests.get(actor, name, fitting[0].row.digest, count=False)  # only now it is one that goes out
        return fitting[0]

    async def _several(self, actor: Actor, name: RepositoryName, row: ManifestRow) -> list[_Given]:
        """The SIFs of an index, in its order; what it says of their platforms goes before what they say themselves."""
        found = []
        for child in parse_manifest(row.content, row.media_type).children[:_PARTS]:
            try:
                part = await self._manifests.get(actor, name, child.digest, count=False, gated=False)
            except ManifestUnknown:
                continue  # it was deleted out of its index
            given = await self._given(part)
            if given is not None:
                said = (child.platform or {}).get("architecture")
                found.append(_Given(given.row, given.layer, said if isinstance(said, str) else given.architecture))
        return found

    async def _given(self, row: ManifestRow) -> _Given | None:
        layer = sif_layer(parse_manifest(row.content, row.media_type))
        if layer is None:
            return None
        said = await self._database.read(lambda connection: sifs.said(connection, layer.digest))
        return _Given(row, layer, said.architecture)

    async def announce(self, actor: Actor, name: RepositoryName, file: Digest) -> SifImage | None:
        """The SIF of that file, if the repository has it and the actor may pull there; None for "push it".

        The pull gate is not asked, here and in what else a push consists of: nothing goes out by it. Raises what `locate` raises for who
        may not push. Who may push and not pull is told of nothing that is here.
        """
        await self._repositories.locate(actor, name, Action.PUSH)
        try:
            return await self._ungated(actor, name, file)
        except (ManifestUnknown, Denied, InsufficientScope, ProjectUnknown):
            return None

    async def _ungated(self, actor: Actor, name: RepositoryName, file: Digest) -> SifImage:
        return self._image(actor, name, file, await self._by_file(actor, name, file, gated=False), count=False)

    async def record(self, actor: Actor, name: RepositoryName, file: Digest) -> SifImage:
        """Make an uploaded file an image, with the manifest that `oras://` would push; doing it again changes nothing.

        Raises ReferenceMissing where the file was not uploaded, and what `Manifests.put` raises.
        """
        try:
            size = await self._blobs.size(actor, name, file, Action.PUSH)
        except BlobUnknown:
            raise ReferenceMissing(f"The file {file!s} has not been uploaded to {name!s}, or not whole.") from None
        await self._uploads.push(actor, name, Digest.of(EMPTY_CONFIG), Body(_whole(EMPTY_CONFIG), len(EMPTY_CONFIG)))
        content = sif_manifest(file, size, f"{name.rpartition('/')[2]}.sif")
        digest = Digest.of(content)
        await self._manifests.put(actor, name, digest, content, media_type.OCI_MANIFEST)
        said = await self._database.read(lambda connection: sifs.said(connection, file))
        return SifImage(name, file, size, digest, said.architecture)

    async def tag(self, actor: Actor, name: RepositoryName, tag: TagName, file: Digest, architecture: str | None) -> None:
        """Let a tag stand for a SIF, and where an `architecture` is given for those too that it has for others.

        Raises InvalidInput where the SIF says that it is for another one, ManifestUnknown, and what `Manifests.put` raises.
        """
        await self._repositories.locate(actor, name, Action.PUSH)
        given = await self._by_file(actor, name, file, gated=False)
        if not _is_for(given.architecture, architecture):
            raise InvalidInput(f"The image says that it is for {given.architecture}, and is tagged for {architecture}.")
        mine = _Given(given.row, given.layer, architecture or given.architecture)
        if architecture is None:
            await self._point(actor, name, tag, [mine])
            return
        await _until_it_stands(partial(self._join, actor, name, tag, mine))

    async def _join(self, actor: Actor, name: RepositoryName, tag: TagName, mine: _Given) -> None:
        """Let a tag stand for a SIF, and for those that it has for other architectures now. Raises TagMoved, ReferenceMissing."""
        present = await self._present(actor, name, tag)
        others = [one for one in present.several if one.architecture not in (None, mine.architecture)]
        await self._point(actor, name, tag, [mine, *others], present.standing)

    async def _present(self, actor: Actor, name: RepositoryName, tag: TagName) -> _Present:
        """What a tag stands for. What could be made for it does not count."""
        repository_id = (await self._repositories.locate(actor, name, Action.PULL)).repository_id
        if repository_id is None:
            return _Present(Standing(None))
        found = await self._database.read(lambda connection: tags.find(connection, repository_id, tag))
        if found is None:
            return _Present(Standing(None))
        standing = Standing(found.digest)
        try:
            row = await self._manifests.get(actor, name, found.digest, count=False, gated=False)
        except ManifestUnknown:
            return _Present(standing)  # deleted since, and the tag with it
        if row.media_type in media_type.INDEX_TYPES:
            return _Present(standing, await self._several(actor, name, row))
        given = await self._given(row)
        return _Present(standing, [] if given is None else [given])

    async def _point(
        self, actor: Actor, name: RepositoryName, tag: TagName, several: Sequence[_Given], standing: Standing | None = None
    ) -> None:
        """Let a tag stand for these, with `standing` only if it stands for that until then. Raises TagMoved."""
        content, kind = several[0].row.content, several[0].row.media_type
        if len(several) > 1:
            ordered = sorted(several, key=lambda one: one.architecture or "")
            content, kind = index_of(map(_described, ordered)), media_type.OCI_INDEX
        await self._manifests.put(actor, name, tag, content, kind, standing=standing)

    async def tags(self, actor: Actor, name: RepositoryName) -> dict[str, dict[TagName, Digest]]:
        """By architecture ("" where it is not known), the newest tags and the digests of their files. Raises what `require` raises."""
        repository_id = await self._repositories.require(actor, name, Action.PULL)
        found: dict[str, dict[TagName, Digest]] = {}
        rows = await self._database.read(partial(sifs.tagged, repository_id=repository_id, limit=_TAGS_LISTED))
        for tag, content, kind, said in rows:
            if kind in media_type.INDEX_TYPES:
                for one in (await self._present(actor, name, tag)).several:
                    found.setdefault(one.architecture or "", {})[tag] = one.layer.digest
            elif (layer := sif_layer(parse_manifest(content, kind))) is not None:
                found.setdefault(said.architecture or "", {})[tag] = layer.digest
        return found

    async def search(self, actor: Actor, text: str, *, architecture: str | None = None, signed: bool = False) -> list[SifImage]:
        """SIFs in repositories whose names have `text` in them and that the actor may see, the newest first, at most a hundred."""
        scope = policy.visible_projects(actor)
        wanted = partial(sifs.search, scope=scope, text=text, architecture=architecture, signed=signed, limit=_FOUND)
        rows = await self._database.read(wanted)
        named = await self._database.read(lambda connection: tags.newest_of(connection, [row.manifest_id for row in rows], _FOUND))
        return [
            _image(row, layer, tuple(tag.name for tag in named.get(row.manifest_id, ())))
            for row in rows
            if (layer := sif_layer(parse_manifest(row.content, row.media_type))) is not None
        ]

    async def convertible(self, actor: Actor, text: str) -> list[tuple[RepositoryName, TagName]]:
        """As `search`, what was pushed as layers and is pulled as the SIF that is made of it; its architecture is not known before."""
        scope = policy.visible_projects(actor)
        return await self._database.read(lambda connection: sifs.convertible(connection, scope, text, _FOUND))

    async def delete(self, actor: Actor, name: RepositoryName, reference: Reference, architecture: str | None = None) -> None:
        """Delete a SIF by the digest of its file, or what a tag has for an architecture; a SIF that has no tag left goes with its last.

        Raises ManifestUnknown, and what `Manifests.delete` raises.
        """
        await self._repositories.locate(actor, name, Action.DELETE)
        if isinstance(reference, Digest):
            given = await self._by_file(actor, name, reference, gated=False)
            await self._forget_old_indexes(actor, name, given)
            await self._manifests.delete_whole(actor, name, given.row.digest)
            return
        for one in await _until_it_stands(partial(self._take, actor, name, reference, architecture)):
            await self._forget_old_indexes(actor, name, one)
            await self._delete_untagged(actor, name, one)

    async def _take(self, actor: Actor, name: RepositoryName, tag: TagName, architecture: str | None) -> Sequence[_Given]:
        """Take from a tag what it has for an architecture, and return that. Raises ManifestUnknown, TagMoved, ReferenceMissing."""
        present = await self._present(actor, name, tag)
        gone = [one for one in present.several if _is_for(one.architecture, architecture)]
        if not gone:
            raise _none_for(name, tag, architecture)
        if left := [one for one in present.several if one not in gone]:
            await self._point(actor, name, tag, left, present.standing)
        else:
            await self._manifests.delete(actor, name, tag, present.standing)
        return gone

    async def _forget_old_indexes(self, actor: Actor, name: RepositoryName, given: _Given) -> None:
        """Delete the indexes that were written here for a tag, stand behind none any more, and would keep what is to be deleted."""
        digest, repository_id = given.row.digest, given.row.repository_id
        read = partial(artifacts.untagged_indexes_of, repository_id=repository_id, digest=digest, limit=_OLD_INDEXES)
        for index, content in await self._database.read(read):
            if _is_written_here(content):
                with suppress(ManifestUnknown):
                    await self._manifests.delete(actor, name, index)

    async def _delete_untagged(self, actor: Actor, name: RepositoryName, given: _Given) -> None:
        if await self._database.read(lambda connection: tags.of_manifest(connection, given.row.manifest_id)):
            return
        try:
            await self._manifests.delete_whole(actor, name, given.row.digest)
        except (InUse, ManifestUnknown):
            return  # an index names it, or somebody else was quicker


async def _until_it_stands(act: Callable[[], Awaitable[_T]]) -> _T:
    """Change a tag by what it stands for; anew, if somebody else has changed it meanwhile, for another architecture or altogether."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            return await act()
        except (TagMoved, ReferenceMissing):  # missing is what has been taken from the tag, and deleted with it
            if not left:
                raise
    raise AssertionError  # the last attempt raises


def _image(row: FoundRow, layer: Descriptor, named: tuple[TagName, ...]) -> SifImage:
    return SifImage(row.name, layer.digest, layer.size, row.digest, row.said.architecture, named)


def _is_for(has: str | None, wanted: str | None) -> bool:
    """Whether a SIF is for an architecture, as far as that is known and asked."""
    return has is None or wanted is None or has == wanted


def _described(given: _Given) -> Descriptor:
    """How an index names a SIF of one architecture."""
    return Descriptor(
        media_type=given.row.media_type,
        digest=given.row.digest,
        size=len(given.row.content),
        artifact_type=media_type.SIF_CONFIG,
        platform={"architecture": given.architecture, "os": "linux"},
    )


def _is_written_here(content: bytes) -> bool:
    """Whether an index is, byte for byte, as it is written here for the SIFs of a tag."""
    try:
        children = parse_manifest(content, media_type.OCI_INDEX).children
    except InvalidManifest:
        return False
    return all(one.artifact_type == media_type.SIF_CONFIG for one in children) and content == index_of(children)


def _none_for(name: RepositoryName, reference: Reference, architecture: str | None) -> ManifestUnknown:
    if architecture is None:
        return unknown(name, reference)
    return ManifestUnknown(f"{name!s} has no image {reference!s} for {architecture}.", name=str(name), architecture=architecture)


def _no_sif(name: RepositoryName, tag: TagName) -> NotConvertible:
    return NotConvertible(f"{name!s}:{tag!s} is not a SIF, and none can be made of it here.")


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
