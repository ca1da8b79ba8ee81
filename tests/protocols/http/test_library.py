"""The library API by requests made by hand: the older ways in, and what clients do not send but others might."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from roadstead.access.tokens import Grant
from roadstead.apis.library.call import BODY_LIMIT
from roadstead.apis.library.uploads import MOST_PARTS, NAMED_PARTS_LIMIT, PART
from roadstead.metadata import migrations
from tests.protocols.http.exchange import accepted, bearer, wire
from tests.protocols.http.test_access import issued
from tests.support.clients.sifs import small_sif
from tests.support.server import RoadsteadServer, poll

API = "/library"


@pytest.fixture
def container(repository: str) -> str:
    """A container of the private project `lab`, by its full name."""
    return f"lab/{repository.removeprefix('library/')}"


def data(answer: httpx2.Response) -> Any:
    return accepted(answer, 200).json()["data"]


def refusal(answer: httpx2.Response, status: int) -> str:
    """The message of a refusal, in the API's envelope."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    error = answer.json()["error"]
    assert error["code"] == status
    return str(error["message"])


def hashed(file: bytes) -> str:
    return f"sha256.{hashlib.sha256(file).hexdigest()}"


def identifier(container: str) -> str:
    return container.replace("/", "~")


def announce(http: httpx2.Client, container: str, file: bytes) -> str:
    """Announce a file; the image's id."""
    told = data(http.post(f"{API}/v1/images", json={"hash": hashed(file), "container": identifier(container)}))
    assert told["uploaded"] is False
    return str(told["id"])


def address(url: str) -> str:
    """An address that was handed out, as a client of this machine may use it."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def tag(http: httpx2.Client, container: str, image: str, name: str) -> None:
    data(http.post(f"{API}/v2/tags/{identifier(container)}", json={"Tag": name, "ImageID": image, "Arch": "amd64"}))


def pushed(http: httpx2.Client, container: str, file: bytes, name: str = "one") -> str:
    """Push in the way of v1, and tag; the image's id."""
    image = announce(http, container, file)
    data(http.post(f"{API}/v1/imagefile/{image}", content=file))
    tag(http, container, image, name)
    return image


def start(http: httpx2.Client, image: str, size: int) -> str:
    """Begin to upload in parts; the upload's id."""
    return str(data(http.post(f"{API}/v2/imagefile/{image}/_multipart", json={"filesize": size}))["uploadID"])


def part(http: httpx2.Client, image: str, upload: str, number: int, content: bytes, said: bytes | None = None) -> httpx2.Response:
    """Upload a part, with the hash of `said` where that is another; no credentials but the address."""
    wanted = {"uploadID": upload, "partNumber": number, "partSize": len(content)}
    digest = hashlib.sha256(content if said is None else said).hexdigest()
    url = data(http.put(f"{API}/v2/imagefile/{image}/_multipart", json={**wanted, "sha256sum": digest}))["presignedURL"]
    with httpx2.Client(base_url=http.base_url, trust_env=False) as nobody:
        return nobody.put(address(url), content=content)


def complete(http: httpx2.Client, image: str, upload: str, *numbers: int) -> httpx2.Response:
    done = [{"partNumber": number, "token": "any"} for number in numbers]
    return http.put(f"{API}/v2/imagefile/{image}/_multipart_complete", json={"uploadID": upload, "completedParts": done})


def absent(http: httpx2.Client, container: str, file: bytes) -> None:
    refusal(http.get(f"{API}/v1/images/{container}:{hashed(file)}", params={"arch": "amd64"}), 404)


def test_discovery_names_this_registry(anonymous: httpx2.Client, registry: RoadsteadServer) -> None:
    told = accepted(anonymous.get("/assets/config/config.prod.json"), 200).json()
    assert told["libraryAPI"] == {"uri": f"{registry.url}/library"}
    assert told["keystoreAPI"] == {"uri": registry.url}
    assert data(anonymous.get("/version"))["apiVersion"] == "2.0.0-alpha.2"


