"""The pages of one's own account: secrets shown once, and nothing that another account could touch."""

from __future__ import annotations

import re

import pytest
from pysequoia import ArmorKind, Tsk, armor

from roadstead.access.access import Access
from roadstead.access.actor import Actor
from roadstead.access.source_settings import LdapSettings
from roadstead.errors import Unauthenticated
from tests.rooms.web.conftest import Visit
from tests.support.openpgp import compressed, literal
from tests.support.slapd import READER, READER_SECRET, Slapd

GOOD, BETTER = "correct horse battery", "staple of another kind"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
async def grace(access: Access, admin: Actor) -> Actor:
    """Somebody with a password."""
    await access.people.add(admin, "grace", GOOD, email="grace@lab.example")
    return await access.accounts.by_password("grace", GOOD)


async def test_a_cli_secret_is_shown_once_and_replaced(visit: Visit, access: Access, grace: Actor) -> None:
    browser = visit(grace)
    assert "Make a CLI secret" in (await browser.get("/profile")).text
    first = (await browser.post("/profile/secret")).commands()[0]
    assert (await access.accounts.by_password("grace", first)).name == "grace"
    made = await browser.post("/profile/secret")
    second = made.commands()[0]
    assert f"export SINGULARITY_DOCKER_PASSWORD='{second}'" in made.text
    assert "docker login --username 'grace' registry.example:5000" in made.commands()
    assert (await access.accounts.by_password("grace", second)).name == "grace"
    with pytest.raises(Unauthenticated):
        await access.accounts.by_password("grace", first)
    shown = await browser.get("/profile")
    assert second not in shown.html
    assert "Make a new secret" in shown.text
    assert (await browser.post("/profile/secret", token=False)).status == 403


async def test_what_one_is_called_is_changed(visit: Visit, access: Access, grace: Actor, admin: Actor) -> None:
    browser = visit(grace)
    assert (await browser.post("/profile", {"real_name": HOSTILE, "email": "g@lab.example"})).location == "/profile"
    shown = await browser.get("/profile")
    assert HOSTILE not in shown.html
    assert "g@lab.example" in shown.html
    assert (await browser.post("/profile", {"real_name": "x" * 1000})).status == 400
    assert grace.account_id is not None
    assert (await access.people.get(admin, grace.account_id)).real_name == HOSTILE


async def test_a_password_is_changed_by_who_knows_it(visit: Visit, access: Access, grace: Actor) -> None:
    browser = visit(grace)
    address = "/profile/password"
    right = {"old": GOOD, "new": BETTER, "again": BETTER}
    wrong = {"old": "wrong"}, {"again": GOOD}, {"new": "short", "again": "short"}, {"new": "", "again": ""}
    for change in wrong:
        refused = await browser.post(address, {**right, **change})
        assert refused.status in (400, 401)
        assert GOOD not in refused.html
        assert BETTER not in refused.html
    assert (await browser.post(address, right, token=False)).status == 403
    assert (await access.accounts.by_password("grace", GOOD)).name == "grace"
    assert (await browser.post(address, right)).location == address
    assert (await access.accounts.by_password("grace", BETTER)).name == "grace"
    assert (await browser.get(address)).status == 200  # the session goes on
    back = {"old": BETTER, "new": GOOD, "again": GOOD, "end_sessions": "true"}
    assert (await browser.post(address, back)).location == "/login"
    assert (await browser.get(address)).location.startswith("/login")


async def test_a_password_of_a_directory_is_changed_there(visit: Visit, access: Access, admin: Actor, slapd: Slapd) -> None:
    tree = slapd.fresh_tree()
    tree.person("hopper", GOOD)
    directory = LdapSettings(url=slapd.secure_url, ca=slapd.ca, base_dn=f"ou=people,{tree.base}", bind_dn=READER)
    await access.sources.add(admin, "site", directory, READER_SECRET)
    browser = visit(await access.accounts.by_password("hopper", GOOD))
    shown = await browser.get("/profile/password")
    assert 'name="old"' not in shown.html
    assert "kept by site" in shown.text
    refused = await browser.post("/profile/password", {"old": GOOD, "new": BETTER, "again": BETTER})
    assert refused.status == 401
    assert (await access.accounts.by_password("hopper", GOOD)).name == "hopper"
    with pytest.raises(Unauthenticated):
        await access.accounts.by_password("hopper", BETTER)


