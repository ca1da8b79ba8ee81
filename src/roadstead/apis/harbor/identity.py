"""Who asks the management API: Basic credentials (password, CLI secret, token, robot), a bearer token, or nobody."""

from __future__ import annotations

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.serving.credentials import authenticate
from roadstead.serving.request import Request


async def identify(access: Access, request: Request) -> Actor:
    """The actor. Raises Unauthenticated for credentials that are wrong: they are never taken for nobody's."""
    return await authenticate(access.accounts, request)
