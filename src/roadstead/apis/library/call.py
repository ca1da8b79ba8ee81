"""What every handler of this door is given, and the envelopes that its answers come in."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.errors import InvalidInput
from roadstead.registry.registry import Registry
from roadstead.serving.request import Request
from roadstead.serving.response import Response, json_response

BASE: Final = "/library"
"""Where the whole API is; at the root only what has no other's paths, for clients that are given a host and nothing else."""

BODY_LIMIT: Final = 64 * 1024
"""Bytes of a request of JSON, where a handler says no other."""

_Asked = TypeVar("_Asked")


class Call(msgspec.Struct):
    """One request: who asks, and the last component of the path."""

    registry: Registry
    access: Access
    request: Request
    actor: Actor
    value: str

    def url(self, path: str) -> str:
        """The absolute address of a path of this API."""
        return f"{self.request.base_url}{BASE}{path}"

    def asked(self, field: str) -> str | None:
        """A field of the query; None where it is missing or empty."""
        return dict(self.request.query()).get(field) or None

    async def body(self, kind: type[_Asked], limit: int = BODY_LIMIT) -> _Asked:
        """The request's JSON, of at most `limit` bytes. Raises InvalidInput, TooLarge."""
        raw = await self.request.whole_body(limit)
        try:
            raw.decode()
            return msgspec.json.decode(raw or b"{}", type=kind)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise InvalidInput("The request's body is not the JSON that belongs here.") from error


def data(value: object) -> Response:
    """An answer."""
    return json_response(200, {"data": value})
