"""The pages of the administration: for administrators alone, and what each form does and refuses."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from roadstead.access.access import Access
from roadstead.access.actor import Actor, Level
from roadstead.access.configuration import Values
from roadstead.access.source_settings import LdapSettings, OidcSettings, kind_of
from roadstead.errors import NotFound, Unauthenticated, Unavailable
from roadstead.metadata import audit
from roadstead.metadata.audit import NewAudit
from roadstead.metadata.database import Database
from roadstead.registry.registry import Registry
from roadstead.serving.front import PlainDoor
from roadstead.upkeep.growth import KEPT, measure
from roadstead.web.door import WebDoor
from roadstead.web.pages.sources import FIELDS
from roadstead.web.pages.system import SAID, picture
from roadstead.web.rooms import Rooms
from tests.rooms.web.conftest import Browser, Visit
from tests.support.factories import APP, BEGINNING, ManualClock, image, push_image
from tests.support.slapd import READER, READER_SECRET, Slapd

GOOD, BETTER = "correct horse battery", "staple of another kind"
HOSTILE = "<script>alert(1)</script>"
PAGES = ("users", "users/{id}", "groups", "groups/0", "robots", "sources", "storage", "configuration", "health")


@pytest.mark.parametrize("page", PAGES)
async def test_the_administration_is_for_administrators(visit: Visit, admin: Actor, user: Actor, page: str) -> None:
    address = f"/admin/{page.format(id=admin.account_id)}"
    assert (await visit().get(address)).location.startswith("/login")
    assert (await visit(user).get(address)).status == 403
    assert (await visit(admin).get(address)).status == (404 if page == "groups/0" else 200)


async def test_an_administrator_sees_all_of_the_log_and_others_none(visit: Visit, access: Access, admin: Actor, user: Actor) -> None:
    await access.people.add(admin, "grace", GOOD)
    assert "user grace" in (await visit(admin).get("/admin/audit?what=create")).text
    assert "user grace" not in (await visit(admin).get("/admin/audit?what=delete")).text
    assert "user grace" not in (await visit(user).get("/admin/audit")).text
    assert (await visit().get("/admin/audit")).location.startswith("/login")


async def test_a_log_is_looked_through(visit: Visit, database: Database, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.metadata.audit.COUNTED", 100)
    monkeypatch.setattr("roadstead.web.entries.COUNTED", 100)
    rows = [
        NewAudit(
            BEGINNING, None, "ada" if one % 50 else "grace", "", "push", "artifact", f"lab/{'rare' if one % 100 == 0 else 'app'}:{one}"
        )
        for one in range(300)
    ]
    await database.write(lambda connection: audit.add(connection, *rows))
    browser = visit(admin)

    async def entries(query: str) -> list[int]:
        return [int(one) for one in re.findall(r"lab/(?:app|rare):(\d+)", (await browser.get(f"/admin/audit?{query}")).text)]

    assert await entries("who=grace") == [250, 200, 150, 100, 50, 0]
    assert await entries("who=grace&what=push&which=lab/rare") == [200, 100, 0]
    assert await entries("which=lab/rare") == [200, 100, 0]
    assert await entries("which=lab/rare:10") == [100]
    assert await entries("which=lab/") == list(range(299, 249, -1))  # more than are counted: by the order in which they came
    assert await entries("which=lab/&page=2") == list(range(249, 199, -1))
    for nothing in (
        "who=grac",
        "who=nobody",
        "which=ab/rare",
        "which=lab/rare&what=pull",
        "which=lab/&page=3",
        "what=%F0%9F%9A%A2",
        "which=%25",
    ):
        assert await entries(nothing) == [], nothing
    assert "more than 100 entries" in (await browser.get("/admin/audit?which=lab/")).text
    assert "1–3 of 3 entries" in (await browser.get("/admin/audit?which=lab/rare")).text
    assert HOSTILE not in (await browser.get(f"/admin/audit?who={HOSTILE}&which={HOSTILE}")).html


# --- users


async def test_an_account_is_made_and_found(visit: Visit, access: Access, admin: Actor) -> None:
    browser, form = visit(admin), {"name": "grace", "password": GOOD, "real_name": HOSTILE}
    wrong: tuple[dict[str, str], ...] = ({"name": ""}, {"name": "admin"}, {"password": "short"})
    for one in wrong:
        assert (await browser.post("/admin/users", {**form, **one})).status in (400, 409)
    assert (await browser.post("/admin/users", form, token=False)).status == 403
    address = (await browser.post("/admin/users", form)).location
    assert (await access.accounts.by_password("grace", GOOD)).is_admin is False
    assert HOSTILE not in (await browser.get(address)).html
    assert address in (await browser.get("/admin/users?name=rac")).links()
    assert "Nobody has" in (await browser.get("/admin/users?name=%3Cb%3E")).text


async def test_an_account_is_changed_and_removed(visit: Visit, access: Access, admin: Actor) -> None:
    row = await access.people.add(admin, "grace", GOOD)
    browser, address = visit(admin), f"/admin/users/{row.id}"
    for act in ("promote", "demote", "disable", "enable"):
        assert (await browser.post(address, {"act": act})).location == address
    found = await access.people.get(admin, row.id)
    assert (found.is_admin, found.disabled_at) == (False, None)
    assert (await browser.post(address, {"act": "promote"})).location == address
    assert (await access.people.get(admin, row.id)).is_admin
    assert (await browser.post(address, {"act": "password", "password": "short"})).status == 400
    assert (await browser.post(address, {"act": "password", "password": BETTER})).location == address
    assert (await access.accounts.by_password("grace", BETTER)).name == "grace"
    with pytest.raises(Unauthenticated):
        await access.accounts.by_password("grace", GOOD)
    assert (await browser.post(address, {"act": "bless"})).status == 400
    assert (await browser.post(address, {"act": "remove", "typed": "grac"})).status == 400
    assert (await browser.post(address, {"act": "remove", "typed": "grace"}, token=False)).status == 403
    assert (await browser.post(address, {"act": "remove", "typed": "grace"})).location == "/admin/users"
    assert (await browser.get(address)).status == 404


async def test_administrators_do_not_end_themselves(visit: Visit, access: Access, admin: Actor) -> None:
    browser, address = visit(admin), f"/admin/users/{admin.account_id}"
    for form in ({"act": "demote"}, {"act": "disable"}, {"act": "remove", "typed": "admin"}):
        assert (await browser.post(address, form)).status == 403
    assert admin.account_id is not None
    assert (await access.people.get(admin, admin.account_id)).is_admin


@pytest.mark.parametrize("path", ["users/0", "users/x", "groups/0", "groups/x", "robots/0", "sources/none"])
async def test_what_is_not_there_is_not_changed(visit: Visit, admin: Actor, path: str) -> None:
    assert (await visit(admin).post(f"/admin/{path}", {"act": "remove"})).status == 404


async def test_nobody_else_changes_anything(visit: Visit, access: Access, admin: Actor, user: Actor) -> None:
    group = await access.groups.add(admin, "crew")
    stranger = visit(user)
    forms = {
        "users": {"name": "eve", "password": GOOD},
        f"users/{admin.account_id}": {"act": "disable"},
        f"users/{user.account_id}": {"act": "promote"},
        "groups": {"name": "others"},
        f"groups/{group.id}": {"act": "remove"},
        "robots": {"name": "eve", "pull": "true"},
        "sources/any": {"act": "remove"},
        "configuration": dict.fromkeys(SAID, "1"),
    }
    for path, form in forms.items():
        assert (await stranger.post(f"/admin/{path}", form)).status == 403, path
    assert [one.name for one in await access.groups.list(admin)] == ["crew"]
    assert {one.name: one.is_admin for one in await access.people.list(admin)} == {"admin": True, "ada": False}


# --- groups


async def test_a_group_has_members(visit: Visit, access: Access, admin: Actor, user: Actor) -> None:
    browser = visit(admin)
    assert "There are no groups" in (await browser.get("/admin/groups")).text
    assert (await browser.post("/admin/groups", {"name": ""})).status == 400
    address = (await browser.post("/admin/groups", {"name": "crew"})).location
    assert (await browser.post("/admin/groups", {"name": "crew"})).status == 409
    assert (await browser.post("/admin/groups", {"name": "theirs", "source": "nobody", "external_id": "x"})).status in (400, 404)
    assert (await browser.post(address, {"act": "add", "name": "nobody"})).status == 404
    assert (await browser.post(address, {"act": "add", "name": "ada"})).location == address
    assert f"/admin/users/{user.account_id}" in (await browser.get(address)).links()
    assert (await browser.post(address, {"act": "take-out", "account": "x"})).status == 404
    assert (await browser.post(address, {"act": "take-out", "account": user.account_id})).location == address
    assert "Nobody is in it." in (await browser.get(address)).text
    await browser.post(address, {"act": "rename", "name": HOSTILE})
    assert HOSTILE not in (await browser.get(address)).html
    assert (await browser.post(address, {"act": "dance"})).status == 400
    assert (await browser.post(address, {"act": "remove"}, token=False)).status == 403
    for typed in ("", "crew"):
        assert (await browser.post(address, {"act": "remove", "typed": typed})).status == 400
    assert (await browser.post(address, {"act": "remove", "typed": HOSTILE})).location == "/admin/groups"
    assert await access.groups.list(admin) == []


# --- robots


async def test_long_lists_of_groups_have_pages(visit: Visit, access: Access, admin: Actor, user: Actor) -> None:
    browser, account = visit(admin), user.account_id or 0
    numbers = [(await access.groups.add(admin, f"crew {number:02}")).id for number in range(30)]
    for number in numbers:
        await access.groups.add_member(admin, number, account)
    for page in ("/admin/groups", f"/admin/users/{account}"):
        first, second = await browser.get(page), await browser.get(f"{page}?page=2")
        assert f"{page}?page=2" in first.links()
        assert ("crew 24" in first.text, "crew 25" in first.text) == (True, False)
        assert ("crew 24" in second.text, "crew 25" in second.text) == (False, True)
    own = await visit(user).get("/profile?page=2")
    assert ("crew 24" in own.text, "crew 29" in own.text) == (False, True)
    found = await browser.get("/admin/groups?name=EW%2007")
    assert ("crew 07" in found.text, "crew 08" in found.text) == (True, False)
    assert "No group has <b>" in (await browser.get("/admin/groups?name=%3Cb%3E")).text


async def test_many_members_have_pages(visit: Visit, access: Access, admin: Actor) -> None:
    group = (await access.groups.add(admin, "crew")).id
    for number in range(30):
        row = await access.people.add(admin, f"sailor{number:02}", GOOD)
        await access.groups.add_member(admin, group, row.id)
    second = await visit(admin).get(f"/admin/groups/{group}?page=2")
    assert ("sailor24" in second.text, "sailor25" in second.text, "26–30 of 30 members" in second.text) == (False, True, True)
    assert (await visit(admin).get(f"/admin/groups/{group}?page=3")).location == f"/admin/groups/{group}?page=2"


async def test_an_administrator_describes_others(visit: Visit, access: Access, admin: Actor) -> None:
    row = await access.people.add(admin, "grace", GOOD)
    browser, address = visit(admin), f"/admin/users/{row.id}"
    form = {"act": "describe", "real_name": HOSTILE, "email": "g@lab.example"}
    assert (await browser.post(address, {**form, "real_name": "x" * 1000})).status == 400
    assert (await browser.post(address, form)).location == address
    changed = await access.people.get(admin, row.id)
    assert (changed.real_name, changed.email) == (HOSTILE, "g@lab.example")
    assert HOSTILE not in (await browser.get(address)).html


async def test_an_administrator_ends_sessions_and_tokens_of_others(visit: Visit, access: Access, admin: Actor, user: Actor) -> None:
    account = user.account_id or 0
    address, browser, theirs, other = f"/admin/users/{account}/credentials", visit(admin), visit(user), visit(user)
    for one in (theirs, other):
        assert (await one.get("/profile")).status == 200
    token, _ = await access.credentials.add_token(user, account, HOSTILE, Level.READ, project_names=["library"])
    shown = await browser.get(address)
    assert HOSTILE not in shown.html
    assert "only in library" in shown.text
    assert address in (await browser.get(f"/admin/users/{account}")).links()
    assert (await theirs.get(address)).status == 403
    end_token = {"act": "end-token"}
    for form in (end_token, {**end_token, "credential": "0"}, {"act": "end-session", "credential": str(token.id)}, {"act": "x"}):
        assert (await browser.post(address, form)).status in (400, 404)
    assert (await browser.post(address, {"act": "end-sessions"}, token=False)).status == 403
    assert (await theirs.post(address, {"act": "end-sessions"})).status == 403
    session = (await access.sessions.list(user, account))[-1].id
    assert (await browser.post(address, {"act": "end-session", "credential": session})).location == address
    assert sorted([(await theirs.get("/profile")).status, (await other.get("/profile")).status]) == [200, 303]
    assert (await browser.post(address, {"act": "end-sessions"})).location == address
    assert ((await theirs.get("/profile")).status, (await other.get("/profile")).status) == (303, 303)
    assert (await browser.post(address, {"act": "end-token", "credential": token.id})).location == address
    assert await access.credentials.tokens(user, account) == []
    assert (await browser.get("/admin/users/0/credentials")).status == 404


async def test_a_robot_of_the_system_may_in_every_project(visit: Visit, access: Access, admin: Actor) -> None:
    browser = visit(admin)
    assert (await browser.post("/admin/robots", {"name": "mirror"})).status == 400  # it must be for something
    made = await browser.post("/admin/robots", {"name": "mirror", "pull": "true", "days": "30"})
    secret = made.commands()[0]
    assert "docker login --username 'robot$mirror' registry.example:5000" in made.commands()
    (row,) = await access.robots.list(admin, None)
    robot = (await access.accounts.by_password("robot$mirror", secret)).robot
    assert robot is not None
    assert robot.of("library") == robot.of("vault") != frozenset()
    shown = await browser.get("/admin/robots")
    assert secret not in shown.html
    assert "robot$mirror pull" in shown.text
    address = f"/admin/robots/{row.id}"
    assert (await browser.post(f"/projects/library/robots/{row.id}", {"act": "remove"})).status == 404
    assert (await browser.post(address, {"act": "remove"}, token=False)).status == 403
    assert (await browser.post(address, {"act": "rotate"})).commands()[0] != secret
    assert (await browser.post(address, {"act": "disable"})).location == "/admin/robots"
    assert (await browser.post(address, {"act": "remove"})).location == "/admin/robots"
    assert await access.robots.list(admin, None) == []


# --- login sources


async def test_sources_are_tried_ordered_stopped_and_removed(visit: Visit, access: Access, admin: Actor) -> None:
    browser, address = visit(admin), "/admin/sources/two"
    assert "roadstead source add-ldap" in (await browser.get("/admin/sources")).text
    for name in ("one", "two"):
        settings = OidcSettings(issuer="https://127.0.0.1:9", client_id="registry", timeout_seconds=1)
        await access.sources.add(admin, name, settings, "a secret of some length")
    shown = await browser.get("/admin/sources")
    assert "https://127.0.0.1:9" in shown.text
    assert "a secret of some length" not in shown.html
    assert "does not work" in (await browser.post(address, {"act": "check"})).text
    assert (await browser.post(address, {"act": "up"})).location == "/admin/sources"
    assert [one.name for one in await access.sources.list(admin)] == ["two", "one"]
    assert (await browser.post(address, {"act": "disable"})).location == "/admin/sources"
    assert [one.enabled for one in await access.sources.list(admin)] == [False, True]
    assert (await browser.post(address, {"act": "sing"})).status == 400
    assert (await browser.post(address, {"act": "remove"}, token=False)).status == 403
    for typed in ("", "one"):
        assert (await browser.post(address, {"act": "remove", "typed": typed})).status == 400
    assert (await browser.post(address, {"act": "remove", "typed": "two"})).location == "/admin/sources"
    with pytest.raises(NotFound):
        await access.sources.get(admin, "two")


def filled(settings: LdapSettings | OidcSettings) -> dict[str, Any]:
    """A source's settings as the form sends them."""
    fields: dict[str, Any] = {"kind": kind_of(settings)}
    for name, value in msgspec.structs.asdict(settings).items():
        if value is not False:
            fields[name] = "true" if value is True else " ".join(value) if isinstance(value, tuple) else str(value)
    return fields


