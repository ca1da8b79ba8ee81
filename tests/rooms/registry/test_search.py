"""Search as one types, and what a start page shows, on both databases."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial

import msgspec
import pytest
from sqlalchemy import Connection, insert, select

from roadstead.access.actor import Actor, Role
from roadstead.errors import InsufficientScope, InvalidInput
from roadstead.metadata import compatibility
from roadstead.metadata.database import Database
from roadstead.metadata.listing import Page
from roadstead.metadata.manifests import ManifestSelects
from roadstead.metadata.schema import digests, sif_facts
from roadstead.metadata.search import HitRow
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.registry import Registry
from roadstead.sif.compatibility.image_facts import ImageFacts
from roadstead.sif.labels import kept
from roadstead.sif.needs import searched
from tests.support.factories import APP, BEGINNING, VAULT, Blob, Image, ManualClock, image, narrowed, push_blob, push_image

GROMACS = RepositoryName("library/tools/gromacs")
BASE = image("base")


async def named(registry: Registry, actor: Actor, text: str) -> list[tuple[str, str]]:
    """What is found, as kind and where."""
    hits, more = await registry.search.find(actor, text, Page(1, 100))
    assert not more
    return [(hit.kind, where(hit)) for hit in hits]


def where(hit: HitRow) -> str:
    return f"{hit.repository or hit.project}{f':{hit.tag}' if hit.tag else ''}"


async def push_sif(registry: Registry, database: Database, actor: Actor, name: RepositoryName, text: str, labels: object) -> Digest:
    """Push these characters as a SIF that has labels; the digest of its manifest."""
    file = await push_blob(registry, actor, name, Blob(text.encode()))

    def work(connection: Connection) -> None:
        content_id = connection.execute(select(digests.c.content_id).where(digests.c.digest == file)).scalar_one()
        facts = json.dumps({"size": len(text), "labels": labels}, separators=(",", ":"))
        connection.execute(insert(sif_facts).values(content_id=content_id, facts=facts, read_at=BEGINNING))

    await database.write(work)
    return (await registry.sifs.record(actor, name, file)).manifest


async def test_the_best_comes_first_whatever_the_case(registry: Registry, admin: Actor, anonymous: Actor) -> None:
    await registry.projects.ensure("gromacs", public=True)
    for name in ("library/app-gromacs-old", "library/gromacs-2026", "library/tools/gromacs", "library/other"):
        await push_image(registry, admin, RepositoryName(name), BASE, "latest")
    await push_image(registry, admin, APP, BASE, "gromacs", "with-gromacs")
    await registry.repositories.describe(admin, RepositoryName("library/other"), "Not GROMACS, but near")
    expected = [
        ("project", "gromacs"),
        ("repository", "library/tools/gromacs"),
        ("tag", "library/app:gromacs"),
        ("repository", "library/gromacs-2026"),
        ("repository", "library/app-gromacs-old"),
        ("tag", "library/app:with-gromacs"),
        ("repository", "library/other"),
    ]
    for text in ("gromacs", "GROMACS", "  Gromacs "):
        assert await named(registry, anonymous, text) == expected
    (hit,) = (await registry.search.find(anonymous, "near"))[0]
    assert (hit.repository, hit.said) == ("library/other", "Not GROMACS, but near")


async def test_a_reference_is_found_as_it_is_written(registry: Registry, admin: Actor, anonymous: Actor) -> None:
    await push_image(registry, admin, GROMACS, BASE, "2026.1", "2026.2")
    assert await named(registry, anonymous, "tools/gromacs") == [("repository", GROMACS)]
    assert await named(registry, anonymous, "library/tools/gromacs:2026.1") == [("tag", f"{GROMACS}:2026.1")]
    assert await named(registry, anonymous, "gromacs:2026") == [("tag", f"{GROMACS}:2026.1"), ("tag", f"{GROMACS}:2026.2")]
    (hit,) = (await registry.search.find(anonymous, "2026.2"))[0]
    assert (hit.tag, hit.digest) == ("2026.2", BASE.digest)


@pytest.mark.parametrize("text", ["%", "_", "a_b", "a%", "/%", "\\", "x'", 'x"', "a=b"])
async def test_what_has_a_meaning_in_sql_has_none_here(
    registry: Registry, database: Database, admin: Actor, anonymous: Actor, text: str
) -> None:
    await push_image(registry, admin, RepositoryName("library/a-b"), BASE, "axb")
    await push_sif(registry, database, admin, RepositoryName("library/ab"), "a SIF", {"Author": "ada"})
    assert await named(registry, anonymous, text) == []
    await registry.repositories.describe(admin, RepositoryName("library/a-b"), f"It has {text} in it.")
    assert await named(registry, anonymous, text) == [("repository", "library/a-b")]


async def test_digests_by_their_beginning(registry: Registry, database: Database, admin: Actor, anonymous: Actor) -> None:
    await push_image(registry, admin, GROMACS, BASE)
    manifest = await push_sif(registry, database, admin, APP, "a SIF", {})
    for text in (
        BASE.digest[:13],
        BASE.digest.encoded[:6].upper(),
        BASE.digest,
        f"{GROMACS}@{BASE.digest}",
        f"sha256-{BASE.digest.encoded[:9]}",
    ):
        (hit,) = (await registry.search.find(anonymous, text))[0]
        assert (hit.kind, hit.repository, hit.digest, hit.said) == ("digest", GROMACS, BASE.digest, "")
    (hit,) = (await registry.search.find(anonymous, Digest.of(b"a SIF")[:20]))[0]
    assert (hit.repository, hit.digest, hit.said) == (APP, manifest, Digest.of(b"a SIF"))
    assert await named(registry, anonymous, BASE.digest[:12]) == []  # five digits are a word
    assert await named(registry, anonymous, f"sha512:{BASE.digest.encoded[:8]}") == []


async def test_labels_of_sifs(registry: Registry, database: Database, admin: Actor, anonymous: Actor) -> None:
    labels = {"org.label.Author": 'Ada "the first" \\ of many', "nothing": "\0", "empty": ""}
    await push_sif(registry, database, admin, GROMACS, "a SIF", {key: labels[key] for key in ("org.label.Author", "empty")})
    await push_sif(registry, database, admin, APP, "hostile", labels)
    await push_sif(registry, database, admin, APP, "none", None)
    for text in ("label.author", 'THE FIRST" \\ OF', "org.label.Author=ada"):
        hits, _ = await registry.search.find(anonymous, text)
        assert ("label", GROMACS, 'org.label.Author=Ada "the first" \\ of many') in [(hit.kind, hit.repository, hit.said) for hit in hits]
    assert await named(registry, anonymous, "labels") == []  # a word of the record and no label


async def label(registry: Registry, database: Database, name: RepositoryName, pushed: Image, labels: dict[str, str]) -> None:
    """Keep these labels of an image, as the job that looks into it does."""
    row = await ManifestSelects(database).by_digest(name, pushed.digest)
    assert row is not None
    facts = ImageFacts("amd64", base_name="Debian GNU/Linux", labels=labels)
    text = msgspec.json.encode(kept(facts)).decode()
    record = partial(compatibility.record, manifest_id=row.manifest_id, facts=text, searched=searched(facts), now=BEGINNING)
    await database.write(record)


async def test_labels_of_images(registry: Registry, database: Database, admin: Actor, anonymous: Actor) -> None:
    said = {"org.label.Author": 'Ada "the first" \\ 100% of_many', "maintainer": "Grace"}
    await push_image(registry, admin, GROMACS, BASE, "latest")
    await push_image(registry, admin, VAULT, BASE, "latest")
    for name in (GROMACS, VAULT):
        await label(registry, database, name, BASE, said)
    for text in ("label.author", 'THE FIRST" \\ 100', "org.label.Author=ada", "100% OF_", "grace"):
        hits, _ = await registry.search.find(anonymous, text)
        found = [(hit.kind, hit.repository, hit.digest, hit.said) for hit in hits]
        assert len(found) == 1
        assert found[0][:3] == ("label", GROMACS, BASE.digest)
    for text in ("debian", "labels", "folded", "amd64", "100x of_", "authorx"):
        assert await named(registry, anonymous, text) == []
    assert {name for _, name in await named(registry, admin, "grace")} == {str(GROMACS), str(VAULT)}
    await registry.manifests.delete(admin, GROMACS, BASE.digest)
    assert await named(registry, anonymous, "grace") == []


async def test_of_a_label_that_many_have_the_newest_are_found(registry: Registry, database: Database, admin: Actor) -> None:
    for number in range(205):
        pushed = image(f"image {number}")
        await push_image(registry, admin, APP, pushed)
        await label(registry, database, APP, pushed, {"team": "waves", "number": str(number)})
    pages = [await registry.search.find(admin, "waves", Page(number, 100)) for number in (1, 2, 3)]
    assert [(len(hits), more) for hits, more in pages] == [(100, True), (100, False), (0, False)]
    digests_found = {hit.digest for hits, _ in pages for hit in hits}
    assert len(digests_found) == 200
    assert image("image 204").digest in digests_found


async def test_nothing_is_found_that_one_may_not_see(
    registry: Registry, database: Database, admin: Actor, user: Actor, anonymous: Actor
) -> None:
    manifest = await push_sif(registry, database, admin, VAULT, "a secret", {"secret": "secret"})
    await push_image(registry, admin, VAULT, BASE, "secret")
    await registry.repositories.describe(admin, VAULT, "secret")
    texts = ("vault", "secret", "vault/app:secret", BASE.digest, manifest, Digest.of(b"a secret"))
    for text in texts:
        assert await named(registry, admin, text)
        for actor in (user, anonymous):
            assert await named(registry, actor, text) == []
    for actor in (user, anonymous):
        assert (await registry.search.recent(actor), await registry.search.use(actor)) == ([], [])
    with pytest.raises(InsufficientScope):
        await registry.search.find(narrowed(admin, {VAULT: "pull"}), "secret")


async def test_a_member_of_a_part_finds_that_part(registry: Registry, admin: Actor, user: Actor) -> None:
    for name in (VAULT, RepositoryName("vault/mine/app")):
        await push_image(registry, admin, name, BASE, "secret")

    await registry.projects.add_member(admin, "vault", user.name, Role.GUEST, "mine/*")
    assert await named(registry, user, "secret") == [("tag", "vault/mine/app:secret")]
    assert [str(push.repository) for push in await registry.search.recent(user)] == ["vault/mine/app"]


async def test_what_is_gone_is_not_found(registry: Registry, admin: Actor, anonymous: Actor) -> None:
    await push_image(registry, admin, GROMACS, BASE, "2026.1")
    await registry.uploads.start(admin, RepositoryName("library/gromacs-begun"))
    await registry.repositories.remove(admin, GROMACS)
    for text in ("gromacs", "2026.1", BASE.digest):
        assert await named(registry, anonymous, text) == []
    assert await registry.search.recent(anonymous) == []


async def test_pages_follow_each_other(registry: Registry, admin: Actor, anonymous: Actor) -> None:
    await push_image(registry, admin, APP, BASE, *(f"v{one}" for one in range(7)))
    pages = [await registry.search.find(anonymous, "v", Page(number, 3)) for number in (1, 2, 3, 4, 2**40)]
    assert [(len(hits), more) for hits, more in pages] == [(3, True), (3, True), (1, False), (0, False), (0, False)]
    assert [hit.tag for hits, _ in pages for hit in hits] == [f"v{one}" for one in range(7)]
    for page in (Page(0, 3), Page(1, 0), Page(1, 101)):
        with pytest.raises(InvalidInput):
            await registry.search.find(anonymous, "v", page)


async def test_text_that_nothing_can_have(registry: Registry, anonymous: Actor) -> None:
    for text in ("", "   "):
        assert await registry.search.find(anonymous, text) == ([], False)
    for text in ("a\0b", "\ud800", "x" * 201):
        with pytest.raises(InvalidInput):
            await registry.search.find(anonymous, text)


async def test_the_last_pushes(registry: Registry, database: Database, admin: Actor, anonymous: Actor, clock: ManualClock) -> None:
    await push_image(registry, admin, GROMACS, BASE, "one")
    at = clock.advance(timedelta(hours=1))
    sif = await push_sif(registry, database, admin, APP, "a SIF", {})
    await registry.sifs.tag(admin, APP, TagName("two"), Digest.of(b"a SIF"), None)
    clock.advance(timedelta(hours=1))
    await push_image(registry, admin, GROMACS, BASE, "three", f"sha256-{BASE.digest.encoded}.sig")
    found = await registry.search.recent(anonymous)
    assert [(push.repository, push.tag, push.kind) for push in found] == [
        (GROMACS, "three", "IMAGE"),
        (APP, "two", "SIF"),
        (GROMACS, "one", "IMAGE"),
    ]
    row = await registry.manifests.get(anonymous, APP, TagName("two"))
    assert (found[1].digest, found[1].size, found[1].by, found[1].at) == (sif, len(row.content) + len("a SIF") + len("{}"), admin.name, at)
    assert await registry.search.recent(anonymous, 1) == found[:1]


async def test_what_projects_store(registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, APP, image("a longer layer than the other's"))
    await push_image(registry, admin, VAULT, BASE)
    used = await registry.search.use(admin)
    assert [row.project for row in used] == ["library", "vault"]
    assert used[1].stored == sum(len(one.content) for one in BASE.blobs)
    assert [row.project for row in await registry.search.use(admin, 1)] == ["library"]
    assert await registry.search.use(user) == []
