"""What a client asks before it asks for images: where the services are, their versions, and whether its token is good."""

from __future__ import annotations

from typing import Final

from roadstead.apis.library.call import BASE, Call, data
from roadstead.errors import Unauthenticated
from roadstead.serving.response import Response, json_response

VERSION: Final = {"version": "1.0.0", "apiVersion": "2.0.0-alpha.2"}
"""Of the API, not of this program: from 2.0.0-alpha.1 on clients upload in the way of v2, from alpha.2 on a tag has architectures."""


async def configuration(call: Call) -> Response:
    """GET /assets/config/config.prod.json: where the services are; the keys are at the root, as clients drop any path of theirs."""
    home = call.request.base_url
    services = {"libraryAPI": home + BASE, "tokenAPI": home + BASE, "keystoreAPI": home}
    return json_response(200, {service: {"uri": uri} for service, uri in services.items()})


async def version(_call: Call) -> Response:
    """GET /version."""
    return data(VERSION)


async def token_status(call: Call) -> Response:
    """GET /v1/token-status: 200 where the token is somebody's."""
    if call.actor.anonymous:
        raise Unauthenticated
    return data({"name": call.actor.name})


async def current_user(call: Call) -> Response:
    """GET /v1/rbac/users/current: who is asking; without an envelope, as clients read it."""
    actor = call.actor
    if actor.anonymous or actor.account_id is None:
        raise Unauthenticated
    if actor.robot is not None:
        return json_response(200, {"username": actor.name, "email": "", "realname": ""})
    person = await call.access.people.get(actor, actor.account_id)
    return json_response(200, {"username": person.name, "email": person.email or "", "realname": person.real_name or ""})
