"""The page of one artifact: what pushed manifests and configurations may say, and what is told of them."""

from __future__ import annotations

import json
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


def named(*children: tuple[Image, dict[str, Any]]) -> Image:
    """An index in which each child has these properties too."""
    body = json.loads(index(*(child for child, _ in children)).content)
    for one, (_, more) in zip(body["manifests"], children, strict=True):
        one |= more
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
