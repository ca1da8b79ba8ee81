"""How clients come to trust the authority of `ROADSTEAD_TLS=self`: `/ca.crt`, `/trust.sh` that sets a machine up, `/trust` that explains.

All three are public, and carry nothing that is secret. Host names reach the script and the page only when the certificate is for them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.serving.front import Door
from roadstead.serving.request import Request
from roadstead.serving.response import Headers, Response, text_error, text_response
from roadstead.serving.tls import Source, authority_name, covers, fingerprint
from roadstead.serving.tls_authority import SelfSigned, load_certificate

_PATHS: Final = ("ca.crt", "trust.sh", "trust")
_SAFE_HOST: Final = re.compile(r"[a-z0-9._:\[\]-]+")
# What browsers and systems take for an authority's certificate, in DER or PEM.
_CERTIFICATE_TYPE: Final = b"application/x-x509-ca-cert"
# The answer depends on the Host header, and must not be given to somebody who used another.
_HEADERS: Final[Headers] = [(b"cache-control", b"no-store"), (b"vary", b"host"), (b"x-content-type-options", b"nosniff")]
_NONE: Final = (
    "This registry has no certificate authority of its own (that would be ROADSTEAD_TLS=self). If your client does not trust its "
    "certificate, ask the administrator which authority signed it."
)


def trust_doors(source: Source | None) -> Mapping[str, Door]:
    """The doors by the first component of their paths; they are there, to explain, for every kind of TLS and for none."""
    door = TrustDoor(source if isinstance(source, SelfSigned) else None)
    return dict.fromkeys(_PATHS, door)


class TrustDoor:
    """See the module's docstring. Answers GET and HEAD."""

    def __init__(self, source: SelfSigned | None) -> None:
        self._source = source

    async def handle(self, request: Request) -> Response:
        """Raises NotFound where there is no such authority. 400 for a Host that is none, 421 for one that the certificate is not for."""
        if request.path[1:] not in _PATHS:
            return text_response(404, "Ask /trust, /trust.sh or /ca.crt.")
        request.route = "trust"
        if request.method not in ("GET", "HEAD"):
            return Response(405, [(b"allow", b"GET, HEAD")])
        if self._source is None:
            raise NotFound(_NONE)
        certificate = await asyncio.to_thread(load_certificate, self._source.directory)
        if request.path == "/ca.crt":
            return _answer(_CERTIFICATE_TYPE, _pem(certificate))
        return await self._for_host(request, self._source, certificate)

    async def _for_host(self, request: Request, source: SelfSigned, certificate: x509.Certificate) -> Response:
        host = request.base_url.partition("://")[2].lower()
        request.require_host()
        try:
            name = authority_name(host)
        except ValueError:
            raise InvalidInput("The Host header of this request is not the name of a host.") from None
        names = await asyncio.to_thread(source.names)
        if not covers(names, name):
            return text_response(421, f"The certificate of this registry is not for that name, but for {', '.join(names)}.")
        if request.path == "/trust.sh":
            return _answer(b"text/x-shellscript; charset=utf-8", script(host, certificate).encode())
        policy = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
        return _answer(b"text/html; charset=utf-8", page(host, certificate).encode(), [policy])

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """A line of text."""
        if isinstance(error, NotFound):
            return text_response(404, error.message)
        if isinstance(error, InvalidInput):
            return text_error(error, request.id)
        return text_response(500, f"The registry's authority cannot be read; its log says why. (request {request.id})")


def script(host: str, certificate: x509.Certificate) -> str:
    """The script `trust.sh` for clients that call the registry `host` (with its port, if that is not 443)."""
    return _filled("trust.sh", host, certificate)


def page(host: str, certificate: x509.Certificate) -> str:
    """The page `/trust`, HTML that needs nothing else."""
    return _filled("trust.html", host, certificate)


def _filled(template: str, host: str, certificate: x509.Certificate) -> str:
    """A file of this package with its `@WORDS@` replaced."""
    assert _SAFE_HOST.fullmatch(host), "a host that was not checked must never stand in a shell script or a page"
    values = {
        "HOST": host,
        "NAME": re.sub(r"[:\[\]]+", "_", host),
        "FINGERPRINT": fingerprint(certificate),
        "UNTIL": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        "CERTIFICATE": _pem(certificate).decode().strip(),
    }
    text = resources.files("roadstead.serving").joinpath(template).read_text()
    return re.sub("@([A-Z]+)@", lambda found: values[found[1]], text)


def _answer(content_type: bytes, body: bytes, headers: Headers | None = None) -> Response:
    return Response(200, [(b"content-type", content_type), *_HEADERS, *(headers or [])], body)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
