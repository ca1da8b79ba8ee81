"""What somebody is told who comes too often: of pulls, of requests, of failed logins."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx2
import pytest

from roadstead.access.actor import SYSTEM
from roadstead.access.configuration import Configuration
from roadstead.access.throttle import OF_NAME
from roadstead.metadata.database import open_database
from tests.protocols.http.exchange import accepted, client, push_blob, put_manifest, refused, small_image
from tests.support.clients.images import push
from tests.support.server import RoadsteadServer, poll

ADDRESSES = count(10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server of one worker, which believes this machine as a proxy."""
    environment = {"ROADSTEAD_WORKERS": "1", "ROADSTEAD_TRUSTED_PROXIES": "127.0.0.1", "ROADSTEAD_CREATE_PROJECTS_ON_PUSH": "true"}
    with RoadsteadServer(tmp_path_factory.mktemp("limits") / "data", environment) as server:
        yield server


@pytest.fixture
def http(server: RoadsteadServer) -> Iterator[httpx2.Client]:
    with client(server) as made:
        yield made


def configure(server: RoadsteadServer, **values: int | None) -> None:
    """Set the configuration in the server's database, as another replica would."""

    async def change() -> None:
        database = await open_database(f"sqlite:///{server.data}/roadstead.sqlite")
        await Configuration(database).change(SYSTEM, values)
        await database.close()

    asyncio.run(change())


@pytest.fixture
def limited(server: RoadsteadServer, http: httpx2.Client) -> Iterator[httpx2.Client]:
    """Anonymous clients may pull twice a day; the image is library/limited:v1."""
    push(http, "library/limited", "v1", small_image("limited"))
    configure(server, pull_limit_per_address=2, pull_window_seconds=86400)
    with client(server, anonymous=True) as made:
        made.headers["X-Forwarded-For"] = f"203.0.113.{next(ADDRESSES)}"
        assert poll(lambda: "ratelimit-limit" in made.head("/v2/library/limited/manifests/v1").headers)
        yield made
    configure(server, pull_limit_per_address=None, pull_window_seconds=None)
    with client(server, anonymous=True) as made:
        assert poll(lambda: "ratelimit-limit" not in made.head("/v2/library/limited/manifests/v1").headers)


def limits_told(answer: httpx2.Response) -> tuple[str, str, str]:
    return answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"], answer.headers["docker-ratelimit-source"]


def test_pulls_are_counted_and_refused_with_docker_hubs_headers(limited: httpx2.Client) -> None:
    path, address = "/v2/library/limited/manifests/v1", limited.headers["X-Forwarded-For"]
    assert [limits_told(limited.head(path)) for _ in range(3)] == [("2;w=86400", "2;w=86400", address)] * 3
    refused(limited.get("/v2/library/limited/manifests/absent"), 404, "MANIFEST_UNKNOWN")
    assert limits_told(accepted(limited.get(path), 200)) == ("2;w=86400", "1;w=86400", address)
    assert limits_told(accepted(limited.get(path), 200)) == ("2;w=86400", "0;w=86400", address)
    answer = limited.get(path)
    message = refused(answer, 429, "TOOMANYREQUESTS")
    assert "2 pulls in 24 hours" in message
    assert limits_told(answer) == ("2;w=86400", "0;w=86400", address)
    assert 0 < int(answer.headers["Retry-After"]) <= 86400
    assert limited.head(path).status_code == 200
    accepted(limited.get("/v2/library/limited/manifests/v1", headers={"X-Forwarded-For": "198.51.100.77"}), 200)


def test_blobs_and_pushes_are_no_pulls(limited: httpx2.Client, http: httpx2.Client) -> None:
    digest = push_blob(http, "library/limited", b"a blob")
    for _ in range(5):
        accepted(limited.get(f"/v2/library/limited/blobs/{digest}"), 200)
    accepted(put_manifest(http, "library/limited", "v2", small_image("limited").manifest), 201)
    assert limited.head("/v2/library/limited/manifests/v1").headers["ratelimit-remaining"] == "2;w=86400"


