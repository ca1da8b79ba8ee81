"""The whole application in this process, on real files, with a disk of the test's own choice under its content."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec

from roadstead.app.server import doors
from roadstead.app.system import open_system, prepare
from roadstead.content.disk import Disk
from roadstead.content.filesystem import FilesystemStore
from roadstead.registry.registry import Registry
from roadstead.serving.front import Door, Front
from roadstead.settings import Settings


class _Running:
    """A lifespan whose parts are open already."""

    def __init__(self, opened: Mapping[str, Door]) -> None:
        self._opened = opened

    async def start(self) -> Mapping[str, Door]:
        return self._opened

    async def stop(self) -> None:
        """They are closed by who opened them."""


@asynccontextmanager
async def application(settings: Settings, disk: Disk) -> AsyncIterator[httpx2.AsyncClient]:
    """A client, as the administrator, of an application whose content lies on `disk`. `settings` give the administrator's password."""
    await prepare(settings)
    assert settings.admin_password is not None
    async with open_system(settings) as system:
        store = FilesystemStore(settings.data, disk=disk)
        await store.prepare()
        registry = Registry(system.database, store, settings.rules())
        front = Front(_Running(doors(msgspec.structs.replace(system, store=store, registry=registry))), settings.site())
        auth = ("admin", settings.admin_password.get_secret_value())
        async with (
            _lifespan(front),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(front), base_url="http://registry", auth=auth) as client,
        ):
            yield client
        await store.close()


@asynccontextmanager
async def _lifespan(app: Front) -> AsyncIterator[None]:
    """Start the application as a server does (ASGI "Lifespan"), and stop it at the end."""
    to_app, from_app = asyncio.Queue[dict[str, Any]](), asyncio.Queue[Any]()
    life: Coroutine[Any, Any, None] = app({"type": "lifespan"}, to_app.get, from_app.put)
    running = asyncio.create_task(life)
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    yield
    await to_app.put({"type": "lifespan.shutdown"})
    await running
