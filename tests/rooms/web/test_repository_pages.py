"""The pages of repositories and artifacts: what they tell, which commands they give, and to whom."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html import unescape

import pytest

from roadstead.access.actor import Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import NotFound
from roadstead.metadata.database import Database
from roadstead.oci.artifact_type import SIF
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName, TagName
from roadstead.registry.listing import Filter, Listing, Match
from roadstead.registry.registry import Registry
from roadstead.registry.seams import Seams
from roadstead.registry.uploads import Body
from roadstead.sif.gate import SifGate
from roadstead.web.commands import Known, Server, commands
from roadstead.web.rooms import Rooms
from tests.conftest import MakeRegistry
from tests.rooms.web.conftest import Visit
from tests.support.factories import APP, VAULT, Image, ManualClock, chunks, image, index, push_image, push_manifest
from tests.support.sifs import DEFINITION, sif, sif_artifact

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>[here](javascript:alert(1))"
ONE = image("one", config='{"architecture": "arm64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Labels": {"who": "<b>Ada</b>"}}}')


async def test_a_repository_shows_its_artifacts_and_what_is_said_of_it(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    await registry.repositories.describe(admin, APP, "# Models\n\n* run it\n\n" + HOSTILE)
    shown = await visit().get("/repositories/library/app")
    assert f"/repositories/{APP}:latest" in shown.links()
    assert f"/repositories/{APP}@{ONE.digest}" in shown.links()
    assert "arm64" in shown.text
    assert "<h1>Models</h1>" in shown.html
    assert "<script>alert" not in shown.html
    assert "onerror=" not in shown.html.replace("onerror=alert(1)&gt;", "")
    assert not [link for link in shown.links() if link.startswith("javascript:")]
    assert 'name="typed"' not in shown.html  # a stranger deletes nothing


async def test_an_artifact_gives_the_commands_for_this_host(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    shown = await visit().get("/repositories/library/app:latest")
    where = "registry.example:5000/library/app"
    assert f"docker pull {where}:latest" in shown.commands()
    assert not [one for one in shown.commands() if "oras://" in one]  # which is for who may have it converted
    assert f"apptainer pull --no-https oras://{where}:latest.sif" in (await visit(admin).get("/repositories/library/app:latest")).commands()
    assert f"docker pull {where}@{ONE.digest}" in shown.commands()
    assert "PATH=/bin" in shown.text
    assert "<b>Ada</b>" not in shown.html
    assert (await visit().get(f"/repositories/library/app@{ONE.digest}")).text.count(str(ONE.digest)) > 1


STRANGE = (
    '{"os": "linux"}',
    '{"architecture": ["arm64"], "config": [], "history": [{}, {"created_by": 7, "comment": ["<b>"]}, null]}',
    '{"architecture": null, "config": {"Env": "PATH", "Labels": ["x"]}, "history": "once"}',
)


@pytest.mark.parametrize("config", STRANGE)
async def test_what_a_configuration_lacks_or_has_wrong_is_left_out(visit: Visit, registry: Registry, admin: Actor, config: str) -> None:
    await push_image(registry, admin, APP, image("strange", config=config), "latest")
    for page in ("library/app", "library/app:latest"):
        shown = await visit().get(f"/repositories/{page}")
        assert (shown.status, "<b>" in shown.html) == (200, False)
        assert f"/repositories/{APP}:latest" in shown.links()


async def test_an_index_shows_its_platforms_whatever_they_say(visit: Visit, registry: Registry, admin: Actor) -> None:
    whole = index(ONE, image("two"))
    body = json.loads(whole.content)
    body["manifests"][0]["platform"] = {"os": "linux", "architecture": "arm64"}
    body["manifests"][1]["platform"] = {"os": "linux", "variant": "v8"}
    for one in (ONE, image("two")):
        await push_image(registry, admin, APP, one)
    await push_manifest(registry, admin, APP, Image(json.dumps(body).encode(), whole.media_type), "latest")
    shown = await visit().get("/repositories/library/app")
    assert "arm64, linux/v8" in shown.text
    assert "Platforms Platform Digest arm64 " in (await visit().get("/repositories/library/app:latest")).text


async def test_layers_are_shown_with_what_made_them(visit: Visit, registry: Registry, admin: Actor) -> None:
    steps = [{"created_by": "ADD rootfs"}, {"created_by": "ENV A=<b>", "empty_layer": True}, {"created_by": "RUN make", "comment": "<i>"}]
    built = image("first", "second", config=json.dumps({"architecture": "amd64", "history": steps}))
    fewer = image("first", "second", "third", config=json.dumps({"history": steps}))
    await push_image(registry, admin, APP, built, "built")
    await push_image(registry, admin, APP, fewer, "fewer")
    rows = re.findall(r"<tr>.*?<meter", (await visit().get("/repositories/library/app:built")).html, re.DOTALL)
    assert ["ADD rootfs" in rows[0], "RUN make" in rows[1], len(rows)] == [True, True, 2]
    shown = await visit().get("/repositories/library/app:fewer")  # whose steps and layers do not fit each other
    assert "ADD rootfs" not in "".join(re.findall(r"<tr>.*?<meter", shown.html, re.DOTALL))
    assert "ADD rootfs" in shown.text
    assert "<b>" not in shown.html


async def test_what_belongs_to_an_artifact_is_a_tree(visit: Visit, registry: Registry, admin: Actor) -> None:
    sbom = image("sbom", subject=ONE, artifact_type="application/spdx+json")
    signature = image("signature", subject=sbom, artifact_type="application/vnd.cncf.notary.signature")
    for one in (ONE, sbom, signature):
        await push_image(registry, admin, APP, one)
    tree = (await visit().get(f"/repositories/{APP}@{ONE.digest}")).html.partition('<ul class="tree">')[2]
    first, _, below = tree.partition('<ul class="tree">')
    assert str(sbom.digest) in first
    assert str(signature.digest) not in first
    assert str(signature.digest) in below


async def test_what_is_being_pushed_is_shown_to_who_may_push(
    visit: Visit, rooms: Rooms, registry: Registry, admin: Actor, user: Actor, clock: ManualClock
) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    upload = await registry.uploads.start(admin, APP)
    await registry.uploads.write(admin, APP, upload.token, Body(chunks(b"x" * 2048)))
    address, browser = f"/repositories/{APP}", visit(admin)
    shown = await browser.get(address)
    assert "2.0 KiB by admin" in shown.text
    (live,) = re.findall(f'data-live="({address}/-/uploads[^"]*)"', shown.html)
    assert "Being pushed" not in (await visit(user).get(address)).text
    assert (await visit(user).get(f"{address}/-/uploads")).status == 403
    assert "data-live" not in (await visit(user).get(address)).html
    await registry.uploads.cancel(admin, APP, upload.token)
    rooms.streams.end()
    (event,) = await browser.follow(live)  # nothing is pushed, and the stream waits for what will be
    assert (event.event, event.data) == ("message", "")
    clock.advance(timedelta(seconds=1))
    await push_image(registry, admin, APP, image("two"), "new")
    assert [one.event for one in await browser.follow(live)] == ["message", "rest"]  # the page is another one now
    await registry.uploads.start(admin, APP)
    clock.advance(timedelta(minutes=2))  # and nobody goes on with it
    assert "Being pushed" not in (await visit(admin).get(address)).text


async def test_who_pulled_is_told_to_who_may_know(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    await registry.manifests.get(user, APP, TagName("latest"))
    await registry.pulls.flush()
    address, link = f"/repositories/{APP}", f"/projects/library/audit?what=pull&of={APP}"
    assert link in (await visit(admin).get(address)).links()
    assert "ada pull" in (await visit(admin).get(link)).text
    near = RepositoryName(f"{APP}lication")
    await push_image(registry, admin, near, ONE, "latest")
    for other in (f"{APP}x", "p", "library/ap_", near):
        assert "ada pull" not in (await visit(admin).get(f"/projects/library/audit?of={other}")).text
    assert f"push artifact {near}@" not in (await visit(admin).get(f"/projects/library/audit?of={APP}")).text
    assert (await visit(admin).get("/projects/library/audit?of=%00")).status == 400
    assert link not in (await visit(user).get(address)).links()
    assert (await visit(user).get(link)).status == 403


HIDDEN = ("vault/app", "vault/app:latest", "nothing/app")
ABSENT = ("library/absent", "library/app:absent", "library/app@sha256:" + "0" * 64)


@pytest.mark.parametrize("path", [*HIDDEN, *ABSENT])
async def test_what_one_may_not_see_is_not_there(visit: Visit, registry: Registry, admin: Actor, path: str) -> None:
    await push_image(registry, admin, VAULT, image("secret"), "latest")
    await push_image(registry, admin, APP, image("one"), "latest")
    shown = await visit().get(f"/repositories/{path}")
    # A stranger is sent to log in, whether there is such a project or not.
    assert shown.status == 404 if path in ABSENT else shown.location.startswith("/login")


@pytest.mark.parametrize("path", ["UPPER", "library/app:-", "library/app@sha256:1", "library/app@md5:00"])
async def test_what_is_no_reference_is_said(visit: Visit, path: str) -> None:
    assert (await visit().get(f"/repositories/{path}")).status in (400, 404)


async def test_deleting_names_what_goes_and_wants_the_name(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    address = "/repositories/library/app"
    assert (await visit(user).post(address, {"act": "delete", "typed": "library/app"})).status == 403
    browser = visit(admin)
    assert "1 tag (latest)" in (await browser.get(f"{address}:latest")).text
    assert (await browser.post(address, {"act": "delete", "typed": "library/ap"})).status == 404
    assert (await browser.post(f"{address}@{ONE.digest}", {"act": "delete"}, token=False)).status == 403
    assert await registry.artifacts.get(admin, APP, TagName("latest"))
    assert (await browser.post(f"{address}@{ONE.digest}")).status == 400
    assert (await browser.post(f"{address}@{ONE.digest}", {"act": "delete"})).location == address
    with pytest.raises(NotFound):
        await registry.artifacts.get(admin, APP, TagName("latest"))
    assert (await browser.post(address, {"act": "delete", "typed": "library/app"})).location == "/projects/library"
    assert (await browser.get(address)).status == 404


async def test_the_history_tells_what_each_tag_stood_for(visit: Visit, registry: Registry, admin: Actor) -> None:
    address, two = f"/repositories/{APP}/-/history", image("two")
    assert (await visit(admin).get(address)).status == 404
    await push_image(registry, admin, APP, ONE, "latest")
    await push_image(registry, admin, APP, two, "latest")
    await push_image(registry, admin, APP, two, "2")
    await registry.manifests.delete(admin, APP, ONE.digest)
    await registry.manifests.remove_tag(admin, APP, two.digest, TagName("2"))
    rows, total = await registry.tags.history(admin, APP, Listing())
    told = [(row.tag, row.old, row.new, row.by, row.old_here, row.new_here) for row in rows]
    assert told == [
        ("2", two.digest, None, "admin", True, False),
        ("2", None, two.digest, "admin", False, True),
        ("latest", ONE.digest, two.digest, "admin", False, True),
        ("latest", None, ONE.digest, "admin", False, False),
    ]
    assert total == 4
    shown = await visit().get(f"{address}?tag=2")
    assert "2 changes" in shown.text
    assert f"/repositories/{APP}@{two.digest}" in shown.links()
    assert f"/repositories/{APP}@{ONE.digest}" not in (await visit().get(address)).links()
    assert "There has been no tag" in (await visit().get(f"{address}?tag=<b>")).text
    assert (await visit().get(f"/repositories/{VAULT}/-/history")).location.startswith("/login")


async def test_describing_is_for_who_may(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    assert (await visit(user).post("/repositories/library/app", {"description": "mine"})).status == 403
    await visit(admin).post("/repositories/library/app", {"description": "Ours"})
    assert (await registry.repositories.get(admin, APP)).description == "Ours"


async def test_commands_are_only_those_that_work(registry: Registry, admin: Actor) -> None:
    project = await registry.projects.get(admin, "library")
    tag, digest, deep = TagName("1"), Digest("sha256:" + "1" * 64), RepositoryName.parse("library/a/b/c")
    safe, plain = Server("lab.example", secure=True), Server("lab.example:5000", secure=False)

    def texts(server: Server, name: RepositoryName, kind: str, at: TagName | Digest = tag, known: Known | None = None) -> list[str]:
        return [one.text for one in commands(server, project, name, at, kind, known)]

    assert texts(safe, APP, SIF) == [
        "apptainer pull oras://lab.example/library/app:1",
        "docker pull lab.example/library/app:1",
        "podman pull lab.example/library/app:1.oci",
        "apptainer pull --library https://lab.example library://library/app:1",
    ]
    assert "apptainer pull library://library/app:1" in texts(safe, APP, "IMAGE")  # who has it converted must say who they are
    nobody = Known(anonymous=True)
    assert len(texts(safe, APP, "IMAGE", known=nobody)) == len(["docker", "podman", "apptainer"])
    assert not [text for text in texts(safe, APP, SIF, known=nobody) if "apptainer" not in text]
    assert "podman pull lab.example/library/app:1.oci" in texts(safe, APP, SIF, known=Known(converted=digest, anonymous=True))
    made = Known(converted=digest)
    assert "apptainer pull --library https://lab.example library://library/app:1" in texts(safe, APP, "IMAGE", known=made)
    assert f"apptainer pull oras://lab.example/library/app@{digest}" in texts(safe, APP, "IMAGE", digest, known=made)
    assert not [text for text in texts(safe, deep, SIF) if "library://" in text]
    assert "apptainer pull --library http://lab.example:5000 library://library/app:1" in texts(plain, APP, SIF)
    assert texts(plain, APP, SIF, digest) == [f"apptainer pull --no-https oras://lab.example:5000/library/app@{digest}"]
    by_hash = f"apptainer pull --library https://lab.example library://library/app:sha256.{digest.encoded}"
    assert texts(safe, APP, SIF, digest, known=Known(file=digest))[1:] == [by_hash]
    assert texts(safe, APP, "CHART") == ["helm pull oci://lab.example/library/app --version 1"]
    plus = TagName("1.0_build.7")
    assert texts(plain, APP, "CHART", plus, known=Known(version="1.0+build.7")) == [
        "helm pull --plain-http oci://lab.example:5000/library/app --version 1.0+build.7"
    ]
    assert texts(plain, APP, "CHART", digest) == [f"oras pull --plain-http lab.example:5000/library/app@{digest}"]
    assert texts(safe, APP, "") == ["oras pull lab.example/library/app:1"]


async def test_a_private_image_is_pulled_by_library_after_a_login(registry: Registry, admin: Actor) -> None:
    project = await registry.projects.get(admin, "vault")
    safe, plain = Server("lab.example", secure=True), Server("lab.example:5000", secure=False)
    found = [one.text for one in commands(safe, project, VAULT, TagName("1"), SIF)]
    assert found[-2:] == [
        "apptainer remote add --no-login lab.example lab.example && apptainer remote login lab.example",
        "apptainer pull library://vault/app:1",
    ]
    assert not [one for one in commands(plain, project, VAULT, TagName("1"), SIF) if "library://" in one.text]


async def test_an_image_is_converted_by_who_may_push(visit: Visit, registry: Registry, rooms: Rooms, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    address = f"/repositories/{APP}@{ONE.digest}"
    assert "Convert now" not in (await visit(user).get(address)).text
    assert (await visit(user).post(address, {"act": "convert"})).status == 403
    browser = visit(admin)
    shown = await browser.get(address)
    assert "not made yet" in shown.text
    assert "data-live" not in shown.html
    assert (await browser.post(address, {"act": "convert"}, token=False)).status == 403
    assert (await browser.post(address, {"act": "convert"})).location == address
    waiting = await browser.get(address)
    assert f'data-live="{address}/-/conversions"' in waiting.html
    assert "Convert now" not in waiting.text
    (job,), _ = await rooms.jobs.list(admin, Listing((Filter("kind", Match.EQUAL, ("convert",)),)))
    await rooms.jobs.cancel(admin, job.id)
    told = await browser.follow(f"{address}/-/conversions")
    assert "cancelled" in told[0].text
    assert told[-1].event == "rest"
    assert (await visit(user).get("/repositories/vault/app/-/conversions")).status == 404


async def test_what_is_no_image_has_no_other_form(visit: Visit, registry: Registry, admin: Actor) -> None:
    chart = image("chart", config_type="application/vnd.cncf.helm.config.v1+json")
    await push_image(registry, admin, APP, chart, "1")
    browser, address = visit(admin), f"/repositories/{APP}:1"
    assert "Other forms" not in (await browser.get(address)).text
    assert (await browser.post(address, {"act": "convert"})).status == 422


async def test_a_sif_shows_what_is_in_it(
    visit: Visit, make_registry: MakeRegistry, database: Database, store: MemoryStore, clock: ManualClock, admin: Actor
) -> None:
    guarded = make_registry(seams=Seams(push_gate=SifGate(database, store, clock)))
    await push_image(guarded, admin, APP, sif_artifact(sif("arm64", {"by": HOSTILE})), "1")
    shown = await visit().get(f"/repositories/{APP}:1")
    assert "squashfs gzip arm64" in shown.text
    assert DEFINITION.strip() in unescape(shown.html)
    assert f"by {HOSTILE}" in shown.text or HOSTILE in unescape(shown.html)
    assert HOSTILE not in shown.html
