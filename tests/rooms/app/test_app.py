"""The system as `app` builds it: what a first start makes, and that a second one leaves it alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from roadstead.access.actor import ANONYMOUS
from roadstead.app.server import doors
from roadstead.app.system import open_system, prepare
from roadstead.errors import Unauthenticated
from roadstead.metadata import projects
from roadstead.settings import Settings
from tests.support.factories import APP, blob, image, push_blob, push_image
from tests.support.postgres import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = None
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.fresh_database()
    return Settings.model_construct(data=tmp_path / "data", database_url=url)


async def test_a_first_start_makes_what_is_missing(settings: Settings) -> None:
    password = await prepare(settings)
    assert password is not None
    async with open_system(settings) as system:
        admin = await system.access.accounts.by_password("admin", password)
        assert admin.is_admin
        library = await system.database.read(partial(projects.find, name="library"))
        assert library is not None
        assert library.public
        await push_image(system.registry, admin, APP, image("one"), "latest")
        assert await system.registry.tags.names(ANONYMOUS, APP, "", 10) == ["latest"]
    assert settings.secret_key.stat().st_mode & 0o777 == 0o600


async def test_a_second_start_changes_nothing(settings: Settings) -> None:
    first = await prepare(settings.model_copy(update={"admin_password": SecretStr("given")}))
    async with open_system(settings) as system:
        admin = await system.access.accounts.by_password("admin", "given")
        token = await system.access.accounts.issue(admin, [])
        await push_blob(system.registry, admin, APP, blob("kept"))
    second = await prepare(settings.model_copy(update={"admin_password": SecretStr("another")}))
    assert (first, second) == (None, None)
    async with open_system(settings) as system:
        with pytest.raises(Unauthenticated):
            await system.access.accounts.by_password("admin", "another")
        assert (await system.access.accounts.by_token(token)).account_id == admin.account_id
        assert await system.registry.blobs.size(admin, APP, blob("kept").digest) == 4


async def test_every_door_is_hung(settings: Settings) -> None:
    await prepare(settings)
    async with open_system(settings) as system:
        assert set(doors(system)) >= {"v2", "service", "c", "health", "metrics", ""}
        await system.database.check()
        await system.store.check()
