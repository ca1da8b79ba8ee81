"""What is found as one types."""

from __future__ import annotations

from roadstead.access.actor import Actor, Role
from roadstead.registry.registry import Registry
from tests.rooms.web.conftest import Visit
from tests.support.factories import APP, VAULT, image, push_image


async def test_what_is_found_leads_to_its_page(visit: Visit, registry: Registry, admin: Actor) -> None:
    pushed = image("one")
    await push_image(registry, admin, APP, pushed, "stable")
    browser = visit()
    assert "/repositories/library/app" in (await browser.get("/search?q=app")).links()
    assert "/repositories/library/app:stable" in (await browser.get("/search?q=stable")).links()
    assert any(str(pushed.digest) in link for link in (await browser.get(f"/search?q={pushed.digest}")).links())
    assert "/projects/library" in (await browser.get("/search?q=libra")).links()


async def test_a_stranger_finds_nothing_private(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, VAULT, image("one"), "secret-tag")
    assert "/repositories/vault" not in (await visit().get("/search?q=secret-tag")).html
    assert "/repositories/vault/app:secret-tag" in (await visit(admin).get("/search?q=secret-tag")).links()


async def test_htmx_gets_the_list_alone(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "stable")
    part = await visit().get("/search?q=stable", hx_request="true", accept="*/*")
    assert "/repositories/library/app:stable" in part.links()
    assert "<html" not in part.html


async def test_what_is_searched_for_stays_text(visit: Visit) -> None:
    shown = await visit().get("/search?q=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert" not in shown.html
    assert "Nothing that you may see has <script>alert(1)</script>" in shown.text


async def test_many_hits_come_in_pages(visit: Visit, registry: Registry, admin: Actor) -> None:
    for number in range(30):
        await registry.projects.add(admin, f"alike-{number:02}", public=True)
    first = await visit().get("/search?q=alike")
    second = await visit().get(next(link for link in first.links() if "page=2" in link))
    found = [link for shown in (first, second) for link in shown.links() if link.startswith("/projects/alike-")]
    assert len(found) == len(set(found)) == 30


async def test_the_start_page_tells_what_is_stored(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, VAULT, image("one"), "latest")
    assert "Storage used vault" in (await visit(admin).get("/")).text
    assert "Storage used" not in (await visit().get("/")).text


async def test_the_first_image_is_taught(visit: Visit, registry: Registry, admin: Actor, user: Actor) -> None:
    assert "docker push registry.example:5000/library/IMAGE:latest" in (await visit(admin).get("/")).commands()
    shown = await visit(user).get("/")
    assert "You may push into no project yet" in shown.text
    assert not [one for one in shown.commands() if one.startswith("docker push")]
    await registry.projects.add_member(admin, "vault", "ada", Role.GUEST)
    assert "You may push into no project yet" in (await visit(user).get("/")).text
    (member,) = await registry.projects.members(admin, "vault")
    await registry.projects.set_role(admin, "vault", member.id, Role.DEVELOPER)
    assert "docker push registry.example:5000/vault/IMAGE:latest" in (await visit(user).get("/")).commands()


async def test_a_description_is_found_and_told_as_plain_text(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    await registry.repositories.describe(admin, APP, "# The *zebrafish* pipeline\n\n[docs](https://docs.example)")
    shown = await visit().get("/search?q=zebrafish")
    assert "The zebrafish pipeline" in shown.text
    assert "#" not in shown.text.partition("library/app")[2]
    assert "The zebrafish pipeline" in (await visit().get("/projects/library")).text


async def test_beyond_the_last_page_one_comes_to_the_last(visit: Visit, registry: Registry, admin: Actor) -> None:
    await push_image(registry, admin, APP, image("one"), "latest")
    browser = visit(admin)
    for address in (
        "/repositories/library/app",
        "/repositories/library/app/-/history",
        "/repositories/library/app/-/tags",
        "/projects",
        "/projects/library",
        "/projects/library/audit",
        "/admin/users",
        "/admin/audit",
    ):
        shown = await browser.get(f"{address}?sort=name&page=7")
        assert (shown.status, shown.location) == (303, f"{address}?sort=name&page=1"), address
    assert "There is no more." in (await visit().get("/search?q=app&page=7")).text
    nothing = await browser.get("/admin/groups?page=7")
    assert (nothing.status, "There are no groups" in nothing.text) == (200, True)


async def test_a_search_of_any_length_that_can_be_typed_is_answered(visit: Visit) -> None:
    assert 'maxlength="200"' in (await visit().get("/")).html
    assert 'maxlength="200"' in (await visit().get("/projects")).html
    assert (await visit().get("/search?q=" + "a" * 200)).status == 200
