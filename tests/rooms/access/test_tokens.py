"""Bearer tokens: what they say, and everything that makes one invalid."""

from __future__ import annotations

import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from roadstead.access.secret_key import SecretKey

from roadstead.access.actor import TokenScope
from roadstead.access.tokens import LIFETIME_SECONDS, SERVICE, Grant, Tokens, normalise, parse_scope
from roadstead.errors import Unauthenticated
from roadstead.oci.reference import RepositoryName

KEY = SecretKey(b"k" * 32)
APP, COPY = RepositoryName("library/app"), RepositoryName("library/copy")
PULL_PUSH = Grant("repository", APP, ("pull", "push"))


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(KEY)


class Time:
    """Replaces time.time, from now on, by what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr("roadstead.access.tokens.time.time", lambda: self.now)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def forged(key: bytes | None = None, header: dict[str, str] | None = None, **changed: Any) -> str:
    """A token made outside, right in everything but what is `changed`; None takes a claim away."""
    now = int(time.time())
    claims = {"iss": SERVICE, "aud": SERVICE, "sub": "7", "iat": now, "nbf": now, "exp": now + 60, "access": [], **changed}
    secret = KEY.derive("registry bearer tokens") if key is None else key
    return jwt.encode(
        header or {"alg": "HS256"}, {name: value for name, value in claims.items() if value is not None}, OctKey.import_key(secret)
    )


def test_a_token_says_what_was_granted(tokens: Tokens) -> None:
    grants = [PULL_PUSH, Grant("repository", APP, ("delete",)), Grant("repository", COPY, ("*",)), Grant("registry", "catalog", ("*",))]
    claims = tokens.verify(tokens.issue(7, grants))
    assert claims.account_id == 7
    assert claims.scope == TokenScope({APP: frozenset({"pull", "push", "delete"}), COPY: frozenset({"*"})}, catalog=True)
    assert claims.scope.covers(APP, "delete")
    assert claims.scope.covers(COPY, "anything")
    assert not claims.scope.covers(RepositoryName("library/other"), "pull")


def test_an_anonymous_token_is_nobodys(tokens: Tokens) -> None:
    claims = tokens.verify(tokens.issue(None, [PULL_PUSH]))
    assert (claims.account_id, claims.scope.catalog) == (None, False)


def test_a_token_made_by_hand_from_the_key_is_valid(tokens: Tokens) -> None:
    """So that what is wrong with the others below is only what was changed."""
    assert tokens.verify(forged()).account_id == 7


@pytest.mark.parametrize(
    "token",
    [
        forged(aud="somebody-else"),
        forged(aud=None),
        forged(iss="somebody-else"),
        forged(iss=None),
        forged(exp=int(time.time()) - 3600),
        forged(exp=None),
        forged(nbf=int(time.time()) + 3600),
        forged(key=b"x" * 32),
        forged(sub=None),
        forged(sub="seven"),
        forged(access=None),
        forged(access="repository:library/app:pull"),
        forged(access=[{"type": "repository"}]),
        "",
        "x",
        "a.b.c",
        "..",
        "é.é.é",
        "\0",
        "a" * 100_000,
    ],
    ids=lambda token: token[-12:] if len(token) < 1000 else "long",
)
def test_what_is_wrong_is_refused(tokens: Tokens, token: str) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            tokens.verify(token)


def test_an_unsigned_token_is_refused(tokens: Tokens) -> None:
    _, payload, _ = forged().split(".")
    for header in ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0"):  # {"alg":"none"}, {"alg":"None"}
        for signature in ("", "AAAA"):
            with pytest.raises(Unauthenticated):
                tokens.verify(f"{header}.{payload}.{signature}")


def test_every_part_of_a_token_is_signed(tokens: Tokens) -> None:
    token = tokens.issue(7, [PULL_PUSH])
    assert tokens.verify(token)
    for position in (5, token.index(".") + 5, token.rindex(".") + 5):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(Unauthenticated):
            tokens.verify(token[:position] + other + token[position + 1 :])


def test_another_installations_token_is_refused(tokens: Tokens) -> None:
    with pytest.raises(Unauthenticated):
        tokens.verify(Tokens(SecretKey(b"x" * 32)).issue(7, [PULL_PUSH]))
    assert Tokens(KEY).verify(tokens.issue(7, [])).account_id == 7


def test_a_token_expires_although_it_was_verified_before(tokens: Tokens, moment: Time) -> None:
    token = tokens.issue(7, [PULL_PUSH])
    assert tokens.verify(token).expires_at == int(moment.now) + LIFETIME_SECONDS
    moment.now += LIFETIME_SECONDS
    assert tokens.verify(token)
    moment.now += 61
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            tokens.verify(token)


def test_only_so_many_verifications_are_remembered(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.access.tokens._REMEMBERED_LIMIT", 3)
    every = [tokens.issue(number, []) for number in range(6)]
    assert [tokens.verify(token).account_id for token in every] == list(range(6))
    assert len(tokens._verified) == 3
    assert [tokens.verify(token).account_id for token in every] == list(range(6))


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
