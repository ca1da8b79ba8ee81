"""What Harbor's clients depend on: codes, headers, forms of names, and that nothing is said to be done that was not."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.protocols.harbor.conftest import API, PASSWORD, USER
from tests.protocols.harbor.operations import FIRST
from tests.support.server import RoadsteadServer

UNSAID = {
    "public": "false",
    "conversion": "demand",
    "anonymous_conversion": "false",
    "conversion_platforms": "linux/amd64",
    "sif_as_image": "true",
}
"""The metadata of a project of which nobody has said anything."""


def code(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["code"])


def test_there_are_62_first_operations() -> None:
    assert len(set(FIRST)) == len(FIRST) == 62


@pytest.mark.parametrize(("method", "path"), FIRST, ids=lambda one: one.replace("/", "_"))
def test_every_first_operation_is_routed(admin: httpx2.Client, method: str, path: str) -> None:
    """Whatever it answers here, it is an answer of the operation, not of the router that knows no such path or method."""
    values = {"project": "library", "repository": "nothing", "reference": "latest", "tag": "latest"}
    asked = re.sub(r"{(\w+)}", lambda found: values.get(found[1], "987654"), path)
    answer = admin.request(method, asked, json={} if method in ("POST", "PUT", "PATCH") else None)
    assert answer.status_code != 405
    assert answer.status_code < 500 or answer.status_code == 501
    assert "The management API has no such path." not in answer.text
    if answer.status_code >= 400 and method != "HEAD":
        assert set(answer.json()["errors"][0]) == {"code", "message"}


def test_a_project_is_found_at_the_address_that_its_making_says(admin: httpx2.Client) -> None:
    made = admin.post("/projects", json={"project_name": "at-its-address", "metadata": {"public": "true"}})
    assert (made.status_code, made.content) == (201, b"")
    location = made.headers["location"]
    assert re.fullmatch(rf"{API}/projects/[0-9]+", location)
    found = admin.get(location.removeprefix(API)).json()
    assert (found["name"], found["metadata"], found["owner_name"]) == ("at-its-address", {**UNSAID, "public": "true"}, "admin")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["creation_time"])
    named = admin.post("/projects", json={"project_name": "at-its-name"}, headers={"X-Resource-Name-In-Location": "true"})
    assert named.headers["location"] == f"{API}/projects/at-its-name"
    again = admin.post("/projects", json={"project_name": "at-its-name"})
    assert (again.status_code, code(again)) == (409, "CONFLICT")


def test_what_a_project_converts_is_metadata_of_it(admin: httpx2.Client) -> None:
    said = {
        "conversion": "push",
        "anonymous_conversion": "true",
        "conversion_platforms": "linux/amd64,linux/arm64",
        "sif_as_image": "false",
    }
    assert admin.post("/projects", json={"project_name": "converting", "metadata": said}).status_code == 201
    metadata = "/projects/converting/metadatas"
    assert admin.get(metadata).json() == {**UNSAID, **said}
    assert admin.put("/projects/converting", json={"metadata": {"conversion": "off"}}).status_code == 200
    assert admin.get(f"{metadata}/conversion").json() == {"conversion": "off"}
    assert admin.put(f"{metadata}/conversion_platforms", json={"conversion_platforms": "linux/arm64/v8"}).status_code == 200
    assert admin.post(metadata, json={"sif_as_image": "true"}).status_code == 200
    assert admin.delete(f"{metadata}/anonymous_conversion").status_code == 200
    found = admin.get("/projects/converting").json()["metadata"]
    assert found == {**UNSAID, "conversion": "off", "conversion_platforms": "linux/arm64/v8"}
    assert admin.delete(f"{metadata}/colour").status_code == 404
    assert admin.put(f"{metadata}/conversion", json={"conversion": "always"}).status_code == 400


def test_digits_are_an_id_unless_they_are_said_to_be_a_name(admin: httpx2.Client) -> None:
    assert admin.post("/projects", json={"project_name": "31415"}).status_code == 201
    assert admin.get("/projects/31415").status_code == 404
    assert admin.get("/projects/31415", headers={"X-Is-Resource-Name": "true"}).json()["name"] == "31415"


def test_pages_and_their_links(admin: httpx2.Client) -> None:
    for number in range(12):
        assert admin.post("/projects", json={"project_name": f"paged-{number:02}"}).status_code == 201
    first = admin.get("/projects?q=name%3D~paged-&sort=-name")
    assert [one["name"] for one in first.json()] == [f"paged-{number:02}" for number in range(11, 1, -1)]
    assert first.headers["x-total-count"] == "12"
    following = re.fullmatch(r'<([^>]+)>; rel="next"', first.headers["link"])
    assert following
    second = admin.get(following[1].removeprefix(API))
    assert [one["name"] for one in second.json()] == ["paged-01", "paged-00"]
    assert 'rel="prev"' in second.headers["link"]
    assert 'rel="next"' not in second.headers["link"]


@pytest.mark.parametrize(
    "query", ["page=0", "page_size=101", "page=x", "q=password%3Da", "q=name", "sort=-deleted_at", "q=public%3Dperhaps", "public=perhaps"]
)
def test_a_listing_that_cannot_be_understood(admin: httpx2.Client, query: str) -> None:
    answer = admin.get(f"/projects?{query}")
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'"x"',
        b'{"project_name": 5}',
        b'{"project_name": "a\\u0000b"}',
        b'{"project_name": "ok", "storage_limit": "5"}',
        b'{"project_name": "ok", "metadata": {"public": true}}',
        b'{"project_name": "ok", "metadata": {"public": "perhaps"}}',
        b'{"project_name": "ok", "metadata": {"colour": "red"}}',
        b'{"project_name": "ok", "metadata": {"conversion": "always"}}',
        b'{"project_name": "ok", "metadata": {"conversion_platforms": "amd64"}}',
        b'{"project_name": "ok", "metadata": {"sif_as_image": "1"}}',
        b"\xff",
    ],
)
def test_a_body_that_cannot_be_understood(admin: httpx2.Client, body: bytes) -> None:
    answer = admin.post("/projects", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")


def test_unknown_fields_are_ignored(admin: httpx2.Client) -> None:
    assert admin.post("/projects", json={"project_name": "with-more", "colour": "red"}).status_code == 201


def test_what_is_not_there_is_never_said_to_be_done(admin: httpx2.Client, project: str) -> None:
    for path, body in (
        ("/retentions", {}),
        ("/registries", {}),
        ("/replication/policies", {}),
        ("/labels", {}),
        (f"/projects/{project}/immutabletagrules", {}),
        (f"/projects/{project}/webhook/policies", {}),
        ("/projects", {"project_name": "scanned", "metadata": {"auto_scan": "true"}}),
        ("/projects", {"project_name": "cache", "registry_id": 1}),
    ):
        answer = admin.post(path, json=body)
        assert (answer.status_code, code(answer)) == (501, "UNSUPPORTED"), path
        assert "request " not in answer.json()["errors"][0]["message"]
    assert admin.put("/configurations", json={"auth_mode": "ldap_auth"}).status_code == 501
    assert admin.put("/configurations", json={"auth_mode": "db_auth", "read_only": None}).status_code == 200
    for path in ("/registries", "/labels", f"/projects/{project}/immutabletagrules", "/replication/policies"):
        answer = admin.get(path)
        assert (answer.status_code, answer.json(), answer.headers["x-total-count"]) == (200, [], "0")
    assert admin.get("/retentions/1").status_code == 404


def test_a_private_project_is_as_if_it_were_not(user: httpx2.Client, nobody: httpx2.Client, project: str) -> None:
    for path in ("", "/members", "/summary", "/robots", "/logs", "/immutabletagrules", "/grants", "/_deletable", "/metadatas"):
        hidden, absent = (user.get(f"/projects/{name}{path}") for name in (project, "absent"))
        assert hidden.status_code == absent.status_code == 404, path
        assert hidden.text.replace(project, "absent") == absent.text
        assert nobody.get(f"/projects/{project}{path}").status_code == 401
    assert user.head(f"/projects?project_name={project}").status_code == 404
    assert project not in [one["name"] for one in user.get("/projects?page_size=100").json()]


def test_nobody_is_asked_to_log_in_and_others_are_refused(user: httpx2.Client, nobody: httpx2.Client) -> None:
    for path in ("/users", "/robots", "/quotas", "/configurations", "/sources"):
        assert nobody.get(path).status_code == 401
        assert user.get(path).status_code == 403
    assert nobody.get("/users/current").status_code == 401
    assert nobody.get("/projects").json()[0]["name"]
    assert "registry_url" not in nobody.get("/systeminfo").json()


def test_a_request_has_an_id_and_is_counted_by_its_route(registry: RoadsteadServer, admin: httpx2.Client) -> None:
    assert re.fullmatch("[0-9a-f]{16,}", admin.get("/projects/library").headers["x-request-id"])
    metrics = httpx2.get(f"{registry.url}/metrics", trust_env=False).text
    counted = 'roadstead_http_requests_total{method="GET",route="/api/v2.0/projects/{project}",status="200"}'
    assert counted in metrics


def test_a_member_of_the_whole_project_and_a_grant_in_it(admin: httpx2.Client, user: httpx2.Client, project: str, somebody: int) -> None:
    bad = admin.post(f"/projects/{project}/members", json={"role_id": 6, "member_user": {"username": USER}})
    assert (bad.status_code, code(bad)) == (400, "BAD_REQUEST")
    grant = admin.post(f"/projects/{project}/grants", json={"role_id": 2, "member_user": {"user_id": somebody}, "path": "team/*"})
    assert grant.status_code == 201
    assert admin.get(grant.headers["location"].removeprefix(API)).json()["path"] == "team/*"
    assert [one["entity_name"] for one in admin.get(f"/projects/{project}/members").json()] == ["admin"]
    made = admin.post(f"/projects/{project}/members", json={"role_id": 3, "member_user": {"username": USER}})
    member = made.headers["location"].removeprefix(API)
    assert admin.get(member).json()["role_name"] == "guest"
    assert user.get(f"/projects/{project}").json()["current_user_role_ids"] == [3]
    assert admin.delete(grant.headers["location"].removeprefix(API).replace("grants", "members")).status_code == 404
    assert admin.put(member, json={"role_id": 4}).status_code == 200
    assert admin.get(member).json()["role_name"] == "maintainer"
    assert admin.delete(member).status_code == 200
    assert admin.get(f"/projects/{project}/members?entityname=da").json() == []


def test_ones_own_password_takes_the_old_one(admin: httpx2.Client, registry: RoadsteadServer) -> None:
    made = admin.post("/users", json={"username": "grace", "password": PASSWORD})
    path = made.headers["location"].removeprefix(API)
    with httpx2.Client(base_url=f"{registry.url}{API}", auth=("grace", PASSWORD), trust_env=False) as grace:
        wrong = grace.put(f"{path}/password", json={"old_password": "another one", "new_password": "compilers are good"})
        assert (wrong.status_code, code(wrong)) == (403, "FORBIDDEN")
        short = grace.put(f"{path}/password", json={"old_password": PASSWORD, "new_password": "short"})
        assert (short.status_code, code(short)) == (400, "BAD_REQUEST")
        right = grace.put(f"{path}/password", json={"old_password": PASSWORD, "new_password": "compilers are good"})
        assert right.status_code == 200
        assert grace.get("/users/current").status_code == 401


def test_tokens_and_the_cli_secret(user: httpx2.Client, nobody: httpx2.Client, somebody: int) -> None:
    made = user.post("/users/current/tokens", json={"name": "laptop", "level": "read", "duration": 30})
    assert made.status_code == 201
    token = made.json()
    assert made.headers["location"] == f"{API}/users/{somebody}/tokens/{token['id']}"
    assert nobody.get("/users/current", headers={"authorization": f"Bearer {token['secret']}"}).json()["username"] == USER
    listed = user.get(f"/users/{somebody}/tokens").json()
    assert [one["hint"] for one in listed] == [token["hint"]]
    assert "secret" not in listed[0]
    assert user.delete(f"/users/current/tokens/{token['id']}").status_code == 200
    assert nobody.get("/users/current", headers={"authorization": f"Bearer {token['secret']}"}).status_code == 401
    assert user.put(f"/users/{somebody}/cli_secret", json={"secret": "of my own choice"}).status_code == 400
    secret = user.put("/users/current/cli_secret").json()["secret"]
    assert user.get("/users/current/cli_secret").json()["hint"] == secret[: len(token["hint"])]
    assert httpx2.get(f"{user.base_url}users/current", auth=(USER, secret), trust_env=False).status_code == 200


def test_a_browser_sends_back_the_sessions_token_to_change_anything(registry: RoadsteadServer, somebody: int) -> None:
    with httpx2.Client(base_url=registry.url, trust_env=False) as browser:
        logged_in = browser.post("/c/login", data={"principal": USER, "password": PASSWORD})
        assert logged_in.status_code == 200, logged_in.text
        told = browser.get(f"{API}/users/current")
        assert told.json()["username"] == USER
        token = told.headers["x-harbor-csrf-token"]
        forged = browser.put(f"{API}/users/{somebody}", json={"comment": "forged"})
        assert (forged.status_code, code(forged)) == (403, "FORBIDDEN")
        meant = browser.put(f"{API}/users/{somebody}", json={"comment": "meant"}, headers={"x-harbor-csrf-token": token})
        assert meant.status_code == 200
        assert browser.get(f"{API}/users/current").json()["comment"] == "meant"
        (session,) = [one for one in browser.get(f"{API}/users/current/sessions").json() if one["current"]]
        ended = browser.delete(f"{API}/users/current/sessions/{session['id']}", headers={"x-harbor-csrf-token": token})
        assert ended.status_code == 200
        assert browser.get(f"{API}/users/current").status_code == 401


def test_a_quota_is_the_projects(admin: httpx2.Client, user: httpx2.Client) -> None:
    made = admin.post("/projects", json={"project_name": "with-quota", "storage_limit": 1000})
    number = made.headers["location"].rpartition("/")[2]
    (quota,) = admin.get(f"/quotas?reference=project&reference_id={number}").json()
    assert (quota["ref"]["name"], quota["hard"], quota["used"]) == ("with-quota", {"storage": 1000}, {"storage": 0})
    assert admin.put(f"/quotas/{quota['id']}", json={"hard": {"storage": -1}}).status_code == 200
    assert admin.get(f"/quotas/{quota['id']}").json()["hard"] == {"storage": -1}
    assert admin.get("/projects/with-quota/summary").json()["quota"]["hard"] == {"storage": -1}
    assert user.put(f"/quotas/{quota['id']}", json={"hard": {"storage": 5}}).status_code == 404
    assert admin.put("/quotas/987654", json={"hard": {"storage": 5}}).status_code == 404


def test_what_happened_is_told(admin: httpx2.Client, project: str) -> None:
    (made,) = admin.get(f"/projects/{project}/logs?q=operation%3Dcreate,resource_type%3Dproject").json()
    assert (made["username"], made["resource"], made["operation"]) == ("admin", project, "create")
    (extended,) = admin.get(f"/auditlog-exts?q=resource%3D{project},resource_type%3Dproject").json()
    assert extended["operation_result"] is True


def test_the_clusters_of_the_site(admin: httpx2.Client, user: httpx2.Client, nobody: httpx2.Client) -> None:
    kestrel = {"name": "Kestrel", "architecture": "amd64", "level": 3, "driver": "550.54.14"}
    made = admin.post("/clusters", json=kestrel)
    assert (made.status_code, made.headers["location"]) == (201, f"{API}/clusters/Kestrel")
    assert admin.post("/clusters", json=kestrel).status_code == 409
    assert admin.post("/clusters", json={**kestrel, "name": "Merlin", "level": 9}).status_code == 400
    assert nobody.get("/clusters").json() == [kestrel]
    assert user.put("/clusters/Kestrel", json={"architecture": "arm64"}).status_code == 403
    assert nobody.post("/clusters", json=kestrel).status_code == 401
    assert admin.put("/clusters/Kestrel", json={"architecture": "arm64"}).status_code == 200
    assert nobody.get("/clusters/Kestrel").json() == {"name": "Kestrel", "architecture": "arm64"}
    assert admin.put("/clusters/Merlin", json={"architecture": "arm64"}).status_code == 404
    assert user.delete("/clusters/Kestrel").status_code == 403
    assert admin.delete("/clusters/Kestrel").status_code == 200
    assert admin.delete("/clusters/Kestrel").status_code == 404


def test_whom_a_project_trusts(admin: httpx2.Client, user: httpx2.Client, project: str) -> None:
    trust = f"/projects/{project}/trust"
    assert admin.get(trust).json() == {"only_signed_sifs": False, "only_signed_images": False, "keys": []}
    key = admin.post(f"{trust}/keys", json={"fingerprint": "AB" * 20})
    assert (key.status_code, code(key)) == (404, "NOT_FOUND")
    assert "apptainer key push" in key.json()["errors"][0]["message"]
    assert admin.post(f"{trust}/keys", json={"fingerprint": "ABCD"}).status_code == 400
    assert admin.delete(f"{trust}/keys/{'AB' * 20}").status_code == 404
    without = admin.put(trust, json={"only_signed_sifs": True})
    assert (without.status_code, code(without)) == (409, "CONFLICT")
    assert admin.put(trust, json={"only_signed_images": True}).status_code == 409
    assert user.put(trust, json={"only_signed_sifs": False}).status_code in (403, 404)
    assert admin.put(trust, json={"only_signed_sifs": "perhaps"}).status_code == 400
