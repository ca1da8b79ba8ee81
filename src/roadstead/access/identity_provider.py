"""One OpenID provider: authorization code with PKCE, and the id token checked in full (OpenID Connect Core 1.0 §3.1).

Discovery and keys are fetched at every login: browsers log in seldom, and what is not kept cannot be stale.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx2
import msgspec
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from roadstead.access.clock import Clock
from roadstead.access.person import Person, Step
from roadstead.access.source_settings import OidcSettings
from roadstead.access.source_tls import tls_context, trouble
from roadstead.errors import Denied, SourceFailed, Unauthenticated

ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
"""Signatures that are accepted: those that only the provider can make. Never "none", and none by the shared client secret."""

_CLOCK_SKEW_SECONDS: Final = 60
_DISCOVERY: Final = "/.well-known/openid-configuration"
_NEEDED: Final = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class Handshake(msgspec.Struct, frozen=True):
    """What must be the same when the browser comes back."""

    redirect_uri: str
    state: str
    nonce: str
    verifier: str


class IdentityProvider:
    """See the module's docstring. Raises SourceFailed where the provider fails, Unauthenticated where its answer proves nothing."""

    def __init__(self, name: str, settings: OidcSettings, secret: str, clock: Clock) -> None:
        self._name = name
        self.settings = settings
        self._secret = secret
        self._clock = clock

    async def begin(self, redirect_uri: str) -> tuple[str, Handshake]:
        """Where to send the browser, and what to keep until it comes back to `redirect_uri`."""
        handshake = Handshake(redirect_uri, secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))
        async with self._client() as client:
            metadata = await self._discover(client)
            url, _state = client.create_authorization_url(
                metadata["authorization_endpoint"],
                redirect_uri=redirect_uri,
                scope=" ".join(self.settings.scopes),
                state=handshake.state,
                nonce=handshake.nonce,
                code_verifier=handshake.verifier,
            )
        return str(url), handshake

    async def finish(self, handshake: Handshake, query: Mapping[str, str]) -> Person:
        """Who came back, by the parameters of the address that the browser was sent back to."""
        if not hmac.compare_digest(query.get("state", "").encode(), handshake.state.encode()):
            raise Unauthenticated("This login was not begun in this browser, or another was begun since; begin it again.")
        if "error" in query:
            raise Unauthenticated(f"{self._name} did not let you in: {query.get('error_description') or query['error']}.")
        async with self._client() as client:
            metadata = await self._discover(client)
            self._require_issuer(metadata, query)
            token = await self._redeem(client, metadata, handshake, query.get("code", ""))
            claims = await self._verified(client, metadata, handshake, token)
            return self._person(await self._filled_in(client, metadata, claims))

    async def check(self) -> list[Step]:
        """Try what can be tried without a person: discovery, and the keys."""
        steps: list[Step] = []
        try:
            async with self._client() as client:
                metadata = await self._discover(client)
                steps.append(Step("discovery", True, f"{self.settings.issuer} says where to log in."))
                keys = (await self._json(client, metadata["jwks_uri"])).get("keys") or []
                steps.append(Step("keys", bool(keys), f"It publishes {len(keys)} keys." if keys else "It publishes no keys."))
        except SourceFailed as error:
            steps.append(Step("keys" if steps else "discovery", False, error.message))
        return steps

    def _client(self) -> Any:
        return AsyncOAuth2Client(
            self.settings.client_id,
            self._secret or None,
            code_challenge_method="S256",
            verify=tls_context(self.settings.verify, self.settings.ca),
            timeout=self.settings.timeout_seconds,
        )

    async def _discover(self, client: Any) -> dict[str, Any]:
        """What the provider says of itself, which must be about the issuer that was set up (OpenID Connect Discovery 1.0 §4.3)."""
        metadata = await self._json(client, self.settings.issuer.rstrip("/") + _DISCOVERY)
        if metadata.get("issuer") != self.settings.issuer:
            raise self._failed(f"calls itself {metadata.get('issuer')!r}, and is set up as {self.settings.issuer!r}")
        absent = [name for name in _NEEDED if not isinstance(metadata.get(name), str)]
        if absent:
            raise self._failed(f"does not say its {' and '.join(absent)}")
        return metadata

    def _require_issuer(self, metadata: Mapping[str, Any], query: Mapping[str, str]) -> None:
        """With several providers, an answer of one must not be taken for another's (RFC 9207 §2.4)."""
        said = query.get("iss")
        demanded = metadata.get("authorization_response_iss_parameter_supported") is True
        if said != self.settings.issuer and (demanded or said is not None):
            raise Unauthenticated(f"The answer did not come from {self._name}; begin the login again.")

    async def _redeem(self, client: Any, metadata: Mapping[str, Any], handshake: Handshake, code: str) -> Mapping[str, Any]:
        if not code:
            raise Unauthenticated(f"{self._name} sent no code; begin the login again.")
        with self._translated():
            token: Mapping[str, Any] = await client.fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                redirect_uri=handshake.redirect_uri,
                code_verifier=handshake.verifier,
            )
        return token

    async def _verified(self, client: Any, metadata: Mapping[str, Any], handshake: Handshake, token: Mapping[str, Any]) -> dict[str, Any]:
        """The claims of the id token, if it is from this issuer, for us, for this login, and of now."""
        keys = await self._json(client, metadata["jwks_uri"])
        try:
            decoded = jwt.decode(str(token.get("id_token", "")), KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
            essential = {"iss": self.settings.issuer, "aud": self.settings.client_id}
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {name: {"essential": True, "value": value} for name, value in essential.items()},
                {"nonce": handshake.nonce, "client_id": self.settings.client_id, "access_token": token.get("access_token")},
            )
            claims.validate(now=int(self._clock().timestamp()), leeway=_CLOCK_SKEW_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Unauthenticated(f"The id token of {self._name} proves nothing ({error}); begin the login again.") from error
        return dict(claims)

    async def _filled_in(self, client: Any, metadata: Mapping[str, Any], claims: dict[str, Any]) -> dict[str, Any]:
        """The claims, with what only the userinfo endpoint says; that must be about the same subject (OpenID Connect Core §5.3.2)."""
        endpoint = metadata.get("userinfo_endpoint")
        if not self.settings.userinfo or not isinstance(endpoint, str):
            return claims
        more = await self._json(client, endpoint, withhold_token=False)
        if more.get("sub") != claims["sub"]:
            raise Unauthenticated(f"{self._name} answered about somebody else; begin the login again.")
        return {**more, **claims}

    def _person(self, claims: Mapping[str, Any]) -> Person:
        name = _text(claims, self.settings.name_claim)
        if name is None:
            raise Denied(f"{self._name} does not say your login name (the claim {self.settings.name_claim!r}).")
        groups = _texts(claims, self.settings.groups_claim)
        admin = self.settings.admin_group
        return Person(
            subject=str(claims["sub"]),
            name=name.lower(),
            email=_text(claims, self.settings.email_claim),
            real_name=_text(claims, self.settings.real_name_claim),
            groups=groups,
            is_admin=admin in groups if admin else None,
        )

    async def _json(self, client: Any, url: str, *, withhold_token: bool = True) -> dict[str, Any]:
        with self._translated():
            answer = await client.request("GET", url, withhold_token=withhold_token, headers={"Accept": "application/json"})
            if answer.status_code != 200:
                raise self._failed(f"answers {answer.status_code} to {url}")
            said = answer.json()
        if not isinstance(said, dict):
            raise self._failed(f"does not answer with a JSON object to {url}")
        return said

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Failures of the library in words of the error tree."""
        try:
            yield
        except OAuthError as error:
            raise Unauthenticated(f"{self._name} did not accept the login: {error.description or error.error}.") from error
        except httpx2.TimeoutException as error:
            raise self._failed(f"does not answer within {self.settings.timeout_seconds:g} seconds") from error
        except httpx2.HTTPError as error:
            raise self._failed(trouble(error)) from error
        except ValueError as error:
            raise self._failed("does not answer with JSON") from error

    def _failed(self, how: str) -> SourceFailed:
        return SourceFailed(f"The login source {self._name!r} {how}.", source=self._name)


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name) if name else None
    return value if isinstance(value, str) and value else None


def _texts(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """A claim of one or several texts."""
    value = claims.get(name) if name else None
    values = value if isinstance(value, list) else [value]
    return frozenset(one for one in values if isinstance(one, str) and one)
