"""What an artifact's page says of where it runs, and the search by what images need; from facts as the job that looks keeps them."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from roadstead.access.actor import Actor
from roadstead.metadata import compatibility
from roadstead.metadata.database import Database
from roadstead.metadata.manifests import ManifestSelects
from roadstead.oci.reference import RepositoryName
from roadstead.registry.registry import Registry
from roadstead.sif.compatibility.image_facts import ImageFacts, Mpi
from roadstead.sif.compatibility.verdict import Cluster
from roadstead.sif.needs import searched
from roadstead.web.rooms import Rooms
from tests.rooms.sif.house import platform_index
from tests.rooms.web.conftest import Visit
from tests.support.factories import APP, BEGINNING, VAULT, Image, image, push_image, push_manifest

PAGE = "/repositories/library/app:latest"
FACTS = ImageFacts(
    "amd64",
    level=3,
    glibc="2.36",
    cuda="12.4.1",
    driver="525.60.13",
    mpi=(Mpi("openmpi", "libmpi.so.40", "/usr/lib/libmpi.so.40"),),
    base="debian",
    base_name="Debian GNU/Linux 12",
)
KESTREL = Cluster("Kestrel", "amd64", 4, "2.34", "550.54.14", None, "libmpi.so.40")
MERLIN = Cluster("Merlin", "amd64", 2, "2.28", "470.57.02", None, "libmpi.so.12")
HARRIER = Cluster("Harrier", "amd64", 4)


async def known(database: Database, name: RepositoryName, pushed: Image, facts: ImageFacts) -> None:
    """Keep these facts of an image that was pushed."""
    row = await ManifestSelects(database).find(name, pushed.digest)
    assert row is not None
    text = msgspec.json.encode(facts).decode()
    await database.write(partial(compatibility.record, manifest_id=row.manifest_id, facts=text, searched=searched(facts), now=BEGINNING))


@pytest.fixture
async def pushed(registry: Registry, database: Database, rooms: Rooms, admin: Actor) -> Image:
    """An image whose facts are known, and three clusters."""
    one = image("one")
    await push_image(registry, admin, APP, one, "latest")
    await known(database, APP, one, FACTS)
    for cluster in (KESTREL, MERLIN, HARRIER):
        await rooms.clusters.add(admin, cluster)
    return one


async def test_the_page_says_where_it_runs_and_why(visit: Visit, pushed: Image) -> None:
    shown = (await visit().get(PAGE)).text
    assert "Runs on Kestrel : yes The image is for amd64, as Kestrel is." in shown
    assert "Runs on Merlin : no The image's libraries need x86-64-v3, and the processors of Merlin have x86-64-v2." in shown
    assert "CUDA 12.4.1 needs driver 525.60.13 or newer, and Merlin has 470.57.02." in shown
    assert "Runs on Harrier : not known The image is made for CUDA 12.4.1, and no NVIDIA driver is described for Harrier." in shown
    for line in ("Processor x86-64-v3 or newer", "glibc 2.36", "12.4.1, with NVIDIA driver 525.60.13", "openmpi (libmpi.so.40)", "12"):
        assert line in shown


async def test_an_index_tells_of_each_platform_and_of_the_best(
    visit: Visit, registry: Registry, database: Database, rooms: Rooms, admin: Actor
) -> None:
    parts = {"amd64": image("one"), "arm64": image("two")}
    for architecture, one in parts.items():
        await push_image(registry, admin, APP, one)
        await known(database, APP, one, ImageFacts(architecture, glibc="2.36"))
    await push_manifest(registry, admin, APP, platform_index(**parts), "latest")
    for cluster in (Cluster("Kestrel", "arm64"), Cluster("Merlin", "ppc64le")):
        await rooms.clusters.add(admin, cluster)
    shown = (await visit().get(PAGE)).text
    assert "Runs on Kestrel : yes The image is for arm64, as Kestrel is." in shown
    assert "Runs on Merlin : no None of its images is for ppc64le, as Merlin is: they are for amd64, arm64." in shown
    assert "What amd64 needs" in shown and "What arm64 needs" in shown


async def test_what_is_not_known_yet_is_looked_for_once_somebody_is_logged_in(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    assert "Nobody has looked into the image yet" in (await visit().get(PAGE)).text
    shown = await visit(admin).get(PAGE)
    assert "The registry is looking into the image" in shown.text
    assert 'hx-trigger="every 3s"' in shown.html
    assert "The registry is looking" in (await visit().get(PAGE)).text


async def test_what_could_not_be_looked_at_and_what_an_image_says_stays_text(
    visit: Visit, registry: Registry, database: Database, admin: Actor
) -> None:
    one = image("one")
    await push_image(registry, admin, APP, one, "latest")
    await known(database, APP, one, ImageFacts(base_name="<script>alert(1)</script>", problem="It is <b>encrypted</b>."))
    shown = await visit().get(PAGE)
    assert "Its files could not be looked at: It is <b>encrypted</b>." in shown.text.replace("&lt;", "<")
    assert "<script>alert" not in shown.html and "<b>encrypted" not in shown.html
    assert "cluster of the site" in shown.text


async def test_what_is_no_image_says_nothing_of_machines(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one", config_type="application/vnd.example+json"), "latest")
    assert "Where it runs" not in (await visit(admin).get(PAGE)).text


@pytest.mark.parametrize("text", ["cuda:12", "glibc<=2.36", "mpi:openmpi arch:amd64", "level:3 os:debian"])
async def test_images_are_found_by_what_they_need(visit: Visit, pushed: Image, text: str) -> None:
    shown = await visit().get(f"/search?q={text.replace('<', '%3C').replace(' ', '+')}")
    assert f"/repositories/library/app@{pushed.digest}" in shown.links()
    assert "amd64 · Processor x86-64-v3 or newer · glibc 2.36 · CUDA 12.4.1" in shown.text


async def test_the_search_by_needs_keeps_what_is_private(
    visit: Visit, registry: Registry, database: Database, admin: Actor, user: Actor
) -> None:
    one = image("one")
    await push_image(registry, admin, VAULT, one, "latest")
    await known(database, VAULT, one, FACTS)
    assert any("vault/app" in link for link in (await visit(admin).get("/search?q=cuda:12")).links())
    for browser in (visit(), visit(user)):
        shown = await browser.get("/search?q=cuda:12")
        assert "vault" not in shown.text and "no image is known to need that" in shown.text


async def test_a_name_with_a_colon_is_found_where_no_image_needs_that(visit: Visit, registry: Registry, admin: Actor) -> None:
    await registry.projects.add(admin, "cuda", public=True)
    assert "Nothing that you may see has cuda:12" in (await visit().get("/search?q=cuda:12")).text
    await push_image(registry, admin, RepositoryName("library/cuda"), image("one"), "latest")
    assert "/repositories/library/cuda" in (await visit().get("/search?q=cuda")).links()


async def test_a_need_that_is_not_understood_is_said(visit: Visit) -> None:
    shown = await visit().get("/search?q=cuda:newest")
    assert (shown.status, "'newest' is no version" in shown.text) == (200, True)
