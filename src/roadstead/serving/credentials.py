"""Credentials from the Authorization header, and the actor that they prove."""

from __future__ import annotations

import base64

from roadstead.access.accounts import Accounts
from roadstead.access.actor import Actor, anonymous_from
from roadstead.errors import Unauthenticated
from roadstead.serving.request import Request


async def authenticate(accounts: Accounts, request: Request) -> Actor:
    """Who is asking; anonymous without the header. Raises Unauthenticated for credentials that are wrong or cannot be read."""
    header = request.header(b"authorization")
    if header is None:
        return anonymous_from(request.address)
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return await accounts.by_token(value.strip(), request.address)
    if scheme.lower() == "basic":
        return await accounts.by_password(*parse_basic(value), request.address)
    raise Unauthenticated("The Authorization header takes Basic or Bearer credentials.")


def parse_basic(value: str) -> tuple[str, str]:
    """User name and password of Basic credentials (RFC 7617). Raises Unauthenticated."""
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError as error:  # not ASCII, not base64, or not UTF-8 inside
        raise Unauthenticated("The Basic credentials cannot be read.") from error
    if not colon:
        raise Unauthenticated("The Basic credentials have no password.")
    if "\0" in name:
        raise Unauthenticated("The user name has a control character.")
    return name, password
