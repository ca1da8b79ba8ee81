"""Logins at an OpenID provider, against a real one: what is accepted as proof, what is not, and which account it opens."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from roadstead.access.access import Access
from roadstead.access.actor import Actor, TokenScope
from roadstead.access.clock import system_clock
from roadstead.access.identity_provider import Handshake, IdentityProvider
from roadstead.access.person import Person
from roadstead.access.sources import FLOW_LIFETIME
from roadstead.access.vault import Vault
from roadstead.errors import Conflict, Denied, NotFound, SourceFailed, Unauthenticated
from roadstead.metadata.database import Database
from tests.support.certificates import site_authority
from tests.support.factories import ManualClock
from tests.support.oidc_provider import CLIENT, REDIRECT, OidcProvider
from tests.support.server import free_port

GRACE = {"preferred_username": "Grace", "name": "Grace Hopper", "email": "grace@example.org", "groups": ["ops", "climate"]}
GOOD = "correct horse battery"


@pytest.fixture
def now() -> ManualClock:
    """The provider tells the real time, so the clock begins there."""
    return ManualClock(system_clock())


@pytest.fixture
def provider(oidc_provider: OidcProvider) -> OidcProvider:
    oidc_provider.set_accounts({"s-grace": GRACE, "s-ada": {"preferred_username": "ada"}, "s-bare": {}})
    return oidc_provider


@pytest.fixture
def access(database: Database, now: ManualClock) -> Access:
    return Access(database, Vault([b"k" * 32]), clock=now)


async def add_source(access: Access, admin: Actor, provider: OidcProvider, name: str = "sso", **changes: Any) -> None:
    await access.sources.add(admin, name, provider.settings(**changes), provider.secret)


async def log_in(access: Access, provider: OidcProvider, subject: str, name: str = "sso", **options: Any) -> Actor:
    url, flow = await access.sources.begin(name, REDIRECT)
    return await access.sources.finish(flow, provider.log_in(url, subject), **options)


# --- the whole way --------------------------------------------------------------------------------------------------------------------


async def test_the_browser_is_sent_away_with_pkce_state_and_nonce(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    asked = [parse_qs(urlsplit((await access.sources.begin("sso", REDIRECT))[0]).query) for _ in range(2)]
    for one in asked:
        assert one["code_challenge_method"] == ["S256"]
        assert (one["client_id"], one["redirect_uri"], one["response_type"]) == ([CLIENT], [REDIRECT], ["code"])
        assert one["scope"] == ["openid profile email"]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]


async def test_the_first_login_makes_the_account_and_the_next_finds_it(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    grace = await log_in(access, provider, "s-grace", address="192.0.2.1")
    assert (grace.name, grace.is_admin, grace.address) == ("grace", False, "192.0.2.1")
    row = await access.people.find(admin, "grace")
    assert (row.source, row.email, row.real_name) == ("sso", "grace@example.org", "Grace Hopper")
    provider.set_accounts({"s-grace": {**GRACE, "preferred_username": "hopper", "email": "hopper@example.org"}})
    again = await log_in(access, provider, "s-grace")
    assert (again.account_id, again.name) == (grace.account_id, "grace")
    assert (await access.people.get(admin, row.id)).email == "hopper@example.org"
    with pytest.raises(Unauthenticated):
        await access.accounts.by_password("grace", "any password")


async def test_the_group_claim_decides_groups_and_administration(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider, admin_group="ops")
    group = await access.groups.add(admin, "modellers", source="sso", external_id="climate")
    grace = await log_in(access, provider, "s-grace")
    assert grace.is_admin
    assert await access.groups.members(admin, group.id) == [(grace.account_id, "grace")]
    for groups in (["other"], "other", None, {"x": 1}, [1, None]):
        provider.set_accounts({"s-grace": {**GRACE, "groups": groups}})
        assert not (await log_in(access, provider, "s-grace")).is_admin
        assert await access.groups.members(admin, group.id) == []
    provider.set_accounts({"s-grace": {**GRACE, "groups": "climate"}})
    await log_in(access, provider, "s-grace")
    assert await access.groups.members(admin, group.id) == [(grace.account_id, "grace")]


async def test_without_a_login_name_there_is_no_account(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    with pytest.raises(Denied, match="preferred_username"):
        await log_in(access, provider, "s-bare")
    await access.sources.change(admin, "sso", provider.settings(userinfo=False))
    with pytest.raises(Denied, match="preferred_username"):
        await log_in(access, provider, "s-grace")
    await access.sources.change(admin, "sso", provider.settings(userinfo=False, name_claim="sub"))
    assert (await log_in(access, provider, "s-grace")).name == "s-grace"


async def test_a_name_that_is_taken_is_refused_and_never_joined_by_e_mail(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    await access.people.add(admin, "GRACE", GOOD, email="grace@example.org")
    with pytest.raises(Denied, match="not yours"):
        await log_in(access, provider, "s-grace")
    assert await access.identities.list(admin, (await access.people.find(admin, "GRACE")).id) == []


async def test_names_that_no_account_may_have_are_refused(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    for name in ("robot$x", "a b", "", "system", "x" * 200, "é"):
        provider.set_accounts({"s": {"preferred_username": name}})
        with pytest.raises(Denied):
            await log_in(access, provider, "s")
    assert [row.name for row in await access.people.list(admin)] == ["admin"]


async def test_without_onboarding_only_who_is_linked_gets_in(access: Access, admin: Actor, user: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider, onboarding=False)
    with pytest.raises(Denied, match="no account here"):
        await log_in(access, provider, "s-grace")
    url, flow = await access.sources.begin("sso", REDIRECT, linking=user)
    assert await access.sources.finish(flow, provider.log_in(url, "s-grace"), present=user) is user
    assert (await log_in(access, provider, "s-grace")).account_id == user.account_id


async def test_a_disabled_account_stays_out(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    grace = await log_in(access, provider, "s-grace")
    await access.people.set_disabled(admin, grace.account_id or 0, True)
    with pytest.raises(Unauthenticated, match="disabled"):
        await log_in(access, provider, "s-grace")


# --- linking --------------------------------------------------------------------------------------------------------------------------


async def test_linking_needs_the_account_that_began_it(access: Access, admin: Actor, user: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    url, flow = await access.sources.begin("sso", REDIRECT, linking=user)
    query = provider.log_in(url, "s-grace")
    for present in (admin, Actor(None, "anonymous")):
        with pytest.raises(Denied):
            await access.sources.finish(flow, query, present=present)
    await access.sources.finish(flow, query, present=user)
    assert [one.name for one in await access.identities.list(user, user.account_id or 0)] == ["grace"]
    with pytest.raises(Denied):
        await access.sources.begin("sso", REDIRECT, linking=msgspec.structs.replace(user, scope=TokenScope({})))


async def test_an_identity_that_is_somebody_elses_is_not_linked(access: Access, admin: Actor, user: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    await log_in(access, provider, "s-grace")
    url, flow = await access.sources.begin("sso", REDIRECT, linking=user)
    with pytest.raises(Conflict, match="another account"):
        await access.sources.finish(flow, provider.log_in(url, "s-grace"), present=user)


# --- what proves nothing --------------------------------------------------------------------------------------------------------------


async def test_an_answer_fits_the_flow_that_it_was_begun_with(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    url, flow = await access.sources.begin("sso", REDIRECT)
    _other_url, other = await access.sources.begin("sso", REDIRECT)
    query = provider.log_in(url, "s-grace")
    for wrong in (query | {"state": ""}, query | {"state": "x"}, {name: query[name] for name in query if name != "state"}):
        with pytest.raises(Unauthenticated, match="begin it again"):
            await access.sources.finish(flow, wrong)
    with pytest.raises(Unauthenticated, match="begun"):
        await access.sources.finish(other, query)
    for iss in ("https://evil.example.org", ""):
        with pytest.raises(Unauthenticated, match="did not come from"):
            await access.sources.finish(flow, query | {"iss": iss})
    with pytest.raises(Unauthenticated, match="did not accept"):
        await access.sources.finish(flow, query | {"code": "x"})
    with pytest.raises(Unauthenticated, match="no code"):
        await access.sources.finish(flow, {name: query[name] for name in query if name != "code"})
    assert (await access.sources.finish(flow, query)).name == "grace"
    with pytest.raises(Unauthenticated, match="did not accept"):
        await access.sources.finish(flow, query)


async def test_a_flow_is_sealed_and_ends(access: Access, admin: Actor, provider: OidcProvider, now: ManualClock) -> None:
    await add_source(access, admin, provider)
    url, flow = await access.sources.begin("sso", REDIRECT)
    assert "state" not in flow
    query = provider.log_in(url, "s-grace")
    for forged in ("", "x", ".", flow[:-4], flow + "AAAA", "f" * 16 + flow[16:], flow.replace(".", ""), flow + "é"):
        with pytest.raises(Unauthenticated):
            await access.sources.finish(forged, query)
    now.advance(FLOW_LIFETIME)
    with pytest.raises(Unauthenticated, match="too long"):
        await access.sources.finish(flow, query)


async def test_who_says_no_at_the_provider_is_not_let_in(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    with pytest.raises(Unauthenticated, match="did not let you in"):
        await log_in(access, provider, "nobody")


async def test_a_source_that_is_disabled_meanwhile_lets_nobody_in(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    url, flow = await access.sources.begin("sso", REDIRECT)
    query = provider.log_in(url, "s-grace")
    await access.sources.set_enabled(admin, "sso", False)
    with pytest.raises(Unauthenticated, match="not offered"):
        await access.sources.finish(flow, query)
    for name in ("sso", "nowhere"):
        with pytest.raises(NotFound):
            await access.sources.begin(name, REDIRECT)


class Forger(IdentityProvider):
    """A provider that answers with an id token of the test's choice, beside its real keys."""

    def forge(self, id_token: Callable[[Handshake], str]) -> None:
        self._forge = id_token

    async def _redeem(self, client: Any, metadata: Any, handshake: Handshake, code: str) -> Any:
        return {"access_token": "x", "token_type": "Bearer", "id_token": self._forge(handshake)}


