"""Health and metrics: `/health/live`, `/health/ready`, `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from roadstead.errors import RoadsteadError
from roadstead.serving.observation import render_metrics
from roadstead.serving.request import Request
from roadstead.serving.response import Response, json_response, text_error, text_response

Check = Callable[[], Awaitable[None]]


class HealthDoor:
    """Live: the process answers. Ready: each of its parts has just been tried; 503 names those that failed."""

    def __init__(self, checks: Mapping[str, Check], timeout: float = 5.0) -> None:
        self._checks = checks
        self._timeout = timeout

    async def handle(self, request: Request) -> Response:
        """Answer GET and HEAD."""
        request.route = "health"
        if request.path == "/health/live":
            return json_response(200, {"status": "alive"})
        if request.path == "/health/ready":
            return await self._ready()
        return text_response(404, "Ask /health/live or /health/ready.")

    async def _ready(self) -> Response:
        outcomes = await asyncio.gather(*(self._try(check) for check in self._checks.values()))
        parts = dict(zip(self._checks, outcomes, strict=True))
        ready = all(outcome == "ok" for outcome in outcomes)
        return json_response(200 if ready else 503, {"status": "ready" if ready else "not ready", "parts": parts})

    async def _try(self, check: Check) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                await check()
        except TimeoutError:
            return f"no answer within {self._timeout:g} seconds"
        except RoadsteadError as error:
            return error.message
        return "ok"

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A line of text."""
        return text_error(error, request.id)


class MetricsDoor:
    """`/metrics` in Prometheus' text format."""

    async def handle(self, request: Request) -> Response:
        """Answer GET and HEAD."""
        request.route = "metrics"
        body, content_type = await asyncio.to_thread(render_metrics)
        return Response(200, [(b"content-type", content_type)], body)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A line of text."""
        return text_error(error, request.id)
