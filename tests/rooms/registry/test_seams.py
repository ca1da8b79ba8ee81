"""What rooms above plug in is asked, on the hot path too, and what it answers reaches the caller."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from roadstead.access.actor import Actor
from roadstead.content.memory import pieces
from roadstead.content.store import Span, Stream
from roadstead.errors import BlobUnknown, GateRefused, InsufficientScope, ManifestUnknown, ProjectUnknown, StoreFailed, Unauthenticated
from roadstead.metadata.manifests import ManifestRow
from roadstead.metadata.repositories import PlaceRow
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import Manifest
from roadstead.oci.reference import Reference, RepositoryName, TagName
from roadstead.registry.seams import OpenBlob, PushedManifest, Seams, SpanOf
from tests.conftest import MakeRegistry
from tests.support.factories import APP, COPY, VAULT, blob, image, narrowed, push_blob, push_image, push_manifest, read_blob

PUSHED = image("one")
FAR = image("far away")
LATEST = TagName("latest")
UNSIGNED = "nobody has signed this"


class Upstream:
    """A source of missing content that has `FAR` and its blobs under every name, and writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int | None]] = []

    async def manifest(self, actor: Actor, place: PlaceRow, name: RepositoryName, reference: Reference) -> ManifestRow | None:
        self.asked.append((str(name), str(reference), place.repository_id))
        if reference not in (FAR.digest, LATEST):
            return None
        return ManifestRow(
            place.project_id, place.project_name, place.public, place.repository_id or 0, 0, None, FAR.digest, FAR.media_type, FAR.content
        )

    async def blob(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest, span_of: SpanOf) -> OpenBlob | None:
        self.asked.append((str(name), str(digest), place.repository_id))
        found = next((one for one in FAR.blobs if one.digest == digest), None)
        if found is None:
            return None
        wanted = span_of(len(found.content))
        start, length = wanted or (0, len(found.content))
        return OpenBlob(
            len(found.content), Span(*wanted) if wanted else None, Stream(pieces(found.content[start : start + length]), length)
        )


class Substitution:
    """A resolver for which the virtual tag `newest` is PUSHED, and the image of FAR is PUSHED too."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def absent(self, actor: Actor, place: PlaceRow, name: RepositoryName, tag: TagName) -> Digest | None:
        self.asked.append((str(name), str(tag)))
        return PUSHED.digest if tag == "newest" else None

    async def as_image(self, actor: Actor, name: RepositoryName, found: ManifestRow) -> Digest | None:
        self.asked.append((str(name), str(found.digest)))
        return PUSHED.digest if found.digest == FAR.digest else None


class Gate:
    """A gate in both directions that lets through what has no layer of the characters `bad`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def check(self, actor: Actor, place: PlaceRow, name: RepositoryName, manifest: Manifest, content: bytes) -> None:
        self.asked.append(f"push {Digest.of(content)}")
        self._judge(any(layer.digest == blob("bad").digest for layer in manifest.layers))

    async def manifest(self, actor: Actor, name: RepositoryName, reference: Reference, manifest: ManifestRow) -> None:
        self.asked.append(f"pull {manifest.digest}")
        self._judge(str(blob("bad").digest).encode() in manifest.content)

    async def blob(self, actor: Actor, place: PlaceRow, name: RepositoryName, digest: Digest) -> None:
        self.asked.append(f"blob {digest}")
        self._judge(digest == blob("bad").digest)

    def _judge(self, bad: bool) -> None:
        if bad:
            raise GateRefused(UNSIGNED)


# --- missing content ----------------------------------------------------------------------------------------------------------------


async def test_missing_content_is_asked_for_what_is_not_here_alone(make_registry: MakeRegistry, admin: Actor) -> None:
    source = Upstream()
    registry = make_registry(seams=Seams(missing_content=source))
    await push_image(registry, admin, APP, PUSHED, "stable")
    await registry.manifests.get(admin, APP, TagName("stable"))
    await read_blob(registry, admin, APP, PUSHED.blobs[1].digest)
    assert source.asked == []
    layer = FAR.blobs[1]
    assert (await registry.manifests.get(admin, APP, LATEST)).content == FAR.content
    assert await read_blob(registry, admin, APP, layer.digest) == layer.content
    assert await registry.blobs.size(admin, APP, layer.digest) == len(layer.content)
    opened = await registry.blobs.open(admin, APP, layer.digest, lambda size: (size - 4, 4))
    assert (opened.span, opened.size) == (Span(4, 4), 8)
    here = source.asked[0][2]
    assert source.asked == [(APP, LATEST, here), *[(APP, layer.digest, here)] * 3]
    assert here is not None