async def test_every_setting_of_a_source_has_a_field() -> None:
    for kind, struct in (("ldap", LdapSettings), ("oidc", OidcSettings)):
        assert {field.name for several in FIELDS[kind] for field in several} == set(struct.__struct_fields__)


async def test_a_directory_is_set_up_tried_and_set_up_otherwise(visit: Visit, access: Access, admin: Actor, slapd: Slapd) -> None:
    tree = slapd.fresh_tree()
    tree.person("grace", GOOD)
    browser, address = visit(admin), "/admin/sources/site"
    settings = LdapSettings(
        url=slapd.secure_url, ca=slapd.ca.strip(), base_dn=f"ou=people,{tree.base}", bind_dn=READER, group_base_dn=f"ou=groups,{tree.base}"
    )
    form = {**filled(settings), "name": "site", "secret": READER_SECRET}
    wrong: list[dict[str, Any]] = [
        {"name": "Local!"},
        {"name": "local"},
        {"url": ""},
        {"url": "https://host"},
        {"url": slapd.url},  # passwords would travel unencrypted
        {"secret": ""},
        {"bind_dn": ""},
        {"ca": "no certificate"},
        {"user_filter": "(uid=x)"},
        {"nesting": "sideways"},
        {"timeout_seconds": "soon"},
        {"timeout_seconds": "1e9"},
        {"kind": "magic"},
    ]
    for one in wrong:
        refused = await browser.post("/admin/sources", {**form, **one})
        assert refused.status == 400, one
        assert READER_SECRET not in refused.html
    assert settings.base_dn in (await browser.post("/admin/sources", {**form, "nesting": "sideways"})).html  # what was typed is there still
    assert (await browser.post("/admin/sources", form, token=False)).status == 403
    assert await access.sources.list(admin) == []
    assert (await browser.post("/admin/sources", form)).location == address
    assert (await access.sources.get(admin, "site")).settings == settings
    assert (await browser.post("/admin/sources", form)).status == 409
    shown = await browser.get(address)
    assert READER_SECRET not in shown.html
    assert settings.base_dn in shown.html
    tried = await browser.post(address, {"act": "check"})
    assert "site works" in tried.text
    # The secret stays where none is given, and goes with the account that it is of.
    otherwise = {**form, "act": "settings", "secret": "", "email_attribute": "mail2"}
    assert (await browser.post(address, {**otherwise, "url": "x"})).status == 400
    assert (await browser.post(address, otherwise)).location == address
    assert "site works" in (await browser.post(address, {"act": "check"})).text
    changed = (await access.sources.get(admin, "site")).settings
    assert isinstance(changed, LdapSettings)
    assert changed == msgspec.structs.replace(settings, email_attribute="mail2")
    assert (await browser.post(address, {**otherwise, "bind_dn": ""})).location == address
    assert (await access.sources.get(admin, "site")).has_secret is False


