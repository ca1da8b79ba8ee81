"""Who asks the management API: Basic credentials (password, CLI secret, token, robot), a bearer token, a browser's session, or nobody."""

from __future__ import annotations

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.serving.request import Request
from roadstead.serving.response import Headers
from roadstead.serving.sessions import authenticate_browser


async def identify(access: Access, request: Request) -> tuple[Actor, Headers]:
    """The actor, and headers for the answer: a session's page is told its CSRF token.

    Raises Unauthenticated for credentials that are wrong, which are never taken for nobody's, and Denied where a browser's request changes
    something without that token; TooManyRequests.
    """
    actor, session = await authenticate_browser(access, request)
    if access.limits.active:
        access.limits.request(actor)
    return actor, session.csrf_headers() if session is not None else []
