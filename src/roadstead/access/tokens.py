"""Bearer tokens of the registry API: JSON Web Tokens in the form of the Docker token specification, signed by HMAC-SHA256.

A token says who it was given to and what it covers at most. Whether that account may still do it is asked at each use; only the
signature's verification is remembered.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from roadstead.access.actor import TokenScope
from roadstead.access.secret_key import SecretKey
from roadstead.errors import RoadsteadError, Unauthenticated
from roadstead.oci.reference import RepositoryName

SERVICE: Final = "roadstead"
"""The `service` of challenges, the audience of tokens."""

LIFETIME_SECONDS: Final = 6 * 3600
"""Long enough for one push of hundreds of gigabytes; what the account may do is read anew at each request."""

_CLOCK_SKEW_SECONDS: Final = 60
_REMEMBERED_LIMIT: Final = 8192
_HEADER: Final = {"alg": "HS256", "typ": "JWT"}


class Grant(msgspec.Struct, frozen=True):
    """Actions on one resource, as a token scope writes it: `repository:library/ubuntu:pull,push`, `registry:catalog:*`."""

    type: str
    name: str
    actions: tuple[str, ...]


class Claims(msgspec.Struct, frozen=True):
    """What a valid token says. `account_id` is None for an anonymous one; `expires_at` in seconds since the epoch."""

    account_id: int | None
    scope: TokenScope
    expires_at: float


def parse_scope(text: str) -> list[Grant]:
    """Read one `scope` value: several resource scopes separated by spaces. What cannot be understood grants nothing and is left out."""
    grants = []
    for part in text.split():
        kind, _, rest = part.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind and name and actions:
            grants.append(Grant(kind.partition("(")[0], name, tuple(actions.split(","))))
    return grants


class Tokens:
    """Issues and verifies tokens with a key derived from the installation's secret."""

    def __init__(self, secret_key: SecretKey) -> None:
        self._key = OctKey.import_key(secret_key.derive("registry bearer tokens"))
        self._registry = jwt.JWTClaimsRegistry(
            now=lambda: int(time.time()),
            leeway=_CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": SERVICE},
            aud={"essential": True, "value": SERVICE},
        )
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def issue(self, account_id: int | None, grants: Iterable[Grant]) -> str:
        """A token for these grants."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": SERVICE,
            "aud": SERVICE,
            "sub": "" if account_id is None else str(account_id),
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": secrets.token_hex(8),
            "access": [msgspec.structs.asdict(grant) for grant in grants],
        }
        return jwt.encode(_HEADER, claims, self._key)

    def verify(self, token: str) -> Claims:
        """What the token says. Raises Unauthenticated if it is not ours, damaged or expired."""
        claims = self._verified.get(token) or self._decode(token)
        if claims.expires_at + _CLOCK_SKEW_SECONDS < time.time():
            self._verified.pop(token, None)
            raise Unauthenticated("The token has expired; ask for a new one.")
        return claims

    def _decode(self, token: str) -> Claims:
        try:
            decoded = jwt.decode(token, self._key, algorithms=["HS256"])
            self._registry.validate(decoded.claims)
            claims = _read(decoded.claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Unauthenticated("The token is not valid here, or has expired; ask for a new one.") from error
        self._verified[token] = claims
        while len(self._verified) > _REMEMBERED_LIMIT:
            self._verified.popitem(last=False)
        return claims


def _read(claims: dict[str, Any]) -> Claims:
    subject = claims["sub"]
    return Claims(int(subject) if subject else None, _scope(claims["access"]), float(claims["exp"]))


def _scope(access: list[dict[str, Any]]) -> TokenScope:
    repositories: dict[RepositoryName, frozenset[str]] = {}
    for grant in access:
        if grant["type"] == "repository":
            name = RepositoryName(grant["name"])
            repositories[name] = repositories.get(name, frozenset()) | frozenset(grant["actions"])
    return TokenScope(repositories, any(grant["type"] == "registry" and grant["name"] == "catalog" for grant in access))


def normalise(grant: Grant) -> Grant | None:
    """The grant with its repository name in full, or None if that is no valid name."""
    if grant.type != "repository":
        return grant
    try:
        return msgspec.structs.replace(grant, name=RepositoryName.parse(grant.name))
    except RoadsteadError:
        return None