async def test_missing_content_may_be_for_a_repository_that_is_not_there_yet(make_registry: MakeRegistry, anonymous: Actor) -> None:
    source = Upstream()
    registry = make_registry(seams=Seams(missing_content=source))
    assert (await registry.manifests.get(anonymous, COPY, FAR.digest)).digest == FAR.digest
    assert await read_blob(registry, anonymous, COPY, FAR.blobs[1].digest) == b"far away"
    assert [place for _, _, place in source.asked] == [None, None]


async def test_missing_content_that_is_not_there_either_is_unknown(make_registry: MakeRegistry, admin: Actor) -> None:
    registry = make_registry(seams=Seams(missing_content=Upstream()))
    with pytest.raises(ManifestUnknown):
        await registry.manifests.get(admin, APP, PUSHED.digest)
    with pytest.raises(BlobUnknown):
        await registry.blobs.open(admin, APP, PUSHED.blobs[1].digest)


async def test_missing_content_is_asked_only_after_the_policy(make_registry: MakeRegistry, user: Actor, anonymous: Actor) -> None:
    source = Upstream()
    registry = make_registry(seams=Seams(missing_content=source))
    for actor, error in ((user, ProjectUnknown), (anonymous, Unauthenticated)):
        with pytest.raises(error):
            await registry.manifests.get(actor, VAULT, LATEST)
        with pytest.raises(error):
            await registry.blobs.open(actor, VAULT, FAR.blobs[1].digest)
    assert source.asked == []


# --- resolver -----------------------------------------------------------------------------------------------------------------------


async def test_the_resolver_is_asked_for_tags_that_are_not_here_alone(make_registry: MakeRegistry, admin: Actor) -> None:
    resolver = Substitution()
    registry = make_registry(seams=Seams(resolver=resolver))
    await push_image(registry, admin, APP, PUSHED, "latest")
    assert (await registry.manifests.get(admin, APP, LATEST)).digest == PUSHED.digest
    assert (await registry.manifests.get(admin, APP, TagName("newest"))).digest == PUSHED.digest
    for reference in (FAR.digest, TagName("oldest")):
        with pytest.raises(ManifestUnknown):
            await registry.manifests.get(admin, APP, reference)
    assert resolver.asked == [(APP, "newest"), (APP, "oldest")]


async def test_a_real_tag_wins_over_a_virtual_one(make_registry: MakeRegistry, admin: Actor) -> None:
    registry = make_registry(seams=Seams(resolver=Substitution()))
    await push_image(registry, admin, APP, PUSHED, "latest")
    await push_image(registry, admin, APP, FAR, "newest")
    assert (await registry.manifests.get(admin, APP, TagName("newest"))).digest == FAR.digest


async def test_what_a_virtual_tag_stands_for_must_be_in_the_repository(make_registry: MakeRegistry, admin: Actor) -> None:
    registry = make_registry(seams=Seams(resolver=Substitution()))
    await push_image(registry, admin, COPY, PUSHED, "latest")
    await push_image(registry, admin, APP, FAR, "latest")
    with pytest.raises(ManifestUnknown):
        await registry.manifests.get(admin, APP, TagName("newest"))
    assert (await registry.manifests.get(admin, APP, LATEST, runs_images=True)).digest == FAR.digest


async def test_who_runs_images_is_given_one_by_tag_and_never_by_digest(make_registry: MakeRegistry, admin: Actor) -> None:
    resolver = Substitution()
    registry = make_registry(seams=Seams(resolver=resolver))
    await push_image(registry, admin, APP, PUSHED, "image")
    await push_image(registry, admin, APP, FAR, "latest")
    assert (await registry.manifests.get(admin, APP, LATEST)).digest == FAR.digest
    assert (await registry.manifests.get(admin, APP, FAR.digest, runs_images=True)).digest == FAR.digest
    assert resolver.asked == []
    assert (await registry.manifests.get(admin, APP, LATEST, runs_images=True)).digest == PUSHED.digest
    assert (await registry.manifests.get(admin, APP, TagName("image"), runs_images=True)).digest == PUSHED.digest


