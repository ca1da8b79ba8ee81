"""Who may do what, and how a registry says so (Docker token specification; RFC 6750; RFC 7617)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import msgspec
import pytest

from roadstead.access.clock import system_clock
from roadstead.access.signing import SigningKeys
from roadstead.access.tokens import LIFETIME_SECONDS, Grant, Tokens
from roadstead.access.vault import load_or_make
from roadstead.metadata import migrations
from roadstead.metadata.database import open_database
from tests.protocols.http.exchange import (
    accepted,
    bearer,
    begin,
    client,
    digest_of,
    push_blob,
    put_manifest,
    refused,
    require_error_body,
    small_image,
    wire,
)
from tests.support.clients.images import OCI_CONFIG, Blob, artifact, push
from tests.support.server import RoadsteadServer

CHALLENGE = re.compile(r'Bearer realm="(?P<realm>[^"]*)",service="roadstead"(?:,scope="(?P<scope>[^"]*)")?(?:,error="(?P<error>[^"]*)")?')


def challenge(answer: httpx2.Response) -> dict[str, str | None]:
    """What a 401 says: realm, scope and error."""
    refused(answer, 401, "UNAUTHORIZED")
    return challenge_of(answer.headers["WWW-Authenticate"])


def challenge_of(written: str) -> dict[str, str | None]:
    """Realm, scope and error of a challenge, which must have these parameters and no others."""
    found = CHALLENGE.fullmatch(written)
    assert found, written
    return found.groupdict()


def token(http: httpx2.Client, *scopes: str) -> str:
    """A token for these scopes."""
    answer = accepted(http.get("/service/token", params={"service": "roadstead", "scope": list(scopes)}), 200)
    assert answer.json()["token"] == answer.json()["access_token"]
    assert answer.json()["expires_in"] > 60
    return str(answer.json()["token"])


@pytest.fixture
def secret(http: httpx2.Client) -> str:
    """The digest of a blob that only the private repository vault/secret has."""
    return push_blob(http, "vault/secret", b"known to few")


def test_everybody_may_pull_from_the_public_project(http: httpx2.Client, anonymous: httpx2.Client, repository: str) -> None:
    whole = small_image("public")
    push(http, repository, "v1", whole)
    narrowed = bearer_of(anonymous, token(anonymous, f"repository:{repository}:pull"))
    elsewhere = bearer_of(anonymous, token(anonymous, "repository:library/elsewhere:pull"))
    for somebody in (anonymous, narrowed, elsewhere):
        assert somebody.get(f"/v2/{repository}/manifests/v1").content == whole.manifest.data
        assert somebody.get(f"/v2/{repository}/blobs/{whole.blobs[1].digest}").content == whole.blobs[1].data
        assert somebody.get(f"/v2/{repository}/tags/list").json()["tags"] == ["v1"]


def bearer_of(http: httpx2.Client, value: str) -> httpx2.Client:
    """A copy of an anonymous client with a token."""
    return httpx2.Client(
        base_url=http.base_url, headers={"Authorization": f"Bearer {value}"}, event_hooks=http.event_hooks, timeout=30, trust_env=False
    )


# What the anonymous may not do → the scope that the challenge asks for
FORBIDDEN = {
    ("POST", "library/x/blobs/uploads/"): "repository:library/x:pull,push",
    ("PUT", "library/x/manifests/v1"): "repository:library/x:pull,push",
    ("PATCH", "library/x/blobs/uploads/0123"): "repository:library/x:pull,push",
    ("DELETE", "library/x/manifests/v1"): "repository:library/x:delete",
    ("GET", "vault/secret/tags/list"): "repository:vault/secret:pull",
    ("GET", "nowhere/x/tags/list"): "repository:nowhere/x:pull",
    ("POST", "x/blobs/uploads/"): "repository:x:pull,push",
    ("GET", ""): None,
}


@pytest.mark.parametrize(("method", "path"), FORBIDDEN)
def test_the_anonymous_are_told_where_to_get_a_token_and_for_what(
    method: str, path: str, secret: str, registry: RoadsteadServer, anonymous: httpx2.Client
) -> None:
    assert secret
    answer = anonymous.request(method, f"/v2/{path}")
    assert challenge(answer) == {"realm": f"{registry.url}/service/token", "scope": FORBIDDEN[method, path], "error": None}
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


def test_empty_basic_credentials_are_nobody(http: httpx2.Client, anonymous: httpx2.Client, repository: str) -> None:
    push(http, repository, "v1", small_image("empty"))
    headers = {"Authorization": "Basic Og=="}
    accepted(anonymous.get(f"/v2/{repository}/manifests/v1", headers=headers), 200)
    accepted(anonymous.get("/service/token", headers=headers), 200)
    challenge(anonymous.get("/v2/", headers=headers))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


# An Authorization header that proves nothing
WRONG = {
    "wrong password": basic("admin", "wrong"),
    "unknown user": basic("nobody", "wrong"),
    "user without password": basic("admin", ""),
    "password without user": basic("", "wrong"),
    "long password": basic("admin", "x" * 5000),
    "not base64": "Basic ***",
    "no colon": "Basic YWRtaW4=",
    "not UTF-8": "Basic /zr/",
    "a control character": basic("ad\0min", "x"),
    "no credentials": "Basic",
    "another scheme": "Digest username=admin",
    "not a token": "Bearer x",
    "an empty token": "Bearer",
    "no algorithm": "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJyb2Fkc3RlYWQifQ.",
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_credentials_open_nothing_not_even_what_is_public(
    case: str, http: httpx2.Client, anonymous: httpx2.Client, repository: str
) -> None:
    push(http, repository, "v1", small_image("wrong"))
    headers = {"Authorization": WRONG[case]}
    assert challenge(anonymous.get(f"/v2/{repository}/manifests/v1", headers=headers))["error"] == "invalid_token"
    answer = anonymous.get("/service/token", headers=headers)
    refused(answer, 401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="roadstead"'


def test_the_right_password_opens_without_a_token_too(http: httpx2.Client, repository: str) -> None:
    accepted(http.get("/v2/"), 200)
    begin(http, repository)


def test_a_token_covers_what_was_asked_for_and_no_more(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    with bearer(registry, token(http, f"repository:{repository}:pull,push")) as narrowed:
        accepted(narrowed.get("/v2/"), 200)
        push(narrowed, repository, "v1", small_image("narrowed"))
        other = narrowed.post("/v2/library/other/blobs/uploads/")
        assert challenge(other) == {
            "realm": f"{registry.url}/service/token",
            "scope": "repository:library/other:pull,push",
            "error": "insufficient_scope",
        }
        assert challenge(narrowed.delete(f"/v2/{repository}/manifests/v1"))["error"] == "insufficient_scope"
        assert challenge(narrowed.get("/v2/vault/secret/tags/list"))["error"] == "insufficient_scope"
        catalog = challenge(narrowed.get("/v2/_catalog"))
    assert (catalog["scope"], catalog["error"]) == ("registry:catalog:*", "insufficient_scope")
    push(http, "vault/seen", "v1", small_image("seen"))
    with bearer(registry, token(http, "registry:catalog:*")) as covered:
        assert "vault/seen" in covered.get("/v2/_catalog").json()["repositories"]


def test_a_token_for_several_repositories(registry: RoadsteadServer, http: httpx2.Client, repository: str) -> None:
    one, two, three = (f"{repository}/{number}" for number in range(3))
    value = token(
        http, f"repository:{one}:pull,push repository:{two}:pull,push", f"repository:{three}:*", "nonsense", "repository:A/B:pull"
    )
    with bearer(registry, value) as covered:
        for name in (one, two, three):
            push(covered, name, "v1", small_image("several"))
        accepted(covered.delete(f"/v2/{three}/manifests/v1"), 202)


def test_a_token_by_post(registry: RoadsteadServer, anonymous: httpx2.Client, repository: str) -> None:
    form = {"grant_type": "password", "service": "roadstead", "scope": f"repository:{repository}:push,pull", "client_id": "test"}
    right = {**form, "username": "admin", "password": registry.admin_password}
    with bearer(registry, accepted(anonymous.post("/service/token", data=right), 200).json()["access_token"]) as covered:
        begin(covered, repository)
    refused(anonymous.post("/service/token", data={**right, "password": "wrong"}), 401, "UNAUTHORIZED")
    refused(anonymous.post("/service/token", data={"grant_type": "refresh_token"}), 401, "UNAUTHORIZED")
    for unreadable in (b"&".join([b"scope=x"] * 2000), b"grant_type=password&username=\xff", b"username=%00"):
        refused(anonymous.post("/service/token", content=unreadable), 400, "UNSUPPORTED")
    refused(anonymous.post("/service/token", content=b"x" * 100_000), 413, "SIZE_INVALID")


def test_an_anonymous_token_cannot_push_whatever_it_asked_for(anonymous: httpx2.Client, repository: str) -> None:
    value = token(anonymous, f"repository:{repository}:pull,push,delete", "repository:vault/secret:pull")
    with bearer_of(anonymous, value) as covered:
        challenge(covered.post(f"/v2/{repository}/blobs/uploads/"))
        challenge(covered.get("/v2/vault/secret/tags/list"))


def issued(data: Path, account_id: int, grants: list[Grant], *, ago: timedelta = timedelta()) -> str:
    """A token as the server with that data would issue it."""

    def clock() -> datetime:
        return system_clock() - ago

    async def issue() -> str:
        database = await open_database(f"sqlite:///{data}/roadstead.sqlite")
        try:
            keys = SigningKeys(database, load_or_make(data / "secret.key"), clock, timedelta(hours=12))
            return await Tokens(keys, clock).issue(account_id, None, grants)
        finally:
            await database.close()

    return asyncio.run(issue())


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The data of another installation."""
    asyncio.run(migrations.upgrade(f"sqlite:///{tmp_path}/roadstead.sqlite"))
    return tmp_path


