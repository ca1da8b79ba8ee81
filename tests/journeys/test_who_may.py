"""A lab opens its registry: the administrator makes accounts, a project and a robot by the command line, and each does what it may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.support import program
from tests.support.clients.images import fetch, image, push
from tests.support.server import RoadsteadServer, poll

GOOD = "correct horse battery"
REPOSITORY = "climate/team/model"
IMAGE = image("who may")


class Lab(msgspec.Struct, frozen=True):
    """A server, with a developer, a guest, an outsider, and a robot of the project `climate`."""

    server: RoadsteadServer
    robot: str

    def tell(self, *arguments: str, said: str = "") -> Any:
        """Run a command beside the running server; what it prints as JSON."""
        return tell(self.server, *arguments, said=said)

    def client(self, name: str, password: str) -> httpx2.Client:
        """Somebody with Basic credentials."""
        return httpx2.Client(base_url=self.server.url, auth=(name, password), timeout=30, trust_env=False)

    def bearing(self, token: str) -> httpx2.Client:
        """Somebody with a bearer token."""
        return httpx2.Client(base_url=self.server.url, headers={"Authorization": f"Bearer {token}"}, timeout=30, trust_env=False)


def tell(server: RoadsteadServer, *arguments: str, said: str = "") -> Any:
    silent = arguments[:2] == ("token", "revoke")
    done = program.run((*arguments, "--data", str(server.data), *([] if silent else ["--json"])), program.without_settings(), said=said)
    assert done.returncode == 0, done.stderr
    return None if silent else json.loads(done.stdout)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with RoadsteadServer(tmp_path_factory.mktemp("lab") / "data", arguments=["--workers", "2"]) as server:
        for name in ("dev", "guest", "outsider"):
            tell(server, "user", "add", name, said=GOOD + "\n")
        tell(server, "project", "add", "climate")
        tell(server, "project", "member", "climate", "dev", "--role", "developer", "--path", "team/*")
        tell(server, "project", "member", "climate", "guest", "--role", "guest")
        robot = tell(server, "robot", "add", "ci", "--project", "climate", "--may", "push")["secret"]
        lab = Lab(server, robot)
        with lab.client("robot$climate+ci", robot) as http:
            push(http, REPOSITORY, "v1", IMAGE)
        yield lab


def token_of(http: httpx2.Client, *scopes: str, **more: str) -> dict[str, Any]:
    answer = http.get("/service/token", params={"service": "roadstead", "scope": list(scopes), **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_developer_pushes_with_a_personal_token(lab: Lab) -> None:
    secret = lab.tell("token", "add", "dev", "laptop", "--level", "write")["secret"]
    with lab.client("dev", secret) as basic, lab.bearing(secret) as bearer:
        for number, http in enumerate((basic, bearer)):
            push(http, f"climate/team/by-{number}", "v1", IMAGE)
            assert http.post("/v2/climate/other/blobs/uploads/").status_code == 404
        given = token_of(basic, f"repository:{REPOSITORY}:pull,push,delete")["token"]
    with lab.bearing(given) as http:
        push(http, REPOSITORY, "by-token", IMAGE)
        assert http.delete(f"/v2/{REPOSITORY}/manifests/by-token").status_code in (401, 403)


def test_a_guest_pulls_and_does_not_push(lab: Lab) -> None:
    with lab.client("guest", GOOD) as http:
        assert fetch(http, REPOSITORY, "v1") == IMAGE
        refused = http.post(f"/v2/{REPOSITORY}/blobs/uploads/")
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")
        assert REPOSITORY in http.get("/v2/_catalog").json()["repositories"]
        given = token_of(http, f"repository:{REPOSITORY}:pull,push")["token"]
    with lab.bearing(given) as http:
        assert fetch(http, REPOSITORY, "v1") == IMAGE
        assert http.post(f"/v2/{REPOSITORY}/blobs/uploads/").status_code == 403


def test_to_an_outsider_a_private_project_is_as_none(lab: Lab) -> None:
    with lab.client("outsider", GOOD) as http:
        for path in ("manifests/v1", f"blobs/{IMAGE.manifest.digest}", "tags/list", f"referrers/{IMAGE.manifest.digest}"):
            hidden, absent = (http.get(f"/v2/{project}/team/model/{path}") for project in ("climate", "nowhere"))
            assert hidden.status_code == absent.status_code == 404
            assert hidden.text.replace("climate", "nowhere") == absent.text
        pushed, absent = (http.post(f"/v2/{project}/team/model/blobs/uploads/") for project in ("climate", "nowhere"))
        assert (pushed.status_code, pushed.text.replace("climate", "nowhere")) == (absent.status_code, absent.text)
        assert http.get("/v2/_catalog").json()["repositories"] == []


@pytest.mark.parametrize("name", ["robot$climate+ci", "robot+climate+ci"])
def test_a_robot_pushes_in_its_project(lab: Lab, name: str) -> None:
    with lab.client(name, lab.robot) as http:
        push(http, "climate/by-robot", "v1", IMAGE)
        assert http.delete("/v2/climate/by-robot/manifests/v1").status_code == 403
        assert http.post("/v2/library/app/blobs/uploads/").status_code == 403


def test_a_revoked_token_stops_at_the_next_request(lab: Lab) -> None:
    made = lab.tell("token", "add", "dev", "lost", "--level", "write")
    with lab.client("dev", made["secret"]) as basic:
        given = token_of(basic, f"repository:{REPOSITORY}:pull")["token"]
        with lab.bearing(given) as bearer:
            path = f"/v2/{REPOSITORY}/manifests/v1"
            assert (basic.get(path).status_code, bearer.get(path).status_code) == (200, 200)
            lab.tell("token", "revoke", "dev", str(made["id"]))
            assert (basic.get(path).status_code, bearer.get(path).status_code) == (401, 401)


def test_a_lost_role_stops_at_the_next_request(lab: Lab) -> None:
    lab.tell("user", "add", "leaver", said=GOOD + "\n")
    lab.tell("project", "member", "climate", "leaver", "--role", "guest")
    path = f"/v2/{REPOSITORY}/manifests/v1"
    with lab.client("leaver", GOOD) as basic, lab.bearing(token_of(basic, f"repository:{REPOSITORY}:pull")["token"]) as bearer:
        assert (basic.get(path).status_code, bearer.get(path).status_code) == (200, 200)
        lab.tell("project", "member", "climate", "leaver", "--remove")
        assert (basic.get(path).status_code, bearer.get(path).status_code) == (404, 404)


def test_a_credential_helper_keeps_a_refresh_token(lab: Lab) -> None:
    """As docker's credential helpers do: the OAuth2 form by POST (RFC 6749 §4.3, §6)."""
    scope = f"repository:{REPOSITORY}:pull"
    with lab.server.http(anonymous=True) as http:
        form = {"grant_type": "password", "service": "roadstead", "client_id": "docker", "access_type": "offline", "scope": scope}
        first = http.post("/service/token", data={**form, "username": "guest", "password": GOOD}).json()
        again = {"grant_type": "refresh_token", "service": "roadstead", "client_id": "docker", "scope": scope}
        second = http.post("/service/token", data={**again, "refresh_token": first["refresh_token"]}).json()
        with lab.bearing(second["access_token"]) as bearer:
            assert fetch(bearer, REPOSITORY, "v1") == IMAGE
        foreign = http.post("/service/token", data={**again, "service": "elsewhere", "refresh_token": first["refresh_token"]})
        assert foreign.status_code == 400
        assert http.post("/service/token", data={**again, "refresh_token": "wrong"}).status_code == 401
    with lab.client("guest", GOOD) as http:
        assert "refresh_token" in token_of(http, scope, offline_token="true")
        assert "refresh_token" not in token_of(http, scope)


