"""Bearer tokens of the registry API: JSON Web Tokens in the form of the Docker token specification.

A token says who it was given to, by which credential, and what it covers at most. Whether account and credential may still do it is
asked at each use; only the signature's verification is remembered.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError

from roadstead.access.actor import TokenScope
from roadstead.access.clock import Clock
from roadstead.access.signing import ALGORITHM, SigningKeys
from roadstead.errors import RoadsteadError, Unauthenticated
from roadstead.metadata.schema import to_microseconds
from roadstead.oci.reference import RepositoryName

SERVICE: Final = "roadstead"
"""The `service` of challenges, the audience of tokens."""

LIFETIME_SECONDS: Final = 6 * 3600
"""Long enough for one push of hundreds of gigabytes; what the account may do is read anew at each request."""

_CLOCK_SKEW_SECONDS: Final = 60
_REMEMBERED_LIMIT: Final = 8192


class Grant(msgspec.Struct, frozen=True):
    """Actions on one resource, as a token scope writes it: `repository:library/ubuntu:pull,push`, `registry:catalog:*`."""

    type: str
    name: str
    actions: tuple[str, ...]


class Claims(msgspec.Struct, frozen=True):
    """What a valid token says. `account_id` is None for an anonymous one.

    `issued_at` is in microseconds since the epoch, `expires_at` in seconds.
    """

    account_id: int | None
    credential_id: int | None
    scope: TokenScope
    issued_at: int
    expires_at: int


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
    """Issues and verifies tokens."""

    def __init__(self, keys: SigningKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    async def issue(self, account_id: int | None, credential_id: int | None, grants: Iterable[Grant]) -> str:
        """A token for these grants."""
        moment = to_microseconds(self._clock())
        now = moment // 1_000_000
        claims: dict[str, Any] = {
            "iss": SERVICE,
            "aud": SERVICE,
            "sub": "" if account_id is None else str(account_id),
            "cid": credential_id,
            "iat": now,
            # To tell what was issued before a change from what was issued after it, in the same second.
            "iat_us": moment,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": secrets.token_hex(8),
            "access": [msgspec.structs.asdict(grant) for grant in grants],
        }
        kid, key = await self._keys.current()
        return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": kid}, claims, key)

    async def verify(self, token: str) -> Claims:
        """What the token says. Raises Unauthenticated if it is not ours, damaged or expired."""
        claims = self._verified.get(token) or await self._decode(token)
        if claims.expires_at + _CLOCK_SKEW_SECONDS < self._now():
            self._verified.pop(token, None)
            raise Unauthenticated("The token has expired; ask for a new one.")
        return claims

    def _now(self) -> int:
        return int(self._clock().timestamp())

    async def _decode(self, token: str) -> Claims:
        try:
            key = await self._keys.verifying(_kid(token))
            decoded = jwt.decode(token, key, algorithms=[ALGORITHM])
            self._claims_registry().validate(decoded.claims)
            claims = _read(decoded.claims)
        except (JoseError, ValueError, KeyError, TypeError, binascii.Error) as error:
            raise Unauthenticated("The token is not valid here, or has expired; ask for a new one.") from error
        self._verified[token] = claims
        while len(self._verified) > _REMEMBERED_LIMIT:
            self._verified.popitem(last=False)
        return claims

    def _claims_registry(self) -> jwt.JWTClaimsRegistry:
        ours: Any = {"essential": True, "value": SERVICE}
        return jwt.JWTClaimsRegistry(now=self._now, leeway=_CLOCK_SKEW_SECONDS, iss=ours, aud=ours, exp={"essential": True})


def _kid(token: str) -> str:
    """The key id in the header, read before the signature can be checked."""
    header = token.partition(".")[0]
    fields = msgspec.json.decode(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)), type=dict[str, Any])
    return str(fields["kid"])


def _read(claims: dict[str, Any]) -> Claims:
    subject, credential = claims["sub"], claims["cid"]
    return Claims(
        account_id=int(subject) if subject else None,
        credential_id=None if credential is None else int(credential),
        scope=_scope(claims["access"]),
        issued_at=int(claims["iat_us"]),
        expires_at=int(claims["exp"]),
    )


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
