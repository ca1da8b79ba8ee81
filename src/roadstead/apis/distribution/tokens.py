"""The token endpoint, `/service/token` (Docker token specification; OAuth2 form by POST), and `/service/jwks.json`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from roadstead.access.accounts import Accounts
from roadstead.access.actor import Actor
from roadstead.access.limits import RateLimits
from roadstead.access.tokens import LIFETIME_SECONDS, SERVICE, Grant, parse_scope
from roadstead.apis.distribution import errors
from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.serving.credentials import authenticate
from roadstead.serving.request import Request, parse_fields
from roadstead.serving.response import Response, json_response

_FORM_LIMIT: Final = 64 * 1024
_SCOPES_LIMIT: Final = 100


class TokenDoor:
    """GET with Basic credentials or none; POST with a form, by password or by refresh token; and the keys that verify tokens."""

    def __init__(self, accounts: Accounts, limits: RateLimits) -> None:
        self._accounts = accounts
        self._limits = limits

    async def handle(self, request: Request) -> Response:
        """Answer with a token for what the caller may do of what it asks."""
        request.route = "token"
        if request.path == "/service/jwks.json" and request.method == "GET":
            return json_response(200, await self._accounts.signing_keys.jwks())
        if request.path != "/service/token":
            raise NotFound("Ask for tokens at /service/token, for the keys that verify them at /service/jwks.json.")
        if request.method == "GET":
            return await self._get(request)
        if request.method == "POST":
            return await self._post(request)
        raise InvalidInput("Ask for tokens by GET or POST.")

    async def _get(self, request: Request) -> Response:
        """Docker token specification; `offline_token=true` asks for a refresh token too."""
        query = request.query()
        fields = dict(query)
        actor = await authenticate(self._accounts, request)
        refresh = None
        if fields.get("offline_token") == "true":
            refresh = await self._accounts.issue_refresh_token(actor, fields.get("client_id", ""))
        return await self._issue(actor, query, refresh)

    async def _post(self, request: Request) -> Response:
        """OAuth2 (RFC 6749 §4.3, §6); `access_type=offline` asks for a refresh token too."""
        body = await request.whole_body(_FORM_LIMIT)
        form = parse_fields(body, "The form")
        fields = dict(form)
        if fields.get("grant_type") == "refresh_token":
            refresh = fields.get("refresh_token", "")
            return await self._issue(await self._accounts.by_refresh_token(refresh, request.address), form, refresh)
        if fields.get("grant_type") != "password":
            raise InvalidInput("The grant_type must be 'password' or 'refresh_token'.")
        actor = await self._accounts.by_password(fields.get("username", ""), fields.get("password", ""), request.address)
        offline = fields.get("access_type") == "offline"
        return await self._issue(
            actor, form, await self._accounts.issue_refresh_token(actor, fields.get("client_id", "")) if offline else None
        )

    async def _issue(self, actor: Actor, query: list[tuple[str, str]], refresh: str | None) -> Response:
        if dict(query).get("service", SERVICE) != SERVICE:
            raise InvalidInput(f"This server issues tokens for the service {SERVICE!r} only.")
        wanted: list[Grant] = []
        for key, value in query:
            if key == "scope":
                wanted += parse_scope(value)
        if self._limits.active:
            self._limits.request(actor)
        token = await self._accounts.issue(actor, wanted[:_SCOPES_LIMIT])
        issued_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        answer = {"token": token, "access_token": token, "expires_in": LIFETIME_SECONDS, "issued_at": issued_at}
        if refresh is not None:
            answer["refresh_token"] = refresh
        return json_response(200, answer, [(b"cache-control", b"no-store")])

    def render(self, error: RoadsteadError, request: Request) -> Response:
        """The distribution API's error body; a 401 asks for Basic credentials."""
        response = errors.render(error, request.id)
        if response.status == 401:
            response.headers.append((b"www-authenticate", b'Basic realm="%s"' % SERVICE.encode()))
        return response