async def test_a_provider_is_set_up_and_its_secret_forgotten(visit: Visit, access: Access, admin: Actor) -> None:
    browser, address = visit(admin), "/admin/sources/idp"
    settings = OidcSettings(issuer="https://idp.example", client_id="registry", membership_hours=36.0, userinfo=False)
    form = {**filled(settings), "name": "idp", "secret": "of the client"}
    assert (await browser.post("/admin/sources", {**form, "scopes": "profile"})).status == 400
    assert (await browser.post("/admin/sources", form)).location == address
    row = await access.sources.get(admin, "idp")
    assert (row.settings, row.has_secret) == (settings, True)
    assert "of the client" not in (await browser.get(address)).html
    assert (await browser.post(address, {**form, "act": "settings", "secret": ""})).location == address
    assert (await access.sources.get(admin, "idp")).has_secret is True
    assert (await browser.post(address, {**form, "act": "settings", "secret": "", "forget": "true"})).location == address
    assert (await access.sources.get(admin, "idp")).has_secret is False
    assert (await browser.get("/admin/sources/nobody")).status == 404


async def test_only_administrators_set_sources_up(visit: Visit, access: Access, admin: Actor, user: Actor) -> None:
    form = {**filled(OidcSettings(issuer="https://idp.example", client_id="registry")), "name": "idp"}
    await access.sources.add(admin, "there", OidcSettings(issuer="https://127.0.0.1:9", client_id="registry"), "secret")
    for somebody, status in ((visit(user), 403), (visit(), 401)):
        assert (await somebody.post("/admin/sources", form)).status == status
        for act in ("check", "settings", "remove", "disable", "up"):
            assert (await somebody.post("/admin/sources/there", {**form, "act": act, "typed": "there"})).status == status
    assert (await visit(user).get("/admin/sources/there")).status == 403
    assert [(one.name, one.enabled) for one in await access.sources.list(admin)] == [("there", True)]


