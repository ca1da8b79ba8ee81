"""Manifests (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting Manifests", "Deleting tags")."""

from __future__ import annotations

from roadstead.apis.distribution.agents import runs_images
from roadstead.apis.distribution.call import Call, digest_header
from roadstead.errors import ManifestTooLarge
from roadstead.oci.manifest import MANIFEST_LIMIT
from roadstead.oci.reference import TagName, parse_reference
from roadstead.serving.response import Response


async def get(call: Call) -> Response:
    """GET and HEAD: the exact bytes that were pushed, with the type they were pushed as.

    By tag, a client that only runs images may be given the image that was made of a SIF; by digest everybody is given the same.
    """
    reading = call.request.method == "GET"
    reference = parse_reference(call.value)
    by_tag = isinstance(reference, TagName)
    runs = by_tag and runs_images(call.request.header(b"user-agent"))
    row = await call.registry.manifests.get(call.actor, call.name, reference, count=reading, runs_images=runs)
    digest = row.digest.encode()
    headers = [(b"content-type", row.media_type.encode()), (b"docker-content-digest", digest), (b"etag", b'"%s"' % digest)]
    if by_tag:
        headers.append((b"vary", b"User-Agent"))
    return Response(200, headers, row.content)


async def put(call: Call) -> Response:
    """PUT: by tag, or by digest with any number of `tag` parameters."""
    reference = parse_reference(call.value)
    also_tag = [TagName.parse(value) for key, value in call.request.query() if key == "tag"]
    content = await call.request.whole_body(MANIFEST_LIMIT, ManifestTooLarge)
    content_type = call.request.header(b"content-type")
    pushed = await call.registry.manifests.put(call.actor, call.name, reference, content, content_type, also_tag)
    headers = [*call.location("manifests", pushed.digest), digest_header(pushed.digest)]
    if also_tag:
        headers += [(b"oci-tag", tag.encode()) for tag in pushed.tags]
    if pushed.subject is not None:
        headers.append((b"oci-subject", pushed.subject.encode()))
    return Response(201, headers)


async def delete(call: Call) -> Response:
    """DELETE: a digest takes the manifest and its tags, a tag takes the tag alone."""
    await call.registry.manifests.delete(call.actor, call.name, parse_reference(call.value))
    return Response(202)
