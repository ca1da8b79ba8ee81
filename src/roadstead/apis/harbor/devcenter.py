"""`/devcenter`: a page that shows the OpenAPI description and lets requests be tried. It loads nothing from anywhere else."""

from __future__ import annotations

from importlib import resources
from typing import Final

from roadstead.errors import RoadsteadError
from roadstead.serving.request import Request
from roadstead.serving.response import Headers, Response, text_error, text_response

_FILES: Final = {
    "/devcenter": ("devcenter.html", b"text/html; charset=utf-8"),
    "/devcenter/": ("devcenter.html", b"text/html; charset=utf-8"),
    "/devcenter/page.js": ("devcenter.js", b"text/javascript; charset=utf-8"),
    "/devcenter/page.css": ("devcenter.css", b"text/css; charset=utf-8"),
}
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
_HEADERS: Final[Headers] = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


class DevCenterDoor:
    """See the module's docstring. Answers GET and HEAD; the page is public, as the description is: neither tells anything of this site."""

    async def handle(self, request: Request) -> Response:
        """One of the page's files."""
        request.route = "devcenter"
        if request.path not in _FILES:
            return text_response(404, "Ask /devcenter.")
        if request.method not in ("GET", "HEAD"):
            return Response(405, [(b"allow", b"GET, HEAD")])
        name, content_type = _FILES[request.path]
        body = resources.files("roadstead.apis.harbor").joinpath(name).read_bytes()
        return Response(200, [(b"content-type", content_type), *_HEADERS], body)

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A line of text."""
        return text_error(error, request.id)