def test_a_token_that_is_expired_foreign_or_changed_is_none(registry: RoadsteadServer, elsewhere: Path, repository: str) -> None:
    grants = [Grant("repository", repository, ("pull", "push"))]
    good = issued(registry.data, 1, grants)
    with bearer(registry, good) as covered:
        begin(covered, repository)

    header, payload, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, "exp": claims["exp"] + 1}).encode()).decode().rstrip("=")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    expired = issued(registry.data, 1, grants, ago=timedelta(seconds=LIFETIME_SECONDS + 3600))
    forged = [
        expired,
        issued(elsewhere, 1, grants),
        f"{header}.{changed}.{signature}",
        f"{unsigned}.{payload}.",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-4]}AAAA",
        issued(registry.data, 12345, grants),
    ]
    for value in forged:
        with bearer(registry, value) as refused_client:
            assert challenge(refused_client.post(f"/v2/{repository}/blobs/uploads/"))["error"] == "invalid_token"


def test_knowing_a_digest_grants_nothing(registry: RoadsteadServer, http: httpx2.Client, secret: str, repository: str) -> None:
    with bearer(registry, token(http, f"repository:{repository}:pull,push")) as narrowed:
        uploads = f"/v2/{repository}/blobs/uploads/"
        for query in ({"mount": secret}, {"mount": secret, "from": "vault/secret"}):
            accepted(narrowed.post(uploads, params=query), 202)
        for somebody in (narrowed, http):
            assert somebody.head(f"/v2/{repository}/blobs/{secret}").status_code == 404
            refused(somebody.get(f"/v2/{repository}/blobs/{secret}"), 404, "BLOB_UNKNOWN")
            push_blob(somebody, repository, b"{}")
            sneaky = artifact(Blob(OCI_CONFIG, b"{}"), [Blob("application/octet-stream", b"known to few")])
            assert secret in refused(put_manifest(somebody, repository, "sneaky", sneaky.manifest), 400, "MANIFEST_BLOB_UNKNOWN")
        accepted(http.post(uploads, params={"mount": secret, "from": "vault/secret"}), 201)


