"""The door at `/sif/`: a SIF as a file, with ranges, named by tag or digest and ending in `.sif`.

    /sif/PROJECT/PATH/TAG.sif                  what oras://HOST/PROJECT/PATH:TAG.sif is: a SIF itself, or the one made of an image
    /sif/PROJECT/PATH/sha256:….sif             by the digest of a SIF's manifest, or of the file
    …?platform=linux/arm64                     of an index the one for that platform

Who may is asked as everywhere. The challenge is Basic: it is what wget, curl and browsers answer by themselves.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

import msgspec

from roadstead.access.access import Access
from roadstead.access.actor import Action, Actor
from roadstead.apis.download import errors
from roadstead.errors import InvalidInput, NotFound, RangeNotSatisfiable, RoadsteadError, Unauthenticated
from roadstead.oci.content_range import parse_byte_ranges
from roadstead.oci.digest import Digest
from roadstead.oci.media_type import SIF_LAYER
from roadstead.oci.reference import Reference, RepositoryName, parse_reference
from roadstead.registry.registry import Registry
from roadstead.registry.sifs import SifImage
from roadstead.serving.errors import MethodNotAllowed
from roadstead.serving.request import Request
from roadstead.serving.response import Headers, Response, content_response
from roadstead.serving.sessions import authenticate_browser

_BASE: Final = "/sif/"
_SUFFIX: Final = ".sif"
_WHOLE: Final = ("", "bytes=0-")  # ranges that begin a download, rather than go on with one


class Wanted(msgspec.Struct, frozen=True):
    """The file that an address names. `architecture` is None where any will do."""

    name: RepositoryName
    reference: Reference
    architecture: str | None

    @property
    def file_name(self) -> str:
        """As `apptainer pull` would call it."""
        return f"{self.name.rpartition('/')[2]}_{str(self.reference).replace(':', '.')}{_SUFFIX}"


class DownloadDoor:
    """See the module's docstring."""

    def __init__(self, access: Access, registry: Registry) -> None:
        self._access = access
        self._registry = registry

    async def handle(self, request: Request) -> Response:
        """Answer one download."""
        request.route = "download"
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("This address is for downloads: it takes GET and HEAD.")
        wanted = parse(request)
        actor, _ = await authenticate_browser(self._access, request)
        if self._access.limits.active:
            self._access.limits.request(actor)
            await self._require_standing(actor, wanted)
        # Who goes on with a download has been counted when it began.
        begins = request.method == "GET" and (request.header(b"range") or "") in _WHOLE
        found = await self._registry.sifs.download(actor, wanted.name, wanted.reference, wanted.architecture, count=begins)
        if begins and self._access.limits.active:
            self._access.limits.pulled(actor, wanted.name.project)
        return await self._answer(request, actor, wanted, found)

    async def _require_standing(self, actor: Actor, wanted: Wanted) -> None:
        """Return unless the project's limit of pulls is reached. Raises TooManyRequests."""
        standing = await self._access.limits.standing(actor, wanted.name.project)
        if standing is not None and not standing.remaining:
            # Whether a project has been pulled from often is told only to those who may pull from it.
            await self._registry.repositories.locate(actor, wanted.name, Action.PULL)
            raise self._access.limits.refusal(standing)

    async def _answer(self, request: Request, actor: Actor, wanted: Wanted, found: SifImage) -> Response:
        headers = _headers(wanted, found)
        tag = _etag(found)
        if tag in [part.strip().removeprefix("W/") for part in (request.header(b"if-none-match") or "").split(",")]:
            return Response(304, headers)
        if request.method == "HEAD":
            size = await self._registry.blobs.size(actor, found.name, found.file)
            return Response(200, [*headers, (b"content-length", b"%d" % size)])
        ranges = request.header(b"range") if request.header(b"if-range") in (None, tag) else None

        def span_of(size: int) -> tuple[int, int] | None:
            return parse_byte_ranges(ranges, size) if ranges else None

        opened = await self._registry.blobs.open(actor, found.name, found.file, span_of)
        if opened.span is None:
            return content_response(200, headers, opened.content)
        first, last = opened.span.start, opened.span.start + opened.span.length - 1
        return content_response(206, [*headers, (b"content-range", b"bytes %d-%d/%d" % (first, last, opened.size))], opened.content)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A line of text, with the headers that belong to the status."""
        response = errors.render(error, request.id)
        if isinstance(error, MethodNotAllowed):
            response.status = 405
            response.headers.append((b"allow", b"GET, HEAD"))
        elif isinstance(error, Unauthenticated):
            response.headers.append((b"www-authenticate", b'Basic realm="registry", charset="UTF-8"'))
        elif isinstance(error, RangeNotSatisfiable) and "size" in error.detail:
            response.headers.append((b"content-range", f"bytes */{error.detail['size']}".encode()))
        return response


def parse(request: Request) -> Wanted:
    """Read the address. Raises NotFound where it is not of that form, and InvalidInput for what is not valid in it."""
    path, _, file = request.path.removeprefix(_BASE).rpartition("/")
    file = unquote(file)
    if not path or not file.endswith(_SUFFIX) or not request.path.startswith(_BASE):
        raise NotFound("There is no such file: a download is /sif/PROJECT/PATH/TAG.sif.")
    return Wanted(RepositoryName.parse(path), parse_reference(file.removesuffix(_SUFFIX)), _architecture(request))


def _architecture(request: Request) -> str | None:
    """The architecture of `?platform=linux/arm64`; its system may be left out, and a variant is no matter to a SIF. Raises InvalidInput."""
    asked = dict(request.query()).get("platform")
    if not asked:
        return None
    system, slash, rest = asked.partition("/")
    architecture = rest.partition("/")[0] if slash else system
    if (slash and system != "linux") or not architecture:
        raise InvalidInput(f"The platform {asked[:80]!r} is none of a SIF: write linux/ and the architecture, as in linux/arm64.")
    return architecture


def _etag(found: SifImage) -> str:
    return f'"{found.file}"'


def _headers(wanted: Wanted, found: SifImage) -> Headers:
    pinned = isinstance(wanted.reference, Digest) and wanted.architecture is None
    return [
        (b"content-type", SIF_LAYER.encode()),
        (b"content-disposition", f'attachment; filename="{wanted.file_name}"'.encode()),
        (b"accept-ranges", b"bytes"),
        (b"etag", _etag(found).encode()),
        (b"docker-content-digest", found.file.encode()),
        (b"cache-control", b"private, max-age=31536000, immutable" if pinned else b"private, no-cache"),
    ]
