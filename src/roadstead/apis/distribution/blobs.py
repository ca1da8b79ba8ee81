"""Blobs (distribution-spec, "Pulling blobs", "Deleting Blobs")."""

from __future__ import annotations

from typing import Final

from roadstead.apis.distribution.call import Call, digest_header
from roadstead.errors import RangeNotSatisfiable
from roadstead.oci.content_range import parse_byte_ranges
from roadstead.oci.digest import Digest
from roadstead.registry.seams import OpenBlob
from roadstead.serving.response import Headers, Response, content_response

_BINARY: Final = (b"content-type", b"application/octet-stream")
_RANGES: Final = (b"accept-ranges", b"bytes")
_CACHE: Final = (b"cache-control", b"private, max-age=31536000, immutable")


async def get(call: Call) -> Response:
    """GET: all of the blob, or the range asked for (RFC 9110 §14), or a redirect to the object store."""
    digest = Digest.parse(call.value)
    wanted = call.request.header(b"range")

    def span_of(size: int) -> tuple[int, int] | None:
        return parse_byte_ranges(wanted, size) if wanted else None

    opened = await call.registry.blobs.open(call.actor, call.name, digest, span_of)
    return content_response(206 if opened.span else 200, _headers(digest, opened), opened.content)


def _headers(digest: Digest, opened: OpenBlob) -> Headers:
    headers = [_BINARY, digest_header(digest), _RANGES, _CACHE, (b"etag", b'"%s"' % digest.encode())]
    if opened.span is not None:
        first, last = opened.span.start, opened.span.start + opened.span.length - 1
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, opened.size)))
    return headers


async def head(call: Call) -> Response:
    """HEAD: whether the blob is here, and how long it is."""
    digest = Digest.parse(call.value)
    size = await call.registry.blobs.size(call.actor, call.name, digest)
    headers = [_BINARY, digest_header(digest), _RANGES, _CACHE, (b"etag", b'"%s"' % digest.encode())]
    return Response(200, [*headers, (b"content-length", b"%d" % size)])


async def delete(call: Call) -> Response:
    """DELETE: 202, and the blob is not in this repository any more."""
    await call.registry.blobs.delete(call.actor, call.name, Digest.parse(call.value))
    return Response(202)


def unsatisfiable(error: RangeNotSatisfiable) -> Headers:
    """What a 416 to a GET says of the size (RFC 9110 §15.5.17)."""
    size = error.detail.get("size")
    return [] if size is None else [(b"content-range", f"bytes */{size}".encode())]