def test_all_parts_of_the_largest_file_can_be_named() -> None:
    tag = '"' + "0" * 64 + '"'
    named = [{"partNumber": number, "token": tag} for number in range(1, MOST_PARTS + 1)]
    assert len(json.dumps({"uploadID": "0" * 64, "completedParts": named})) < NAMED_PARTS_LIMIT


def test_an_image_is_pushed_at_once_and_tagged_without_architecture(http: httpx2.Client, container: str) -> None:
    file = small_sif(b"v1")
    image = announce(http, container, file)
    absent(http, container, file)
    data(http.post(f"{API}/v1/imagefile/{image}", content=file))
    data(http.post(f"{API}/v1/tags/{identifier(container)}", json={"Tag": "one", "ImageID": image}))
    assert data(http.get(f"{API}/v1/tags/{identifier(container)}")) == {"one": image}
    told = data(http.get(f"{API}/v1/images/{container}:one"))
    assert (told["id"], told["hash"], told["size"], told["uploaded"]) == (image, hashed(file), len(file), True)
    assert (told["entityName"], told["containerName"]) == ("lab", container.rpartition("/")[2])
    again = data(http.post(f"{API}/v1/images", json={"hash": hashed(file), "container": identifier(container)}))
    assert (again["id"], again["uploaded"]) == (image, True)


def test_an_image_is_pushed_by_an_address_that_needs_no_credentials(http: httpx2.Client, anonymous: httpx2.Client, container: str) -> None:
    file = small_sif(b"v2")
    image = announce(http, container, file)
    url = data(http.post(f"{API}/v2/imagefile/{image}", json={"filesize": len(file)}))["uploadURL"]
    accepted(anonymous.put(address(url), content=file), 200)
    absent(http, container, file)
    for _ in range(2):
        told = data(http.put(f"{API}/v2/imagefile/{image}/_complete", json={}))
        assert told["containerUrl"] == f"/{container}"
    assert data(http.get(f"{API}/v1/images/{container}:{hashed(file)}"))["uploaded"] is True


def test_what_comes_with_another_hash_is_not_kept(http: httpx2.Client, anonymous: httpx2.Client, container: str) -> None:
    file = small_sif(b"right")
    image = announce(http, container, file)
    assert "digest" in refusal(http.post(f"{API}/v1/imagefile/{image}", content=small_sif(b"wrong")), 400)
    url = data(http.post(f"{API}/v2/imagefile/{image}", json={"filesize": len(file)}))["uploadURL"]
    refusal(anonymous.put(address(url), content=small_sif(b"wrong")), 400)
    assert "not been uploaded" in refusal(http.put(f"{API}/v2/imagefile/{image}/_complete", json={}), 400)
    absent(http, container, file)


def test_an_address_is_good_for_its_repository_only(http: httpx2.Client, anonymous: httpx2.Client, container: str) -> None:
    file = small_sif(b"elsewhere")
    image = announce(http, container, file)
    url = data(http.post(f"{API}/v2/imagefile/{image}", json={"filesize": len(file)}))["uploadURL"]
    other = address(url).replace(identifier(container), identifier(f"{container}-other"))
    refusal(anonymous.put(other, content=file), 401)
    refusal(anonymous.put(address(url).partition("?")[0], content=file), 401)
    token = url.rpartition("token=")[2]
    refusal(anonymous.get(f"{API}/v1/images/{container}:{hashed(file)}", headers={"Authorization": f"Bearer {token}"}), 401)


@pytest.fixture
def large() -> bytes:
    """A file of two parts."""
    return small_sif(b"large" + bytes(PART))


def test_parts_become_an_image_when_they_are_complete(http: httpx2.Client, container: str, large: bytes) -> None:
    image = announce(http, container, large)
    upload = start(http, image, len(large))
    for number, content in enumerate((large[:PART], large[PART:]), 1):
        assert accepted(part(http, image, upload, number, content), 200).headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    absent(http, container, large)
    for _ in range(2):
        data(complete(http, image, upload, 1, 2))
    assert data(http.get(f"{API}/v1/images/{container}:{hashed(large)}"))["size"] == len(large)


