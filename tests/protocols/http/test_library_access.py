"""Who may do what at the library API: other accounts, robots, and credentials whose time has gone."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from roadstead.access.tokens import LIFETIME_SECONDS, Grant
from tests.protocols.http.exchange import accepted, bearer
from tests.protocols.http.test_access import issued
from tests.protocols.http.test_library import API, absent, address, announce, complete, data, hashed, identifier, pushed, refusal, start
from tests.support.clients.sifs import small_sif
from tests.support.server import RoadsteadServer

LONG_AGO = timedelta(seconds=LIFETIME_SECONDS + 3600)
FILE = small_sif(b"somebody's")

# What may be asked of a container: with what right, how, and of which path. {name}, {id} and {image} are filled in.
Asked = tuple[str, str, Any]
READING: list[Asked] = [
    ("GET", "/v1/images/{name}:one", None),
    ("GET", "/v1/images/{name}:{hash}", None),
    ("GET", "/v1/imagefile/{name}:one", None),
    ("GET", "/v1/tags/{id}", None),
    ("GET", "/v2/tags/{id}", None),
]
WRITING: list[Asked] = [
    ("POST", "/v1/images", {"hash": "{hash}", "container": "{id}"}),
    ("POST", "/v1/imagefile/{image}", {}),
    ("POST", "/v1/tags/{id}", {"Tag": "two", "ImageID": "{image}"}),
    ("POST", "/v2/tags/{id}", {"Tag": "two", "ImageID": "{image}", "Arch": "amd64"}),
    ("POST", "/v2/imagefile/{image}", {"filesize": 5}),
    ("PUT", "/v2/imagefile/{image}/_complete", {}),
    ("POST", "/v2/imagefile/{image}/_multipart", {"filesize": 5}),
    ("PUT", "/v2/imagefile/{image}/_multipart", {"uploadID": "{upload}", "partNumber": 1, "partSize": 5}),
    ("PUT", "/v2/imagefile/{image}/_multipart_complete", {"uploadID": "{upload}", "completedParts": []}),
    ("PUT", "/v2/imagefile/{image}/_multipart_abort", {"uploadID": "{upload}"}),
]
DELETING: list[Asked] = [("DELETE", "/v1/images/{name}:one", None), ("DELETE", "/v1/images/{name}:{hash}", None)]


@pytest.fixture
def container(http: httpx2.Client) -> str:
    """A container of a private project of its own, with the image FILE and an upload that has begun."""
    project = f"own-{secrets.token_hex(4)}"
    accepted(http.post("/api/v2.0/projects", json={"project_name": project, "public": False}), 201)
    pushed(http, f"{project}/tools/it", FILE)
    return f"{project}/tools/it"


MakeAccount = Callable[[], tuple[str, httpx2.Client]]


@pytest.fixture
def account(registry: RoadsteadServer, http: httpx2.Client) -> Iterator[MakeAccount]:
    """Makes an account with a token of its own that may do all that the account may; its name, and a client."""
    clients = []

    def make() -> tuple[str, httpx2.Client]:
        name, password = f"bob-{secrets.token_hex(4)}", "Correct1horse"
        person = {"username": name, "email": f"{name}@example.org", "realname": "Bob", "password": password}
        accepted(http.post("/api/v2.0/users", json=person), 201)
        with httpx2.Client(base_url=registry.url, auth=(name, password), trust_env=False) as user:
            made = accepted(user.post("/api/v2.0/users/current/tokens", json={"name": "all", "level": "admin"}), 201).json()
        clients.append(bearer(registry, made["secret"]))
        return name, clients[-1]

    yield make
    for client in clients:
        client.close()


def join(http: httpx2.Client, container: str, name: str, role: int) -> None:
    project = container.partition("/")[0]
    wanted = {"role_id": role, "member_user": {"username": name}}
    accepted(http.post(f"/api/v2.0/projects/{project}/members", json=wanted), 201)


def ask(client: httpx2.Client, container: str, asked: Asked, upload: str = "0" * 32) -> httpx2.Response:
    method, path, body = asked
    said = {"name": container, "id": identifier(container), "hash": hashed(FILE), "upload": upload}
    said["image"] = f"{said['id']}~{said['hash']}"
    filled = {key: value.format(**said) if isinstance(value, str) else value for key, value in (body or {}).items()}
    return client.request(method, f"{API}{path.format(**said)}", json=None if body is None else filled)


def test_who_has_no_rights_learns_nothing(http: httpx2.Client, account: MakeAccount, container: str) -> None:
    """A project that is not there is answered alike."""
    _, stranger = account()
    nowhere = f"none-{container}"
    project = container.partition("/")[0]
    for asked in (*READING, *WRITING, *DELETING):
        status = 404 if asked in READING else 403
        told = refusal(ask(stranger, container, asked), status)
        assert told.replace(project, f"none-{project}") == refusal(ask(stranger, nowhere, asked), status)
    assert data(stranger.get(f"{API}/v1/search", params={"value": project}))["image"] == []
    assert data(http.get(f"{API}/v1/tags/{identifier(container)}")).keys() == {"one"}


def test_who_only_reads_changes_nothing(http: httpx2.Client, account: MakeAccount, container: str) -> None:
    name, guest = account()
    join(http, container, name, 5)
    for asked in READING:
        assert ask(guest, container, asked).status_code in (200, 303)
    image = f"{identifier(container)}~{hashed(FILE)}"
    upload = start(http, image, 5)
    for asked in (*WRITING, *DELETING):
        assert "may not" in refusal(ask(guest, container, asked, upload), 403)
    assert data(http.get(f"{API}/v1/tags/{identifier(container)}")).keys() == {"one"}
    assert accepted(http.put(f"{API}/v2/imagefile/{image}/_multipart_abort", json={"uploadID": upload}), 200)


def test_a_right_in_one_entity_is_none_in_another(http: httpx2.Client, account: MakeAccount, container: str) -> None:
    name, developer = account()
    own = f"own-{secrets.token_hex(4)}"
    accepted(http.post("/api/v2.0/projects", json={"project_name": own, "public": False}), 201)
    join(http, own, name, 2)
    image = pushed(developer, f"{own}/tools/it", small_sif(b"mine"))
    foreign = f"{identifier(container)}~{hashed(FILE)}"
    for asked in WRITING:
        refusal(ask(developer, container, asked), 403)
    wanted = {"Tag": "two", "ImageID": foreign, "Arch": "amd64"}
    refusal(developer.post(f"{API}/v2/tags/{identifier(own)}~tools~it", json=wanted), 400)
    refusal(developer.post(f"{API}/v2/tags/{identifier(container)}", json={**wanted, "ImageID": image}), 400)


def test_what_lies_elsewhere_is_not_told_to_be_here(http: httpx2.Client, account: MakeAccount, container: str) -> None:
    """`uploaded` only of what the caller may pull, though the bytes are the same and in the store."""
    name, developer = account()
    own = f"own-{secrets.token_hex(4)}"
    accepted(http.post("/api/v2.0/projects", json={"project_name": own, "public": False}), 201)
    join(http, own, name, 2)
    image = announce(developer, f"{own}/tools/it", FILE)  # "not uploaded"
    assert "not been uploaded" in refusal(developer.put(f"{API}/v2/imagefile/{image}/_complete", json={}), 400)
    absent(developer, f"{own}/tools/it", FILE)


# --- robots -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def robot(registry: RoadsteadServer, http: httpx2.Client, container: str) -> Iterator[Callable[..., httpx2.Client]]:
    """Makes a robot of the container's project that may do this in repositories."""
    clients = []

    def make(*actions: str) -> httpx2.Client:
        access = [{"resource": "repository", "action": action} for action in actions]
        rights = [{"kind": "project", "namespace": container.partition("/")[0], "access": access}]
        wanted = {"name": f"r{secrets.token_hex(4)}", "level": "system", "duration": -1, "permissions": rights}
        made = accepted(http.post("/api/v2.0/robots", json=wanted), 201).json()
        assert len(made["secret"]) >= 200  # or the client refuses it
        clients.append(bearer(registry, made["secret"]))
        clients[-1].headers["x-robot"] = made["name"]
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_a_robot_is_somebody(robot: Callable[..., httpx2.Client]) -> None:
    client = robot("pull")
    told = accepted(client.get(f"{API}/v1/rbac/users/current"), 200).json()
    assert told == {"username": client.headers["x-robot"], "email": "", "realname": ""}
    assert data(client.get(f"{API}/v1/token-status")) == {"name": client.headers["x-robot"]}


