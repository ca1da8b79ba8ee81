"""The page of one artifact: what pushed manifests and configurations may say, and what is told of them."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest

from roadstead.access.actor import Actor, Role
from roadstead.oci import media_type
from roadstead.registry.registry import Registry
from tests.rooms.web.conftest import Visit
from tests.support.factories import APP, VAULT, Image, image, index, push_image, push_manifest

ONE = image("one", config='{"architecture": "amd64", "os": "linux"}')
HERE = f"/repositories/{APP}"
SIF_CONFIG = media_type.SIF_CONFIG
CHART = "application/vnd.cncf.helm.config.v1+json"


def named(*children: tuple[Image, dict[str, Any]]) -> Image:
    """An index in which each child has these properties too."""
    body = json.loads(index(*(child for child, _ in children)).content)
    for one, (_, more) in zip(body["manifests"], children, strict=True):
        one.update(more)
    return Image(json.dumps(body).encode(), media_type.OCI_INDEX)


async def push_index(registry: Registry, admin: Actor, tag: str, *children: tuple[Image, dict[str, Any]]) -> None:
    for child, _ in children:
        await push_image(registry, admin, APP, child)
    await push_manifest(registry, admin, APP, named(*children), tag)


@pytest.mark.parametrize("platform", [{"os": ["linux"], "architecture": ["a"]}, {"architecture": 7, "variant": {}}, {}])
async def test_a_platform_may_be_any_json(visit: Visit, registry: Registry, admin: Actor, platform: dict[str, Any]) -> None:
    await push_index(registry, admin, "latest", (ONE, {"platform": platform}))
    for page in (HERE, f"{HERE}:latest"):
        assert (await visit().get(page)).status == 200
    assert "not said" in (await visit().get(f"{HERE}:latest")).text


async def test_platforms_are_told_once_and_as_people_write_them(visit: Visit, registry: Registry, admin: Actor) -> None:
    two, three = image("two"), image("three")
    arm = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    await push_index(
        registry,
        admin,
        "latest",
        (ONE, {"platform": {"os": "linux", "architecture": "amd64"}}),
        (two, {"platform": arm}),
        (three, {"platform": {"os": "windows", "architecture": "amd64"}}),
    )
    assert "amd64, arm64/v8, windows/amd64" in (await visit().get(HERE)).text


ODD = (
    '{"partitions": [{}]}',
    '{"partitions": [1]}',
    '{"partitions": 7, "size": 1}',
    '{"size": "x", "partitions": [{"use": "a", "file_system": "b", "architecture": "c", "size": "x"}]}',
    '{"left_out": 7, "definition": ["x"], "size": 1}',
    '{"labels": {"a": ["<b>"]}, "config": [1], "os": [1], "architecture": {}}',
    "7",
)


@pytest.mark.parametrize("config", ODD)
async def test_a_sif_of_which_nothing_is_known_may_say_anything(visit: Visit, registry: Registry, admin: Actor, config: str) -> None:
    await push_image(registry, admin, APP, image("x", config=config, config_type=SIF_CONFIG), "latest")
    for page in (HERE, f"{HERE}:latest"):
        shown = await visit().get(page)
        assert (shown.status, "<b>" in shown.html) == (200, False)
    assert "Partitions" not in shown.text


async def test_of_long_lists_the_first_rows_are_shown(visit: Visit, registry: Registry, admin: Actor) -> None:
    labels = {f"l{number}": "v" for number in range(250)}
    config = {"os": "linux", "config": {"Labels": labels, "Env": ["A=1"] * 250}, "history": [{"created_by": "RUN x"}] * 250}
    many = image(*(f"layer {number}" for number in range(250)), config=json.dumps(config), annotations=labels)
    await push_image(registry, admin, APP, many, "latest")
    shown = await visit().get(f"{HERE}:latest")
    assert shown.text.count("And 150 more.") == 3  # layers, steps, annotations
    assert "… and 150 more" in shown.text
    assert "And 152 more. They are all in its configuration." in shown.text
    assert shown.html.count("<meter") == 100


async def test_a_role_on_a_path_counts_on_the_pages_of_that_path(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    await push_image(registry, admin, VAULT, ONE, "latest")
    member = await registry.projects.add_member(admin, "vault", "ada", Role.GUEST, "app")
    place = f"/repositories/{VAULT}"
    guest = visit(user)
    for page in (place, f"{place}:latest"):
        assert "Delete this" not in (await guest.get(page)).text
    assert "Describe this repository" not in (await guest.get(place)).text
    await registry.projects.set_role(admin, "vault", member.id, Role.MAINTAINER)
    maintainer = visit(user)
    assert "Describe this repository" in (await maintainer.get(place)).text
    assert "Delete this repository" in (await maintainer.get(place)).text
    shown = await maintainer.get(f"{place}:latest")
    assert "Delete this artifact" in shown.text
    assert "Convert now" in shown.text
    assert "by whom" not in (await maintainer.get(place)).text  # the log is the project's
    assert (await maintainer.post(f"{place}@{ONE.digest}", {"act": "delete"})).location == place


async def test_what_an_image_says_of_itself_is_told(visit: Visit, registry: Registry, admin: Actor) -> None:
    settings = {"Entrypoint": ["/usr/bin/wave", "--depth"], "Cmd": ["10"], "WorkingDir": "/data", "User": "1000", "Env": ["A=<b>", "B=2"]}
    config = {"architecture": "amd64", "os": "linux", "config": {**settings, "Labels": {"maintainer": "Ada"}}}
    pushed = image("layer", config=json.dumps(config), annotations={"org.example.<i>": "</dl><script>"})
    await push_image(registry, admin, APP, pushed, "latest")
    shown = await visit().get(f"{HERE}:latest")
    assert "Entrypoint /usr/bin/wave --depth Cmd 10 WorkingDir /data User 1000 Env A=<b> B=2 maintainer Ada" in shown.text
    assert "Annotations org.example.<i> </dl><script>" in shown.text
    assert "<script>" not in shown.html.partition("<main")[2]
    raw = re.search(r'aria-label="Manifest"><code>(.*?)</code>', shown.html, re.DOTALL)
    assert raw is not None
    assert unescape(raw[1]).encode() == pushed.content


async def test_what_buildkit_attests_is_no_platform(visit: Visit, registry: Registry, admin: Actor) -> None:
    said = image("statement", config='{"architecture":"unknown","os":"unknown"}', layer_type="application/vnd.in-toto+json")
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": str(ONE.digest)}
    unknown = {"os": "unknown", "architecture": "unknown"}
    images = ((ONE, {"platform": {"os": "linux", "architecture": "amd64"}}), (said, {"platform": unknown, "annotations": about}))
    await push_index(registry, admin, "latest", *images)
    listed, shown = await visit().get(HERE), await visit(admin).get(f"{HERE}:latest")
    assert "Docker image amd64" in listed.text
    assert "unknown" not in listed.text.partition("amd64")[2]
    assert "of how the image for amd64 was built" in shown.text
    assert f"{HERE}@{said.digest}" in shown.links()
    assert "with it 1 attestation, 1 image for one platform" in shown.text
    alone = await visit(admin).get(f"{HERE}@{said.digest}")
    assert "Attestation" in alone.text
    assert not [one for one in alone.commands() if one.startswith(("docker", "podman", "apptainer"))]
    assert "Where it runs" not in alone.text
    assert "It is part of an index, and is deleted with that." in alone.text
    refused = await visit(admin).post(f"{HERE}@{said.digest}", {"act": "delete"})
    assert (refused.status, "is part of an index; delete that first" in refused.text) == (409, True)


KINDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "image": ({}, "Docker image", "docker pull"),
    "chart": (
        {"config_type": "application/vnd.cncf.helm.config.v1+json", "config": '{"name": "wave", "version": "1"}'},
        "Helm chart",
        "helm",
    ),
    "sif": ({"config_type": SIF_CONFIG, "layer_type": media_type.SIF_LAYER}, "SIF", "apptainer pull"),
    "notation": ({"artifact_type": "application/vnd.cncf.notary.signature", "config_type": media_type.OCI_EMPTY}, "Signature", ""),
    "spdx": ({"artifact_type": "application/spdx+json", "config_type": media_type.OCI_EMPTY}, "SBOM", "oras pull"),
    "in-toto": ({"artifact_type": "application/vnd.in-toto+json"}, "Attestation", "oras pull"),
    "own": ({"artifact_type": "application/vnd.lab.mesh", "config_type": media_type.OCI_EMPTY}, "application/vnd.lab.mesh", "oras pull"),
    "nothing": ({"config_type": media_type.OCI_EMPTY}, "Other", "oras pull"),
    "model": ({"config_type": "application/vnd.lab.model.config.v1+json"}, "Model", "oras pull"),
}


@pytest.mark.parametrize("name", KINDS)
async def test_every_kind_has_its_word_and_its_commands(visit: Visit, registry: Registry, admin: Actor, name: str) -> None:
    properties, word, command = KINDS[name]
    await push_image(registry, admin, APP, image(name, **properties), "1")
    pages = {page: await visit(admin).get(page) for page in (HERE, f"{HERE}:1", f"{HERE}/-/tags", "/")}
    for page, shown in pages.items():
        assert f">{word}</span>" in shown.html, page
    shown = pages[f"{HERE}:1"]
    pulls = [one for one in shown.commands() if " pull " in one]
    assert bool(pulls) == bool(command)
    assert not command or pulls[0].startswith(command)
    runs = word in ("Docker image", "SIF")
    assert ("docker pull" in shown.text, "Other forms" in shown.text, "Where it runs" in shown.text)[1:] == (runs, runs)


async def test_a_chart_is_pulled_by_helm_and_tells_its_version(visit: Visit, registry: Registry, admin: Actor) -> None:
    config = '{"name": "wave", "version": "1.2.0+lab.1", "appVersion": "9", "description": "<b>Waves</b>", "keywords": ["x"]}'
    chart = image("chart", config=config, config_type=CHART)
    await push_image(registry, admin, APP, chart, "1.2.0_lab.1")
    shown = await visit().get(f"{HERE}:1.2.0_lab.1")
    assert f"helm pull --plain-http oci://registry.example:5000/{APP} --version 1.2.0+lab.1" in shown.commands()
    assert "version 1.2.0+lab.1 appVersion 9 description <b>Waves</b>" in shown.text


async def test_a_signature_by_tag_is_no_image(visit: Visit, registry: Registry, admin: Actor) -> None:
    empty = '{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]},"config":{}}'
    await push_image(registry, admin, APP, ONE, "latest")
    for scheme in ("sig", "att"):
        await push_image(registry, admin, APP, image(scheme, config=empty), f"sha256-{ONE.digest.encoded}.{scheme}")
    browser = visit(admin)
    shown = await browser.get(f"{HERE}@{image('sig', config=empty).digest}")
    assert ">Signature</span>" in shown.html
    assert not [one for one in shown.commands() if " pull " in one]
    assert "Where it runs" not in shown.text and "Convert" not in shown.text
    listed = await browser.get(HERE)
    assert "1–1 of 1 artifact" in listed.text
    assert "2 artifacts belong to it" in listed.text
    latest = await browser.get(f"{HERE}:latest")
    assert "Attestation" in latest.html.partition('<ul class="tree">')[2]
    assert "with 1 tag (latest); and with it 1 signature, 1 attestation." in latest.text


async def test_more_than_is_shown_of_what_belongs_to_it_is_counted(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    for number in range(23):
        await push_image(registry, admin, APP, image(f"a{number}", subject=ONE, artifact_type="application/spdx+json"))
    for number in range(7):
        below = image(f"b{number}", subject=image("a22", subject=ONE, artifact_type="application/spdx+json"))
        await push_image(registry, admin, APP, below)
    shown = await visit().get(f"{HERE}:latest")
    assert shown.html.count("<li>SBOM") == 20
    assert "and 3 more" in shown.text
    assert "and 2 more" in shown.text


async def test_an_artifact_names_its_pusher_and_some_of_its_tags(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, ONE)
    assert "just now by admin" in (await visit().get(f"{HERE}@{ONE.digest}")).text
    assert "just now by admin" in (await visit().get(HERE)).text
    for number in range(30):
        await push_image(registry, admin, APP, ONE, f"t{number}")
    tags = f"{HERE}/-/tags?of={ONE.digest}".replace("sha256:", "sha256%3A")
    for page, more in ((HERE, "and 20 more"), (f"{HERE}:t1", "and 10 more")):
        shown = await visit().get(page)
        assert more in shown.text
        assert tags in shown.links()
    assert "30 tags" in (await visit().get(tags)).text
    assert "30 tags" in (await visit(admin).get(f"{HERE}:t1")).text


async def test_one_tag_is_deleted_after_it_was_named(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    two = image("two")
    await push_image(registry, admin, APP, ONE, "latest", "2026")
    browser = visit(admin)
    shown = await browser.get(f"{HERE}:2026?delete=tag")
    assert '<details class="fold" id="untag" open>' in shown.html
    assert "The tag 2026 goes" in shown.text
    assert "stays, with 1 other tag" in shown.text
    form = {"act": "untag", "digest": str(ONE.digest)}
    assert (await visit(user).post(f"{HERE}:2026", form)).status == 403
    assert "Delete the tag" not in (await visit(user).get(f"{HERE}:2026")).text
    await push_image(registry, admin, APP, two, "latest")  # meanwhile
    moved = await browser.post(f"{HERE}:latest", form)
    assert (moved.status, f"There is no tag latest of {ONE.digest}" in moved.text) == (404, True)
    assert (await browser.post(f"{HERE}:2026", {"act": "untag", "digest": "x"})).status == 400
    assert (await browser.post(f"{HERE}@{ONE.digest}", form)).status == 400
    assert (await browser.post(f"{HERE}:2026", form)).location == f"{HERE}/-/tags"
    assert (await browser.get(f"{HERE}:2026")).status == 404
    assert (await browser.get(f"{HERE}@{ONE.digest}")).status == 200
    assert "stays, without any tag" in (await browser.get(f"{HERE}:latest")).text


async def test_the_tags_page_lists_filters_and_sorts(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    browser, address = visit(admin), f"{HERE}/-/tags"
    assert (await browser.get(address)).status == 404
    await push_image(registry, admin, APP, ONE)
    assert "Nothing here has a tag" in (await browser.get(address)).text
    for number in range(30):
        await push_image(registry, admin, APP, ONE, f"v{number}")
    first = await browser.get(f"{address}?sort=name")
    assert "1–25 of 30 tags" in first.text
    assert f"{HERE}:v0?delete=tag#untag" in first.links()
    assert f"{HERE}:v0?delete=tag#untag" not in (await visit(user).get(f"{address}?sort=name")).links()
    assert "just now by admin never" in first.text
    assert "v29" in (await browser.get(f"{address}?tag=29")).text
    assert "No tag here has <b>" in (await browser.get(f"{address}?tag=%3Cb%3E")).text
    assert "No tag here stands for" in (await browser.get(f"{address}?of={image('two').digest}")).text
    assert (await browser.get(f"{address}?tag=v&page=9")).location == f"{address}?tag=v&page=2"
    for wrong in ("?sort=size", "?of=x", "?tag=%00"):
        assert (await browser.get(f"{address}{wrong}")).status == 400
    assert (await visit().get(f"/repositories/{VAULT}/-/tags")).location.startswith("/login")


async def test_a_digest_in_the_address_may_be_encoded(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, ONE)
    shown = await visit().get(f"{HERE}%40{ONE.digest}".replace("sha256:", "sha256%3A"))
    assert shown.status == 200
    assert "<h1>app</h1>" in shown.html


async def test_what_an_image_needs_is_asked_for_by_itself(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, ONE, "latest")
    part = f"{HERE}@{ONE.digest}/-/needs"
    browser = visit(admin)
    assert f'hx-get="{part}"' in (await browser.get(f"{HERE}:latest")).html
    shown = await browser.get(part)
    assert (shown.status, "<html" in shown.html, "looking into the image" in shown.text) == (200, False, True)
    assert (await browser.get(f"{HERE}/-/needs")).status == 404
    assert (await visit().get(f"/repositories/{VAULT}:1/-/needs")).location.startswith("/login")
