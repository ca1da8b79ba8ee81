"""Uploads (distribution-spec, "Pushing blobs", "Mounting a blob from another repository", "Cancel a blob upload")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from roadstead.apis.distribution.call import Call, digest_header
from roadstead.errors import InvalidDigest, RoadsteadError, SizeMismatch, UnsupportedAlgorithm
from roadstead.oci.content_range import parse_chunk_range
from roadstead.oci.digest import ALGORITHMS, Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.uploads import Body, Upload
from roadstead.serving.observation import UPLOADS
from roadstead.serving.response import Headers, Response

_EMPTY: Final = (b"content-length", b"0")


async def start(call: Call) -> Response:
    """POST: begin an upload; or mount; or take the whole blob at once."""
    query = dict(call.request.query())
    if "mount" in query and await _mounted(call, query):
        return _created(call, Digest.parse(query["mount"]))
    if "digest" in query and "mount" not in query:
        digest = Digest.parse(query["digest"])
        with UPLOADS.track_inprogress():
            await call.registry.uploads.push(call.actor, call.name, digest, _body(call))
        return _created(call, digest)
    algorithm = query.get("digest-algorithm", "sha256")
    if algorithm not in ALGORITHMS:
        raise UnsupportedAlgorithm
    return _standing(call, 202, await call.registry.uploads.start(call.actor, call.name, algorithm))


async def _mounted(call: Call, query: Mapping[str, str]) -> bool:
    """Whether the mount was done; a source that cannot be read is like one that is not there ("SHOULD return a 202")."""
    digest = Digest.parse(query["mount"])
    source = None
    if "from" in query:
        try:
            source = RepositoryName.parse(query["from"])
        except RoadsteadError:
            return False
    return await call.registry.blobs.mount(call.actor, call.name, digest, source)


async def status(call: Call) -> Response:
    """GET: where the upload stands."""
    return _standing(call, 204, await call.registry.uploads.status(call.actor, call.name, call.value))


async def write(call: Call) -> Response:
    """PATCH: append a chunk, or a whole stream."""
    with UPLOADS.track_inprogress():
        return _standing(call, 202, await call.registry.uploads.write(call.actor, call.name, call.value, _body(call)))


async def finish(call: Call) -> Response:
    """PUT: append what is left and close the upload with its digest."""
    text = dict(call.request.query()).get("digest")
    if text is None:
        raise InvalidDigest("The closing PUT needs the digest of the whole blob: ?digest=sha256:….")
    digest = Digest.parse(text)
    with UPLOADS.track_inprogress():
        await call.registry.uploads.finish(call.actor, call.name, call.value, digest, _body(call))
    return _created(call, digest)


async def cancel(call: Call) -> Response:
    """DELETE: give the upload up."""
    await call.registry.uploads.cancel(call.actor, call.name, call.value)
    return Response(204)


def _body(call: Call) -> Body:
    """The request's bytes; a Content-Range says where they belong and how many they are. Raises InvalidRange, SizeMismatch."""
    request = call.request
    length, start = request.content_length, None
    if (header := request.header(b"content-range")) is not None:
        start, last = parse_chunk_range(header)
        announced = last - start + 1
        if length is not None and length != announced:
            raise SizeMismatch(f"Content-Range announces {announced} bytes, but Content-Length {length}.")
        length = announced
    return Body(request.body(), length, start)


def _created(call: Call, digest: Digest) -> Response:
    return Response(201, [*call.location("blobs", digest), digest_header(digest), _EMPTY])


def _standing(call: Call, status: int, upload: Upload) -> Response:
    headers: Headers = [*call.location("blobs/uploads", upload.token), (b"range", b"0-%d" % max(upload.offset - 1, 0))]
    headers.append((b"docker-upload-uuid", upload.token.encode()))
    return Response(status, headers)
