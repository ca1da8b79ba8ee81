"""Bearer tokens: what they say, and everything that makes one invalid."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from roadstead.access.actor import TokenScope
from roadstead.access.signing import SigningKeys
from roadstead.access.tokens import LIFETIME_SECONDS, SERVICE, Grant, Tokens, normalise, parse_scope
from roadstead.access.vault import Vault
from roadstead.errors import Unauthenticated
from roadstead.metadata.database import Database
from roadstead.oci.reference import RepositoryName
from tests.support.factories import ManualClock

APP, COPY = RepositoryName("library/app"), RepositoryName("library/copy")
PULL_PUSH = Grant("repository", APP, ("pull", "push"))


@pytest.fixture
def keys(database: Database, clock: ManualClock) -> SigningKeys:
    return SigningKeys(database, Vault([b"k" * 32]), clock, timedelta(hours=12))


@pytest.fixture
def tokens(keys: SigningKeys, clock: ManualClock) -> Tokens:
    return Tokens(keys, clock)


class Forger:
    """Makes tokens outside, right in everything but what is said to be changed."""

    def __init__(self, keys: SigningKeys, clock: ManualClock) -> None:
        self._keys = keys
        self._clock = clock

    async def __call__(self, key: ECKey | OctKey | None = None, header: dict[str, str] | None = None, **changed: Any) -> str:
        """None takes a claim away; times are given relative to now."""
        now = int(self._clock().timestamp())
        changed |= {name: now + changed[name] for name in ("exp", "nbf") if changed.get(name) is not None}
        plain: dict[str, Any] = {"iss": SERVICE, "aud": SERVICE, "sub": "7", "cid": None, "iat": now, "exp": now + 60}
        plain |= {"iat_us": now * 1_000_000, "nbf": now}
        claims = {name: value for name, value in {**plain, "access": [], **changed}.items() if value is not None or name == "cid"}
        kid, own = await self._keys.current()
        full = {"alg": "ES256", "kid": kid, **(header or {})}
        return jwt.encode(full, claims, key or own, algorithms=["ES256", "HS256"])


@pytest.fixture
def forge(keys: SigningKeys, clock: ManualClock) -> Forger:
    return Forger(keys, clock)


async def test_a_token_says_what_was_granted(tokens: Tokens) -> None:
    grants = [PULL_PUSH, Grant("repository", APP, ("delete",)), Grant("repository", COPY, ("*",)), Grant("registry", "catalog", ("*",))]
    claims = await tokens.verify(await tokens.issue(7, 8, grants))
    assert (claims.account_id, claims.credential_id) == (7, 8)
    assert claims.scope == TokenScope({APP: frozenset({"pull", "push", "delete"}), COPY: frozenset({"*"})}, catalog=True)
    assert claims.scope.covers(APP, "delete")
    assert claims.scope.covers(COPY, "anything")
    assert not claims.scope.covers(RepositoryName("library/other"), "pull")


async def test_an_anonymous_token_is_nobodys(tokens: Tokens) -> None:
    claims = await tokens.verify(await tokens.issue(None, None, [PULL_PUSH]))
    assert (claims.account_id, claims.credential_id, claims.scope.catalog) == (None, None, False)


async def test_a_token_made_by_hand_from_the_key_is_valid(tokens: Tokens, forge: Forger) -> None:
    """So that what is wrong with the others below is only what was changed."""
    assert (await tokens.verify(await forge())).account_id == 7


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "somebody-else"},
        {"aud": None},
        {"iss": "somebody-else"},
        {"iss": None},
        {"exp": -3600},
        {"exp": None},
        {"nbf": 3600},
        {"sub": None},
        {"sub": "seven"},
        {"cid": "eight"},
        {"iat_us": None},
        {"access": None},
        {"access": "repository:library/app:pull"},
        {"access": [{"type": "repository"}]},
        {"key": ECKey.generate_key("P-256")},
        {"header": {"kid": "another"}},
        {"key": OctKey.import_key(b"x" * 32), "header": {"alg": "HS256"}},
    ],
    ids=lambda changed: re.sub(r" object at \w+", "", str(changed)),
)
async def test_what_is_wrong_is_refused(tokens: Tokens, forge: Forger, changed: dict[str, Any]) -> None:
    token = await forge(**changed)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await tokens.verify(token)


async def test_the_public_key_is_no_secret_to_sign_with(tokens: Tokens, forge: Forger, keys: SigningKeys) -> None:
    """The old confusion of a public key with a shared secret."""
    _, key = await keys.current()
    with pytest.raises(Unauthenticated):
        await tokens.verify(await forge(OctKey.import_key(key.as_pem(private=False).hex()), {"alg": "HS256"}))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "..", "é.é.é", "\0", "e30.e30.e30", "a" * 100_000], ids=lambda token: token[:10])
async def test_what_is_no_token_is_refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(Unauthenticated):
        await tokens.verify(token)


async def test_an_unsigned_token_is_refused(tokens: Tokens, forge: Forger) -> None:
    header, payload, _ = (await forge()).split(".")
    for none in ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0", header):  # {"alg":"none"}, {"alg":"None"}, its own
        for signature in ("", "AAAA"):
            with pytest.raises(Unauthenticated):
                await tokens.verify(f"{none}.{payload}.{signature}")


async def test_every_part_of_a_token_is_signed(tokens: Tokens) -> None:
    token = await tokens.issue(7, None, [PULL_PUSH])
    assert await tokens.verify(token)
    for position in (5, token.index(".") + 5, token.rindex(".") + 5):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(Unauthenticated):
            await tokens.verify(token[:position] + other + token[position + 1 :])


async def test_a_token_expires_although_it_was_verified_before(tokens: Tokens, clock: ManualClock) -> None:
    token = await tokens.issue(7, None, [PULL_PUSH])
    assert (await tokens.verify(token)).expires_at == int(clock().timestamp()) + LIFETIME_SECONDS
    clock.advance(timedelta(seconds=LIFETIME_SECONDS))
    assert await tokens.verify(token)
    clock.advance(timedelta(seconds=61))
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await tokens.verify(token)


async def test_a_replica_whose_clock_is_a_little_behind_takes_a_token(tokens: Tokens, keys: SigningKeys, clock: ManualClock) -> None:
    token = await tokens.issue(7, None, [])
    behind = ManualClock(clock() - timedelta(seconds=50))
    assert await Tokens(keys, behind).verify(token)
    behind.advance(timedelta(seconds=-20))
    with pytest.raises(Unauthenticated):
        await Tokens(keys, behind).verify(token)


async def test_only_so_many_verifications_are_remembered(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.access.tokens._REMEMBERED_LIMIT", 3)
    every = [await tokens.issue(number, None, []) for number in range(6)]
    assert [(await tokens.verify(token)).account_id for token in every] == list(range(6))
    assert len(tokens._verified) == 3
    assert [(await tokens.verify(token)).account_id for token in every] == list(range(6))


@pytest.mark.parametrize(
    ("text", "grants"),
    [
        ("", []),
        ("repository:library/app:pull", [Grant("repository", "library/app", ("pull",))]),
        ("repository:library/app:pull,push", [Grant("repository", "library/app", ("pull", "push"))]),
        ("repository:app:*", [Grant("repository", "app", ("*",))]),
        ("repository(plugin):library/app:pull", [Grant("repository", "library/app", ("pull",))]),
        ("repository:host:5000/app:pull", [Grant("repository", "host:5000/app", ("pull",))]),
        ("registry:catalog:*", [Grant("registry", "catalog", ("*",))]),
        ("repository:a:pull  repository:b:push", [Grant("repository", "a", ("pull",)), Grant("repository", "b", ("push",))]),
        ("repository:a", []),
        ("repository:a:", []),
        ("repository::pull", []),
        (":a:pull", []),
        ("nonsense repository:a:pull", [Grant("repository", "a", ("pull",))]),
    ],
)
def test_reading_a_scope(text: str, grants: list[Grant]) -> None:
    assert parse_scope(text) == grants


def test_names_in_a_scope_are_written_in_full() -> None:
    assert normalise(Grant("repository", "ubuntu", ("pull",))) == Grant("repository", "library/ubuntu", ("pull",))
    assert normalise(Grant("repository", "NO/NAME", ("pull",))) is None
    assert normalise(Grant("registry", "catalog", ("*",))) == Grant("registry", "catalog", ("*",))
