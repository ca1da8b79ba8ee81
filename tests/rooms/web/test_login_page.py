"""Logging in by the page."""

from __future__ import annotations

import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from tests.rooms.web.conftest import Visit
from tests.support.factories import BEGINNING


async def test_who_knows_the_password_comes_to_where_they_wanted(visit: Visit, access: Access) -> None:
    await access.accounts.ensure_admin("right", BEGINNING)
    browser = visit()
    form = {"name": "admin", "password": "right", "next": "/projects?page=2"}
    assert (await browser.post("/login", form)).location == "/projects?page=2"
    assert "Log out" in (await browser.get("/")).text
    assert (await browser.get("/login?next=/help")).location == "/help"


async def test_who_does_not_is_told_and_keeps_the_name(visit: Visit, access: Access) -> None:
    await access.accounts.ensure_admin("right", BEGINNING)
    refused = await visit().post("/login", {"name": '"><b>admin', "password": "wrong"})
    assert refused.status == 401
    assert 'role="alert"' in refused.html
    assert 'value="&#34;&gt;&lt;b&gt;admin"' in refused.html


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
async def test_the_way_on_leads_to_no_other_site(visit: Visit, access: Access, target: str) -> None:
    await access.accounts.ensure_admin("right", BEGINNING)
    assert (await visit().post("/login", {"name": "admin", "password": "right", "next": target})).status == 400


async def test_a_session_goes_with_its_cookie(visit: Visit, user: Actor) -> None:
    browser = visit(user)
    assert "ada" in (await browser.get("/")).text
    browser.cookies["roadstead-session"] += "x"
    assert "Log in" in (await browser.get("/")).text
