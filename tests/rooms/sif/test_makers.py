"""What a maker refuses before it starts a process: what is not there, not as long as told, or no image for Linux."""

from __future__ import annotations

import pytest

from roadstead.access.actor import Action, Actor
from roadstead.content.memory import MemoryStore
from roadstead.errors import InvalidManifest, NotConvertible, RoadsteadError
from roadstead.metadata.database import Database
from roadstead.oci import media_type as types
from roadstead.oci.manifest import parse_manifest
from roadstead.registry.registry import Registry
from roadstead.registry.rules import Rules
from roadstead.sif.convert import Conversion
from roadstead.sif.makers import SifMaker, Source, Stock
from roadstead.sif.orders import Means
from tests.conftest import MakeRegistry
from tests.rooms.sif.house import subject
from tests.support.factories import APP, Image, image, push_blob, push_manifest


@pytest.fixture
def maker(database: Database, store: MemoryStore) -> SifMaker:
    return SifMaker(Stock(database, store), Conversion(), Means(seconds=60))


@pytest.fixture
def registry(make_registry: MakeRegistry) -> Registry:
    """Takes images that lack something."""
    return make_registry(Rules(accept_absent_content=True))


async def source(registry: Registry, admin: Actor, one: Image, present: int) -> Source:
    """The image, of whose blobs only the first so many are there."""
    for blob in one.blobs[:present]:
        await push_blob(registry, admin, APP, blob)
    await push_manifest(registry, admin, APP, one)
    return Source(await registry.repositories.require(admin, APP, Action.PULL), subject(one), parse_manifest(one.content, None))


LONGER = image("layer", config='{"os": "linux"}')

REFUSED: dict[str, tuple[Image, int, type[RoadsteadError], str]] = {
    "no-configuration": (image("layer"), 0, NotConvertible, "is not in this registry"),
    "no-layer": (image("layer"), 1, NotConvertible, "is not in this registry"),
    "foreign-layer": (image("layer", layer_type=types.DOCKER_LAYER_FOREIGN_GZIP), 1, NotConvertible, "is not in this registry"),
    "other-system": (image("layer", config='{"os": "windows"}'), 2, NotConvertible, "windows"),
    "no-json": (image("layer", config="{"), 2, InvalidManifest, "cannot be read"),
    "strange-layer": (image("layer", layer_type="application/x-zip"), 2, NotConvertible, "application/x-zip"),
    "other-size": (
        Image(LONGER.content.replace(b'"size": 5', b'"size": 6'), LONGER.media_type, LONGER.blobs),
        2,
        InvalidManifest,
        "has 6 bytes, and it has 5",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_whole_or_no_image_for_linux_is_refused(registry: Registry, maker: SifMaker, admin: Actor, what: str) -> None:
    one, present, error, reason = REFUSED[what]
    with pytest.raises(error, match=reason):
        await maker.make(await source(registry, admin, one, present), lambda done, line: None)
