"""Repositories, search and numbers by the management API: `harborapi`, and by hand what that does not say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest
from harborapi.exceptions import NotFound
from harborapi.models import Repository

from tests.protocols.harbor.conftest import API, MakeClient
from tests.protocols.harbor.images import address, push
from tests.support.factories import image

BASE = image("base")


async def test_repositories_by_harborapi(client: MakeClient, admin: httpx2.Client, project: str) -> None:
    harbor = client()
    for path in ("app", "team/app", "team/sub/app"):
        push(admin, f"{project}/{path}", BASE, "latest")
    names = [f"{project}/{path}" for path in ("app", "team/app", "team/sub/app")]
    assert [one.name for one in await harbor.get_repositories(project)] == names
    assert set(names) <= {one.name for one in await harbor.get_repositories()}
    assert [one.name for one in await harbor.get_repositories(project, query="name=~sub")] == names[2:]
    assert [one.name for one in await harbor.get_repositories(project, sort="-name")] == names[::-1]
    await harbor.update_repository(project, "team/app", Repository(description="Climate model"))
    found = await harbor.get_repository(project, "team/app")
    assert (found.name, found.description, found.artifact_count, found.pull_count) == (names[1], "Climate model", 1, 0)
    await harbor.delete_repository(project, "team/sub/app")
    with pytest.raises(NotFound):
        await harbor.get_repository(project, "team/sub/app")
    assert (await harbor.get_project_summary(project)).repo_count == 2


async def test_search_and_statistics_by_harborapi(client: MakeClient, admin: httpx2.Client, somebody: int, project: str) -> None:
    before = await client().get_statistics()
    push(admin, f"{project}/needle", BASE, "latest")
    found = await client().search("NEEDLE")
    assert [one.repository_name for one in found.repository or []] == [f"{project}/needle"]
    found = await client().search(project)
    assert [one.name for one in found.project or []] == [project]
    after = await client().get_statistics()
    assert (after.private_repo_count or 0) - (before.private_repo_count or 0) == 1
    assert (after.total_storage_consumption or 0) > 0
    assert after.total_project_count == (after.private_project_count or 0) + (after.public_project_count or 0)
    mine = client("ada", "engines of analysis")
    assert (await mine.get_statistics()).total_storage_consumption is None
    assert not (await mine.search("needle")).repository


def test_a_page_of_repositories_tells_of_the_others(admin: httpx2.Client, project: str) -> None:
    for number in range(5):
        push(admin, f"{project}/app-{number}", BASE)
    page = admin.get(f"/projects/{project}/repositories?page=2&page_size=2&sort=name")
    assert [one["name"] for one in page.json()] == [f"{project}/app-{number}" for number in (2, 3)]
    assert page.headers["x-total-count"] == "5"
    following = {found[2]: found[1] for found in re.finditer(r'<([^>]+)>; rel="(\w+)"', page.headers["link"])}
    assert [one["name"] for one in admin.get(following["next"].removeprefix(API)).json()] == [f"{project}/app-4"]
    assert set(following) == {"prev", "next"}


def test_a_name_may_be_encoded_once_or_twice(admin: httpx2.Client, project: str) -> None:
    push(admin, f"{project}/a/b", BASE)
    for path in ("a%2Fb", "a%252Fb"):
        assert admin.get(f"/projects/{project}/repositories/{path}").json()["name"] == f"{project}/a/b"


@pytest.mark.parametrize("asked", ["q=size=1", "sort=nothing", "q=pull_count=many", "page_size=101", "page=0", "q=name=[a"])
def test_what_cannot_be_asked_is_refused(admin: httpx2.Client, asked: str) -> None:
    answer = admin.get(f"/repositories?{asked}")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "BAD_REQUEST")


# --- who sees what ------------------------------------------------------------------------------------------------------------------

IMAGE = str(BASE.digest)
OPERATIONS: Mapping[str, Callable[[str], tuple[str, str, Any]]] = {
    "list": lambda name: ("GET", f"/projects/{name.partition('/')[0]}/repositories?q=name={name}", None),
    "get": lambda name: ("GET", address(name), None),
    "describe": lambda name: ("PUT", address(name), {"description": "x"}),
    "remove": lambda name: ("DELETE", address(name), None),
    "artifacts": lambda name: ("GET", address(name, "artifacts"), None),
    "copy to": lambda name: ("POST", address(name, f"artifacts?from=shown/app@{IMAGE}"), None),
    "copy from": lambda name: ("POST", address("own/copy", f"artifacts?from={name}@{IMAGE}"), None),
    "artifact": lambda name: ("GET", address(name, "artifacts", "latest"), None),
    "delete artifact": lambda name: ("DELETE", address(name, "artifacts", IMAGE), None),
    "tags": lambda name: ("GET", address(name, "artifacts", IMAGE, "tags"), None),
    "add tag": lambda name: ("POST", address(name, "artifacts", IMAGE, "tags"), {"name": "new"}),
    "remove tag": lambda name: ("DELETE", address(name, "artifacts", IMAGE, "tags", "latest"), None),
    "accessories": lambda name: ("GET", address(name, "artifacts", IMAGE, "accessories"), None),
    "vulnerabilities": lambda name: ("GET", address(name, "artifacts", IMAGE, "additions", "vulnerabilities"), None),
    "build history": lambda name: ("GET", address(name, "artifacts", IMAGE, "additions", "build_history"), None),
    "other addition": lambda name: ("GET", address(name, "artifacts", IMAGE, "additions", "readme.md"), None),
    "scan": lambda name: ("POST", address(name, "artifacts", IMAGE, "scan"), None),
    "stop scan": lambda name: ("POST", address(name, "artifacts", IMAGE, "scan", "stop"), None),
    "scan log": lambda name: ("GET", address(name, "artifacts", IMAGE, "scan", "1", "log"), None),
    "label": lambda name: ("POST", address(name, "artifacts", IMAGE, "labels"), {"id": 1}),
    "unlabel": lambda name: ("DELETE", address(name, "artifacts", IMAGE, "labels", "1"), None),
    "summary": lambda name: ("GET", f"/projects/{name.partition('/')[0]}/summary", None),
}


@pytest.fixture(scope="module")
def hidden(registry: Any, somebody: int) -> str:
    """A repository of a private project in which the plain user has no role; they may push to the project `own`."""
    with registry.http() as http:
        http.base_url = f"{registry.url}{API}"
        for project in ("hidden", "own"):
            assert http.post("/projects", json={"project_name": project}).status_code == 201
        http.post("/projects/own/members", json={"role_id": 2, "member_user": {"username": "ada"}})
        push(http, "hidden/app", BASE, "latest")
        assert http.post("/projects", json={"project_name": "shown", "public": True}).status_code == 201
        push(http, "shown/app", BASE, "latest")
    return "hidden/app"


def answered(http: httpx2.Client, name: str, operation: Callable[[str], tuple[str, str, Any]]) -> tuple[int, str]:
    """Status and body, without the names."""
    method, path, body = operation(name)
    answer = http.request(method, path, json=body)
    return answer.status_code, answer.text.replace(name, "…").replace(name.partition("/")[0], "…")


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_a_private_repository_is_as_one_that_is_not_there(
    user: httpx2.Client, nobody: httpx2.Client, admin: httpx2.Client, hidden: str, operation: Callable[[str], tuple[str, str, Any]]
) -> None:
    for http, status in ((nobody, 401), (user, 404)):
        told = answered(http, hidden, operation)
        if not (http is nobody and "own/copy" in operation(hidden)[1]):
            assert told == answered(http, "absent/app", operation)
        assert told[0] == status
    assert admin.get(address(hidden, "artifacts", "latest")).status_code == 200


def test_neither_lists_nor_search_nor_numbers_tell_of_it(user: httpx2.Client, nobody: httpx2.Client, hidden: str) -> None:
    for http in (user, nobody):
        assert not [one for one in http.get("/repositories?q=name=~hidden").json() if one["name"].startswith("hidden/")]
        assert http.get("/repositories?q=name=~hidden").headers["x-total-count"] == "0"
        assert http.get("/search?q=hidden").json() == {"project": [], "repository": []}
        assert "total_storage_consumption" not in http.get("/statistics").json()


def test_a_grant_on_a_path_opens_that_path_alone(admin: httpx2.Client, user: httpx2.Client, project: str, registry: Any) -> None:
    for path in ("app", "team/one", "team/two"):
        push(admin, f"{project}/{path}", BASE, "latest")
    grant = {"role_id": 3, "member_user": {"username": "ada"}, "path": "team/*"}
    made = admin.post(f"/projects/{project}/grants", json=grant)
    assert made.status_code == 201, made.text
    shown = user.get(f"/projects/{project}/repositories?sort=name")
    assert [one["name"] for one in shown.json()] == [f"{project}/team/one", f"{project}/team/two"]
    assert shown.headers["x-total-count"] == "2"
    assert user.get(address(f"{project}/team/one", "artifacts", "latest")).status_code == 200
    assert user.get(address(f"{project}/app", "artifacts", "latest")).status_code == 404


def test_a_limited_robot_sees_its_project_alone(admin: httpx2.Client, registry: Any, hidden: str, project: str) -> None:
    push(admin, f"{project}/app", BASE, "latest")
    access = [{"resource": "repository", "action": "list"}, {"resource": "artifact", "action": "read"}]
    permissions = [{"kind": "project", "namespace": project, "access": access}]
    wanted = {"name": "looks", "level": "project", "duration": -1, "permissions": permissions}
    made = admin.post("/robots", json=wanted)
    assert made.status_code == 201, made.text
    with httpx2.Client(base_url=f"{registry.url}{API}", auth=(made.json()["name"], made.json()["secret"]), trust_env=False) as robot:
        shown = {one["name"] for one in robot.get("/repositories?q=name=~app&page_size=100").json()}
        assert f"{project}/app" in shown
        assert hidden not in shown
        assert robot.get(address(f"{project}/app", "artifacts", "latest")).status_code == 200
        assert robot.get(address(hidden, "artifacts", "latest")).status_code == 404
        assert robot.delete(address(f"{project}/app")).status_code == 403
