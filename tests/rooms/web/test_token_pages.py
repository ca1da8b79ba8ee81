"""The page of access tokens: a secret is shown once, and only its owner ends a token."""

from __future__ import annotations

from datetime import timedelta

from roadstead.access.access import Access
from roadstead.access.actor import SYSTEM, Actor, Level
from tests.rooms.web.conftest import Visit
from tests.support.factories import ManualClock

HOSTILE = "<script>alert(1)</script>"


async def test_a_tokens_secret_is_shown_once_with_how_to_use_it(visit: Visit, access: Access, user: Actor) -> None:
    browser = visit(user)
    made = await browser.post("/profile/tokens", {"name": HOSTILE, "level": "write", "days": "30"})
    assert made.status == 200
    assert HOSTILE not in made.html
    secret = made.commands()[0]
    assert "docker login --username 'ada' registry.example:5000" in made.commands()
    assert f"SINGULARITY_DOCKER_PASSWORD='{secret}'" in made.text
    assert secret not in (await browser.get("/profile/tokens")).html
    assert user.account_id is not None
    (row,) = await access.credentials.tokens(user, user.account_id)
    assert (row.level, row.expires_at is not None, secret.startswith(row.hint)) == ("write", True, True)
    assert (await access.accounts.by_password("ada", secret)).account_id == user.account_id


async def test_what_is_wrong_with_a_token_is_said(visit: Visit, access: Access, user: Actor) -> None:
    browser = visit(user)
    wrong = [{"level": "write"}, {"level": "all"}, {"level": "read", "days": "0"}, {"level": "read", "days": "9" * 99}]
    for form in wrong[:1] + [{"name": "x", **one} for one in wrong[1:]]:
        assert (await browser.post("/profile/tokens", form)).status == 400
    assert (await browser.post("/profile/tokens", {"name": "x", "level": "read", "projects": "no-such-project"})).status in (400, 404)
    assert (await browser.post("/profile/tokens", {"name": "x", "level": "read"}, token=False)).status == 403
    assert user.account_id is not None
    assert await access.credentials.tokens(user, user.account_id) == []


async def test_only_its_owner_ends_a_token(visit: Visit, access: Access, user: Actor, admin: Actor) -> None:
    await visit(user).post("/profile/tokens", {"name": "laptop", "level": "read"})
    assert user.account_id is not None
    (row,) = await access.credentials.tokens(user, user.account_id)
    assert (await visit(admin).post(f"/profile/tokens/{row.id}")).status == 404
    assert (await visit(user).post(f"/profile/tokens/{row.id}", token=False)).status == 403
    assert (await visit(user).post("/profile/tokens/x")).status == 400
    assert len(await access.credentials.tokens(user, user.account_id)) == 1
    assert (await visit(user).post(f"/profile/tokens/{row.id}")).location == "/profile/tokens"
    assert await access.credentials.tokens(user, user.account_id) == []


async def test_a_form_that_is_sent_again_makes_no_second_token(visit: Visit, access: Access, user: Actor, clock: ManualClock) -> None:
    browser, form = visit(user), {"name": "laptop", "level": "read", "days": "1"}
    assert (await browser.post("/profile/tokens", form)).status == 200
    again = await browser.post("/profile/tokens", form)
    assert (again.status, "No second one was made" in again.text) == (409, True)
    assert len(await access.credentials.tokens(user, user.account_id or 0)) == 1
    clock.advance(timedelta(days=2))
    await access.configuration.change(SYSTEM, {"session_lifetime": 10_000, "session_timeout": 10_000})
    assert "expired" in (await visit(user).get("/profile/tokens")).text
    assert (await visit(user).post("/profile/tokens", form)).status == 200  # the one that has expired is none


async def test_a_token_says_what_it_is_for(visit: Visit, access: Access, user: Actor) -> None:
    account = user.account_id or 0
    await access.credentials.add_token(user, account, "narrow", Level.READ, project_names=["vault", "library"])
    await access.credentials.add_token(user, account, "none", Level.READ, project_names=[])
    shown = await visit(user).get("/profile/tokens")
    assert "only in library, vault" in shown.text
    assert "only in what is gone" in shown.text
    assert "expired" not in shown.text


async def test_many_tokens_have_pages(visit: Visit, access: Access, user: Actor) -> None:
    for number in range(30):
        await access.credentials.add_token(user, user.account_id or 0, f"t{number:02}", Level.READ)
    first, second = await visit(user).get("/profile/tokens"), await visit(user).get("/profile/tokens?page=2")
    assert ("t29" in first.text, "t04" in first.text) == (True, False)
    assert ("t29" in second.text, "t04" in second.text) == (False, True)


async def test_a_stranger_is_sent_to_log_in(visit: Visit) -> None:
    assert (await visit().get("/profile/tokens")).location.startswith("/login")
