"""Every form, found in the table of routes: none does anything that did not come from a page of this site, in this session."""

from __future__ import annotations

import re

import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.source_settings import OidcSettings
from roadstead.registry.registry import Registry
from roadstead.web.pages import MODULES
from tests.rooms.web.conftest import Visit
from tests.support.factories import APP, image, push_image

FORMS = sorted({route.template for module in MODULES for route in module.routes.values() if "POST" in route.handlers} - {"/login"})
PLACES = {"project": "library", "name:path": f"{APP}", "name": "kestrel", "source": "idp"}


def address(template: str) -> str:
    """The form's address, of things that are there."""
    return re.sub(r"\{([a-z:]+)\}", lambda place: PLACES.get(place[1], "1"), template)


@pytest.fixture
async def things(access: Access, registry: Registry, admin: Actor) -> None:
    """What the addresses are of."""
    await push_image(registry, admin, APP, image("one"), "latest")
    await access.sources.add(admin, "idp", OidcSettings(issuer="https://127.0.0.1:9", client_id="registry"), "secret")


def test_the_table_has_forms() -> None:
    assert len(FORMS) > 30


@pytest.mark.usefixtures("things")
async def test_a_form_wants_the_sessions_token(visit: Visit, admin: Actor, user: Actor) -> None:
    browser, other = visit(admin), visit(user)
    theirs = re.findall(r'name="csrf_token" value="([^"]+)"', (await other.get("/profile")).html)[0]
    for template in FORMS:
        for form in ({}, {"csrf_token": "x" * 43}, {"csrf_token": theirs}):
            refused = await browser.post(address(template), {"act": "remove", **form}, token=False)
            assert (refused.status, "CSRF token" in refused.text) == (403, True), template


FOREIGN = ({"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere.example"})


@pytest.mark.usefixtures("things")
async def test_a_form_comes_from_a_page_of_this_site(visit: Visit, admin: Actor) -> None:
    browser = visit(admin)
    for template in (*FORMS, "/login"):
        for headers in FOREIGN:
            refused = await browser.ask("POST", address(template), body=b"act=remove", **headers)
            assert (refused.status, "another site" in refused.text) == (403, True), template


@pytest.mark.usefixtures("things")
async def test_nobody_does_anything_by_a_form(visit: Visit) -> None:
    """Of who is not logged in; `/logout` then has nothing to do, and of some the form is wrong before anybody is asked for."""
    for template in FORMS:
        answer = await visit().post(address(template), {"act": "remove"})
        assert answer.status in (400, 401, 403, 404) or template == "/logout", (template, answer.status, answer.text)
