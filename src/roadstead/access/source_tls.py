"""Whether a login source may be trusted on the way, and in plain words why it cannot be reached."""

from __future__ import annotations

import ssl


def tls_context(verify: bool, ca: str) -> ssl.SSLContext:
    """How to verify a source's certificate: by the PEM certificates `ca`, or the system's authorities; without `verify`, not at all."""
    context = ssl.create_default_context(cadata=ca or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def trouble(error: BaseException) -> str:
    """Why there is no connection, to follow the source's name; a certificate that is not trusted is told from a host that is not there."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has a certificate that is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"does not speak TLS as we do: {cause.reason or cause}"
        cause = cause.__cause__ or cause.__context__
    return f"cannot be reached: {error}"
