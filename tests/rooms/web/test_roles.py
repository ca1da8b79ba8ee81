"""The pages as each role: what is offered works, and what is not offered is refused when it is sent all the same."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

import pytest

from roadstead.access.actor import Action, Actor, Role
from roadstead.registry.registry import Registry
from tests.rooms.web.conftest import Browser, Visit
from tests.support.factories import VAULT, image, push_image

ROLES: Final = (*Role, None)
"""None is of nobody's account, and of no role."""

_PAGES: Final = (
    "/projects/vault",
    "/projects/vault/members",
    "/projects/vault/robots",
    "/projects/vault/policies",
    "/projects/vault/jobs",
    "/projects/vault/audit",
    "/projects/vault/settings",
    f"/repositories/{VAULT}",
    f"/repositories/{VAULT}:latest",
)
Form = tuple[str, str]
"""Where it is sent, and what it does."""


@pytest.fixture
async def vault(registry: Registry, admin: Actor) -> None:
    """A private project with an image, a robot's place and a description."""
    await push_image(registry, admin, VAULT, image("one"), "latest")


async def offered(browser: Browser) -> tuple[set[Form], set[str]]:
    """The forms of the project's pages, and the pages that are shown."""
    forms: set[Form] = set()
    shown = set()
    for path in _PAGES:
        page = await browser.get(path)
        if page.status != 200:
            continue
        shown.add(path)
        main = page.html[page.html.index("<main") :]
        for action, fields in re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"[^>]*>(.*?)</form>', main, re.DOTALL):
            acts = re.findall(r'name="act" value="([^"]+)"', fields) or [""]
            forms.update((unescape(action), act) for act in acts)
    return forms, shown


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("role", ROLES, ids=str)
async def test_what_is_not_offered_is_refused(visit: Visit, registry: Registry, admin: Actor, user: Actor, role: Role | None) -> None:
    if role is not None:
        await registry.projects.add_member(admin, "vault", "ada", role)
    everything, _ = await offered(visit(admin))
    assert len(everything) > 10
    browser = visit(user)
    mine, shown = await offered(browser)
    filled = {"name": "x", "typed": str(VAULT), "holder": "admin", "role": "guest", "pull": "on", "digest": f"sha256:{'0' * 64}"}
    for action, act in sorted(everything - mine):
        answer = await browser.post(action, {"act": act, **filled})
        assert answer.status in (400, 403, 404, 422), (action, act, answer.status)
        # What a role may not do is refused as such, however the form is filled; only what is wrong before anybody is asked is 400.
        assert answer.status != 400 or "/policies/" in action or "/jobs/" in action, (action, act, answer.text)
    permitted = await registry.projects.permitted(user, "vault") if role is not None else frozenset()
    assert (Action.CONFIGURE in permitted) is ("/projects/vault/settings" in shown)
    page = await browser.get("/projects/vault")
    for link in page.links():
        if link.startswith(("/projects/", "/repositories/")):
            assert (await browser.get(link)).status == 200, link


@pytest.mark.usefixtures("vault")
async def test_nobody_sees_nothing_of_it_and_changes_nothing(visit: Visit, registry: Registry, admin: Actor) -> None:
    everything, _ = await offered(visit(admin))
    stranger = visit()
    for path in _PAGES:
        shown = await stranger.get(path)
        assert shown.status == 303, path
        assert shown.location.startswith("/login"), path
    for action, act in sorted(everything):
        assert (await stranger.post(action, {"act": act, "typed": str(VAULT), "name": "x", "pull": "on"})).status in (400, 401, 403, 404), (
            action
        )
    assert await registry.projects.get(admin, "vault")
    assert (await visit(admin).get(f"/repositories/{VAULT}:latest")).status == 200


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize(
    ("role", "tabs"),
    [
        (Role.PROJECT_ADMIN, "Repositories Members Robots Policies Jobs Audit Settings"),
        (Role.MAINTAINER, "Repositories Members Robots Policies Audit"),
        (Role.DEVELOPER, "Repositories Members Policies Audit"),
        (Role.GUEST, "Repositories Members Policies Audit"),
        (Role.LIMITED_GUEST, "Repositories Policies"),
    ],
)
async def test_a_role_has_its_tabs(visit: Visit, registry: Registry, admin: Actor, user: Actor, role: Role, tabs: str) -> None:
    await registry.projects.add_member(admin, "vault", "ada", role)
    page = await visit(user).get("/projects/vault")
    nav = page.html[page.html.index('<nav class="tabs"') :]
    found = re.findall(r">([A-Z][a-z]+)</a>", nav[: nav.index("</nav>")])
    assert " ".join(found) == tabs
