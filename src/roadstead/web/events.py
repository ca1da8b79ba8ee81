"""Parts of pages that follow what happens, by server-sent events (HTML standard §9.2): a part is sent again whenever it looks otherwise.

A stream ends when its part is at rest, which the event `rest` tells, and after a minute at the latest: a browser that is still there asks
anew, and one that is gone costs no longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec

from roadstead.errors import RoadsteadError
from roadstead.serving.response import Live, Response
from roadstead.web.call import HEADERS

_EVERY: Final = 1.0
_LONGEST: Final = 60.0
_REST: Final = b"event: rest\ndata:\n\n"


class Look(msgspec.Struct, frozen=True):
    """What a part looks like now, as HTML, and whether it will stay so."""

    html: str
    at_rest: bool


async def follow(look: Callable[[], Awaitable[Look]], every: float = _EVERY) -> Response:
    """The stream of a part, looked at every so many seconds. Raises what the first look does, so that a refusal is answered as one."""
    headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), *HEADERS]
    return Response(200, headers, Live(_events(await look(), look, every)))


async def _events(seen: Look, look: Callable[[], Awaitable[Look]], every: float) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n" + _message(seen.html)
    for _ in range(int(_LONGEST / (every or _EVERY))):
        if seen.at_rest:
            break
        await asyncio.sleep(every)
        before = seen
        try:
            seen = await look()
        except RoadsteadError:
            break  # it is gone, or may not be seen any more: the page will say so
        yield b":\n\n" if seen.html == before.html else _message(seen.html)
    else:
        return
    yield _REST


def _message(html: str) -> bytes:
    return "".join(f"data: {line}\n" for line in html.splitlines()).encode() + b"\n"
