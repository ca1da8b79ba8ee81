"""What an image's config says of it, read out of the store: bounded, remembered, and never trusted.

Whoever may push writes configs. One that is too large, is not JSON or is not of the shape of a config only means that nothing is said of
the image: it never fails a listing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from roadstead.content.store import ContentStore, LocalFile, Stream
from roadstead.errors import Unavailable
from roadstead.metadata.artifacts import ConfigRow

CONFIG_LIMIT: Final = 4 * 1024 * 1024
"""The largest config (bytes) that is read."""

LISTED_LIMIT: Final = 64 * 1024
"""The largest config (bytes) that is read for a list; a page of a hundred then stays below 7 MB."""

_REMEMBERED: Final = 8 * 1024 * 1024
_AT_ONCE: Final = 8
_DEEPEST: Final = 32
_AUTHOR_LABELS: Final = ("org.opencontainers.image.authors", "maintainer")

Attributes = dict[str, Any]
"""Names and values as JSON has them."""


class _Image(msgspec.Struct, frozen=True):
    """What is read of an image's config (image-spec, config.md)."""

    created: str | None = None
    author: str | None = None
    architecture: str | None = None
    os: str | None = None
    config: dict[str, Any] | None = None


class _History(msgspec.Struct, frozen=True):
    history: list[dict[str, Any]] | None = None


class Configs:
    """Reads configs. What is remembered is kept by content, whose bytes never change."""

    def __init__(self, store: ContentStore) -> None:
        self._store = store
        self._remembered: OrderedDict[tuple[int, bool], bytes] = OrderedDict()
        self._weight = 0
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def attributes(self, row: ConfigRow, *, image: bool, limit: int = CONFIG_LIMIT) -> Attributes | None:
        """What the config says: of an `image` the usual few things, else the whole object. None where it says nothing."""
        key = (row.content_id, image)
        known = self._remembered.get(key)
        if known is None:
            raw = await self._read(row, limit)
            known = None if raw is None else _reduced(raw, image=image)
            if known is None:
                return None
            self._remember(key, known)
        else:
            self._remembered.move_to_end(key)
        return msgspec.json.decode(known, type=Attributes)

    async def history(self, row: ConfigRow) -> list[Attributes] | None:
        """How the image was built, step by step, as its config tells it."""
        raw = await self._read(row, CONFIG_LIMIT)
        try:
            told = None if raw is None else msgspec.json.decode(_text(raw), type=_History).history
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return told if told is not None and _is_flat(told) else None

    async def _read(self, row: ConfigRow, limit: int) -> bytes | None:
        if row.size > limit or row.store != self._store.name:
            return None
        try:
            async with self._turns:
                return await self._bytes(row)
        except (Unavailable, OSError):
            return None

    async def _bytes(self, row: ConfigRow) -> bytes | None:
        opened = await self._store.open(row.key, row.size)
        if isinstance(opened, LocalFile):
            return await asyncio.to_thread(opened.path.read_bytes)
        assert isinstance(opened, Stream)
        return b"".join([chunk async for chunk in opened.chunks])

    def _remember(self, key: tuple[int, bool], value: bytes) -> None:
        if len(value) > LISTED_LIMIT:
            return
        before = self._remembered.pop(key, b"")
        self._remembered[key] = value
        self._weight += len(value) - len(before)
        while self._weight > _REMEMBERED:
            self._weight -= len(self._remembered.popitem(last=False)[1])


def _text(raw: bytes) -> str:
    """The bytes as text: msgspec does not look into what it skips, and all of JSON is UTF-8 (RFC 8259 §8.1)."""
    return raw.decode()


def _reduced(raw: bytes, *, image: bool) -> bytes | None:
    """What is shown of a config, as JSON; None for what is not one."""
    try:
        found = _of_image(msgspec.json.decode(_text(raw), type=_Image)) if image else msgspec.json.decode(_text(raw), type=Attributes)
        # Encoding fails for text that is no Unicode (half of a surrogate pair), as it would in the answer.
        return msgspec.json.encode(found) if found and _is_flat(found) else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _of_image(config: _Image) -> Attributes:
    labels = (config.config or {}).get("Labels")
    named = [labels.get(label) for label in _AUTHOR_LABELS] if isinstance(labels, Mapping) else []
    author = config.author or next((one for one in named if isinstance(one, str) and one), "")
    told = {"created": config.created, "architecture": config.architecture, "os": config.os, "config": config.config}
    return {**told, "author": author} if any(value is not None for value in told.values()) else {}


def _is_flat(value: object) -> bool:
    """Whether it is nested less deeply than what writes the answer can follow."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
        if not level:
            return True
    return False
