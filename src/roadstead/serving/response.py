"""A response, and how it leaves: from memory, from a file by the server's own sendfile, as a stream, or as a redirect."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import msgspec

from roadstead.content.store import Chunks, Elsewhere, LocalFile, Opened, Stream
from roadstead.errors import ContentDamaged, InvalidInput, RoadsteadError
from roadstead.serving.request import Scope, Send

Headers = list[tuple[bytes, bytes]]

_CHUNK: Final = 1 << 20


class Live(msgspec.Struct):
    """A body that grows while its reader waits, as server-sent events do: nobody knows its length before it ends.

    Whoever sends it calls `left` once when it is over, however that came about.
    """

    chunks: AsyncGenerator[bytes, None]
    left: Callable[[], None] = lambda: None


class Response(msgspec.Struct):
    """What a handler answers. `body` is bytes, opened content, or live; Content-Length is set from it, unless the headers have one."""

    status: int
    headers: Headers = []
    body: bytes | LocalFile | Stream | Live = b""

    @property
    def length(self) -> int:
        """Bytes of the body; 0 of one that is live."""
        if isinstance(self.body, Live):
            return 0
        if isinstance(self.body, bytes):
            return len(self.body)
        if isinstance(self.body, Stream):
            return self.body.length
        return self.body.size if self.body.span is None else self.body.span.length


def json_response(status: int, value: object, headers: Headers | None = None) -> Response:
    """`value` as JSON."""
    body = msgspec.json.encode(value, enc_hook=str)
    return Response(status, [(b"content-type", b"application/json"), *(headers or [])], body)


def text_response(status: int, text: str) -> Response:
    """A line for people."""
    return Response(status, [(b"content-type", b"text/plain; charset=utf-8")], text.encode() + b"\n")


def text_error(error: RoadsteadError, request_id: str) -> Response:
    """An error as a line for people; failures of our own name the request's id, for the administrator's log."""
    if isinstance(error, InvalidInput):
        return text_response(400, error.message)
    return text_response(500, f"{error.message} (request {request_id})")


def content_response(status: int, headers: Headers, content: Opened) -> Response:
    """Opened content, or a redirect to where the client can fetch it."""
    if isinstance(content, Elsewhere):
        return Response(307, [(b"location", content.url.encode()), (b"cache-control", b"no-store")])
    return Response(status, headers, content)


async def _stays() -> None:
    """Of who cannot be seen to leave."""
    await asyncio.Event().wait()


async def send_response(response: Response, method: str, scope: Scope, send: Send, gone: Callable[[], Awaitable[None]] = _stays) -> int:
    """Send it; returns the bytes of body that were sent. To HEAD only the headers are sent, Content-Length included (RFC 9110 §9.3.2).

    `gone` returns when the reader has left, which ends a live body at once.
    """
    body, length = response.body, response.length
    headers = response.headers
    if isinstance(body, Live):
        return await _send_live(response, body, method, send, gone)
    if response.status != 204 and not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if method == "HEAD" or isinstance(body, bytes):
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
        return 0 if method == "HEAD" else length
    if isinstance(body, LocalFile) and body.span is None and "http.response.pathsend" in scope.get("extensions", {}):
        await send({"type": "http.response.pathsend", "path": str(body.path)})
        return length
    await _stream(_file_chunks(body) if isinstance(body, LocalFile) else body.chunks, length, send)
    return length


async def _send_live(response: Response, body: Live, method: str, send: Send, gone: Callable[[], Awaitable[None]]) -> int:
    try:
        async with aclosing(body.chunks) as chunks:
            await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
            sent = 0 if method == "HEAD" else await _pass_on(chunks, send, gone)
            await send({"type": "http.response.body", "body": b""})
            return sent
    finally:
        body.left()


async def _pass_on(chunks: AsyncGenerator[bytes, None], send: Send, gone: Callable[[], Awaitable[None]]) -> int:
    """Chunk after chunk until there are no more, or nobody is there to read them: between two chunks only the connection tells that."""
    sent = 0

    async def pump() -> None:
        nonlocal sent
        async for chunk in chunks:
            sent += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    pumping, leaving = asyncio.create_task(pump(), name="live stream"), asyncio.create_task(_awaited(gone), name="reader of a live stream")
    try:
        await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        over = pumping.done()
        for task in (pumping, leaving):
            task.cancel()
        await asyncio.wait({pumping, leaving})
    if over:
        pumping.result()
    return sent


async def _awaited(gone: Callable[[], Awaitable[None]]) -> None:
    await gone()


async def _stream(chunks: Chunks, length: int, send: Send) -> None:
    """Pass chunks on as fast as the client takes them. Ends the connection by raising if they are not `length` bytes in all."""
    sent = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            sent += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if sent != length:
        raise ContentDamaged(f"Stored content ended after {sent} of {length} bytes.")
    await send({"type": "http.response.body", "body": b""})


async def _file_chunks(file: LocalFile) -> AsyncGenerator[bytes, None]:
    """The next chunk is read while one is being sent."""
    loop = asyncio.get_running_loop()
    offset, left = (file.span.start, file.span.length) if file.span else (0, file.size)
    descriptor = await loop.run_in_executor(None, os.open, file.path, os.O_RDONLY | os.O_CLOEXEC)

    def read() -> asyncio.Future[bytes]:
        return loop.run_in_executor(None, os.pread, descriptor, min(left, _CHUNK), offset)

    ahead: asyncio.Future[bytes] | None = read()
    try:
        while ahead is not None and (chunk := await ahead):
            offset, left = offset + len(chunk), left - len(chunk)
            ahead = read() if left > 0 else None
            yield chunk
    finally:
        try:
            if ahead is not None:
                await asyncio.wait([ahead])
        finally:
            os.close(descriptor)


def encoded(value: Any) -> bytes:
    """A header's value as bytes; control characters, which could end the header, become question marks."""
    return "".join(one if one.isprintable() and ord(one) < 256 else "?" for one in str(value)).encode("latin-1")
