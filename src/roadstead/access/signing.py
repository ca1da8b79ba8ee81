"""The keys that sign bearer tokens: in the database, so that every replica has them, and replaced by themselves.

A key signs for thirty days and is accepted for as long afterwards as a token lives. Replicas that find no key at the same moment may
each make one; both are good.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any, Final

import msgspec
from joserfc.jwk import ECKey

from roadstead.access.clock import Clock
from roadstead.access.vault import Sealed, Vault
from roadstead.metadata import signing_keys
from roadstead.metadata.database import Database
from roadstead.metadata.signing_keys import SigningKeyRow

ALGORITHM: Final = "ES256"
SIGNS_FOR: Final = timedelta(days=30)
_PURPOSE: Final = "signing key of bearer tokens"


class SigningKeys:
    """Finds the key to sign with and the keys to verify by; what was read once is kept, as keys never change."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, accepted_after: timedelta) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._accepted_after = accepted_after
        self._known: dict[str, SigningKeyRow] = {}
        self._keys: dict[str, ECKey] = {}

    async def current(self) -> tuple[str, ECKey]:
        """The id and the private key to sign with now; made if there is none."""
        now = self._clock()
        row = self._newest()
        if row is None or row.signs_until <= now:
            await self._read()
            row = self._newest()
        if row is None or row.signs_until <= now:
            row = await self._make()
        if row.kid not in self._keys:
            sealed = Sealed(row.encryption_key_id, row.private_key)
            self._keys[row.kid] = ECKey.import_key(msgspec.json.decode(self._vault.open(_PURPOSE, sealed)))
        return row.kid, self._keys[row.kid]

    async def verifying(self, kid: str) -> ECKey:
        """The public key of that id. Raises KeyError for one that is not ours, or whose signatures are not accepted any more."""
        if kid not in self._known:
            await self._read()
        row = self._known[kid]
        if row.verifies_until <= self._clock():
            raise KeyError(kid)
        return ECKey.import_key(msgspec.json.decode(row.public_jwk))

    async def jwks(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set (RFC 7517 §5)."""
        await self._read()
        return {"keys": [msgspec.json.decode(row.public_jwk) for row in self._known.values()]}

    def _newest(self) -> SigningKeyRow | None:
        return max(self._known.values(), key=lambda row: row.created_at, default=None)

    async def _read(self) -> None:
        now = self._clock()
        rows = await self._database.read(lambda connection: signing_keys.accepted(connection, now))
        self._known = {row.kid: row for row in rows}

    async def _make(self) -> SigningKeyRow:
        now, kid = self._clock(), secrets.token_hex(8)
        parameters: Any = {"kid": kid, "use": "sig", "alg": ALGORITHM}
        key = ECKey.generate_key("P-256", parameters)
        sealed = self._vault.seal(_PURPOSE, msgspec.json.encode(key.as_dict(private=True)))
        row = SigningKeyRow(
            kid=kid,
            public_jwk=msgspec.json.encode(key.as_dict(private=False)).decode(),
            private_key=sealed.ciphertext,
            encryption_key_id=sealed.key_id,
            created_at=now,
            signs_until=now + SIGNS_FOR,
            verifies_until=now + SIGNS_FOR + self._accepted_after,
        )
        await self._database.write(lambda connection: signing_keys.add(connection, row))
        self._known[kid] = row
        return row
