"""A request as doors see it: body, address, headers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import pytest

from roadstead.errors import BodyTimeout, ClientGone, InvalidInput, ManifestTooLarge
from roadstead.serving.request import Message, Request, Site

Headers = Sequence[tuple[str, str]]


def request(messages: Sequence[Message | None] = (), headers: Headers = (), site: Site | None = None, **scope: Any) -> Request:
    """A request whose body comes in these messages; None for silence."""
    coming = iter(messages)

    async def receive() -> Message:
        message = next(coming)
        if message is None:
            await asyncio.Event().wait()
        assert message is not None
        return message

    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    base = {"method": "GET", "path": "/v2/", "raw_path": b"/v2/", "query_string": b"", "scheme": "http", "client": ("192.0.2.7", 4242)}
    return Request({**base, "headers": encoded, **scope}, receive, site or Site(), "id")


def part(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


async def test_a_body_comes_in_its_chunks() -> None:
    asked = request([part(b"one"), part(b""), part(b"two"), {"type": "http.request"}])
    assert [chunk async for chunk in asked.body()] == [b"one", b"two"]
    assert asked.received == 6


async def test_a_client_that_goes_away_is_told_after_what_came() -> None:
    asked, came = request([part(b"one"), GONE]), []
    with pytest.raises(ClientGone):
        async for chunk in asked.body():
            came.append(chunk)
    assert (came, asked.received) == ([b"one"], 3)


@pytest.mark.parametrize("before", [[], [part(b"one")], [part(b"one"), part(b"two")]])
async def test_a_body_that_stalls_is_ended(before: list[Message]) -> None:
    asked = request([*before, None], site=Site(body_timeout=0.02))
    with pytest.raises(BodyTimeout, match=r"for 0\.02 seconds"):
        async for _ in asked.body():
            pass
    assert asked.received == 3 * len(before)


async def test_time_that_the_reader_takes_is_not_the_clients() -> None:
    asked = request([part(b"one"), part(b"two", more=False)], site=Site(body_timeout=0.02))
    came = []
    async for chunk in asked.body():
        came.append(chunk)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.Event().wait()
    assert came == [b"one", b"two"]


async def test_a_whole_body_is_bounded() -> None:
    assert await request([part(b"abc"), part(b"de", more=False)]).whole_body(5) == b"abcde"
    with pytest.raises(ManifestTooLarge):
        await request([part(b"abc"), part(b"def"), None]).whole_body(5, ManifestTooLarge)
    with pytest.raises(ManifestTooLarge):
        await request([None], [("content-length", "6")]).whole_body(5, ManifestTooLarge)


def test_lines_of_one_header_are_joined() -> None:
    asked = request(headers=[("accept", "a/b"), ("host", "x"), ("accept", "c/d")])
    assert asked.header(b"accept") == "a/b, c/d"
    assert asked.header(b"absent") is None


@pytest.mark.parametrize(("text", "length"), [("0", 0), ("12", 12), ("-1", None), ("x", None), ("1.5", None)])
def test_a_content_length_is_a_number_or_none(text: str, length: int | None) -> None:
    assert request(headers=[("content-length", text)]).content_length == length
    assert request().content_length is None


def test_a_query_keeps_order_repetition_and_blanks() -> None:
    asked = request(query_string=b"tag=a&tag=b&x=&y=%2F+%C3%A9")
    assert asked.query() == [("tag", "a"), ("tag", "b"), ("x", ""), ("y", "/ \u00e9")]


@pytest.mark.parametrize("query", [b"x=%FF", b"x=%00", b"&".join([b"x=1"] * 1001)], ids=["not UTF-8", "U+0000", "too many"])
def test_a_query_that_cannot_be_read(query: bytes) -> None:
    with pytest.raises(InvalidInput):
        request(query_string=query).query()


def test_the_path_is_the_one_that_was_sent() -> None:
    assert request(path="/v2/a/b", raw_path=b"/v2/a%2fb").path == "/v2/a%2fb"
    assert request(path="/v2/a/b", raw_path=None).path == "/v2/a/b"


FORWARDED = [("host", "inner:5000"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "outer.example.org")]
HERE = Site(trusted_proxies=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))

# What is known → the address that clients use
ADDRESSES = {
    "by Host": (request(headers=[("host", "inner:5000")]), "http://inner:5000"),
    "without Host": (request(), "http://localhost"),
    "a stranger forwards": (request(headers=FORWARDED), "http://inner:5000"),
    "a proxy forwards": (request(headers=FORWARDED, site=HERE), "https://outer.example.org"),
    "a proxy over IPv6": (request(headers=FORWARDED, site=HERE, client=("2001:db8::1", 1)), "https://outer.example.org"),
    "another network": (request(headers=FORWARDED, site=HERE, client=("198.51.100.1", 1)), "http://inner:5000"),
    "a proxy that says nothing": (request(headers=FORWARDED[:1], site=HERE), "http://inner:5000"),
    "a chain of proxies": (
        request(headers=[*FORWARDED[:2], ("x-forwarded-host", "first.example.org, second")], site=HERE),
        "https://first.example.org",
    ),
    "no address": (request(headers=FORWARDED, site=HERE, client=None), "http://inner:5000"),
    "a socket's path": (request(headers=FORWARDED, site=HERE, client=("/run/socket", 0)), "http://inner:5000"),
    "set by the site": (request(headers=FORWARDED, site=Site("https://set.example.org", HERE.trusted_proxies)), "https://set.example.org"),
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_the_address_that_the_client_uses(case: str) -> None:
    asked, address = ADDRESSES[case]
    assert asked.base_url == address


@pytest.mark.parametrize("host", ["registry.example.org", "10.0.0.1:5000", "[2001:db8::1]:5000", "_under.score", "localhost:65535"])
def test_the_address_is_what_the_client_called(host: str) -> None:
    assert request(headers=[("host", host)]).base_url == f"http://{host}"


@pytest.mark.parametrize(
    "host", ['evil"x', "a,b", "a b", "a\tb", "a/b", "a?b", "u@h", "<b>", "é.example", "h:", "h:123456", "[::1", "a\r\nb", ""]
)
def test_what_is_no_host_goes_nowhere(host: str) -> None:
    assert request(headers=[("host", host)]).base_url == "http://localhost"


@pytest.mark.parametrize(("scheme", "expected"), [("https", "https"), ("http", "http"), ('ht"tp', "http"), ("javascript", "http")])
def test_a_proxy_says_http_or_https(scheme: str, expected: str) -> None:
    site = Site(trusted_proxies=(ip_network("192.0.2.0/24"),))
    asked = request(headers=[("host", "a.example"), ("x-forwarded-proto", scheme)], site=site)
    assert asked.base_url == f"{expected}://a.example"


CHAIN = Site(trusted_proxies=(ip_network("192.0.2.0/24"), ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))

# X-Forwarded-For, and who hands it on → where the request came from
CAME_FROM = {
    "nobody says": (None, "192.0.2.7", "192.0.2.7"),
    "a stranger says": ("203.0.113.9", "198.51.100.1", "198.51.100.1"),
    "the proxy says": ("203.0.113.9", "192.0.2.7", "203.0.113.9"),
    "the client lies": ("1.2.3.4, 203.0.113.9", "192.0.2.7", "203.0.113.9"),
    "the client names a proxy": ("10.0.0.1, 203.0.113.9", "192.0.2.7", "203.0.113.9"),
    "two proxies": ("203.0.113.9, 10.0.0.1", "192.0.2.7", "203.0.113.9"),
    "two proxies and a lie": ("1.2.3.4, 203.0.113.9, 10.0.0.1", "192.0.2.7", "203.0.113.9"),
    "proxies alone": ("10.0.0.2,10.0.0.1", "192.0.2.7", "10.0.0.2"),
    "IPv6": ("2001:db8:ffff::1, 2a00::9, 2001:db8::5", "2001:db8::1", "2a00::9"),
    "with ports": ("203.0.113.9:4711", "192.0.2.7", "203.0.113.9"),
    "IPv6 with a port": ("[2a00::9]:4711", "192.0.2.7", "2a00::9"),
    "IPv4 in IPv6": ("::ffff:203.0.113.9", "::ffff:192.0.2.7", "203.0.113.9"),
    "no address": ("unknown", "192.0.2.7", "192.0.2.7"),
    "no address behind a proxy": ("1.2.3.4, <script>, 10.0.0.1", "192.0.2.7", "10.0.0.1"),
    "empty": ("", "192.0.2.7", "192.0.2.7"),
    "commas": (",,,", "192.0.2.7", "192.0.2.7"),
    "very long": (",".join(["10.0.0.1"] * 5000), "192.0.2.7", "10.0.0.1"),
    "no socket's address": ("203.0.113.9", "/run/socket", "/run/socket"),
}


@pytest.mark.parametrize("case", CAME_FROM)
def test_where_a_request_came_from(case: str) -> None:
    said, peer, address = CAME_FROM[case]
    headers = [] if said is None else [("x-forwarded-for", said)]
    assert request(headers=headers, site=CHAIN, client=(peer, 4242)).address == address
    assert request(headers=headers, client=(peer, 4242)).address == peer, "without the setting nobody is believed"


def test_lines_of_forwarded_addresses_are_one_list() -> None:
    lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.0.0.1")]
    assert request(headers=lines, site=CHAIN, client=("192.0.2.7", 1)).address == "203.0.113.9"


async def test_what_a_refused_client_still_sends_is_read_until_its_end() -> None:
    asked = request([part(b"one"), part(b"two"), part(b"three", more=False)], method="PATCH")
    async for _ in asked.body():
        break
    await asked.discard_body()
    assert asked.received == len(b"onetwothree")
    await asked.discard_body()  # the end has been read: nothing more is waited for


@pytest.mark.parametrize("then", [None, {"type": "http.disconnect"}])
async def test_a_refused_client_that_sends_nothing_more_is_answered(then: Message | None) -> None:
    asked = request([part(b"one"), then], method="PUT")
    await asked.discard_body()
    assert asked.received == 3


async def test_nothing_is_asked_of_who_waits_to_be_told_to_continue() -> None:
    asked = request([part(b"one", more=False)], [("expect", "100-continue")], method="PUT")
    await asked.discard_body()
    assert asked.received == 0
