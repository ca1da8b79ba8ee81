"""A sentence for the next page: what was done, carried over the redirect in a cookie that the next page takes away."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from roadstead.serving.request import Request
from roadstead.serving.sessions import read_cookie, set_cookie

_NAME: Final = "roadstead-flash"
_SECONDS: Final = 60
_LONGEST: Final = 500  # characters; a cookie has 4096 bytes, and each may take nine


def keep(request: Request, sentence: str) -> tuple[bytes, bytes]:
    """The header that keeps it. Nothing secret may be in it."""
    return set_cookie(request, _NAME, quote(sentence[:_LONGEST], safe=""), max_age=_SECONDS)


def kept(request: Request) -> str | None:
    """The sentence, if there is one. It is this browser's word, and only shown to it."""
    value = read_cookie(request, _NAME)
    return unquote(value)[:_LONGEST] if value else None


def forget(request: Request) -> tuple[bytes, bytes]:
    """The header that takes it away."""
    return set_cookie(request, _NAME, "", max_age=0)
