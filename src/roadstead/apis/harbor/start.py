"""Where clients begin: whether the registry is there and well, and what it is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.metadata import version

from fastapi.responses import PlainTextResponse

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.wire import Answer, Moment, Nouns
from roadstead.errors import RoadsteadError
from roadstead.serving.health import Check

router = Nouns(tags=["start"])


class Part(Answer):
    """One part of the system: `healthy`, or `unhealthy` with the reason."""

    name: str
    status: str
    error: str | None = None


class Health(Answer):
    """The whole is healthy if every part is."""

    status: str
    components: list[Part]


@router.get("/ping", response_class=PlainTextResponse)
async def ping() -> str:
    """Say that somebody is here."""
    return "Pong"


@router.get("/health")
async def health(call: Calling) -> Health:
    """Try every part of the system."""
    parts = await asyncio.gather(*(_try(name, check) for name, check in call.checks.items()))
    well = all(part.status == "healthy" for part in parts)
    return Health(status="healthy" if well else "unhealthy", components=list(parts))


async def _try(name: str, check: Check) -> Part:
    try:
        async with asyncio.timeout(5):
            await check()
    except TimeoutError:
        return Part(name=name, status="unhealthy", error="no answer within 5 seconds")
    except RoadsteadError as error:
        return Part(name=name, status="unhealthy", error=error.message)
    return Part(name=name, status="healthy")


class General(Answer):
    """What clients ask before they log in; who is logged in is told more."""

    auth_mode: str
    primary_auth_mode: bool
    self_registration: bool
    banner_message: str
    harbor_version: str | None = None
    roadstead_version: str | None = None
    registry_url: str | None = None
    external_url: str | None = None
    project_creation_restriction: str | None = None
    has_ca_root: bool | None = None
    registry_storage_provider_name: str | None = None
    read_only: bool | None = None
    notification_enable: bool | None = None
    current_time: Moment | None = None


SPOKEN = "v2.12.0"
"""The version of Harbor's API that clients are to take this for; some look at it before they dare to ask."""


@router.get("/systeminfo")
async def systeminfo(call: Calling) -> General:
    """Tell what this registry is."""
    public = General(auth_mode="db_auth", primary_auth_mode=False, self_registration=False, banner_message="", harbor_version=SPOKEN)
    if call.actor.anonymous:
        return public
    url = call.request.base_url
    more = {"registry_url": url.partition("://")[2], "external_url": url, "project_creation_restriction": "adminonly", "read_only": False}
    more |= {"notification_enable": False, "current_time": datetime.now(UTC), "roadstead_version": version("roadstead")}
    return public.model_copy(update=more)
