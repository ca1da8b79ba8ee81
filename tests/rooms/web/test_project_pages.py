"""The pages of projects: who sees what of them, and what their forms do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pysequoia import Tsk

from roadstead.access.access import Access
from roadstead.access.actor import Actor, Role
from roadstead.access.openpgp_keys import OpenPgpKeys
from roadstead.errors import NotFound
from roadstead.metadata.database import Database
from roadstead.registry.registry import Registry
from tests.conftest import add_account
from tests.rooms.web.conftest import Visit
from tests.support.factories import APP, VAULT, ManualClock, image, push_image
from tests.support.pem import public_pem

HOSTILE = '"><script>alert(1)</script>'


async def test_an_administrator_makes_a_project_in_one_form(visit: Visit, registry: Registry, admin: Actor) -> None:
    browser = visit(admin)
    made = await browser.post("/projects", {"name": "climate", "description": "Models & data", "public": "true"})
    assert made.location == "/projects/climate"
    shown = await browser.get(made.location)
    assert "Models & data" in shown.text
    assert "docker push registry.example:5000/climate/IMAGE:latest" in shown.commands()
    assert (await registry.projects.get(admin, "climate")).public


@pytest.mark.parametrize(("name", "said"), [("Über", "name"), ("library", "already"), ("", "name")])
async def test_what_is_wrong_with_a_new_project_is_said_beside_the_form(visit: Visit, admin: Actor, name: str, said: str) -> None:
    shown = await visit(admin).post("/projects", {"name": name, "description": "kept"})
    assert shown.status in (400, 409)
    alert = re.search(r'role="alert">(.*?)<', shown.html)
    assert alert is not None
    assert said in alert[1]
    assert 'value="kept"' in shown.html


async def test_who_may_not_make_projects_has_no_form_and_is_refused(visit: Visit, user: Actor) -> None:
    browser = visit(user)
    assert "New project" not in (await browser.get("/projects")).text
    assert (await browser.post("/projects", {"name": "mine"})).status == 403


@pytest.mark.parametrize("end", ["", "/members", "/robots", "/policies", "/audit", "/settings"])
async def test_a_stranger_cannot_tell_a_private_project_from_none(visit: Visit, user: Actor, end: str) -> None:
    browser = visit(user)
    hidden, absent = await browser.get(f"/projects/vault{end}"), await browser.get(f"/projects/nought{end}")
    assert (hidden.status, absent.status) == (404, 404)
    assert hidden.html.replace("vault", "nought") == absent.html
    assert (await visit().get(f"/projects/vault{end}")).location == f"/login?next=%2Fprojects%2Fvault{end.replace('/', '%2F')}"


async def test_the_list_holds_what_one_may_see(visit: Visit, user: Actor, admin: Actor) -> None:
    assert "/projects/vault" not in (await visit(user).get("/projects")).links()
    assert {"/projects/vault", "/projects/library"} <= set((await visit(admin).get("/projects")).links())


async def test_lists_come_in_pages(visit: Visit, registry: Registry, admin: Actor) -> None:
    for number in range(30):
        await registry.projects.add(admin, f"p{number:02}")
    browser = visit(admin)
    first = await browser.get("/projects?name=p")
    assert "1–25 of 30 projects" in first.text
    second = await browser.get(next(link for link in first.links() if "page=2" in link))
    assert "26–30 of 30 projects" in second.text
    assert "/projects/p29" in second.links()
    assert (await browser.get("/projects?page=0")).status == 400


async def test_what_people_write_stays_text(visit: Visit, registry: Registry, admin: Actor) -> None:
    await registry.projects.add(admin, "climate", description=HOSTILE)
    await push_image(registry, admin, APP, image("one"), "latest")
    await registry.repositories.describe(admin, APP, HOSTILE)
    browser = visit(admin)
    for path in ("/projects", "/projects/climate", "/projects/library", f"/projects?name={HOSTILE}", "/projects/climate/settings"):
        shown = await browser.get(path)
        assert "<script>alert" not in shown.html
    assert "<script>alert(1)</script>" in (await browser.get("/projects/climate")).text


async def test_repositories_are_found_and_sorted(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    browser = visit()
    assert "/repositories/library/app" in (await browser.get("/projects/library?name=ap&sort=pulls")).links()
    assert "/repositories/library/app" not in (await browser.get("/projects/library?name=zebra")).links()
    assert (await browser.get("/projects/library?sort=colour")).status == 400


async def test_members_come_change_and_go(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    browser = visit(admin)
    form = {"kind": "account", "holder": "ada", "role": "developer", "path": "*"}
    assert (await browser.post("/projects/vault/members", form)).location == "/projects/vault/members"
    (member,) = await registry.projects.members(admin, "vault")
    assert (member.holder, member.role) == ("ada", Role.DEVELOPER)
    again = await browser.post("/projects/vault/members", form)
    assert (again.status, "already" in again.text) == (409, True)
    await browser.post(f"/projects/vault/members/{member.id}", {"role": "guest"})
    assert (await registry.projects.members(admin, "vault"))[0].role == Role.GUEST
    assert (await visit(user).post(f"/projects/vault/members/{member.id}", {"role": "projectAdmin"})).status == 403
    await browser.post(f"/projects/vault/members/{member.id}", {"act": "remove"})
    assert await registry.projects.members(admin, "vault") == []


async def test_a_role_on_one_repository_is_shown_apart(visit: Visit, admin: Actor, user: Actor) -> None:
    browser = visit(admin)
    form = {"kind": "account", "holder": "ada", "role": "maintainer", "path": "team/*"}
    assert (await browser.post("/projects/vault/members", form)).location == "/projects/vault/members?of=paths"
    assert "Nobody here by that name" in (await browser.get("/projects/vault/members?name=ada")).text
    assert "team/*" in (await browser.get("/projects/vault/members?of=paths")).text


async def test_a_robots_secret_is_shown_once(visit: Visit, admin: Actor) -> None:
    browser = visit(admin)
    made = await browser.post("/projects/vault/robots", {"name": "builder", "pull": "true", "push": "true"})
    assert made.status == 200
    secret = made.commands()[0]
    assert len(secret) > 20
    assert made.headers["cache-control"] == "no-store"
    assert "docker login --username 'robot$vault+builder' registry.example:5000" in made.commands()
    listed = await browser.get("/projects/vault/robots")
    assert secret not in listed.html
    assert "pull, push" in listed.text


async def test_a_robot_is_stopped_given_a_new_secret_and_deleted(visit: Visit, admin: Actor) -> None:
    browser = visit(admin)
    first = (await browser.post("/projects/vault/robots", {"name": "builder", "pull": "true"})).commands()[0]
    page = await browser.get("/projects/vault/robots")
    found = re.search(r"/projects/vault/robots/(\d+)", page.html)
    assert found is not None
    address = found[0]
    second = (await browser.post(address, {"act": "rotate"})).commands()[0]
    assert second != first
    await browser.post(address, {"act": "disable"})
    assert "Stopped" in (await browser.get("/projects/vault/robots")).text
    assert (await browser.post(address.replace("vault", "library"), {"act": "remove"})).status == 404
    await browser.post(address, {"act": "remove"})
    assert "has no robots" in (await browser.get("/projects/vault/robots")).text


async def test_a_form_that_is_sent_again_takes_no_secret_away(visit: Visit, access: Access, admin: Actor, clock: ManualClock) -> None:
    browser = visit(admin)
    await browser.post("/projects/vault/robots", {"name": "builder", "pull": "true"})
    page = (await browser.get("/projects/vault/robots")).html
    (address, *_), (seen,) = re.findall(r'action="(/projects/vault/robots/\d+)"', page), re.findall(r'name="seen" value="([^"]*)"', page)
    clock.advance(timedelta(seconds=5))
    secret = (await browser.post(address, {"act": "rotate", "seen": seen})).commands()[0]
    again = await browser.post(address, {"act": "rotate", "seen": seen})
    assert (again.status, "Nothing was done" in again.text) == (409, True)
    assert (await access.accounts.by_password("robot$vault+builder", secret)).robot is not None


async def test_a_robot_may_something_and_has_a_sound_name(visit: Visit, admin: Actor) -> None:
    browser = visit(admin)
    assert "Choose what the robot may do" in (await browser.post("/projects/vault/robots", {"name": "builder"})).text
    assert (await browser.post("/projects/vault/robots", {"name": "No Name", "pull": "true"})).status == 400


async def test_policies_are_set_by_forms(visit: Visit, registry: Registry, admin: Actor) -> None:
    browser = visit(admin)
    await browser.post("/projects/vault/policies/visibility", {"public": "true"})
    await browser.post("/projects/vault/policies/conversion", {"when": "push", "platforms": "linux/amd64, linux/arm64"})
    await browser.post("/projects/vault/policies/quota", {"limit": "1.5GiB"})
    row = await registry.projects.get(admin, "vault")
    assert (row.public, row.conversion_policy.when, row.conversion_policy.platforms) == (True, "push", ("linux/amd64", "linux/arm64"))
    assert not row.conversion_policy.sif_as_image
    assert (await registry.quotas.get(admin, "vault")).limit == 3 << 29
    assert "1.5 GiB" in (await browser.get("/projects/vault/policies")).text
    wrong = await browser.post("/projects/vault/policies/conversion", {"when": "push", "platforms": "amiga"})
    assert (wrong.status, "is no platform" in wrong.text) == (400, True)


async def test_whom_a_project_trusts_is_set_by_forms(
    visit: Visit, registry: Registry, database: Database, clock: ManualClock, admin: Actor, user: Actor
) -> None:
    clock.now = datetime.now(UTC)
    pair = Tsk.generate(f"{HOSTILE} <ada@example.org>")
    key = pair.extract_certificate().fingerprint.upper()
    browser = visit(admin)
    unknown = await browser.post("/projects/vault/policies/keys", {"fingerprint": key})
    assert (unknown.status, f"apptainer key push {key}" in unknown.text) == (404, True)
    assert "only_signed_sifs" not in unknown.html  # nothing to ask for before there is a key
    without = await browser.post("/projects/vault/policies/signatures", {"only_signed_sifs": "true"})
    assert (without.status, "trusts no key" in without.text) == (409, True)

    await OpenPgpKeys(database, clock).push(user, bytes(pair.extract_certificate()))
    assert (await browser.post("/projects/vault/policies/keys", {"fingerprint": key.lower()})).location == "/projects/vault/policies"
    assert (await browser.post("/projects/vault/policies/signatures", {"only_signed_sifs": "true"})).location
    shown = await browser.get("/projects/vault/policies")
    assert key in shown.text
    assert "Only SIFs go out that one of these keys has signed." in shown.text
    assert HOSTILE not in shown.html
    last = await browser.post(f"/projects/vault/policies/keys/{key}")
    assert (last.status, "last key" in last.text) == (409, True)
    await browser.post("/projects/vault/policies/signatures", {})
    await browser.post(f"/projects/vault/policies/keys/{key}")
    found = await registry.trust.of_project(admin, "vault")
    assert (found.only_signed_sifs, found.keys) == (False, [])


async def test_a_key_in_pem_is_trusted_by_the_same_form(visit: Visit, registry: Registry, admin: Actor) -> None:
    browser = visit(admin)
    pem = public_pem(ec.generate_private_key(ec.SECP256R1())).decode()
    wrong = await browser.post("/projects/vault/policies/keys", {"fingerprint": pem[:60]})
    assert (wrong.status, "cannot be read" in wrong.text) == (400, True)
    assert (await browser.post("/projects/vault/policies/keys", {"fingerprint": pem.replace("\n", "\r\n")})).location
    (key,) = (await registry.trust.of_project(admin, "vault")).keys
    assert (key.kind, key.fingerprint in (await browser.get("/projects/vault/policies")).text) == ("public-key", True)
    assert (await browser.post("/projects/vault/policies/signatures", {"only_signed_images": "true"})).location
    assert "Only images go out that one of these keys has signed" in (await browser.get("/projects/vault/policies")).text
    last = await browser.post(f"/projects/vault/policies/keys/{key.fingerprint}")
    assert (last.status, "last key" in last.text) == (409, True)
    assert (await browser.post("/projects/vault/policies/signatures", {})).location
    assert not (await registry.trust.of_project(admin, "vault")).only_signed_images
    assert (await browser.post(f"/projects/vault/policies/keys/{key.fingerprint}")).location


async def test_who_may_not_configure_reads_policies_and_changes_none(visit: Visit, registry: Registry, user: Actor, admin: Actor) -> None:
    browser = visit(user)
    shown = await browser.get("/projects/library/policies")
    assert "when somebody asks for the other form" in shown.text
    assert "/policies/" not in shown.html
    assert (await browser.post("/projects/library/policies/visibility", {"public": "false"})).status == 403
    assert (await browser.post("/projects/library/policies/keys", {"fingerprint": "AB" * 20})).status == 403
    assert (await registry.projects.get(admin, "library")).public


async def test_what_happened_is_told_to_those_who_may_read_it(visit: Visit, admin: Actor, user: Actor) -> None:
    browser = visit(admin)
    await browser.post("/projects/library/policies/visibility", {"public": "true"})
    shown = await browser.get("/projects/library/audit?what=update")
    assert "project library" in shown.text
    assert "create" not in shown.text.partition("To what")[2]
    assert (await visit(user).get("/projects/library/audit")).status == 403


async def test_a_project_is_deleted_empty_and_by_its_name(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, VAULT, image("one"), "latest")
    browser = visit(admin)
    assert "still holds 1 repository" in (await browser.get("/projects/vault/settings")).text
    assert (await browser.post("/projects/vault/settings/delete", {"name": "vault"})).status == 409
    await registry.repositories.remove(admin, VAULT)
    assert (await browser.post("/projects/vault/settings/delete", {"name": "vlaut"})).status == 400
    gone = await browser.post("/projects/vault/settings/delete", {"name": "vault"})
    assert gone.location == "/projects"
    assert "The project vault is deleted." in (await browser.get("/projects")).text
    with pytest.raises(NotFound):
        await registry.projects.get(admin, "vault")


async def test_a_projects_own_administrator_configures_it(visit: Visit, registry: Registry, database: Database, admin: Actor) -> None:
    grace = await add_account(database, "grace", is_admin=False)
    await registry.projects.add_member(admin, "vault", "grace", Role.PROJECT_ADMIN)
    browser = visit(grace)
    assert (await browser.post("/projects/vault/settings", {"description": "Ours"})).location == "/projects/vault/settings"
    shown = await browser.get("/projects/vault/policies")
    assert "/projects/vault/policies/quota" not in shown.html
    assert (await browser.post("/projects/vault/policies/quota", {"limit": "none"})).status == 403


async def test_every_form_holds_the_sessions_token(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    await registry.projects.add_member(admin, "vault", "ada", Role.DEVELOPER)
    browser = visit(admin)
    await browser.post("/projects/vault/robots", {"name": "builder", "pull": "true"})
    for path in ("/projects", *(f"/projects/vault{end}" for end in ("", "/members", "/robots", "/policies", "/settings"))):
        for form in re.findall(r'<form method="post".*?</form>', (await browser.get(path)).html, re.DOTALL):
            assert re.search(r'name="csrf_token" value="[^"]{20,}"', form), (path, form)


@pytest.mark.parametrize("client", ["", "/docker", "/podman", "/containerd", "/apptainer"])
async def test_help_names_this_server(visit: Visit, client: str) -> None:
    shown = await visit().get(f"/help{client}")
    assert shown.status == 200
    assert any("registry.example:5000" in one for one in shown.commands())


async def test_there_is_no_help_for_what_nobody_knows(visit: Visit) -> None:
    assert (await visit().get("/help/abacus")).status == 404


async def test_a_group_has_a_role_by_the_form(visit: Visit, registry: Registry, access: Access, admin: Actor, user: Actor) -> None:
    browser, address = visit(admin), "/projects/vault/members"
    form = {"kind": "group", "holder": "modellers", "role": "developer"}
    absent = await browser.post(address, form)
    assert absent.status == 404
    assert '<option value="group" selected>' in absent.html
    group = await access.groups.add(admin, "modellers")
    assert user.account_id is not None
    await access.groups.add_member(admin, group.id, user.account_id)
    assert (await visit(user).get("/projects/vault")).status == 404
    assert (await browser.post(address, form)).location == address
    shown = await browser.get(address)
    assert re.search(r"modellers\s+Group", shown.text)
    assert (await visit(user).get("/projects/vault")).status == 200
    assert (await browser.post(address, form)).status == 409
    (member,) = await registry.projects.members(admin, "vault")
    assert (await browser.post(f"{address}/{member.id}", {"act": "remove"})).location == address
    assert (await visit(user).get("/projects/vault")).status == 404
