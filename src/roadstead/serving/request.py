"""A request, as a door sees it: a thin layer over the ASGI scope that parses only what is asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from roadstead.errors import BodyTimeout, ClientGone, InvalidInput, TooLarge

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

_MOST_FIELDS: Final = 1000
_MOST_PROXIES: Final = 20
_MOST_DISCARDED: Final = 256 << 20
_DISCARD_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 0.25  # Who sends nothing for so long waits for the answer.
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""Host and port of RFC 3986 §3.2.2, without the percent-encoding that no client's host name has."""


class Site(msgspec.Struct, frozen=True):
    """Where doors stand: the address users type, whose forwarded headers to believe, how long a body may stall (seconds)."""

    public_url: str | None = None
    trusted_proxies: Networks = ()
    body_timeout: float = 60.0


class Request:
    """One HTTP request. Header names are given in lower case."""

    __slots__ = ("_ended", "_headers", "_receive", "_site", "id", "method", "path", "query_string", "received", "route", "scope")

    def __init__(self, scope: Scope, receive: Receive, site: Site, request_id: str) -> None:
        self.scope = scope
        self.id = request_id
        self.method: str = scope["method"]
        raw: bytes | None = scope.get("raw_path")
        self.path = raw.decode("latin-1") if raw is not None else scope["path"]
        """The path as sent, percent-encoding and all."""
        self.query_string: bytes = scope["query_string"]
        self.route = "unmatched"
        """What the door took the request for; a label of logs and metrics."""
        self.received = 0
        """Bytes of the body that have arrived."""
        self._ended = False
        self._receive = receive
        self._site = site
        self._headers: dict[bytes, bytes] | None = None

    def header(self, name: bytes) -> str | None:
        """The value of a header; of several lines, the values joined by commas (RFC 9110 §5.3)."""
        if self._headers is None:
            headers: dict[bytes, bytes] = {}
            for key, value in self.scope["headers"]:
                headers[key] = headers[key] + b", " + value if key in headers else value
            self._headers = headers
        found = self._headers.get(name)
        return None if found is None else found.decode("latin-1")

    def query(self) -> list[tuple[str, str]]:
        """The query's pairs in their order, decoded. Raises InvalidInput where it is not UTF-8, has U+0000 or too many fields."""
        return parse_fields(self.query_string, "The query of the URL") if self.query_string else []

    @property
    def content_length(self) -> int | None:
        """The announced length of the body (bytes); None when it comes in chunks. The server has checked that it is a number."""
        value = self.header(b"content-length")
        return int(value) if value is not None and value.isdigit() else None

    async def body(self) -> AsyncIterator[bytes]:
        """The body's chunks as they arrive. Raises BodyTimeout when it stalls, ClientGone when the connection ends first."""
        while not self._ended:
            try:
                async with asyncio.timeout(self._site.body_timeout):
                    message = await self._receive()
            except TimeoutError:
                raise BodyTimeout(f"No byte of the request body came for {self._site.body_timeout:g} seconds.") from None
            if message["type"] == "http.disconnect":
                self._ended = True
                raise ClientGone
            self._ended = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                self.received += len(chunk)
                yield chunk

    async def gone(self) -> None:
        """Return when the client has ended the connection; what may be left of the body is read and forgotten."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def discard_body(self) -> None:
        """Read what the client is still sending, for a moment, so that it reads our refusal: a connection that is closed while bytes are on
        their way is reset, and with it goes the answer (RFC 9112 §9.6). Who waits to be told to continue has nothing on its way.
        """
        if self._ended or self.method in ("GET", "HEAD") or (not self.received and self.header(b"expect") is not None):
            return
        loop = asyncio.get_running_loop()
        end, most = loop.time() + _DISCARD_SECONDS, self.received + _MOST_DISCARDED
        with suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(_SILENCE_SECONDS) as silence:
                async for _ in self.body():
                    if loop.time() > end or self.received > most:
                        return
                    silence.reschedule(loop.time() + _SILENCE_SECONDS)

    async def whole_body(self, limit: int, too_large: type[TooLarge] = TooLarge) -> bytes:
        """The whole body, of at most `limit` bytes. Raises `too_large` as soon as there is more, and what `body` raises."""
        if (self.content_length or 0) > limit:
            raise too_large
        chunks = []
        async for chunk in self.body():
            chunks.append(chunk)
            if self.received > limit:
                raise too_large
        return b"".join(chunks)

    def require_host(self) -> None:
        """Raise InvalidInput where the client's word for this registry is no host (RFC 9112 §3.2); one that is missing is not missed."""
        host = self._host()
        if host and not self._site.public_url and not _HOST.fullmatch(host):
            raise InvalidInput("The Host header of this request is not the name of a host.")

    @property
    def base_url(self) -> str:
        """The address that the client uses for this registry, without a final slash."""
        if self._site.public_url:
            return self._site.public_url
        scheme, host = self.scope["scheme"], self._host()
        if self._from_trusted_proxy():
            forwarded = _first(self.header(b"x-forwarded-proto"))
            scheme = forwarded if forwarded in ("http", "https") else scheme
        # It goes into headers and pages, so what is no host does not: a quote would begin a parameter of its own in a challenge.
        return f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"

    def _host(self) -> str:
        forwarded = _first(self.header(b"x-forwarded-host")) if self._from_trusted_proxy() else None
        return forwarded or self.header(b"host") or ""

    @property
    def address(self) -> str:
        """Where the request came from: the socket's other end, or what trusted proxies say of it in X-Forwarded-For.

        Each proxy adds at the right whom it saw. So this goes from the right past proxies that are trusted, and stops at the first address
        that is not one, or at what is no address: what stands left of that anybody may have written.
        """
        client = self.scope.get("client")
        found = client[0] if client else ""
        if self._from_trusted_proxy():
            for part in reversed((self.header(b"x-forwarded-for") or "").split(",")[-_MOST_PROXIES:]):
                said = _address(part)
                if said is None:
                    break
                found = str(said)
                if not self._trusts(said):
                    break
        return found

    def _from_trusted_proxy(self) -> bool:
        client = self.scope.get("client")
        if not self._site.trusted_proxies or not client:
            return False
        address = _address(client[0])
        return address is not None and self._trusts(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._site.trusted_proxies)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address as proxies write it: with a port or not, in brackets or not, IPv4 in IPv6's form. None for what is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def parse_fields(encoded: bytes, what: str) -> list[tuple[str, str]]:
    """The pairs of a query or form, which messages call `what`.

    Raises InvalidInput where it is not UTF-8, has too many fields, or has U+0000, which PostgreSQL cannot be asked for.
    """
    try:
        fields = parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise InvalidInput(f"{what} cannot be read: it is UTF-8, percent-encoded, with at most {_MOST_FIELDS} fields.") from error
    if b"%00" in encoded or b"\0" in encoded:
        raise InvalidInput(f"{what} cannot be read: it has the character U+0000.")
    return fields


def _first(value: str | None) -> str | None:
    return value and value.partition(",")[0].strip()