def test_a_missing_part_can_still_come(http: httpx2.Client, container: str, large: bytes) -> None:
    image = announce(http, container, large)
    upload = start(http, image, len(large))
    accepted(part(http, image, upload, 1, large[:PART]), 200)
    assert "1 to 1" in refusal(complete(http, image, upload, 1, 2), 400)
    absent(http, container, large)
    refusal(part(http, image, upload, 1, large[:PART]), 409)
    accepted(part(http, image, upload, 2, large[PART:]), 200)
    data(complete(http, image, upload, 1, 2))


def test_parts_that_are_not_all_are_no_image(http: httpx2.Client, container: str, large: bytes) -> None:
    image = announce(http, container, large)
    upload = start(http, image, len(large))
    accepted(part(http, image, upload, 1, large[:PART]), 200)
    assert "digest" in refusal(complete(http, image, upload, 1), 400)
    absent(http, container, large)
    refusal(complete(http, image, upload, 1), 404)


def test_parts_out_of_order_are_refused(http: httpx2.Client, container: str, large: bytes) -> None:
    image = announce(http, container, large)
    upload = start(http, image, len(large))
    refusal(part(http, image, upload, 2, large[PART:]), 409)
    absent(http, container, large)


def test_a_part_with_the_wrong_hash_ends_the_upload(http: httpx2.Client, container: str, large: bytes) -> None:
    image = announce(http, container, large)
    upload = start(http, image, len(large))
    assert "given up" in refusal(part(http, image, upload, 1, large[:1000], said=b"another"), 400)
    refusal(part(http, image, upload, 1, large[:1000]), 404)
    absent(http, container, large)


def test_an_upload_that_is_aborted_is_gone(http: httpx2.Client, container: str, large: bytes) -> None:
    image = announce(http, container, large)
    upload = start(http, image, len(large))
    data(http.put(f"{API}/v2/imagefile/{image}/_multipart_abort", json={"uploadID": upload}))
    refusal(part(http, image, upload, 1, large[:1000]), 404)


def test_what_was_joined_and_not_recorded_is_recorded_when_it_is_asked_for_again(http: httpx2.Client, container: str) -> None:
    """As after a failure between the two: here by a quota, which only the whole file has met."""
    project = f"joined-{hashlib.sha256(container.encode()).hexdigest()[:8]}"
    accepted(http.post("/api/v2.0/projects", json={"project_name": project}), 201)
    file = small_sif(bytes(3000))
    image = announce(http, f"{project}/tools/it", file)
    upload = start(http, image, len(file))
    accepted(part(http, image, upload, 1, file), 200)
    accepted(http.put(f"/api/v2.0/projects/{project}", json={"storage_limit": 100}), 200)
    assert "may use" in refusal(complete(http, image, upload, 1), 403)
    refusal(part(http, image, upload, 1, file), 404)  # joined
    accepted(http.put(f"/api/v2.0/projects/{project}", json={"storage_limit": 1_000_000}), 200)
    data(complete(http, image, upload, 1))
    assert data(http.get(f"{API}/v1/images/{project}/tools/it:{hashed(file)}"))["size"] == len(file)


def test_more_parts_are_named_than_an_ordinary_request_holds(http: httpx2.Client, container: str) -> None:
    file = small_sif(b"one part")
    image = announce(http, container, file)
    upload = start(http, image, len(file))
    accepted(part(http, image, upload, 1, file), 200)
    named = [{"partNumber": number, "token": f'"{hashlib.sha256(file).hexdigest()}"'} for number in range(1, 1001)]
    wanted = {"uploadID": upload, "completedParts": named}
    path = f"{API}/v2/imagefile/{image}/_multipart_complete"
    assert len(httpx2.Request("PUT", http.base_url, json=wanted).content) > BODY_LIMIT
    assert "1 to 1" in refusal(http.put(path, json=wanted), 400)
    refusal(http.put(path, content=b" " * (NAMED_PARTS_LIMIT + 1)), 413)
    refusal(http.post(f"{API}/v2/imagefile/{image}/_multipart", content=b" " * (BODY_LIMIT + 1)), 413)
    data(complete(http, image, upload, 1))