def test_a_limit_of_a_project_does_not_say_that_it_is_there(server: RoadsteadServer, http: httpx2.Client) -> None:
    push(http, "vault/secret", "v1", small_image("secret"))
    configure(server, pull_limit_per_project=0)
    try:
        assert poll(lambda: http.get("/v2/vault/secret/manifests/v1").status_code == 429)
        with client(server, anonymous=True) as nobody:
            answers = [nobody.get(f"/v2/{name}/manifests/v1") for name in ("vault/secret", "nowhere/secret")]
            assert [answer.status_code for answer in answers] == [401, 401]
            assert all("ratelimit-limit" not in answer.headers for answer in answers)
    finally:
        configure(server, pull_limit_per_project=None)
    assert poll(lambda: http.get("/v2/vault/secret/manifests/v1").status_code == 200)


def test_requests_a_second(server: RoadsteadServer) -> None:
    configure(server, requests_per_second_per_address=3)
    try:
        with client(server, anonymous=True) as nobody:

            def refused_in_a_burst() -> bool:
                return 429 in [nobody.get("/v2/library/x/tags/list").status_code for _ in range(20)]

            assert poll(refused_in_a_burst)
            answers = [nobody.get("/v2/library/x/tags/list") for _ in range(20)]
            over = next(answer for answer in answers if answer.status_code == 429)
            assert "3 requests a second" in refused(over, 429, "TOOMANYREQUESTS")
            assert int(over.headers["Retry-After"]) >= 1
    finally:
        configure(server, requests_per_second_per_address=None)


# --- failed logins ------------------------------------------------------------------------------------------------------------------


def guess(server: RoadsteadServer, name: str, password: str, address: str, path: str = "/service/token") -> httpx2.Response:
    headers = {"X-Forwarded-For": address}
    return httpx2.get(f"{server.url}{path}", auth=(name, password), headers=headers, timeout=30, trust_env=False)


def test_guessing_has_to_wait_at_every_door(server: RoadsteadServer) -> None:
    for number in range(OF_NAME.free):
        assert guess(server, "admin", f"wrong {number}", "203.0.113.1").status_code == 401
    for path in ("/service/token", "/v2/"):
        answer = guess(server, "admin", "another", "203.0.113.1", path)
        assert "Too many failed logins for this name from this address" in refused(answer, 429, "TOOMANYREQUESTS")
        assert int(answer.headers["Retry-After"]) >= 1
    form = {"principal": "admin", "password": "another"}
    login = httpx2.post(f"{server.url}/c/login", data=form, headers={"X-Forwarded-For": "203.0.113.1"}, trust_env=False)
    assert (login.status_code, login.json()["errors"][0]["code"]) == (429, "TOO_MANY_REQUEST")
    assert int(login.headers["Retry-After"]) >= 1
    assert guess(server, "admin", server.admin_password, "203.0.113.2").status_code == 200


def test_a_stranger_cannot_choose_the_address_that_waits(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RoadsteadServer(tmp_path_factory.mktemp("strangers") / "data", {"ROADSTEAD_WORKERS": "1"}) as server:
        statuses = [guess(server, "nobody", f"wrong {number}", f"203.0.113.{number}").status_code for number in range(OF_NAME.free + 1)]
    assert statuses == [401] * OF_NAME.free + [429]


@pytest.mark.slow
def test_ten_thousand_bad_logins_leave_the_good_ones_alone(server: RoadsteadServer) -> None:
    """From one address: the server answers everybody, and who was right lately logs in at once."""
    address = "203.0.113.200"
    assert guess(server, "admin", server.admin_password, address).status_code == 200
    waited: list[float] = []

    def flood(part: int) -> Counter[int]:
        with httpx2.Client(base_url=server.url, headers={"X-Forwarded-For": address}, timeout=60, trust_env=False) as http:
            auths = [(f"name {part} {number % 50}", f"wrong {number}") for number in range(1250)]
            return Counter(http.get("/service/token", auth=auth).status_code for auth in auths)

    with ThreadPoolExecutor(8) as threads:
        parts = [threads.submit(flood, part) for part in range(8)]
        while not all(part.done() for part in parts):
            began = time.monotonic()
            assert guess(server, "admin", server.admin_password, address).status_code == 200
            waited.append(time.monotonic() - began)
            time.sleep(0.1)
    became = sum((part.result() for part in parts), Counter())
    assert set(became) == {401, 429}
    assert became.total() == 10_000
    assert became[401] < 500, "few of them cost a hash"
    assert sorted(waited)[len(waited) // 2] < 1