async def test_the_policy_comes_before_the_resolver(make_registry: MakeRegistry, admin: Actor, user: Actor) -> None:
    resolver = Substitution()
    registry = make_registry(seams=Seams(resolver=resolver))
    await push_image(registry, admin, VAULT, PUSHED, "latest")
    for tag in (LATEST, TagName("newest")):
        with pytest.raises(ProjectUnknown):
            await registry.manifests.get(user, VAULT, tag, runs_images=True)
        with pytest.raises(InsufficientScope):
            await registry.manifests.get(narrowed(admin, {APP: "pull"}), VAULT, tag, runs_images=True)
    assert resolver.asked == []


# --- gates --------------------------------------------------------------------------------------------------------------------------


async def test_the_push_gate_is_asked_before_anything_is_recorded(make_registry: MakeRegistry, admin: Actor) -> None:
    gate = Gate()
    registry = make_registry(seams=Seams(push_gate=gate))
    bad = image("bad")
    await push_image(registry, admin, APP, PUSHED, "latest")
    with pytest.raises(GateRefused, match=UNSIGNED):
        await push_image(registry, admin, APP, bad, "latest")
    assert gate.asked == [f"push {PUSHED.digest}", f"push {bad.digest}"]
    assert (await registry.manifests.get(admin, APP, LATEST)).digest == PUSHED.digest
    with pytest.raises(ManifestUnknown):
        await registry.manifests.get(admin, APP, bad.digest)


class Diary:
    """A follower that writes down what it is told, and may refuse."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.refuses = False

    def tagged(self, connection: Connection, pushed: PushedManifest) -> None:
        self.told.append((pushed.name, pushed.digest))
        if self.refuses:
            raise StoreFailed


async def test_who_follows_pushes_is_told_of_tags_in_the_pushs_transaction(make_registry: MakeRegistry, admin: Actor) -> None:
    diary = Diary()
    registry = make_registry(seams=Seams(push_follower=diary))
    await push_image(registry, admin, APP, PUSHED)
    assert diary.told == []
    await push_manifest(registry, admin, APP, PUSHED, "a", "b")
    assert diary.told == [(APP, PUSHED.digest)]
    diary.refuses = True
    with pytest.raises(StoreFailed):
        await push_manifest(registry, admin, APP, PUSHED, "c")
    assert await registry.tags.names(admin, APP, "", 10) == ["a", "b"]


async def test_the_pull_gate_is_asked_at_every_pull(make_registry: MakeRegistry, admin: Actor) -> None:
    gate = Gate()
    registry = make_registry(seams=Seams(pull_gate=gate))
    bad = image("bad")
    for one in (PUSHED, bad):
        await push_image(registry, admin, APP, one)
    layer = PUSHED.blobs[1].digest
    await registry.manifests.get(admin, APP, PUSHED.digest)
    await registry.blobs.open(admin, APP, layer)
    await registry.blobs.size(admin, APP, layer)
    assert gate.asked == [f"pull {PUSHED.digest}", f"blob {layer}", f"blob {layer}"]
    for act in (
        registry.manifests.get(admin, APP, bad.digest),
        registry.blobs.open(admin, APP, blob("bad").digest),
        registry.blobs.size(admin, APP, blob("bad").digest),
    ):
        with pytest.raises(GateRefused, match=UNSIGNED):
            await act


async def test_what_is_refused_is_not_counted_as_a_pull(make_registry: MakeRegistry, admin: Actor) -> None:
    registry = make_registry(seams=Seams(pull_gate=Gate()))
    await push_image(registry, admin, APP, image("bad"), "latest")
    with pytest.raises(GateRefused):
        await registry.manifests.get(admin, APP, LATEST)
    assert registry.pulls._pulls == {}


async def test_the_pull_gate_judges_what_the_source_brings(make_registry: MakeRegistry, admin: Actor) -> None:
    gate = Gate()
    registry = make_registry(seams=Seams(missing_content=Upstream(), pull_gate=gate))
    await registry.manifests.get(admin, APP, FAR.digest)
    assert gate.asked == [f"pull {FAR.digest}"]


async def test_the_policy_comes_before_the_pull_gate(make_registry: MakeRegistry, admin: Actor, user: Actor) -> None:
    gate = Gate()
    registry = make_registry(seams=Seams(pull_gate=gate))
    for one in PUSHED.blobs:
        await push_blob(registry, admin, VAULT, one)
    await push_manifest(registry, admin, VAULT, PUSHED)
    for act in (registry.manifests.get(user, VAULT, PUSHED.digest), registry.blobs.open(user, VAULT, PUSHED.blobs[1].digest)):
        with pytest.raises(ProjectUnknown):
            await act
    assert gate.asked == []