async def test_a_form_that_is_sent_again_takes_no_secret_away(visit: Visit, access: Access, grace: Actor) -> None:
    browser = visit(grace)
    (sent,) = re.findall(r'name="replaces" value="([^"]*)"', (await browser.get("/profile")).html)
    secret = (await browser.post("/profile/secret", {"replaces": sent})).commands()[0]
    again = await browser.post("/profile/secret", {"replaces": sent})
    assert (again.status, "it holds" in again.text) == (409, True)
    assert (await access.accounts.by_password("grace", secret)).name == "grace"
    (sent,) = re.findall(r'name="replaces" value="([^"]*)"', again.html)
    assert (await browser.post("/profile/secret", {"replaces": sent})).status == 200


async def test_sessions_are_ended(visit: Visit, access: Access, grace: Actor, user: Actor) -> None:
    here, there, further, other = visit(grace), visit(grace), visit(grace), visit(user)
    for browser in (there, further, here, other):
        assert (await browser.get("/profile/sessions")).status == 200
    shown = await here.get("/profile/sessions")
    assert shown.text.count("this one") == 1
    assert grace.account_id is not None
    rows = await access.sessions.list(grace, grace.account_id)
    assert len(rows) == 3
    assert (await other.post(f"/profile/sessions/{rows[-1].id}")).status == 404
    assert (await here.post("/profile/sessions/x")).status == 404
    assert (await here.post("/profile/sessions", token=False)).status == 403
    assert (await here.post(f"/profile/sessions/{rows[-1].id}")).location == "/profile/sessions"
    assert (await there.get("/profile/sessions")).location.startswith("/login")
    assert (await here.post("/profile/sessions")).location == "/profile/sessions"
    assert (await further.get("/profile/sessions")).location.startswith("/login")
    assert (await here.get("/profile/sessions")).status == 200
    assert (await other.get("/profile/sessions")).status == 200


async def test_keys_are_added_and_removed_by_their_owner(visit: Visit, access: Access, grace: Actor, user: Actor) -> None:
    browser, address = visit(grace), "/profile/keys"
    assert "You have no signing key here" in (await browser.get(address)).text
    key = Tsk.generate(f"Grace {HOSTILE} <grace@lab.example>").extract_certificate()
    packed = armor(bytes(key) + compressed(compressed(literal(1 << 20)) * 100), ArmorKind.PublicKey)
    for wrong in ("", "no key", "x" * 100_000, packed):
        assert (await browser.post(address, {"key": wrong})).status in (400, 413)
    assert (await browser.post(address, {"key": str(key)}, token=False)).status == 403
    assert (await browser.post(address, {"key": str(key)})).location == address
    shown = await browser.get(address)
    assert key.fingerprint.upper() in shown.text
    assert HOSTILE not in shown.html
    assert key.fingerprint.upper() not in (await visit(user).get(address)).text
    assert (await visit(user).post(f"{address}/{key.fingerprint}")).status == 403
    assert (await browser.post(f"{address}/{'0' * 40}")).status == 404
    assert (await browser.post(f"{address}/{key.fingerprint}")).location == address
    assert await access.openpgp_keys.own(grace) == []


@pytest.mark.parametrize("path", ["", "/tokens", "/keys", "/sessions", "/password"])
async def test_a_stranger_is_sent_to_log_in(visit: Visit, path: str) -> None:
    assert (await visit().get(f"/profile{path}")).location.startswith("/login")
    assert (await visit().post(f"/profile{path}", {"name": "x", "level": "read"})).status == 401
