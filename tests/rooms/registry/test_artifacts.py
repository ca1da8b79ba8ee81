"""Artifacts as people browse them: what is listed, what is told about each, tags, accessories, deletion, copies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from roadstead.access.actor import Actor, Role
from roadstead.content.memory import MemoryStore
from roadstead.errors import Conflict, InUse, InvalidInput, ManifestUnknown, NotFound, ProjectUnknown, ReferenceMissing, RepositoryUnknown
from roadstead.metadata.artifacts import signature_tag
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Filter, Listing, Match, Page, Sort
from roadstead.metadata.schema import events, tag_history
from roadstead.oci import media_type
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.artifacts import Artifact
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from tests.support.factories import APP, COPY, VAULT, Blob, Image, ManualClock, blob, image, index, push_blob, push_image, push_manifest

NEWEST = Listing()
CONFIG = {
    "created": "2026-01-01T00:00:00Z",
    "architecture": "arm64",
    "os": "linux",
    "config": {"Env": ["A=b"], "Labels": {"maintainer": "ada"}},
    "history": [{"created_by": "RUN make"}, {"created_by": "CMD run", "empty_layer": True}],
    "rootfs": {"type": "layers", "diff_ids": []},
}


def plain(name: str, **more: str) -> Image:
    """An image with a config of its own."""
    return image(name, config=json.dumps({**CONFIG, "name": name, **more}))


def of_config(kind: str, config: str = "{}", **more: Any) -> Image:
    """An artifact whose config has that media type."""
    made = image("artifact", config=config, **more)
    body = json.loads(made.content)
    body["config"]["mediaType"] = kind
    return Image(json.dumps(body).encode(), made.media_type, made.blobs)


async def listed(registry: Registry, actor: Actor, listing: Listing = NEWEST, name: RepositoryName = APP) -> list[Digest]:
    """Digests of the page."""
    page, _ = await registry.artifacts.page(actor, name, listing)
    return [one.digest for one in page]


def only(field: str, *values: str, match: Match = Match.EQUAL) -> Listing:
    return Listing((Filter(field, match, values),))


async def get(registry: Registry, actor: Actor, made: Image, name: RepositoryName = APP) -> Artifact:
    return await registry.artifacts.get(actor, name, made.digest, accessories=True)


# --- what is listed -----------------------------------------------------------------------------------------------------------------


async def test_the_newest_artifact_comes_first_with_its_tags(registry: Registry, admin: Actor, clock: ManualClock) -> None:
    first, second = plain("first"), plain("second")
    await push_image(registry, admin, APP, first, "1", "old")
    clock.advance(timedelta(hours=1))
    await push_image(registry, admin, APP, second, "2")
    page, total = await registry.artifacts.page(admin, APP, NEWEST)
    assert [(one.digest, [tag.name for tag in one.tags]) for one in page] == [(second.digest, ["2"]), (first.digest, ["old", "1"])]
    assert (total, page[0].pushed_at, page[0].pulled_at) == (2, clock(), None)
    await registry.manifests.get(admin, APP, TagName("2"))
    await registry.pulls.flush()
    assert (await get(registry, admin, second)).pulled_at == clock()


async def test_parts_of_an_index_are_listed_with_it_unless_they_have_a_tag(registry: Registry, admin: Actor) -> None:
    tagged, part = plain("tagged"), plain("part")
    both = index(tagged, part)
    await push_image(registry, admin, APP, tagged, "amd64")
    await push_image(registry, admin, APP, part)
    assert set(await listed(registry, admin)) == {tagged.digest, part.digest}
    await push_manifest(registry, admin, APP, both, "latest")
    assert set(await listed(registry, admin)) == {tagged.digest, both.digest}
    assert set(await listed(registry, admin, only("base", "*"))) == {tagged.digest, part.digest, both.digest}
    assert (await registry.repositories.get(admin, APP)).artifacts == 2
    await registry.manifests.delete(admin, APP, both.digest)
    assert set(await listed(registry, admin)) == {tagged.digest, part.digest}


async def test_an_index_of_another_repository_hides_nothing(registry: Registry, admin: Actor) -> None:
    part = plain("part")
    await push_image(registry, admin, APP, part)
    await push_image(registry, admin, COPY, part)
    await push_manifest(registry, admin, COPY, index(part), "latest")
    assert await listed(registry, admin) == [part.digest]


async def test_what_speaks_about_another_is_its_accessory(registry: Registry, admin: Actor) -> None:
    base = plain("base")
    by_subject = image("s", subject=base, artifact_type="application/vnd.cncf.notary.signature")
    by_tag = image("t")
    stray = image("stray", subject=plain("never pushed"))
    await push_image(registry, admin, APP, base, "latest")
    await push_image(registry, admin, APP, by_subject)
    await push_image(registry, admin, APP, by_tag, signature_tag(base.digest))
    await push_image(registry, admin, APP, stray)
    assert set(await listed(registry, admin)) == {base.digest, stray.digest}
    accessories = (await get(registry, admin, base)).accessories
    assert [(one.digest, one.kind) for one in accessories] == [
        (by_subject.digest, "signature.notation"),
        (by_tag.digest, "signature.cosign"),
    ]
    assert {one.subject_digest for one in accessories} == {base.digest}
    assert accessories[0].size == len(by_subject.content) + sum(len(one.content) for one in by_subject.blobs)
    page, total = await registry.artifacts.accessories(admin, APP, TagName("latest"), Listing(page=Page(2, 1)))
    assert ([one.digest for one in page], total) == ([by_tag.digest], 2)
    shown, _ = await registry.artifacts.page(admin, APP, NEWEST, accessories=True)
    assert {one.digest: len(one.accessories) for one in shown} == {base.digest: 2, stray.digest: 0}
    await registry.manifests.delete(admin, APP, base.digest)
    assert set(await listed(registry, admin)) == {by_subject.digest, by_tag.digest, stray.digest}


async def test_a_signature_of_both_kinds_is_one_accessory(registry: Registry, admin: Actor) -> None:
    base = plain("base")
    both = image("s", subject=base, artifact_type="application/vnd.dev.sigstore.bundle.v0.3+json")
    await push_image(registry, admin, APP, base)
    await push_image(registry, admin, APP, both, signature_tag(base.digest))
    assert [one.kind for one in (await get(registry, admin, base)).accessories] == ["signature.cosign"]


async def test_a_manifest_that_is_tagged_as_its_own_signature_stays_listed(registry: Registry, admin: Actor) -> None:
    base = plain("base")
    await push_image(registry, admin, APP, base, signature_tag(base.digest))
    assert await listed(registry, admin) == [base.digest]
    assert (await get(registry, admin, base)).accessories == ()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (only("tags", "*"), {"a", "b"}),
        (only("tags", "nil"), {"c"}),
        (only("tags", "one"), {"a"}),
        (only("tags", "o", match=Match.CONTAINS), {"a", "b"}),
        (only("type", "IMAGE"), {"a", "b"}),
        (only("type", "sif"), {"c"}),
        (only("type", "CHART", "SIF", match=Match.ANY), {"c"}),
        (only("type", "MODEL"), set()),
        (only("labels", "1", match=Match.ALL), set()),
        (only("media_type", media_type.OCI_MANIFEST), {"a", "b", "c"}),
        (only("artifact_type", media_type.SIF_CONFIG), {"c"}),
        (only("pushed_at", "2026-01-02", "", match=Match.BETWEEN), set()),
    ],
)
async def test_filters(registry: Registry, admin: Actor, asked: Listing, expected: set[str]) -> None:
    made = {"a": plain("a"), "b": plain("b"), "c": of_config(media_type.SIF_CONFIG)}
    for key, tags in (("a", ["one"]), ("b", ["two"]), ("c", [])):
        await push_image(registry, admin, APP, made[key], *tags)
    found = await listed(registry, admin, asked)
    assert sorted(found) == sorted(made[key].digest for key in expected)


@pytest.mark.parametrize(
    "asked", [only("base", "1"), only("type", "I", match=Match.CONTAINS), only("size", "1"), Listing(sort=(Sort("tags"),))]
)
async def test_what_cannot_be_asked_is_refused(registry: Registry, admin: Actor, asked: Listing) -> None:
    await push_image(registry, admin, APP, plain("a"))
    with pytest.raises(InvalidInput):
        await registry.artifacts.page(admin, APP, asked)


# --- what is told of each -----------------------------------------------------------------------------------------------------------


async def test_an_image_tells_what_its_config_says(registry: Registry, admin: Actor) -> None:
    made = image("layer", config=json.dumps(CONFIG), annotations={"org.example.key": "value"})
    await push_image(registry, admin, APP, made)
    told = await get(registry, admin, made)
    assert (told.kind, told.media_type, told.config_type) == ("IMAGE", media_type.OCI_MANIFEST, media_type.OCI_CONFIG)
    expected = {"created": CONFIG["created"], "architecture": "arm64", "os": "linux", "config": CONFIG["config"], "author": "ada"}
    assert (told.attributes, told.annotations) == (expected, {"org.example.key": "value"})
    assert told.size == len(made.content) + sum(len(one.content) for one in made.blobs)
    assert (await registry.artifacts.page(admin, APP, NEWEST))[0] == [told]
    assert await registry.artifacts.history(admin, APP, made.digest) == CONFIG["history"]


async def test_an_index_tells_what_it_names_and_is_as_large_as_all_of_it(registry: Registry, admin: Actor) -> None:
    one, two = plain("one"), plain("two")
    both = index(one, two)
    body = json.loads(both.content)
    body["manifests"][0]["platform"] = {"architecture": "amd64", "os": "linux"}
    both = Image(json.dumps(body).encode(), both.media_type)
    above = index(both)
    for made in (one, two, both, above):
        await push_image(registry, admin, APP, made)
    told = await get(registry, admin, both)
    ids = [(await get(registry, admin, made)).id for made in (one, two)]
    assert [(child.id, child.digest) for child in told.children] == [(ids[0], one.digest), (ids[1], two.digest)]
    assert [child.platform for child in told.children] == [{"architecture": "amd64", "os": "linux"}, None]
    whole = sum(len(made.content) + sum(len(each.content) for each in made.blobs) for made in (one, two)) + len(both.content)
    assert (told.kind, told.size, told.attributes) == ("IMAGE", whole, None)
    assert (await get(registry, admin, above)).size == whole + len(above.content)


@pytest.mark.parametrize(
    ("config_type", "kind"),
    [
        (media_type.SIF_CONFIG, "SIF"),
        ("application/vnd.cncf.helm.config.v1+json", "CHART"),
        ("application/vnd.example.model.config.v1+json", "MODEL"),
        (media_type.OCI_EMPTY, "UNKNOWN"),
    ],
)
async def test_other_artifacts_tell_their_kind_and_their_whole_config(
    registry: Registry, admin: Actor, config_type: str, kind: str
) -> None:
    made = of_config(config_type, '{"name": "climate", "version": "1"}')
    await push_image(registry, admin, APP, made)
    told = await get(registry, admin, made)
    assert (told.kind, told.config_type, told.attributes) == (kind, config_type, {"name": "climate", "version": "1"})


HOSTILE = {
    "no JSON": "layer",
    "no object": "[]",
    "nothing": "{}",
    "wrong types": '{"architecture": 1}',
    "labels are no object": '{"config": {"Labels": ["a"]}, "os": 7}',
    "nested": '{"config": ' + '{"a":' * 40 + "1" + "}" * 41,
    "nested beyond the stack": '{"config": ' + "[" * 100_000,
    "half a pair": '{"author": "\\ud800 ", "os": "linux"}',
    "huge number": '{"os": "linux", "config": {"a": 1e999}}',
    "too large": json.dumps({"os": "linux", "config": {"a": "x" * 5_000_000}}),
}


@pytest.mark.parametrize("config", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_config_costs_nothing_but_itself(registry: Registry, admin: Actor, config: str) -> None:
    made, fine = image("layer", config=config), plain("fine")
    await push_image(registry, admin, APP, made)
    await push_image(registry, admin, APP, fine)
    assert (await get(registry, admin, made)).attributes is None
    page, _ = await registry.artifacts.page(admin, APP, NEWEST)
    assert {one.digest: bool(one.attributes) for one in page} == {made.digest: False, fine.digest: True}
    with pytest.raises(NotFound):
        await registry.artifacts.history(admin, APP, made.digest)


async def test_what_is_too_large_for_a_list_is_told_by_itself(registry: Registry, admin: Actor) -> None:
    big_config = plain("big", author="x" * 70_000)
    many = plain("part")
    big_index = index(*[many] * 500)
    await push_image(registry, admin, APP, many)
    for made in (big_config, big_index):
        await push_image(registry, admin, APP, made, "big-" + made.digest.encoded[:5])
    page, _ = await registry.artifacts.page(admin, APP, NEWEST)
    assert [(one.attributes, one.children) for one in page] == [(None, ()), (None, ())]
    assert ((await get(registry, admin, big_config)).attributes or {})["author"] == "x" * 70_000
    assert len((await get(registry, admin, big_index)).children) == 500


async def test_a_config_whose_bytes_are_lost_is_not_told(registry: Registry, admin: Actor, store: MemoryStore) -> None:
    made = plain("a")
    await push_image(registry, admin, APP, made)
    store.medium.clear()
    assert (await get(registry, admin, made)).attributes is None


async def test_a_config_that_the_repository_does_not_see_is_not_told(
    registry: Registry, make_registry: Callable[..., Registry], admin: Actor
) -> None:
    """Knowing a digest grants nothing: naming a blob of elsewhere tells neither its text nor its size."""
    secret = plain("secret")
    await push_image(registry, admin, VAULT, secret)
    sparse = make_registry(Rules(accept_absent_content=True))
    await push_manifest(sparse, admin, APP, secret)
    told = await get(sparse, admin, secret)
    assert (told.attributes, told.size) == (None, len(secret.content))


# --- tags ---------------------------------------------------------------------------------------------------------------------------


async def test_tags_of_an_artifact_in_pages(registry: Registry, admin: Actor) -> None:
    made = plain("a")
    await push_image(registry, admin, APP, made, *(f"v{number}" for number in range(5)))
    await push_image(registry, admin, APP, plain("b"), "other")
    page, total = await registry.artifacts.tags(admin, APP, TagName("v3"), Listing(sort=(Sort("name"),), page=Page(2, 2)))
    assert ([one.name for one in page], total) == (["v2", "v3"], 5)


async def test_a_tag_is_added_once_and_removed_from_its_artifact_alone(registry: Registry, database: Database, admin: Actor) -> None:
    one, two = plain("one"), plain("two")
    await push_image(registry, admin, APP, one, "one")
    await push_image(registry, admin, APP, two)
    await registry.manifests.add_tag(admin, APP, two.digest, TagName("two"))
    await registry.manifests.add_tag(admin, APP, TagName("one"), TagName("also"))
    for reference in (one.digest, two.digest):
        with pytest.raises(Conflict):
            await registry.manifests.add_tag(admin, APP, reference, TagName("one"))
    with pytest.raises(ManifestUnknown):
        await registry.manifests.add_tag(admin, APP, plain("never").digest, TagName("new"))
    with pytest.raises(ManifestUnknown):
        await registry.manifests.remove_tag(admin, APP, two.digest, TagName("also"))
    await registry.manifests.remove_tag(admin, APP, one.digest, TagName("also"))
    assert [tag.name for tag in (await get(registry, admin, one)).tags] == ["one"]
    log = await database.read(lambda c: c.execute(select(tag_history.c.tag, tag_history.c.new_digest).order_by(tag_history.c.id)).all())
    assert [tuple(row) for row in log] == [("one", one.digest), ("two", two.digest), ("also", one.digest), ("also", None)]
    happened = await database.read(lambda c: c.execute(select(events.c.type, events.c.tag).where(events.c.tag == "also")).all())
    assert [row[0] for row in happened] == ["tag.pointed", "tag.deleted"]


# --- deletion -----------------------------------------------------------------------------------------------------------------------


async def test_an_artifact_goes_with_its_tags_signatures_and_parts(registry: Registry, admin: Actor) -> None:
    part, shared, tagged = plain("part"), plain("shared"), plain("tagged")
    doomed, other = index(part, shared, tagged), index(shared)
    signature, of_part = image("s", subject=doomed), image("p", subject=part)
    for made, tags in ((part, ""), (shared, ""), (tagged, "keep"), (doomed, "latest"), (other, "other"), (signature, ""), (of_part, "")):
        await push_image(registry, admin, APP, made, *tags.split())
    with pytest.raises(InUse):
        await registry.manifests.delete_whole(admin, APP, part.digest)
    await registry.manifests.delete_whole(admin, APP, doomed.digest)
    assert set(await listed(registry, admin, only("base", "*"))) == {shared.digest, tagged.digest, other.digest}
    assert await registry.tags.names(admin, APP, "", 10) == ["keep", "other"]
    with pytest.raises(ManifestUnknown):
        await registry.manifests.delete_whole(admin, APP, doomed.digest)


# --- copies -------------------------------------------------------------------------------------------------------------------------


async def test_a_copy_takes_tags_parts_and_signatures_along(registry: Registry, admin: Actor, store: MemoryStore) -> None:
    one, two = plain("one"), plain("two")
    both = index(one, two)
    above = index(both, one)
    signature, signed_part = image("s", subject=above), image("p")
    for made, tags in ((one, "part"), (two, ""), (both, ""), (above, "latest 1.0"), (signature, "")):
        await push_image(registry, admin, VAULT, made, *tags.split())
    await push_image(registry, admin, VAULT, signed_part, signature_tag(two.digest))
    await push_image(registry, admin, VAULT, plain("bystander"), "bystander")
    held = len(store.medium)
    assert await registry.copies.copy(admin, VAULT, TagName("latest"), APP) == above.digest
    everything = {made.digest for made in (one, two, both, above, signature, signed_part)}
    assert set(await listed(registry, admin, only("base", "*"))) == everything
    assert await registry.tags.names(admin, APP, "", 10) == ["1.0", "latest", signature_tag(two.digest)]
    assert (await get(registry, admin, one)).attributes == (await get(registry, admin, one, VAULT)).attributes
    assert len(store.medium) == held
    assert await registry.copies.copy(admin, VAULT, above.digest, APP) == above.digest


async def test_a_copy_asks_the_policy_at_both_ends(registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, VAULT, plain("a"), "latest")
    await push_image(registry, admin, APP, plain("b"), "latest")
    with pytest.raises(ProjectUnknown):
        await registry.copies.copy(user, APP, TagName("latest"), RepositoryName("vault/copy"))
    await registry.projects.add_member(admin, "library", "ada", Role.DEVELOPER)
    with pytest.raises(ProjectUnknown):
        await registry.copies.copy(user, VAULT, TagName("latest"), COPY)
    with pytest.raises(ManifestUnknown):
        await registry.copies.copy(user, APP, TagName("never"), COPY)
    with pytest.raises(RepositoryUnknown):
        await registry.artifacts.page(user, COPY, NEWEST)
    await registry.copies.copy(user, APP, TagName("latest"), COPY)
    assert await listed(registry, user, name=COPY) == [plain("b").digest]


async def test_a_copy_of_what_has_lost_a_layer_fails_and_leaves_no_tag(registry: Registry, admin: Actor) -> None:
    made = plain("a")
    await push_image(registry, admin, APP, made, "latest")
    await registry.blobs.delete(admin, APP, blob("a").digest)
    with pytest.raises(ReferenceMissing):
        await registry.copies.copy(admin, APP, TagName("latest"), COPY)
    await push_blob(registry, admin, APP, Blob(b"a"))
    await registry.copies.copy(admin, APP, TagName("latest"), COPY)
    assert await registry.tags.names(admin, COPY, "", 10) == ["latest"]


@pytest.mark.parametrize(
    ("artifact_type", "kind"),
    [
        ("application/spdx+json", "sbom.spdx"),
        ("application/vnd.cyclonedx+json", "sbom.cyclonedx"),
        ("application/vnd.in-toto+json", "attestation.in-toto"),
        ("application/vnd.dev.cosign.artifact.sig.v1+json", "signature.cosign"),
        ("application/vnd.example+json", "subject.accessory"),
    ],
)
async def test_accessories_have_their_kinds(registry: Registry, admin: Actor, artifact_type: str, kind: str) -> None:
    base = plain("base")
    about = image("about", subject=base, artifact_type=artifact_type, config_type=media_type.OCI_EMPTY)
    await push_image(registry, admin, APP, base)
    await push_image(registry, admin, APP, about)
    assert [one.kind for one in (await get(registry, admin, base)).accessories] == [kind]
    alone = await get(registry, admin, about)
    assert (alone.accessory, alone.kind, alone.pushed_by) == (kind, "UNKNOWN", "admin")


async def test_an_artifact_type_beside_an_empty_config_counts_everywhere(registry: Registry, admin: Actor) -> None:
    made = image("data", artifact_type="application/vnd.cncf.helm.config.v1+json", config_type=media_type.OCI_EMPTY)
    await push_image(registry, admin, APP, made, "1.0")
    assert (await get(registry, admin, made)).kind == "CHART"
    assert await listed(registry, admin, only("type", "CHART")) == [made.digest]
    assert await listed(registry, admin, only("type", "IMAGE")) == []
    assert [one.kind for one in await registry.search.recent(admin)] == ["CHART"]
    tagged, _ = await registry.tags.page(admin, APP, Listing())
    assert [one.kind for one in tagged] == ["CHART"]


async def test_cosign_says_by_tags_what_it_says(registry: Registry, admin: Actor) -> None:
    base = plain("base")
    await push_image(registry, admin, APP, base, "latest")
    for scheme in ("sig", "att", "sbom"):
        await push_image(registry, admin, APP, plain(scheme), signature_tag(base.digest, scheme))
    assert await listed(registry, admin) == [base.digest]
    kinds = {one.digest: one.kind for one in (await get(registry, admin, base)).accessories}
    assert kinds == {
        plain("sig").digest: "signature.cosign",
        plain("att").digest: "attestation.cosign",
        plain("sbom").digest: "sbom.cosign",
    }
    assert (await get(registry, admin, plain("att"))).accessory == "attestation.cosign"
    tagged, total = await registry.tags.page(admin, APP, Listing(sort=(Sort("name"),)))
    assert (total, [one.accessory for one in tagged]) == (4, [None, "attestation.cosign", "sbom.cosign", "signature.cosign"])
    await registry.copies.copy(admin, APP, TagName("latest"), COPY)
    assert len(await registry.tags.names(admin, COPY, "", 10)) == 4
    await registry.manifests.delete_whole(admin, APP, base.digest)
    assert await registry.tags.names(admin, APP, "", 10) == []


async def test_tags_are_paged_filtered_and_told_with_what_they_stand_for(registry: Registry, admin: Actor, clock: ManualClock) -> None:
    one, two = plain("one"), plain("two")
    for number in range(12):
        clock.advance(timedelta(minutes=1))
        await push_image(registry, admin, APP, one if number % 2 else two, f"v{number}")
    rows, total = await registry.tags.page(admin, APP, Listing(page=Page(1, 5)))
    assert ([row.tag.name for row in rows], total) == (["v11", "v10", "v9", "v8", "v7"], 12)
    assert rows[0].digest == one.digest
    assert rows[0].size == (await get(registry, admin, one)).size
    assert rows[0].tag.pushed_by == "admin"
    named, total = await registry.tags.page(admin, APP, only("name", "V1", match=Match.CONTAINS))
    assert ([row.tag.name for row in named], total) == (["v11", "v10", "v1"], 3)
    _, total = await registry.tags.page(admin, APP, only("digest", two.digest))
    assert total == 6
    assert (await get(registry, admin, two)).tag_count == 6
    with pytest.raises(InvalidInput):
        await registry.tags.page(admin, APP, only("size", "1"))


async def test_what_speaks_about_an_artifact_is_a_tree_with_true_counts(registry: Registry, admin: Actor) -> None:
    base = plain("base")
    await push_image(registry, admin, APP, base, "latest")
    for number in range(4):
        about = image(f"a{number}", subject=base, artifact_type="application/spdx+json")
        await push_image(registry, admin, APP, about)
        for below in range(number):
            await push_image(registry, admin, APP, image(f"b{number}{below}", subject=about, artifact_type="application/vnd.in-toto+json"))
    tree = await registry.artifacts.speaking(admin, APP, TagName("latest"), (3, 2))
    assert [(one.row.kind, one.below.total, len(one.below.rows)) for one in tree.rows] == [
        ("sbom.spdx", 1, 1),
        ("sbom.spdx", 2, 2),
        ("sbom.spdx", 3, 2),
    ]
    assert tree.total == 4
    assert all(below.row.size and not below.below.rows for one in tree.rows for below in one.below.rows)


async def test_tags_that_speak_about_each_other_have_an_end(registry: Registry, admin: Actor) -> None:
    one, two = plain("one"), plain("two")
    await push_image(registry, admin, APP, one, signature_tag(two.digest))
    await push_image(registry, admin, APP, two, signature_tag(one.digest))
    tree = await registry.artifacts.speaking(admin, APP, one.digest)
    assert tree.rows[0].row.digest == two.digest
    going = await registry.artifacts.going(admin, APP, one.digest)
    assert (going.tags, going.accessories) == (1, {"signature.cosign": 1})


async def test_what_goes_with_an_artifact_is_what_is_deleted(registry: Registry, admin: Actor) -> None:
    parts = [plain(name) for name in ("amd64", "arm64", "tagged", "shared")]
    whole, other = index(*parts), index(parts[3])
    for part in parts:
        await push_image(registry, admin, APP, part, *(["mine"] if part is parts[2] else []))
    await push_manifest(registry, admin, APP, other, "other")
    await push_manifest(registry, admin, APP, whole, "1", "2")
    signature = image("s", subject=whole, artifact_type="application/vnd.cncf.notary.signature")
    sbom = image("b", subject=parts[0], artifact_type="application/spdx+json")
    signed = image("sb", subject=sbom, artifact_type="application/vnd.cncf.notary.signature")
    for one in (signature, sbom, signed):
        await push_image(registry, admin, APP, one)
    going = await registry.artifacts.going(admin, APP, TagName("1"))
    assert (going.tags, going.parts, going.more, going.is_part) == (2, {"IMAGE": 2}, False, False)
    assert going.accessories == {"signature.notation": 2, "sbom.spdx": 1}
    assert (await registry.artifacts.going(admin, APP, parts[0].digest)).is_part
    before = await listed(registry, admin, only("base", "*"))
    await registry.manifests.delete_whole(admin, APP, whole.digest)
    gone = len(before) - len(await listed(registry, admin, only("base", "*")))
    assert gone == 1 + sum(going.parts.values()) + sum(going.accessories.values())