def claims(provider: OidcProvider, handshake: Handshake, **changes: Any) -> dict[str, Any]:
    moment = int(system_clock().timestamp())
    usual = {"iss": provider.issuer, "sub": "s-grace", "aud": CLIENT, "exp": moment + 300, "iat": moment, "nonce": handshake.nonce}
    return {name: value for name, value in {**usual, "preferred_username": "grace", **changes}.items() if value is not None}


async def forged(provider: OidcProvider, id_token: Callable[[Handshake], str]) -> Person:
    forger = Forger("sso", provider.settings(userinfo=False), provider.secret, system_clock)
    forger.forge(id_token)
    _url, handshake = await forger.begin(REDIRECT)
    return await forger.finish(handshake, {"state": handshake.state, "iss": provider.issuer, "code": "x"})


def signed(provider: OidcProvider, **changes: Any) -> Callable[[Handshake], str]:
    return lambda handshake: jwt.encode({"alg": "ES256", "kid": "tests"}, claims(provider, handshake, **changes), provider.key)


async def test_the_forgers_token_is_good_where_nothing_is_wrong_with_it(provider: OidcProvider) -> None:
    assert (await forged(provider, signed(provider))).name == "grace"
    assert (await forged(provider, signed(provider, aud=[CLIENT, "other"], azp=CLIENT))).name == "grace"


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"aud": None},
        {"iss": "https://evil.example.org"},
        {"iss": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"nbf": 4_000_000_000},
        {"at_hash": "another"},
    ],
    ids=json.dumps,
)
async def test_a_token_that_is_not_for_this_login_is_refused(provider: OidcProvider, changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated, match="proves nothing"):
        await forged(provider, signed(provider, **changes))