def test_to_the_anonymous_a_private_project_is_like_one_that_does_not_exist(secret: str, anonymous: httpx2.Client) -> None:
    paths = [f"blobs/{secret}", f"blobs/{digest_of(b'absent')}", "manifests/v1", "tags/list", f"referrers/{secret}"]
    for path in paths:
        there, absent = anonymous.get(f"/v2/vault/secret/{path}"), anonymous.get(f"/v2/absent/secret/{path}")
        assert (there.status_code, there.json()) == (absent.status_code, absent.json())
        assert challenge(there)["scope"] == "repository:vault/secret:pull"
        assert challenge(absent)["scope"] == "repository:absent/secret:pull"


def test_a_push_makes_a_project_that_only_the_administrator_sees(http: httpx2.Client, anonymous: httpx2.Client) -> None:
    push(http, "made-by-push/app", "v1", small_image("private"))
    accepted(http.get("/v2/made-by-push/app/manifests/v1"), 200)
    challenge(anonymous.get("/v2/made-by-push/app/manifests/v1"))
    assert "made-by-push/app" in http.get("/v2/_catalog").json()["repositories"]
    assert "made-by-push/app" not in anonymous.get("/v2/_catalog").json()["repositories"]


def test_the_realm_is_where_the_client_reaches_the_registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    environment = {"ROADSTEAD_TRUSTED_PROXIES": "127.0.0.0/8"}
    with RoadsteadServer(tmp_path_factory.mktemp("proxied") / "data", environment) as server, client(server, anonymous=True) as http:
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example.org"}
        assert challenge(http.get("/v2/", headers=forwarded))["realm"] == "https://registry.example.org/service/token"
        assert challenge(http.get("/v2/"))["realm"] == f"{server.url}/service/token"