def test_nobody_sends_so_much_who_may_not_push(anonymous: httpx2.Client, container: str) -> None:
    """The answer comes before the body is read."""
    image = f"{identifier(container)}~{hashed(b'anything')}"
    refusal(anonymous.put(f"{API}/v2/imagefile/{image}/_multipart_complete", content=b" " * (NAMED_PARTS_LIMIT + 1)), 401)


@pytest.mark.parametrize("path", ["", "/_multipart"], ids=["whole", "parts"])
@pytest.mark.parametrize(
    ("body", "status"),
    [({"filesize": 0}, 400), ({"filesize": -5}, 400), ({"filesize": "many"}, 400), ({}, 400), ({"filesize": 10**30}, 413)],
)
def test_what_cannot_be_begun_is_refused(http: httpx2.Client, container: str, path: str, body: object, status: int) -> None:
    image = announce(http, container, b"anything")
    refusal(http.post(f"{API}/v2/imagefile/{image}{path}", json=body), status)


@pytest.mark.parametrize(
    ("number", "size"), [(0, 10), (-1, 10), (1.5, 10), ("1", 10), (2**37 + 1, 10), (10**30, 10), (1, 0), (1, -1), (1, PART + 1)]
)
def test_a_part_without_a_place_is_refused(
    http: httpx2.Client, anonymous: httpx2.Client, container: str, number: object, size: object
) -> None:
    """Where its address is asked for, and where somebody has changed the address."""
    image = announce(http, container, b"anything")
    wanted = {"uploadID": start(http, image, 10), "partNumber": 1, "partSize": 10}
    refusal(http.put(f"{API}/v2/imagefile/{image}/_multipart", json={**wanted, "partNumber": number, "partSize": size}), 400)
    url = address(data(http.put(f"{API}/v2/imagefile/{image}/_multipart", json=wanted))["presignedURL"])
    changed = url.replace("part=1&", f"part={number}&").replace("size=10", f"size={size}")
    if changed != url:
        refusal(anonymous.put(changed, content=b"0123456789"), 400)


