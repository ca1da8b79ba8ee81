"""The FastAPI application behind the door: its routes, how it reports what it cannot read, its OpenAPI description."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.metadata import version
from typing import Final, NoReturn

import msgspec
from fastapi import APIRouter, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from roadstead.apis.harbor import (
    absent,
    artifacts,
    audit,
    compatibility,
    configurations,
    conversions,
    groups,
    members,
    permissions,
    projects,
    quotas,
    repositories,
    robots,
    search,
    sessions,
    signatures,
    sources,
    start,
    tags,
    tokens,
    trust,
    users,
)
from roadstead.apis.harbor.openapi import describe
from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.serving.errors import MethodNotAllowed

ROUTERS: Final[tuple[APIRouter, ...]] = (
    start.router,
    projects.router,
    members.router,
    repositories.router,
    artifacts.router,
    conversions.router,
    signatures.router,
    trust.router,
    compatibility.router,
    tags.router,
    search.router,
    robots.router,
    permissions.router,
    users.router,
    tokens.router,
    sessions.router,
    sources.router,
    groups.router,
    quotas.router,
    configurations.router,
    audit.router,
    absent.router,
)
"""Every noun's routes; where two fit a path, the first is asked."""


def build() -> FastAPI:
    """The application, whose paths are below the prefix; without FastAPI's own pages, which fetch their scripts from elsewhere."""
    app = FastAPI(
        title="Roadstead management API",
        version=version("roadstead"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        exception_handlers={RequestValidationError: _not_understood, HTTPException: _not_routed},
    )
    for router in ROUTERS:
        app.include_router(router)

    @cache
    def description() -> bytes:
        return msgspec.json.encode(describe(app))

    async def openapi() -> Response:
        """The OpenAPI description of this API, made when it is first asked for: that takes most of a second."""
        return Response(await asyncio.to_thread(description), media_type="application/json")

    app.add_api_route("/openapi.json", openapi, include_in_schema=False)
    return app


async def _not_understood(_request: object, error: Exception) -> NoReturn:
    """What FastAPI found wrong with a request, in words of the error tree; passes through the application to the front."""
    assert isinstance(error, RequestValidationError)
    wrong = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5]]
    raise InvalidInput("The request is not valid: " + "; ".join(wrong) + ".") from None


async def _not_routed(_request: object, error: Exception) -> NoReturn:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        raise MethodNotAllowed(allow=(error.headers or {}).get("Allow", "")) from None
    if error.status_code == 404:
        raise NotFound("The management API has no such path.") from None
    raise (InvalidInput(str(error.detail)) if error.status_code < 500 else RoadsteadError()) from None
