"""Pushing a file: at once (v1), by an address that is handed out (v2), or in parts (v2, above 64 MiB).

An address to upload to holds a token that is good for pushing to that one repository, because clients send no credentials there. Parts are
appended to one upload of the registry, so they come in order; nothing is an image before `_complete`, which holds the whole file against
the hash that was announced. An upload that is abandoned expires as every other does.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from roadstead.access.actor import Action
from roadstead.access.tokens import Grant
from roadstead.apis.library import names
from roadstead.apis.library.call import Call, data
from roadstead.errors import DigestMismatch, InvalidInput, ReferenceMissing, Refused, SizeMismatch, TooLarge, UploadUnknown
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.uploads import Body
from roadstead.serving.observation import UPLOADS
from roadstead.serving.response import Response

PART: Final = 64 * 1024 * 1024
"""The bytes of each part but the last."""

MOST_PARTS: Final = 100_000
_LARGEST: Final = MOST_PARTS * PART
NAMED_PARTS_LIMIT: Final = MOST_PARTS * 160
"""Bytes of a request that names all parts: each with its number and tag, for which 160 leave room."""

_NO_QUOTA: Final = {"quotaTotal": 0, "quotaUsage": 0}


class Started(msgspec.Struct, frozen=True):
    """A file that is to be uploaded; its size in bytes."""

    filesize: int = 0


class PartWanted(msgspec.Struct, frozen=True):
    """A part that comes next: its size (bytes), its number from 1, and its SHA-256 in hexadecimal."""

    uploadID: str  # noqa: N815 - the API's name
    partNumber: int  # noqa: N815 - the API's name
    partSize: int  # noqa: N815 - the API's name
    sha256sum: str = ""


class CompletedPart(msgspec.Struct, frozen=True):
    """A part that was uploaded: its number, and the tag that its upload was answered with."""

    partNumber: int  # noqa: N815 - the API's name
    token: str


class Completed(msgspec.Struct, frozen=True):
    """An upload that has all its parts."""

    uploadID: str  # noqa: N815 - the API's name
    completedParts: list[CompletedPart]  # noqa: N815 - the API's name


class Aborted(msgspec.Struct, frozen=True):
    """An upload that is given up."""

    uploadID: str  # noqa: N815 - the API's name


async def push(call: Call) -> Response:
    """POST /v1/imagefile/ID: the whole file in the request."""
    name, file = names.parse_image_id(call.value)
    await _receive(call, name, file)
    await call.registry.sifs.record(call.actor, name, file)
    return data({})


async def offer(call: Call) -> Response:
    """POST /v2/imagefile/ID: where to put the file."""
    name, _ = names.parse_image_id(call.value)
    await _require_room(call, name, await _announced_size(call))
    return data({"uploadURL": await _address(call, name, "_content")})


async def put(call: Call) -> Response:
    """PUT at that address: the bytes."""
    name, file = names.parse_image_id(call.value)
    await _receive(call, name, file)
    return Response(200, [(b"etag", f'"{file.encoded}"'.encode())])


async def complete(call: Call) -> Response:
    """PUT /v2/imagefile/ID/_complete: the file is there, make it an image."""
    name, file = names.parse_image_id(call.value)
    await call.registry.sifs.record(call.actor, name, file)
    return data(await _report(call, name))


async def start_parts(call: Call) -> Response:
    """POST /v2/imagefile/ID/_multipart: begin to upload in parts."""
    name, file = names.parse_image_id(call.value)
    size = await _announced_size(call)
    parts = -(-size // PART)
    await _require_room(call, name, size)
    upload = await call.registry.uploads.start(call.actor, name, file.algorithm)
    return data({"uploadID": upload.token, "totalParts": parts, "partSize": PART, "options": {"s3compliant": "true"}})


async def offer_part(call: Call) -> Response:
    """PUT /v2/imagefile/ID/_multipart: where to put the next part."""
    name, _ = names.parse_image_id(call.value)
    part = await call.body(PartWanted)
    _require_part(part.partNumber, part.partSize)
    named = {"upload": part.uploadID, "part": part.partNumber, "size": part.partSize, "sha256": part.sha256sum}
    return data({"presignedURL": await _address(call, name, "_part", **named)})


async def put_part(call: Call) -> Response:
    """PUT at that address: the bytes of the part, which must be the next; one whose hash is wrong ends the whole upload."""
    name, _ = names.parse_image_id(call.value)
    token, number, size = call.asked("upload") or "", _number(call, "part"), _number(call, "size")
    _require_part(number, size)
    length = call.request.content_length
    if length is not None and length != size:
        raise SizeMismatch(f"Part {number} was announced with {size} bytes, and comes with {length}.")
    counted = hashlib.sha256()
    with UPLOADS.track_inprogress():
        body = Body(_hashed(call.request.body(), counted), size, (number - 1) * PART)
        await call.registry.uploads.write(call.actor, name, token, body)
    expected = call.asked("sha256")
    if expected is not None and expected != counted.hexdigest():
        await call.registry.uploads.cancel(call.actor, name, token)
        raise DigestMismatch(f"Part {number} does not have the hash that was announced for it; the upload has been given up.")
    return Response(200, [(b"etag", f'"{counted.hexdigest()}"'.encode())])


async def complete_parts(call: Call) -> Response:
    """PUT /v2/imagefile/ID/_multipart_complete: all parts are there, hold them against the hash and make them an image.

    Asked again after it was done, it answers the same; after only the first half was, it does the rest.
    """
    name, file = names.parse_image_id(call.value)
    await call.registry.repositories.locate(call.actor, name, Action.PUSH)  # before so much is read
    completed = await call.body(Completed, NAMED_PARTS_LIMIT)
    if await call.registry.sifs.announce(call.actor, name, file) is None:
        await _finish(call, name, file, completed)
    return data(await _report(call, name))


async def _finish(call: Call, name: RepositoryName, file: Digest, completed: Completed) -> None:
    """Close the upload, unless it was closed before, and make the file an image."""
    gone: UploadUnknown | None = None
    try:
        await _join(call, name, file, completed)
    except UploadUnknown as error:
        gone = error
    try:
        await call.registry.sifs.record(call.actor, name, file)
    except ReferenceMissing as missing:
        raise gone or missing from None


async def _join(call: Call, name: RepositoryName, file: Digest, completed: Completed) -> None:
    """Close the upload. What is not whole stays as it is, so that the missing part can still come."""
    upload = await call.registry.uploads.status(call.actor, name, completed.uploadID)
    named = [part.partNumber for part in completed.completedParts]
    if named != list(range(1, -(-upload.offset // PART) + 1)):
        raise InvalidInput(f"The parts that were uploaded are 1 to {-(-upload.offset // PART)}, and others were named as complete.")
    await call.registry.uploads.finish(call.actor, name, completed.uploadID, file, Body(_nothing(), 0, upload.offset))


async def abort_parts(call: Call) -> Response:
    """PUT /v2/imagefile/ID/_multipart_abort: give the upload up."""
    name, _ = names.parse_image_id(call.value)
    await call.registry.uploads.cancel(call.actor, name, (await call.body(Aborted)).uploadID)
    return data({})


async def _receive(call: Call, name: RepositoryName, file: Digest) -> None:
    request = call.request
    with UPLOADS.track_inprogress():
        await call.registry.uploads.push(call.actor, name, file, Body(request.body(), request.content_length))


async def _address(call: Call, name: RepositoryName, action: str, **query: object) -> str:
    """Where to put bytes: with a token that is good for pushing to this repository alone, if the caller may."""
    await call.registry.repositories.locate(call.actor, name, Action.PUSH)
    token = await call.access.accounts.issue(call.actor, [Grant("repository", name, (Action.PUSH.value,))])
    return f"{call.url(f'/v2/imagefile/{call.value}/{action}')}?{urlencode({**query, 'token': token})}"


async def _require_room(call: Call, name: RepositoryName, size: int) -> None:
    """Refuse what does not fit here and now: where the bytes go, clients show the status of a refusal and not its reason."""
    place = await call.registry.repositories.locate(call.actor, name, Action.PUSH)
    await call.registry.quotas.require_room(place, size)


async def _report(call: Call, name: RepositoryName) -> dict[str, Any]:
    """What clients print after a push: how full the project is, for those who may know."""
    report = {"quota": _NO_QUOTA, "containerUrl": f"/{name}"}
    try:
        row = await call.registry.quotas.get(call.actor, name.project)
    except Refused:
        return report
    return {**report, "quota": {"quotaTotal": max(row.limit or 0, 0), "quotaUsage": row.stored}}


async def _announced_size(call: Call) -> int:
    """The bytes of the file that a client is going to upload. Raises InvalidInput, TooLarge."""
    size = (await call.body(Started)).filesize
    if size < 1:
        raise InvalidInput("The size of the file is a number of bytes from 1.")
    if size > _LARGEST:
        raise TooLarge
    return size


def _require_part(number: int, size: int) -> None:
    if not (0 < number <= MOST_PARTS and 0 < size <= PART):
        raise InvalidInput(f"Parts count from 1 to {MOST_PARTS}, and have 1 to {PART} bytes.")


def _number(call: Call, field: str) -> int:
    text = call.asked(field) or ""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInput(f"The {field!r} of this address is not a number: use addresses as they were given.")
    return int(text)


async def _hashed(chunks: AsyncIterator[bytes], counted: hashlib._Hash) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        counted.update(chunk)
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