def test_a_robot_that_only_pushes_is_not_told_what_is_here(
    robot: Callable[..., httpx2.Client], http: httpx2.Client, container: str
) -> None:
    client = robot("push")
    for file in (FILE, small_sif(b"another")):
        image = announce(client, container, file)  # "not uploaded", of what is here too
        data(client.post(f"{API}/v1/imagefile/{image}", content=file))
        data(client.put(f"{API}/v2/imagefile/{image}/_complete", json={}))
        refusal(client.get(f"{API}/v1/images/{container}:{hashed(file)}"), 403)
        assert data(http.get(f"{API}/v1/images/{container}:{hashed(file)}"))["uploaded"] is True


def test_a_robot_that_pushes_and_pulls_does_all_that_a_push_takes(robot: Callable[..., httpx2.Client], container: str) -> None:
    client = robot("pull", "push")
    pushed(client, container, small_sif(b"a robot's"), "robot")
    assert set(data(client.get(f"{API}/v1/tags/{identifier(container)}"))) == {"one", "robot"}
    refusal(client.delete(f"{API}/v1/images/{container}:robot"), 403)


# --- what has ended ---------------------------------------------------------------------------------------------------------------------


def test_an_expired_token_is_no_credential(registry: RoadsteadServer, container: str) -> None:
    expired = issued(registry.data, 1, [Grant("repository", container, ("pull", "push"))], ago=LONG_AGO)
    with bearer(registry, expired) as late:
        refusal(late.get(f"{API}/v1/token-status"), 404)  # by which the client says "Invalid Credentials"
        for asked in (*READING, *WRITING, *DELETING):
            refusal(ask(late, container, asked), 401)