def unsigned(provider: OidcProvider, handshake: Handshake) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims(provider, handshake))}."


def by_client_secret(provider: OidcProvider, handshake: Handshake) -> str:
    key = OctKey.import_key(provider.secret)
    return jwt.encode({"alg": "HS256"}, claims(provider, handshake), key, algorithms=["HS256"])


def by_another_key(provider: OidcProvider, handshake: Handshake) -> str:
    return jwt.encode({"alg": "ES256", "kid": "tests"}, claims(provider, handshake), ECKey.generate_key("P-256"))


def by_a_key_of_no_such_id(provider: OidcProvider, handshake: Handshake) -> str:
    return jwt.encode({"alg": "ES256", "kid": "none"}, claims(provider, handshake), provider.key)


@pytest.mark.parametrize("forge", [unsigned, by_client_secret, by_another_key, by_a_key_of_no_such_id, lambda *_: "", lambda *_: "a.b.c"])
async def test_a_token_that_the_provider_did_not_sign_is_refused(
    provider: OidcProvider, forge: Callable[[OidcProvider, Handshake], str]
) -> None:
    with pytest.raises(Unauthenticated, match="proves nothing"):
        await forged(provider, lambda handshake: forge(provider, handshake))


# --- failures -------------------------------------------------------------------------------------------------------------------------


async def test_a_provider_that_is_well_passes_every_step(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    check = await access.sources.check(admin, "sso")
    assert check.passed
    assert [step.what for step in check.steps] == ["discovery", "keys"]


async def test_what_fails_is_said_in_plain_words(access: Access, admin: Actor, provider: OidcProvider, tmp_path: Path) -> None:
    await add_source(access, admin, provider)
    foreign = site_authority(tmp_path).pem.decode()
    port = free_port()
    wrong = {
        "not trusted": provider.settings(ca=foreign),
        "cannot be reached": provider.settings(issuer=f"https://127.0.0.1:{port}"),
        "calls itself": provider.settings(issuer=provider.issuer + "/"),
        "answers 404": provider.settings(issuer=provider.issuer + "/nowhere"),
    }
    for said, settings in wrong.items():
        await access.sources.change(admin, "sso", settings)
        check = await access.sources.check(admin, "sso")
        assert [(step.what, step.passed) for step in check.steps] == [("discovery", False)]
        assert said in check.steps[0].said
        with pytest.raises(SourceFailed, match=said):
            await access.sources.begin("sso", REDIRECT)
    await access.sources.change(admin, "sso", provider.settings(ca=foreign, verify=False))
    assert (await access.sources.check(admin, "sso")).passed


async def test_a_wrong_client_secret_is_said_at_the_end(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await access.sources.add(admin, "sso", provider.settings(), "wrong")
    with pytest.raises(Unauthenticated, match="did not accept the login"):
        await log_in(access, provider, "s-grace")


async def test_two_providers_do_not_answer_for_each_other(access: Access, admin: Actor, provider: OidcProvider) -> None:
    await add_source(access, admin, provider)
    await add_source(access, admin, provider, "campus")
    grace = await log_in(access, provider, "s-grace")
    with pytest.raises(Denied, match="not yours"):
        await log_in(access, provider, "s-grace", "campus")
    assert [offer.name for offer in await access.sources.offered()] == ["sso", "campus"]
    assert timedelta() < FLOW_LIFETIME
    assert grace.name == "grace"
