"""Limits of pulls, told in the headers that Docker Hub has for them ("Pull usage and limits" of its documentation)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from roadstead.access.actor import Action
from roadstead.access.limits import RateLimits
from roadstead.apis.distribution.call import Call
from roadstead.serving.response import Headers, Response, encoded


async def pull(limits: RateLimits, call: Call, handler: Callable[[Call], Awaitable[Response]]) -> Response:
    """GET or HEAD of a manifest while limits are set: GET counts once it is found. Raises TooManyRequests, and what the handler raises."""
    project, counts = call.name.project, call.request.method == "GET"
    standing = await limits.standing(call.actor, project)
    if standing is not None and not standing.remaining and counts:
        # Whether a project has been pulled from often is told only to those who may pull from it.
        await call.registry.repositories.locate(call.actor, call.name, Action.PULL)
        raise limits.refusal(standing)
    response = await handler(call)
    if counts:
        limits.pulled(call.actor, project)
        standing = await limits.standing(call.actor, project)
    if standing is not None:
        response.headers += limit_headers(msgspec.structs.asdict(standing))
    return response


def limit_headers(standing: Mapping[str, object]) -> Headers:
    """The headers that tell a standing; none if it is that of nobody."""
    if "remaining" not in standing:
        return []
    window = standing["window"]
    return [
        (b"ratelimit-limit", encoded(f"{standing['limit']};w={window}")),
        (b"ratelimit-remaining", encoded(f"{standing['remaining']};w={window}")),
        (b"docker-ratelimit-source", encoded(standing["source"])),
    ]
