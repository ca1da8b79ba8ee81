"""The token endpoint, `/service/token` (Docker token specification; OAuth2 form by POST)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from roadstead.access.accounts import Accounts
from roadstead.access.actor import Actor
from roadstead.access.tokens import LIFETIME_SECONDS, SERVICE, Grant, parse_scope
from roadstead.apis.distribution import errors
from roadstead.errors import InvalidInput, NotFound, RoadsteadError, Unauthenticated
from roadstead.serving.credentials import authenticate
from roadstead.serving.request import Request, parse_fields
from roadstead.serving.response import Response, json_response

_FORM_LIMIT: Final = 64 * 1024
_SCOPES_LIMIT: Final = 100


class TokenDoor:
    """GET with Basic credentials or none; POST with a form of grant_type=password."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def handle(self, request: Request) -> Response:
        """Answer with a token for what the caller may do of what it asks."""
        if request.path != "/service/token":
            raise NotFound("Ask for tokens at /service/token.")
        request.route = "token"
        if request.method == "GET":
            return await self._issue(await authenticate(self._accounts, request), request.query())
        if request.method == "POST":
            return await self._post(request)
        raise InvalidInput("Ask for tokens by GET or POST.")

    async def _post(self, request: Request) -> Response:
        """OAuth2 (RFC 6749 §4.3). Refresh tokens are not issued, so none is accepted."""
        body = await request.whole_body(_FORM_LIMIT)
        form = parse_fields(body, "The form")
        fields = dict(form)
        if fields.get("grant_type") != "password":
            raise Unauthenticated("The grant_type must be 'password'.")
        actor = await self._accounts.by_password(fields.get("username", ""), fields.get("password", ""))
        return await self._issue(actor, form)

    async def _issue(self, actor: Actor, query: list[tuple[str, str]]) -> Response:
        wanted: list[Grant] = []
        for key, value in query:
            if key == "scope":
                wanted += parse_scope(value)
        token = await self._accounts.issue(actor, wanted[:_SCOPES_LIMIT])
        issued_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = {"token": token, "access_token": token, "expires_in": LIFETIME_SECONDS, "issued_at": issued_at}
        return json_response(200, answer, [(b"cache-control", b"no-store")])

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """The distribution API's error body; a 401 asks for Basic credentials."""
        response = errors.render(error, request.id)
        if response.status == 401:
            response.headers.append((b"www-authenticate", b'Basic realm="%s"' % SERVICE.encode()))
        return response