# --- storage, configuration, health


async def test_growth_is_drawn_from_its_samples(
    visit: Visit, database: Database, registry: Registry, clock: ManualClock, admin: Actor
) -> None:
    assert "There is none so far." in (await visit(admin).get("/admin/storage")).text
    first = await measure(database, clock)
    assert (first.stored, first.repositories) == (0, 0)
    await push_image(registry, admin, APP, image("x" * 4096), "1")
    clock.advance(timedelta(days=1))
    second = await measure(database, clock)
    assert second.stored >= 4096
    assert second.repositories == 1
    shown = await visit(admin).get("/admin/storage")
    assert "From 0 bytes on" in shown.html
    assert 'points="0.0,200.0 720.0,0.0"' in shown.html
    clock.advance(KEPT)
    last = await measure(database, clock)
    kept = await registry.statistics.growth(admin, first.at - timedelta(days=1))
    assert list(kept) == [second, last]


async def test_a_picture_of_nothing_is_a_line_at_the_bottom(database: Database, clock: ManualClock) -> None:
    one = await measure(database, clock)
    assert picture([one, one]).points == "0.0,200.0 0.0,200.0"


async def test_the_configuration_is_changed_whole_or_not_at_all(visit: Visit, access: Access, admin: Actor) -> None:
    assert set(SAID) == set(Values.__struct_fields__) - {"self_registration"}
    browser, address = visit(admin), "/admin/configuration"
    present = await access.configuration.get(admin)
    form = {**{key: str(getattr(present, key)) for key in SAID}, "session_lifetime": "99"}
    wrong = {"session_timeout": "0"}, {"session_timeout": "soon"}, {"project_creation_restriction": "nobody"}, {"robot_token_duration": ""}
    for one in wrong:
        assert (await browser.post(address, {**form, **one})).status == 400
        assert await access.configuration.get(admin) == present
    assert (await browser.post(address, form, token=False)).status == 403
    assert (await browser.post(address, {**form, "project_creation_restriction": "everyone"})).location == address
    changed = await access.configuration.get(admin)
    assert (changed.session_lifetime, changed.project_creation_restriction, changed.session_timeout) == (99, "everyone", 60)


async def test_health_says_what_fails_and_what_hangs(rooms: Rooms, access: Access, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails() -> None:
        raise Unavailable("The store is on fire.")

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def answers() -> None:
        pass

    monkeypatch.setattr("roadstead.web.pages.system._CHECK_SECONDS", 0.01)
    wired = msgspec.structs.replace(rooms, checks={"store": fails, "database": hangs, "cache": answers})
    browser = Browser(WebDoor(wired, PlainDoor(access.accounts)), access, admin)
    shown = await browser.get("/admin/health")
    assert shown.status == 200
    assert "store fails The store is on fire." in shown.text
    assert "database fails It has not answered within 0.01 seconds." in shown.text
    assert "cache answers" in shown.text


async def test_health_says_what_waits_and_whom_to_ask(visit: Visit, admin: Actor) -> None:
    shown = await visit(admin).get("/admin/health")
    assert "Jobs waiting" in shown.text
    assert "roadstead doctor" in shown.commands()