def test_others_can_verify_a_token_by_the_published_keys(lab: Lab) -> None:
    with lab.client("guest", GOOD) as http:
        given = token_of(http, f"repository:{REPOSITORY}:pull,push")["token"]
        keys = KeySet.import_key_set(http.get("/service/jwks.json").json())
    claims = jwt.decode(given, keys, algorithms=["ES256"]).claims
    assert claims["access"] == [{"type": "repository", "name": REPOSITORY, "actions": ["pull"]}]


def test_the_owner_sees_when_and_from_where_a_token_was_used(lab: Lab) -> None:
    made = lab.tell("token", "add", "dev", "watched")
    with lab.client("dev", made["secret"]) as http:
        assert http.get("/v2/").status_code == 200

    def used() -> bool:
        (row,) = (one for one in lab.tell("token", "list", "dev") if one["id"] == made["id"])
        return bool(row["last_used_from"] == "127.0.0.1" and row["last_used_at"])

    assert poll(used)


def test_a_user_who_is_removed_in_mid_push_publishes_nothing(lab: Lab) -> None:
    """The upload that runs may end; no request that begins afterwards is theirs, whatever token they hold."""
    lab.tell("user", "add", "pusher", said=GOOD + "\n")
    lab.tell("project", "member", "climate", "pusher", "--role", "developer")
    whole = image("of a leaver")
    with lab.client("pusher", GOOD) as http, lab.client("admin", lab.server.admin_password) as admin:
        held = token_of(http, "repository:climate/left:pull,push")
        with lab.bearing(held["token"]) as bearing:
            config, *layers = whole.blobs
            push_of(bearing, "climate/left", config.digest, config.data)
            begun = bearing.post("/v2/climate/left/blobs/uploads/")
            assert begun.status_code == 202
            half = len(layers[0].data) // 2
            assert bearing.patch(begun.headers["Location"], content=layers[0].data[:half]).status_code == 202

            lab.tell("user", "remove", "pusher")
            for answer in (
                bearing.patch(begun.headers["Location"], content=layers[0].data[half:]),
                bearing.put(begun.headers["Location"], params={"digest": layers[0].digest}),
                bearing.put("/v2/climate/left/manifests/v1", content=whole.manifest.data),
                bearing.head(f"/v2/climate/left/blobs/{config.digest}"),
                http.get("/service/token", params={"scope": "repository:climate/left:pull"}),
            ):
                assert answer.status_code == 401, (answer.request.url, answer.text)
        assert admin.get("/v2/climate/left/tags/list").json().get("tags") in (None, [])


def push_of(http: httpx2.Client, repository: str, digest: str, data: bytes) -> None:
    answer = http.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=data)
    assert answer.status_code == 201, answer.text
