"""Manifests: reading, pushing, deleting (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from roadstead.access.actor import Action, Actor
from roadstead.access.audit import Operation, ResourceType, audited
from roadstead.access.clock import Clock
from roadstead.access.policy import Project
from roadstead.access.rights import Rights
from roadstead.errors import Conflict, DigestMismatch, InUse, ManifestUnknown, ReferenceMissing, TagMoved, TooManyTags
from roadstead.metadata import artifacts, audit, contents, derived, events, manifests, repositories, tags
from roadstead.metadata.audit import NewAudit
from roadstead.metadata.database import Database
from roadstead.metadata.events import NewEvent
from roadstead.metadata.manifests import ManifestRow, ManifestSelects, NewManifest, ReferenceRow
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest, parse_manifest
from roadstead.oci.reference import Reference, RepositoryName, TagName
from roadstead.registry.pulls import PullCounter, resource
from roadstead.registry.quotas import charge_named
from roadstead.registry.repositories import Repositories
from roadstead.registry.rules import Rules
from roadstead.registry.seams import PushedManifest, Seams

TAGS_LIMIT = 100
_MISSING_SHOWN = 20
_WHOLE_LIMIT = 1000


class Pushed(msgspec.Struct, frozen=True):
    """A manifest that was recorded: its digest, its subject if it has one, and the tags that point to it now."""

    digest: Digest
    subject: Digest | None
    tags: tuple[TagName, ...]


class Standing(msgspec.Struct, frozen=True):
    """What a tag stood for when it was looked at: the digest of a manifest, None where there was no such tag."""

    digest: Digest | None


class _Push(msgspec.Struct, frozen=True):
    """A push that has passed its checks, ready to be recorded."""

    actor: Actor
    name: RepositoryName
    place: PlaceRow
    digest: Digest
    manifest: Manifest
    content: bytes
    tags: tuple[TagName, ...]
    standing: Standing | None


class Manifests:
    """A manifest is identified by repository and digest as pushed."""

    def __init__(
        self, database: Database, repositories: Repositories, pulls: PullCounter, rules: Rules, seams: Seams, clock: Clock
    ) -> None:
        self._database = database
        self._repositories = repositories
        self._pulls = pulls
        self._rules = rules
        self._seams = seams
        self._clock = clock
        self._selects = ManifestSelects(database)
        self._rights = Rights(database)

    async def get(
        self,
        actor: Actor,
        name: RepositoryName,
        reference: Reference,
        *,
        count: bool = True,
        runs_images: bool = False,
        gated: bool = True,
    ) -> ManifestRow:
        """The manifest, with its exact bytes; `count` it as a pull. With `runs_images`, a tag that is no image may be given as one.
        Without `gated` it is not to go out, but to be looked at by an act of another kind, which has asked for its own right.

        Raises ManifestUnknown, what `locate` raises, GateRefused, and NotReady or NotConvertible for what would have to be made.
        """
        row = await self._selects.find(name, reference)
        if row is None:
            row = await self._get_missing(actor, name, reference)
        else:
            await self._rights.require(actor, Action.PULL, Project(row.project_id, row.project_name, row.public), name)
            if runs_images and row.tag_id is not None and self._seams.resolver is not None:
                row = await self._given(name, await self._seams.resolver.as_image(actor, name, row)) or row
        if gated and self._seams.pull_gate is not None:
            await self._seams.pull_gate.manifest(actor, name, reference, row)
        if count:
            self._pulls.count(actor, name, reference, row)
        return row

    async def _get_missing(self, actor: Actor, name: RepositoryName, reference: Reference) -> ManifestRow:
        place = await self._repositories.locate(actor, name, Action.PULL)
        found = None
        if self._seams.resolver is not None and isinstance(reference, TagName):
            found = await self._given(name, await self._seams.resolver.absent(actor, place, name, reference))
        if found is None and self._seams.missing_content is not None:
            found = await self._seams.missing_content.manifest(actor, place, name, reference)
        if found is None:
            raise unknown(name, reference)
        return found

    async def _given(self, name: RepositoryName, digest: Digest | None) -> ManifestRow | None:
        return None if digest is None else await self._selects.by_digest(name, digest)

    async def put(
        self,
        actor: Actor,
        name: RepositoryName,
        reference: Reference,
        content: bytes,
        content_type: str | None,
        also_tag: Sequence[TagName] = (),
        standing: Standing | None = None,
    ) -> Pushed:
        """Record a manifest and let its tags point to it, all or nothing. With `standing`, only if the tags stand for just that until then.

        Raises TagMoved where they do not, InvalidManifest, ManifestTooLarge, TooManyTags, DigestMismatch, ReferenceMissing, GateRefused,
        InvalidSif, QuotaExceeded (content that was freed counts again) and what `locate` raises.
        """
        place = await self._repositories.locate(actor, name, Action.PUSH)
        if len(also_tag) > TAGS_LIMIT:
            raise TooManyTags
        manifest = parse_manifest(content, content_type)
        digest = _digest(reference, content)
        if self._seams.push_gate is not None:
            await self._seams.push_gate.check(actor, place, name, manifest, content)
        named = () if isinstance(reference, Digest) else (reference,)
        push = _Push(actor, name, place, digest, manifest, content, tuple(dict.fromkeys((*named, *also_tag))), standing)
        try:
            await self._database.write(partial(self._record, push))
        except IntegrityError:
            # The same manifest was recorded by somebody else between our look and our insert (PostgreSQL): now it is found.
            await self._database.write(partial(self._record, push))
        return Pushed(digest, manifest.subject.digest if manifest.subject else None, push.tags)

    def _record(self, push: _Push, connection: Connection) -> None:
        now = self._clock()
        repository_id = repositories.ensure(connection, push.place.project_id, push.name.path, now)
        new = NewManifest(
            repository_id=repository_id,
            digest=push.digest,
            media_type=push.manifest.media_type,
            artifact_type=push.manifest.artifact_type,
            subject=push.manifest.subject.digest if push.manifest.subject else None,
            annotations=push.manifest.annotations,
            content=push.content,
            references=self._references(connection, repository_id, push.manifest),
            pushed_by=push.actor.account_id,
            pushed_at=now,
        )
        manifest_id = manifests.find_id(connection, repository_id, push.digest)
        if manifest_id is None or not manifests.repush(connection, manifest_id, new):
            manifest_id = manifests.add(connection, new)
        account_id, place = push.actor.account_id, push.place
        happened = partial(NewEvent, at=now, actor_id=account_id, project_id=place.project_id, repository_id=repository_id)
        log = [happened("manifest.pushed", manifest_id=manifest_id, new_digest=str(push.digest))]
        said = [_audited(push.actor, now, Operation.PUSH, push.name, push.digest, place, push.manifest.media_type)]
        for tag in push.tags:
            old = tags.point(connection, repository_id, tag, manifest_id, push.digest, account_id, now)
            if push.standing is not None and old != push.standing.digest:
                raise TagMoved
            if old != push.digest:
                log.append(happened("tag.pointed", manifest_id=manifest_id, tag=str(tag), old_digest=old, new_digest=str(push.digest)))
                action, detail = (Operation.UPDATE, f"from {old} to {push.digest}") if old else (Operation.CREATE, f"to {push.digest}")
                said.append(_audited(push.actor, now, action, push.name, tag, place, detail))
        events.add(connection, *log)
        audit.add(connection, *said)
        if push.manifest.children:
            self._adopt(connection, place, repository_id, derived.named_by(connection, repository_id, [manifest_id]))
        charge_named(connection, place, manifest_id, now)
        if self._seams.push_follower is not None and push.tags:
            pushed = PushedManifest(place.project_id, repository_id, push.name, push.digest, push.manifest)
            self._seams.push_follower.tagged(connection, pushed)

    def _adopt(self, connection: Connection, place: PlaceRow, repository_id: int, found: Mapping[int, Digest]) -> None:
        """Make what was derived as good as pushed, with all that it names: a tag or somebody's index names it now, and is charged for it.

        Raises ReferenceMissing for what has been evicted, and QuotaExceeded.
        """
        while found:
            derived.adopt(connection, found)
            for manifest_id, digest in found.items():
                if derived.unseen(connection, repository_id, manifest_id) and not self._rules.accept_absent_content:
                    raise _reference_missing([digest])
                charge_named(connection, place, manifest_id, self._clock())
            found = derived.named_by(connection, repository_id, found)

    def _references(self, connection: Connection, repository_id: int, manifest: Manifest) -> tuple[ReferenceRow, ...]:
        """What the manifest refers to, with the contents that the repository sees.

        Raises ReferenceMissing where one must be here and is not.
        """
        seen = contents.rely_on(connection, repository_id, [one.digest for one in manifest.blobs()], self._clock())
        if not self._rules.accept_absent_content:
            absent = [one.digest for one in manifest.required_blobs() if one.digest not in seen]
            absent += manifests.missing(connection, repository_id, [one.digest for one in manifest.children])
            if absent:
                raise _reference_missing(absent)
        return references_of(manifest, seen)

    async def delete(self, actor: Actor, name: RepositoryName, reference: Reference, standing: Standing | None = None) -> None:
        """Delete a manifest and the tags that point to it, or one tag alone, with `standing` only if it stands for just that.

        Raises TagMoved where it does not, ManifestUnknown and what `locate` raises.
        """
        place = await self._repositories.locate(actor, name, Action.DELETE)
        repository_id = place.repository_id
        if repository_id is None:
            raise unknown(name, reference)
        if isinstance(reference, Digest):
            work = partial(self._delete_manifest, actor, name, place, repository_id, reference)
        else:
            work = partial(self._delete_tag, actor, name, place, repository_id, reference, standing=standing)
        if not await self._database.write(work):
            raise unknown(name, reference)

    def _delete_manifest(
        self, actor: Actor, name: RepositoryName, place: PlaceRow, repository_id: int, digest: Digest, connection: Connection
    ) -> bool:
        manifest_id = manifests.find_id(connection, repository_id, digest)
        if manifest_id is None:
            return False
        gone = derived.delete(connection, repository_id, manifest_id, digest, self._clock())
        if gone is None:
            return False
        for tag in tags.of_manifest(connection, manifest_id):
            self._delete_tag(actor, name, place, repository_id, tag.name, connection)
        for one, old in {manifest_id: digest, **gone}.items():
            events.add(connection, self._happened("manifest.deleted", actor, place, repository_id, manifest_id=one, old_digest=str(old)))
        audit.add(connection, _audited(actor, self._clock(), Operation.DELETE, name, digest, place))
        return True

    def _delete_tag(
        self,
        actor: Actor,
        name: RepositoryName,
        place: PlaceRow,
        repository_id: int,
        tag_name: TagName,
        connection: Connection,
        standing: Standing | None = None,
    ) -> bool:
        tag = (tags.find if standing is None else tags.locked)(connection, repository_id, tag_name)
        if standing is not None and (tag and tag.digest) != standing.digest:
            raise TagMoved
        if tag is None or not tags.remove(connection, repository_id, tag, actor.account_id, self._clock()):
            return False
        events.add(
            connection,
            self._happened(
                "tag.deleted", actor, place, repository_id, manifest_id=tag.manifest_id, tag=str(tag_name), old_digest=str(tag.digest)
            ),
        )
        audit.add(connection, _audited(actor, self._clock(), Operation.DELETE, name, tag_name, place, f"from {tag.digest}"))
        return True

    async def delete_whole(self, actor: Actor, name: RepositoryName, digest: Digest) -> None:
        """Delete a manifest with its tags, with what speaks about it (signatures), and with the parts of an index that nothing else names.

        What an index names goes with that index alone: raises InUse. Raises ManifestUnknown and what `locate` raises too. Of more than
        `_WHOLE_LIMIT` manifests the rest stays, untagged.
        """
        place = await self._repositories.locate(actor, name, Action.DELETE)
        repository_id = place.repository_id
        if repository_id is None or not await self._database.write(partial(self._delete_whole, actor, name, place, repository_id, digest)):
            raise unknown(name, digest)

    def _delete_whole(
        self, actor: Actor, name: RepositoryName, place: PlaceRow, repository_id: int, digest: Digest, connection: Connection
    ) -> bool:
        manifest_id = manifests.find_id(connection, repository_id, digest)
        if manifest_id is None:
            return False
        if artifacts.is_named(connection, repository_id, manifest_id):
            raise InUse(f"{digest!s} is part of an index; delete that first.")
        waiting = {manifest_id: digest}
        for _ in range(_WHOLE_LIMIT):
            if not waiting:
                break
            manifest_id, digest = waiting.popitem()
            speaking, parts = artifacts.dependents(connection, repository_id, manifest_id, digest)
            self._delete_manifest(actor, name, place, repository_id, digest, connection)
            waiting |= speaking | artifacts.unused(connection, repository_id, parts)
        return True

    async def add_tag(self, actor: Actor, name: RepositoryName, reference: Reference, tag: TagName) -> None:
        """Let a tag that is not there point to a manifest. Raises Conflict if it is there, ManifestUnknown, and what `locate` raises.

        What was derived is as good as pushed from then on: raises ReferenceMissing if it has been evicted, and QuotaExceeded.
        """
        place = await self._repositories.locate(actor, name, Action.PUSH)
        repository_id = place.repository_id
        if repository_id is None:
            raise unknown(name, reference)
        await self._database.write(partial(self._add_tag, actor, name, place, repository_id, reference, tag))

    def _add_tag(
        self,
        actor: Actor,
        name: RepositoryName,
        place: PlaceRow,
        repository_id: int,
        reference: Reference,
        tag: TagName,
        connection: Connection,
    ) -> None:
        digest = self._digest_of(connection, repository_id, reference)
        manifest_id = None if digest is None else manifests.find_id(connection, repository_id, digest)
        if digest is None or manifest_id is None:
            raise unknown(name, reference)
        now = self._clock()
        if derived.is_derived(connection, manifest_id):
            self._adopt(connection, place, repository_id, {manifest_id: digest})
        if not tags.create(connection, repository_id, tag, manifest_id, digest, actor.account_id, now):
            raise Conflict(f"There is a tag {tag!s} already.")
        happened = self._happened("tag.pointed", actor, place, repository_id, manifest_id=manifest_id, tag=str(tag), new_digest=str(digest))
        events.add(connection, happened)
        audit.add(connection, _audited(actor, now, Operation.CREATE, name, tag, place, f"to {digest}"))

    async def remove_tag(self, actor: Actor, name: RepositoryName, reference: Reference, tag: TagName) -> None:
        """Delete a tag of the manifest that `reference` names. Raises ManifestUnknown if it points elsewhere, and what `locate` raises."""
        place = await self._repositories.locate(actor, name, Action.DELETE)
        repository_id = place.repository_id

        def work(connection: Connection) -> bool:
            if repository_id is None:
                return False
            found = tags.find(connection, repository_id, tag)
            if found is None or found.digest != self._digest_of(connection, repository_id, reference):
                return False
            return self._delete_tag(actor, name, place, repository_id, tag, connection)

        if not await self._database.write(work):
            raise ManifestUnknown(f"There is no tag {tag!s} of {reference!s} in {name!s}.")

    def _digest_of(self, connection: Connection, repository_id: int, reference: Reference) -> Digest | None:
        if isinstance(reference, Digest):
            return reference
        found = tags.find(connection, repository_id, reference)
        return None if found is None else found.digest

    def _happened(self, kind: str, actor: Actor, place: PlaceRow, repository_id: int, **what: int | str | None) -> NewEvent:
        return NewEvent(
            type=kind,
            at=self._clock(),
            actor_id=actor.account_id,
            project_id=place.project_id,
            repository_id=repository_id,
            **what,  # type: ignore[arg-type]
        )


def _audited(
    actor: Actor, at: datetime, action: Operation, name: RepositoryName, what: Reference, place: PlaceRow, detail: str | None = None
) -> NewAudit:
    kind = ResourceType.ARTIFACT if isinstance(what, Digest) else ResourceType.TAG
    return audited(actor, at, action, kind, resource(name, what), project_id=place.project_id, detail=detail)


def _digest(reference: Reference, content: bytes) -> Digest:
    if not isinstance(reference, Digest):
        return Digest.of(content)
    if not reference.matches(content):
        actual = Digest.of(content, reference.algorithm)
        raise DigestMismatch(
            f"The digest given is {reference!s}, but the manifest's is {actual!s}.", given=str(reference), actual=str(actual)
        )
    return reference


def references_of(manifest: Manifest, seen: Mapping[str, int]) -> tuple[ReferenceRow, ...]:
    """What a manifest refers to, with the ids of those contents that its repository has `seen`, by digest."""
    config = [ReferenceRow("config", manifest.config.digest, seen.get(manifest.config.digest))] if manifest.config else []
    layers = [ReferenceRow("layer", layer.digest, seen.get(layer.digest)) for layer in manifest.layers]
    children = [ReferenceRow("manifest", child.digest, None) for child in manifest.children]
    return (*config, *layers, *children)


def _reference_missing(absent: Sequence[Digest]) -> ReferenceMissing:
    shown = [str(digest) for digest in absent[:_MISSING_SHOWN]]
    return ReferenceMissing(
        f"The manifest refers to content that is not in this repository; push that first: {', '.join(shown)}.",
        digests=shown,
        missing=len(absent),
    )


def unknown(name: RepositoryName, reference: Reference) -> ManifestUnknown:
    """The one sentence for a manifest or tag that is not there."""
    kind = "manifest" if isinstance(reference, Digest) else "tag"
    return ManifestUnknown(f"There is no {kind} {reference!s} in {name!s}.", name=str(name), reference=str(reference))
