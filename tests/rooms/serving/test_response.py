"""Responses: how they leave, and that nothing that came in can end a header."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.content.store import Elsewhere, LocalFile, Span, Stream
from roadstead.errors import ContentDamaged, InvalidPaging, Unauthenticated
from roadstead.serving.credentials import parse_basic
from roadstead.serving.paging import Page, next_link, parse_page
from roadstead.serving.request import Message
from roadstead.serving.response import Response, content_response, encoded, send_response

CONTENT = bytes(range(256)) * 8192
PATHSEND: dict[str, Any] = {"extensions": {"http.response.pathsend": {}}}


async def sent(response: Response, method: str = "GET", scope: dict[str, Any] | None = None) -> list[Message]:
    """The messages that a response becomes."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await send_response(response, method, scope or {}, send)
    return messages


def body(messages: list[Message]) -> bytes:
    return b"".join(message.get("body", b"") for message in messages[1:])


def headers(messages: list[Message]) -> dict[bytes, bytes]:
    return dict(messages[0]["headers"])


def open_files() -> set[Path]:
    """What this process has open."""
    return {one.readlink() for one in Path("/proc/self/fd").iterdir() if one.is_symlink()}


async def _chunks(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


async def test_bytes_leave_with_their_length() -> None:
    messages = await sent(Response(200, [], b"hello"))
    assert (headers(messages), body(messages)) == ({b"content-length": b"5"}, b"hello")


async def test_head_says_the_length_and_sends_nothing(file: Path) -> None:
    for content in (b"hello", LocalFile(file, 5, None)):
        messages = await sent(Response(200, [], content), "HEAD", PATHSEND)
        assert (headers(messages), body(messages)) == ({b"content-length": b"5"}, b"")


async def test_no_content_has_no_length() -> None:
    assert headers(await sent(Response(204))) == {}


async def test_a_whole_file_leaves_by_its_path_where_the_server_can(file: Path) -> None:
    size = len(CONTENT)
    whole = Response(200, [], LocalFile(file, size, None))
    assert (await sent(whole, scope=PATHSEND))[1:] == [{"type": "http.response.pathsend", "path": str(file)}]
    messages = await sent(whole)
    assert (headers(messages)[b"content-length"], body(messages)) == (b"%d" % size, CONTENT)


async def test_a_range_leaves_in_chunks_of_bounded_size(file: Path) -> None:
    size = len(CONTENT)
    messages = await sent(Response(206, [], LocalFile(file, size, Span(7, size - 9))), scope=PATHSEND)
    assert body(messages) == CONTENT[7:-2]
    assert max(len(message.get("body", b"")) for message in messages[1:]) <= 1 << 20


async def test_who_leaves_a_range_leaves_no_file_open(file: Path) -> None:
    size = len(CONTENT)

    async def leave(message: Message) -> None:
        if message.get("body"):
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await send_response(Response(206, [], LocalFile(file, size, Span(1, size - 1))), "GET", {}, leave)
    assert file not in open_files()


async def test_content_that_ends_early_breaks_the_answer_off(file: Path) -> None:
    with pytest.raises(ContentDamaged):
        await sent(Response(200, [], LocalFile(file, len(CONTENT) + 1, None)))
    with pytest.raises(ContentDamaged):
        await sent(Response(200, [], Stream(_chunks(b"abc"), 4)))
    with pytest.raises(ContentDamaged):
        await sent(Response(200, [], Stream(_chunks(b"abc", b"de"), 4)))


async def test_content_elsewhere_is_a_redirect_that_is_not_kept() -> None:
    messages = await sent(content_response(200, [(b"x", b"y")], Elsewhere("https://store.example.org/key?signature", 900)))
    assert messages[0]["status"] == 307
    assert headers(messages)[b"location"] == b"https://store.example.org/key?signature"
    assert headers(messages)[b"cache-control"] == b"no-store"


@given(st.text())
def test_no_text_can_end_a_header(text: str) -> None:
    value = encoded(text)
    assert not set(value) & set(range(32)) | ({127} & set(value))


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_link_is_one_url_whatever_is_in_it(last: str, wanted: str) -> None:
    ((name, value),) = next_link(
        "/v2/a/tags/list", n=5, last=last.encode("utf-8", "ignore").decode(), wanted=wanted.encode("utf-8", "ignore").decode()
    )
    assert name == b"link"
    url, _, relation = value.partition(b">")
    assert relation == b'; rel="next"'
    assert not set(url) & set(b"\r\n \"'\\") | set(url[1:]) & set(b"<>")


# Query → the page
PAGES = {
    "": Page(100, ""),
    "n=5": Page(5, ""),
    "n=0": Page(0, ""),
    "n=007": Page(7, ""),
    "n=5000": Page(1000, ""),
    f"n={'9' * 5000}": Page(1000, ""),
    "last=a": Page(100, "a"),
    "n=5&last=a&n=6&last=b": Page(6, "b"),
    "ns=docker.io": Page(100, ""),
}


@pytest.mark.parametrize("query", PAGES, ids=lambda text: text[:20])
def test_a_page(query: str) -> None:
    pairs = [(key, value) for key, _, value in (pair.partition("=") for pair in query.split("&") if pair)]
    assert parse_page(pairs, default=100, most=1000) == PAGES[query]


@pytest.mark.parametrize("size", ["", "-1", "+1", "x", "1.0", "\u0665", " 1", "0x10"])
def test_a_page_size_that_is_no_number(size: str) -> None:
    with pytest.raises(InvalidPaging):
        parse_page([("n", size)], default=100, most=1000)


# Basic credentials (RFC 7617) → name and password
BASIC = {
    "YWRtaW46c2VjcmV0": ("admin", "secret"),
    "YWRtaW46YTpi": ("admin", "a:b"),
    "YWRtaW46": ("admin", ""),
    "OnNlY3JldA==": ("", "secret"),
    "Og==": ("", ""),
    "  Og==  ": ("", ""),
    "w6k6w7w=": ("\u00e9", "\u00fc"),
}


@pytest.mark.parametrize("value", BASIC)
def test_basic_credentials(value: str) -> None:
    assert parse_basic(value) == BASIC[value]


@pytest.mark.parametrize("value", ["", "YWRtaW4=", "***", "Og=", "/zr/", "YWRt aW46", "YQBiOmM=", "\u00e9"])
def test_basic_credentials_that_cannot_be_read(value: str) -> None:
    with pytest.raises(Unauthenticated):
        parse_basic(value)


@given(st.text(max_size=50))
def test_any_text_is_credentials_or_unauthenticated(value: str) -> None:
    try:
        parse_basic(value)
    except Unauthenticated:
        return
