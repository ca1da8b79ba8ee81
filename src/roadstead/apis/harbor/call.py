"""What every handler of this door is given, besides what it declares of the request."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from fastapi import Depends
from fastapi import Request as Connection

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.errors import Unauthenticated
from roadstead.registry.registry import Registry
from roadstead.serving.health import Check
from roadstead.serving.request import Request
from roadstead.sif.clusters import Clusters
from roadstead.sif.compatible import Compatibility
from roadstead.sif.shown import ShownConversions
from roadstead.sif.signed import ShownSignatures

PREFIX: Final = "/api/v2.0"
_ID: Final = re.compile("[0-9]{1,18}")
KEY: Final = "roadstead.call"
"""Where the door leaves the call in the ASGI scope, for `Calling` to find it."""


class Call(msgspec.Struct):
    """One request: who asks, the rooms, and the headers of the answer, which handlers add to. `checks` are the parts of the system."""

    access: Access
    registry: Registry
    conversions: ShownConversions
    signatures: ShownSignatures
    compatibility: Compatibility
    clusters: Clusters
    checks: dict[str, Check]
    request: Request
    actor: Actor
    headers: dict[str, str] = {}

    def created(self, path: str) -> None:
        """Say where the thing is that was made, at `path` below the prefix; clients take its id from there."""
        self.headers["location"] = quote(f"{PREFIX}{path}", safe="/:%$+@")

    def truth(self, header: str) -> bool:
        """Whether a header is there and says yes."""
        return (self.request.header(header.encode()) or "").lower() in ("true", "1")

    def project(self, text: str) -> str | int:
        """The project that a path names: digits are its id, unless `X-Is-Resource-Name` says otherwise."""
        return int(text) if _ID.fullmatch(text) and not self.truth("x-is-resource-name") else text

    def require_login(self) -> None:
        """Raise Unauthenticated for the anonymous."""
        if self.actor.anonymous:
            raise Unauthenticated


def _of(connection: Connection) -> Call:
    call = connection.scope[KEY]
    assert isinstance(call, Call)
    return call


async def _found(connection: Connection) -> Call:
    # A coroutine, so that it runs here and not in a thread.
    return _of(connection)


Calling = Annotated[Call, Depends(_found)]