def test_forwarded_headers_of_strangers_are_not_believed(registry: RoadsteadServer, anonymous: httpx2.Client) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example.org"}
    assert challenge(anonymous.get("/v2/", headers=forwarded))["realm"] == f"{registry.url}/service/token"


@pytest.mark.parametrize("host", ['evil.example",service="other', "evil.example,Basic", "a b"])
def test_a_host_cannot_write_the_challenge(registry: RoadsteadServer, host: str) -> None:
    with wire(registry) as line:
        answer = line.ask("GET", "/v2/", {"Host": host, "Authorization": "Bearer none"})
    assert answer.status == 400
    assert "Host" in require_error_body(answer.body).message
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("path", ["/v2/a%0d%0aX-Made:up/tags/list", '/v2/a",b="c/tags/list', "/v2/%22%0a/manifests/x"])
def test_a_path_cannot_write_a_header(registry: RoadsteadServer, path: str) -> None:
    with wire(registry) as line:
        answer = line.ask("GET", path, {"Authorization": "Bearer none"})
    assert answer.status in (400, 401, 404)
    assert "X-Made" not in answer.headers
    if answer.status == 401:
        challenge_of(answer.headers["WWW-Authenticate"])


@pytest.mark.parametrize("name", ["admin\r\nX-Made: up", "admin\0", "admin\n", 'a"b', "${jndi:x}", "a" * 5000])
def test_a_user_name_cannot_write_a_header_or_a_line_of_the_log(registry: RoadsteadServer, anonymous: httpx2.Client, name: str) -> None:
    before = registry.log.stat().st_size
    answer = anonymous.get("/service/token", auth=(name, "wrong"))
    assert answer.status_code in (401, 429)
    assert "X-Made" not in answer.headers
    with registry.log.open("rb") as log:
        log.seek(before)
        for line in log.read().splitlines():
            assert msgspec.json.decode(line, type=dict[str, object])