def test_a_range_stays_with_the_file_that_was_found(http: httpx2.Client, container: str) -> None:
    old, new = small_sif(b"old"), small_sif(b"new")
    pushed(http, container, old)
    answer = http.get(f"{API}/v1/imagefile/{container}:one", params={"arch": "amd64"}, follow_redirects=False)
    location = urlsplit(accepted(answer, 303).headers["Location"]).path
    first = accepted(http.get(location, headers={"Range": "bytes=0-99"}), 206).content
    pushed(http, container, new)
    rest = accepted(http.get(location, headers={"Range": f"bytes=100-{len(old) - 1}"}), 206).content
    assert first + rest == old
    answer = http.get(f"{API}/v1/imagefile/{container}:one", params={"arch": "amd64"})
    assert answer.status_code == 303 and hashlib.sha256(new).hexdigest() in answer.headers["Location"]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The data of another installation."""
    asyncio.run(migrations.upgrade(f"sqlite:///{tmp_path}/roadstead.sqlite"))
    return tmp_path


def test_a_token_of_another_host_is_no_credential(registry: RoadsteadServer, elsewhere: Path, http: httpx2.Client, container: str) -> None:
    pushed(http, container, small_sif(b"mine"))
    foreign = issued(elsewhere, 1, [Grant("repository", container, ("pull", "push"))])
    with bearer(registry, foreign) as stranger:
        refusal(stranger.get(f"{API}/v1/token-status"), 404)
        refusal(stranger.get(f"{API}/v1/images/{container}:one"), 401)
        refusal(stranger.post(f"{API}/v1/images", json={"hash": hashed(b"x"), "container": identifier(container)}), 401)


@pytest.fixture
def fleeting(registry: RoadsteadServer, http: httpx2.Client) -> Iterator[httpx2.Client]:
    """A client with a personal token that was revoked."""
    made = accepted(http.post("/api/v2.0/users/current/tokens", json={"name": "fleeting", "level": "admin"}), 201).json()
    with bearer(registry, made["secret"]) as user:
        data(user.get(f"{API}/v1/token-status"))
        accepted(http.delete(f"/api/v2.0/users/current/tokens/{made['id']}"), 200)
        yield user


def test_a_revoked_token_is_no_credential(fleeting: httpx2.Client, http: httpx2.Client, container: str) -> None:
    pushed(http, container, small_sif(b"mine"))
    refusal(fleeting.get(f"{API}/v1/token-status"), 404)
    refusal(fleeting.get(f"{API}/v1/images/{container}:one"), 401)


def test_nobody_learns_what_is_private(http: httpx2.Client, anonymous: httpx2.Client, container: str) -> None:
    pushed(http, container, small_sif(b"private"))
    for name in (container, "nothing/at/all"):
        assert refusal(anonymous.get(f"{API}/v1/images/{name}:one"), 401) == "Authentication is required: log in first."
        refusal(anonymous.get(f"{API}/v1/imagefile/{name}:one"), 401)
        refusal(anonymous.get(f"{API}/v2/tags/{identifier(name)}"), 401)
    assert data(anonymous.get(f"{API}/v1/search", params={"value": container}))["image"] == []


def test_an_empty_bearer_is_nobody(registry: RoadsteadServer) -> None:
    for path, status in ((f"{API}/version", 200), (f"{API}/v1/rbac/users/current", 401), (f"{API}/v1/images/library/absent:one", 404)):
        with wire(registry) as logged_out:
            assert logged_out.ask("GET", path, {"Authorization": "Bearer "}).status == status


def test_a_hash_deletes_the_image_with_its_tags(http: httpx2.Client, container: str) -> None:
    kept, file = small_sif(b"kept"), small_sif(b"goes")
    pushed(http, container, kept, "kept")
    pushed(http, container, file)
    tag(http, container, f"{identifier(container)}~{hashed(file)}", "two")
    data(http.delete(f"{API}/v1/images/{container}:{hashed(file)}"))
    absent(http, container, file)
    assert set(data(http.get(f"{API}/v1/tags/{identifier(container)}"))) == {"kept"}
    refusal(http.delete(f"{API}/v1/images/{container}:{hashed(file)}"), 404)


def test_an_image_is_not_tagged_in_another_container(http: httpx2.Client, container: str) -> None:
    image = pushed(http, container, small_sif(b"mine"))
    wanted = {"Tag": "one", "ImageID": image, "Arch": "amd64"}
    assert "another container" in refusal(http.post(f"{API}/v2/tags/lab~other~container", json=wanted), 400)
    foreign = image.replace("lab~", "library~", 1)
    refusal(http.post(f"{API}/v2/tags/{identifier(container)}", json={**wanted, "ImageID": foreign}), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/images/lab/UPPER:one", 400),
        ("GET", "/v1/images/lab/x:", 404),
        ("GET", "/v1/images/lab/x:%00", 400),
        ("GET", "/v1/images/lab/x%2fy:one", 404),
        ("GET", "/v1/search?value=ab", 400),
        ("GET", "/v1/search", 400),
        ("GET", "/v1/oci-redirect?namespace=lab/x", 404),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/images/lab/x:one", 405),
        ("POST", "/v1/images", 400),
        ("POST", "/v1/imagefile/lab~x", 400),
        ("POST", "/v2/imagefile/lab~x~sha256.00", 400),
        ("DELETE", "/v1/images/lab/x:absent", 404),
    ],
)
def test_what_makes_no_sense_is_refused(http: httpx2.Client, method: str, path: str, status: int) -> None:
    assert len(refusal(http.request(method, f"{API}{path}"), status)) > 15


def test_names_are_all_that_there_is_to_containers(http: httpx2.Client) -> None:
    assert data(http.post(f"{API}/v1/entities", json={"name": "lab"}))["id"] == "lab"
    assert data(http.post(f"{API}/v1/collections", json={"name": "tools", "entity": "lab"}))["id"] == "lab~tools"
    assert data(http.post(f"{API}/v1/containers", json={"name": "x", "collection": "lab~tools"}))["id"] == "lab~tools~x"
    assert data(http.get(f"{API}/v1/entities/lab"))["id"] == "lab"
    assert data(http.get(f"{API}/v1/collections/lab/tools"))["id"] == "lab~tools"
    assert data(http.get(f"{API}/v1/containers/lab/tools/x"))["id"] == "lab~tools~x"


def test_singularity_hub_is_for_reading_what_is_public(http: httpx2.Client, anonymous: httpx2.Client, repository: str) -> None:
    file = small_sif(b"hub")
    pushed(http, repository, file)
    told = accepted(anonymous.get(f"/api/container/{repository}:one"), 200).json()
    assert told["commit"] == hashlib.sha256(file).hexdigest()
    assert accepted(anonymous.get(urlsplit(told["image"]).path), 200).content == file
    refusal(anonymous.get(f"/api/container/{repository}:two"), 404)
    assert "tag" in refusal(anonymous.get(f"/api/container/{repository}@{'0' * 40}"), 404)
    refusal(anonymous.get("/api/container/lab/private:one"), 401)
    refusal(http.post(f"/api/container/{repository}:one"), 501)


def test_the_quota_holds_before_bytes_go_and_while_they_come(http: httpx2.Client, anonymous: httpx2.Client, container: str) -> None:
    project = f"full-{hashlib.sha256(container.encode()).hexdigest()[:8]}"
    accepted(http.post("/api/v2.0/projects", json={"project_name": project, "storage_limit": 20_000}), 201)
    file, small = small_sif(bytes(50_000)), small_sif(b"")[:1000]
    name = f"{project}/tools/large"
    image = announce(http, name, file)
    assert "may use" in refusal(http.post(f"{API}/v2/imagefile/{image}", json={"filesize": len(file)}), 403)
    assert "may use" in refusal(http.post(f"{API}/v2/imagefile/{image}/_multipart", json={"filesize": len(file)}), 403)
    url = data(http.post(f"{API}/v2/imagefile/{image}", json={"filesize": len(small)}))["uploadURL"]
    refusal(anonymous.put(address(url), content=file), 403)
    refusal(http.post(f"{API}/v1/imagefile/{image}", content=file), 403)
    absent(http, name, file)


def test_what_is_pushed_pulled_and_deleted_is_in_the_audit_log(http: httpx2.Client, container: str) -> None:
    file = small_sif(b"audited")
    pushed(http, container, file)
    accepted(http.get(f"{API}/v1/imagefile/{container}:one"), 303)
    data(http.delete(f"{API}/v1/images/{container}:one", params={"arch": "amd64"}))

    def operations() -> set[str]:
        rows = accepted(http.get("/api/v2.0/projects/lab/logs", params={"page_size": 100}), 200).json()
        return {row["operation"] for row in rows if row["resource"].startswith(container)}

    assert poll(lambda: {"push", "pull", "create", "delete"} <= operations(), 10.0), operations()


def test_pulls_are_limited_as_everywhere(http: httpx2.Client, container: str) -> None:
    pushed(http, container, small_sif(b"limited"))
    try:
        accepted(http.put("/api/v2.0/configurations", json={"pull_limit_per_account": 0}), 200)
        target = f"{API}/v1/imagefile/{container}:one"
        assert poll(lambda: http.get(target).status_code == 429, 10.0)
        assert "limit of 0 pulls" in refusal(http.get(target), 429)
    finally:
        accepted(http.put("/api/v2.0/configurations", json={"pull_limit_per_account": -1}), 200)
    assert poll(lambda: http.get(target).status_code == 303, 10.0)