def test_a_personal_token_that_has_expired_is_no_credential(registry: RoadsteadServer, http: httpx2.Client, container: str) -> None:
    """Nor at the key server, where it pushes no key."""
    made = accepted(
        http.post("/api/v2.0/users/current/tokens", json={"name": secrets.token_hex(4), "level": "admin", "days": 1}), 201
    ).json()
    with bearer(registry, made["secret"]) as late:
        data(late.get(f"{API}/v1/token-status"))
        with sqlite3.connect(registry.data / "roadstead.sqlite") as database:
            database.execute("UPDATE credentials SET expires_at = 1 WHERE id = ?", (made["id"],))
        refusal(late.get(f"{API}/v1/token-status"), 404)
        refusal(late.get(f"{API}/v1/images/{container}:one"), 401)
        answer = late.post("/pks/add", data={"keytext": "x"})
        assert refusal(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_an_address_to_upload_to_expires(registry: RoadsteadServer, http: httpx2.Client, anonymous: httpx2.Client, container: str) -> None:
    file = small_sif(b"late")
    image = announce(http, container, file)
    given = address(data(http.post(f"{API}/v2/imagefile/{image}", json={"filesize": len(file)}))["uploadURL"])
    upload = start(http, image, len(file))
    wanted = {"uploadID": upload, "partNumber": 1, "partSize": len(file)}
    part = address(data(http.put(f"{API}/v2/imagefile/{image}/_multipart", json=wanted))["presignedURL"])
    expired = issued(registry.data, 1, [Grant("repository", container, ("push",))], ago=LONG_AGO)
    for url in (given, part):
        refusal(anonymous.put(f"{url.rpartition('token=')[0]}token={expired}", content=file), 401)
    absent(http, container, file)
    accepted(anonymous.put(part, content=file), 200)
    data(complete(http, image, upload, 1))
