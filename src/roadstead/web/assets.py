"""`/static/`: the files that pages load, each by a name that changes with its bytes, so that browsers keep it for ever."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from typing import Final

import msgspec

from roadstead.errors import NotFound
from roadstead.serving.request import Request
from roadstead.serving.response import Headers, Response

BASE: Final = "/static/"
_TYPES: Final = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
    "txt": b"text/plain; charset=utf-8",
}
_HEADERS: Final[Headers] = [
    (b"cache-control", b"public, max-age=31536000, immutable"),
    (b"x-content-type-options", b"nosniff"),
    (b"vary", b"accept-encoding"),
]


class Asset(msgspec.Struct, frozen=True):
    """One file, and the same packed with gzip."""

    content_type: bytes
    body: bytes
    packed: bytes


class Assets:
    """All files of `static/`, in memory: they are few and small."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._files: dict[str, Asset] = {}
        for file in resources.files("roadstead.web").joinpath("static").iterdir():
            stem, _, ending = file.name.rpartition(".")
            if ending in _TYPES:
                body = file.read_bytes()
                named = f"{stem}.{hashlib.sha256(body).hexdigest()[:16]}.{ending}"
                self._names[file.name] = f"{BASE}{named}"
                self._files[f"{BASE}{named}"] = Asset(_TYPES[ending], body, gzip.compress(body, mtime=0))

    def address(self, name: str) -> str:
        """Where a file of `static/` is served; KeyError for what is none, which is a mistake in a template."""
        return self._names[name]

    def answer(self, request: Request) -> Response:
        """One file. Raises NotFound, also for a name of yesterday's bytes."""
        found = self._files.get(request.path)
        if found is None:
            raise NotFound("There is no such file.")
        if request.method not in ("GET", "HEAD"):
            return Response(405, [(b"allow", b"GET, HEAD")])
        headers = [(b"content-type", found.content_type), *_HEADERS]
        if "gzip" in (request.header(b"accept-encoding") or ""):
            return Response(200, [*headers, (b"content-encoding", b"gzip")], found.packed)
        return Response(200, headers, found.body)
