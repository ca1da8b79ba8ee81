"""Parts of pages that follow what happens, by server-sent events (HTML standard §9.2): a part is sent again whenever it looks otherwise.

A stream ends when its part is at rest, which the event `rest` tells, and after a minute at the latest: a browser that is still there asks
anew. It ends at once when the browser is gone or the process is to stop. Before each look the session is looked up: who has logged out or
may see it no more is told `rest`, and the page that is loaded then says why.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec

from roadstead.access.addresses import neighbourhood
from roadstead.errors import RoadsteadError
from roadstead.serving.response import Live, Response
from roadstead.web.call import HEADERS, Call

_EVERY: Final = 1.0
_LONGEST: Final = 60.0
_DIGITS: Final = 19
_REST: Final = b"event: rest\ndata:\n\n"


class Look(msgspec.Struct, frozen=True):
    """What a part looks like now, as HTML, and whether it will stay so.

    `added` is HTML that comes to the end of the page's list (`data-added`) since the look before, up to `mark`: with that a browser goes on
    where it was cut off, by the header Last-Event-ID, or by `after` in the query when it opens the stream itself. `said` is a sentence
    for who listens; it is told when it is another one.
    """

    html: str
    at_rest: bool = False
    added: str = ""
    mark: int = 0
    said: str = ""


def marked(call: Call) -> int:
    """Up to where the browser has what was added; 0 where it says nothing of the kind."""
    said = call.request.header(b"last-event-id") or call.query.get("after", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < _DIGITS else 0


async def follow(call: Call, look: Callable[[], Awaitable[Look]], every: float = _EVERY) -> Response:
    """The stream of a part, looked at every so many seconds. Raises what the first look does, so that a refusal is answered as one.

    `look` asks `call.actor` each time: it is whoever has the session then. Raises TooManyRequests for who follows too much already.
    """
    headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no"), *HEADERS]
    seen = await look()
    leave = call.rooms.streams.enter(_whose(call))
    return Response(200, headers, Live(_events(call, seen, look, every), leave))


def _whose(call: Call) -> str:
    account = call.actor.account_id
    return f"address {neighbourhood(call.actor.address)}" if account is None else f"account {account}"


async def _events(call: Call, seen: Look, look: Callable[[], Awaitable[Look]], every: float) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n" + _message(seen.html) + _added(seen)
    for _ in range(int(_LONGEST / (every or _EVERY))):
        if seen.at_rest:
            break
        if not await call.rooms.streams.pause(every):
            return
        before = seen
        try:
            await call.renew()
            seen = await look()
        except RoadsteadError:
            break  # it is gone, or may not be seen any more: the page will say so
        changed = b"" if seen.html == before.html else _message(seen.html)
        said = b"event: said\n" + _message(seen.said) if seen.said != before.said else b""
        yield (changed + _added(seen) + said) or b":\n\n"
    else:
        return
    yield _REST


def _message(html: str) -> bytes:
    return ("".join(f"data: {line}\n" for line in html.splitlines()) or "data:\n").encode() + b"\n"


def _added(seen: Look) -> bytes:
    return f"event: added\nid: {seen.mark}\n".encode() + _message(seen.added) if seen.added else b""
