"""Two replicas over one PostgreSQL and one S3 store are one registry: whatever one of them acknowledged, the other one knows."""

from __future__ import annotations

import hashlib
import random
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.journeys.replicas import APPLICATION, Part, Site, postgres_part, seaweedfs_part
from tests.support.clients.images import Blob, Image, artifact, fetch, image, push, read_layout, write_layout
from tests.support.clients.tools import Workplace, require_client
from tests.support.postgres import Postgres
from tests.support.seaweedfs import SeaweedFS
from tests.support.server import RoadsteadServer, poll

pytestmark = pytest.mark.slow

T = TypeVar("T")
MIB = 1 << 20
PUSHERS = 8  # Two for each pair of a replica and a repository.
CLAIM_MICROSECONDS = 31_000_000  # A little more than the 30 seconds for which a writer claims an upload.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, seaweedfs: SeaweedFS) -> Iterator[Site]:
    """The site that all of these tests use. Whatever they do to it, none of its processes may meet what nobody foresaw."""
    with Site(tmp_path_factory.mktemp("site"), postgres, seaweedfs) as site:
        yield site
        assert site.errors() == []


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """The name of a repository in the public project that no other test uses."""
    return "library/replicas/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")


@pytest.fixture
def workplace() -> Iterator[Workplace]:
    """A user's home, empty; below /tmp, as the clients see nothing else."""
    with tempfile.TemporaryDirectory(prefix="roadstead-", dir="/tmp") as directory:
        yield Workplace(Path(directory))


@pytest.fixture(scope="session")
def database_part(postgres: Postgres) -> Iterator[Part]:
    """The session's PostgreSQL, to be taken away for a while; what was put back must last as long as the session."""
    part = postgres_part(postgres)
    yield part
    part.close()


@pytest.fixture(scope="session")
def store_part(seaweedfs: SeaweedFS) -> Iterator[Part]:
    """The session's SeaweedFS, likewise."""
    part = seaweedfs_part(seaweedfs)
    yield part
    part.close()


# --- one site ---------------------------------------------------------------------------------------------------------------------


def test_replicas_that_start_together_on_nothing_agree(tmp_path: Path, postgres: Postgres, seaweedfs: SeaweedFS) -> None:
    with Site(tmp_path, postgres, seaweedfs, ROADSTEAD_ADMIN_PASSWORD="") as site:
        assert site.query("SELECT name, is_admin FROM accounts") == ["admin|t"]
        assert site.query("SELECT name, public FROM projects") == ["library|t"]
        assert site.rows("alembic_version") == 1
        mine = "datname = current_database() AND pid <> pg_backend_pid()"
        assert set(site.query(f"SELECT application_name FROM pg_stat_activity WHERE {mine}")) == {APPLICATION}
        shown = [word for server in (site.a, site.b) for word in re.findall(r"with this password.*\n\n +(\S+)\n", server.log.read_text())]
        assert len(shown) == 1, "the password is shown once, by the replica that made it"
        for server in (site.a, site.b):
            answer = httpx2.get(f"{server.url}/v2/", auth=("admin", shown[0]), trust_env=False)
            assert answer.status_code == 200
        assert site.errors() == []


def test_a_token_of_one_is_good_at_the_other(site: Site, repository: str) -> None:
    with site.a.http() as a, site.b.http(anonymous=True) as b:
        token = a.get("/service/token", params={"scope": f"repository:{repository}:pull,push"}).json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        expect(202, b.post(f"/v2/{repository}/blobs/uploads/", headers=bearer))
        expect(401, b.post(f"/v2/{repository}-other/blobs/uploads/", headers=bearer))


def test_what_one_acknowledged_the_other_serves_at_once(site: Site, repository: str) -> None:
    with site.clients() as (a, b):
        for number in range(10):
            whole = picture(f"{repository} {number}")
            writer, reader = (a, b) if number % 2 else (b, a)
            push(writer, repository, "latest", whole)
            assert fetch(reader, repository, "latest") == whole
        expect(202, a.delete(f"/v2/{repository}/manifests/latest"))
        expect(404, b.get(f"/v2/{repository}/manifests/latest"))
        assert b.get(f"/v2/{repository}/tags/list").json()["tags"] == []


# --- uploads that wander ----------------------------------------------------------------------------------------------------------

CHUNKS = {
    "bytes": (1, 2, 0),
    "below a part": (1_048_577, 4_194_301, 65_537),
    "a part and less": (5 * MIB + 1, 777, 6 * MIB + 5),
    "less and parts": (4 * MIB + 9, 9 * MIB + 11, 5 * MIB - 1),
    "three each": (3, 5 * MIB - 3, 17 * MIB + 1),
}


@pytest.mark.parametrize("sizes", CHUNKS.values(), ids=CHUNKS.keys())
def test_an_upload_wanders_between_replicas(site: Site, repository: str, sizes: Sequence[int]) -> None:
    data = noise(repository, sum(sizes))
    first, second = sizes[0], sizes[0] + sizes[1]
    with site.clients() as (a, b):
        begun = expect(202, a.post(f"/v2/{repository}/blobs/uploads/")).headers["Location"]
        at_b = expect(202, b.patch(begun, content=data[:first], headers=chunk(0, first)))
        at_a = expect(202, a.patch(at_b.headers["Location"], content=iter([data[first:second]])))
        assert at_a.headers["Range"] == f"0-{second - 1}"
        expect(201, b.put(at_a.headers["Location"], params={"digest": digest(data)}, content=data[second:]))
        for http in (a, b):
            pull_whole_and_in_ranges(http, f"/v2/{repository}/blobs/{digest(data)}", data)


def test_a_digest_that_nobody_announced_is_computed_at_the_last_replica(site: Site, repository: str) -> None:
    data = noise(repository, 6 * MIB)
    wanted = f"sha512:{hashlib.sha512(data).hexdigest()}"
    with site.clients() as (a, b):
        begun = expect(202, a.post(f"/v2/{repository}/blobs/uploads/")).headers["Location"]
        expect(202, a.patch(begun, content=data))
        expect(201, b.put(begun, params={"digest": wanted}))
        for known_by in (wanted, digest(data)):
            assert expect(200, a.get(f"/v2/{repository}/blobs/{known_by}")).content == data


def pull_whole_and_in_ranges(http: httpx2.Client, url: str, data: bytes) -> None:
    """Pull it all, its first byte, some of its middle and its last bytes."""
    assert expect(200, http.get(url)).content == data
    middle, size = len(data) // 2, len(data)
    for wanted, first, end in (("0-0", 0, 1), (f"{middle}-{middle + 99_999}", middle, min(middle + 100_000, size)), ("-2", size - 2, size)):
        answer = expect(206, http.get(url, headers={"Range": f"bytes={wanted}"}))
        assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}"
        assert answer.content == data[first:end]


def test_a_pull_is_sent_to_the_store_or_streamed_as_the_replica_is_set(site: Site, repository: str) -> None:
    data = noise(repository, 3 * MIB + 1)
    with site.a.http() as a, site.b.http() as b, httpx2.Client(trust_env=False) as stranger:
        expect(201, a.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest(data)}, content=data))
        url = f"/v2/{repository}/blobs/{digest(data)}"
        assert expect(200, a.get(url)).content == data
        sent = expect(307, b.get(url))
        assert sent.headers["Cache-Control"] == "no-store"
        elsewhere = sent.headers["Location"]
        assert elsewhere.startswith(f"{site.seaweedfs.endpoint}/{site.bucket}/")
        pull_whole_and_in_ranges(stranger, elsewhere, data)
        expect(403, stranger.get(urlsplit(elsewhere)._replace(query="").geturl()))
        assert expect(200, b.head(url)).headers["Content-Length"] == str(len(data))


# --- many at once -----------------------------------------------------------------------------------------------------------------


def test_pushes_of_the_same_to_both_at_once_leave_one_of_each(site: Site, repository: str) -> None:
    shared, large = (Blob("application/octet-stream", noise(repository, size)) for size in (200_000, 8 * MIB + 3))
    pictures = [picture(f"{repository} {number}", shared, *more) for number, more in enumerate(([large], [], []))]
    repositories = [f"{repository}/one", f"{repository}/two"]
    keys, garbage = content_keys(site), site.stored() - content_keys(site)
    together = threading.Barrier(PUSHERS, timeout=60)

    def pusher(number: int) -> None:
        server = (site.a, site.b)[number % 2]
        with server.http(timeout=60) as http:
            for version, whole in enumerate(pictures):
                together.wait()
                push(http, repositories[number // 2 % 2], f"v{version}", whole)
                point(http, repositories[number // 2 % 2], "latest", whole)

    at_once([lambda number=number: pusher(number) for number in range(PUSHERS)])  # type: ignore[misc]
    with site.clients() as clients:
        for http in clients:
            for name in repositories:
                assert [fetch(http, name, f"v{version}") for version in range(3)] == pictures
                assert fetch(http, name, "latest") == pictures[-1]
    blobs = {blob.digest for whole in pictures for blob in whole.blobs}
    assert len(content_keys(site) - keys) == len(blobs), "each content is there once"
    assert site.stored() - content_keys(site) == garbage, "copies that lost the race are gone"
    for name in repositories:
        assert history(site, name, "latest") == ["", *(whole.digest for whole in pictures)]
    path = repository.removeprefix("library/")
    assert site.rows("uploads u JOIN repositories r ON r.id = u.repository_id", f"r.path LIKE '{path}/%'") == 0
    assert_no_orphans(site)


def point(http: httpx2.Client, repository: str, tag: str, whole: Image) -> None:
    """Let a tag point to a manifest, all of which is there."""
    headers = {"Content-Type": whole.manifest.media_type}
    expect(201, http.put(f"/v2/{repository}/manifests/{tag}", content=whole.manifest.data, headers=headers))


def content_keys(site: Site) -> set[str]:
    return set(site.query("SELECT key FROM contents"))


def history(site: Site, repository: str, tag: str) -> list[str]:
    """What a tag pointed to, from nothing on; each step must begin where the one before ended."""
    path = repository.removeprefix("library/")
    rows = site.query(
        "SELECT coalesce(old_digest, ''), new_digest FROM tag_history h JOIN repositories r ON r.id = h.repository_id"
        f" WHERE r.path = '{path}' AND h.tag = '{tag}' ORDER BY h.id"
    )
    steps = [row.split("|") for row in rows]
    assert [old for old, _ in steps[1:]] == [new for _, new in steps[:-1]]
    return ["", *(new for _, new in steps)]


def assert_no_orphans(site: Site) -> None:
    """Every row is of use to another one, and nothing is there twice."""
    assert site.rows("contents c", "NOT EXISTS (SELECT FROM digests d WHERE d.content_id = c.id)") == 0
    assert site.rows("contents c", "NOT EXISTS (SELECT FROM blob_links l WHERE l.content_id = c.id)") == 0
    assert site.rows("manifest_references", "role <> 'manifest' AND content_id IS NULL") == 0
    assert site.rows("tags t JOIN manifests m ON m.id = t.manifest_id", "t.deleted_at IS NULL AND m.deleted_at IS NOT NULL") == 0
    assert site.query("SELECT repository_id, digest FROM manifests GROUP BY 1, 2 HAVING count(*) > 1") == []
    assert site.query("SELECT path FROM repositories GROUP BY path HAVING count(*) > 1") == []


# --- what fails -------------------------------------------------------------------------------------------------------------------


def test_an_upload_goes_on_at_the_other_when_its_replica_is_killed(site: Site, repository: str) -> None:
    data, whole = noise(repository, 12 * MIB + 7), picture(repository)
    acknowledged = 5 * MIB + 3 * 1024
    with site.clients() as (a, b):
        push(a, repository, "before", whole)
        begun = expect(202, a.post(f"/v2/{repository}/blobs/uploads/")).headers["Location"]
        expect(202, a.patch(begun, content=data[:acknowledged]))
        with pytest.raises(httpx2.TransportError):
            a.patch(begun, content=until_the_kill(site, begun, data[acknowledged:]))
        assert fetch(b, repository, "before") == whole
        assert expect(204, b.get(begun)).headers["Range"] == f"0-{acknowledged - 1}"
        rest, span = data[acknowledged:], chunk(acknowledged, len(data))
        refused = expect(416, b.patch(begun, content=rest, headers=span))
        assert refused.headers["Range"] == f"0-{acknowledged - 1}"
        age_claim(site, begun)
        expect(202, b.patch(begun, content=rest, headers=span))
        expect(201, b.put(begun, params={"digest": digest(data)}))
        assert expect(200, b.get(f"/v2/{repository}/blobs/{digest(data)}")).content == data
    site.a.start()
    with site.clients() as (a, _):
        assert expect(200, a.get(f"/v2/{repository}/blobs/{digest(data)}")).content == data
        assert fetch(a, repository, "before") == whole


def until_the_kill(site: Site, location: str, data: bytes) -> Iterator[bytes]:
    """A body that replica `a` begins to store, and then is killed."""
    yield data[:MIB]
    assert poll(lambda: site.rows("uploads", f"token = '{token(location)}' AND claimed_until IS NOT NULL") == 1)
    yield data[MIB : 2 * MIB]
    site.a.kill()
    yield data[2 * MIB :]


def age_claim(site: Site, location: str) -> None:
    """Let the dead writer's claim be older than it is: the same as waiting for half a minute, which is how long a claim lasts."""
    site.query(f"UPDATE uploads SET claimed_until = claimed_until - {CLAIM_MICROSECONDS} WHERE token = '{token(location)}'")


def token(location: str) -> str:
    return location.rpartition("/")[2]


def test_postgresql_may_go_and_come_back(site: Site, repository: str, database_part: Part) -> None:
    whole = picture(repository)
    with site.clients() as (a, b):
        push(a, repository, "one", whole)
        with traffic(site, repository, "one", whole) as statuses:
            assert poll(lambda: {200, 201} <= set(statuses))
            with database_part.away():
                for http in (a, b):
                    expect_unavailable(http.get(f"/v2/{repository}/manifests/one"))
                    expect_unavailable(http.post(f"/v2/{repository}/blobs/uploads/"))
                    expect_unavailable(http.get("/service/token"))
                    assert unready(http.get("/health/ready")) == {"database"}
                    expect(200, http.get("/health/live"))
            for http in (a, b):
                assert poll(lambda http=http: http.get("/health/ready").status_code == 200)  # type: ignore[misc]
        assert set(statuses) == {200, 201, 503}
        for number, http in enumerate((a, b, a, b)):
            push(http, repository, f"after-{number}", whole)
            assert fetch(http, repository, "one") == whole


def test_the_store_may_go_and_come_back(site: Site, repository: str, store_part: Part) -> None:
    whole, data = picture(repository), noise(repository, 200_000)
    blob = f"/v2/{repository}/blobs/{whole.blobs[1].digest}"
    with site.clients() as (a, b):
        push(a, repository, "one", whole)
        begun = expect(202, a.post(f"/v2/{repository}/blobs/uploads/")).headers["Location"]
        expect(202, b.patch(begun, content=data[:99_999]))
        with store_part.away():
            transfers = [lambda: a.get(blob), lambda: b.head(blob), lambda: b.patch(begun, content=data[99_999:])]
            health = [lambda: a.get("/health/ready"), lambda: b.get("/health/ready")]
            # At once, as the client of the store tries several times before it gives up.
            *failed, ready_a, ready_b = at_once([*transfers, *health])
            for answer in failed:
                expect_unavailable(answer)
            assert unready(ready_a) == unready(ready_b) == {"store"}
            for http in (a, b):
                assert expect(200, http.get(f"/v2/{repository}/manifests/one")).content == whole.manifest.data
        for http in (a, b):
            assert poll(lambda http=http: http.get("/health/ready").status_code == 200)  # type: ignore[misc]
            assert fetch(http, repository, "one") == whole
        assert expect(204, a.get(begun)).headers["Range"] == "0-99998"
        expect(201, a.put(begun, params={"digest": digest(data)}, content=data[99_999:], headers=chunk(99_999, len(data))))
        assert expect(200, b.get(f"/v2/{repository}/blobs/{digest(data)}")).content == data


@contextmanager
def traffic(site: Site, repository: str, tag: str, whole: Image) -> Iterator[list[int]]:
    """Pull and push an image's manifest at both replicas all the time; the statuses they answer. A connection that breaks is a failure."""
    statuses: list[int] = []
    enough = threading.Event()
    url, headers = f"/v2/{repository}/manifests/{tag}", {"Content-Type": whole.manifest.media_type}

    def ask(server: RoadsteadServer) -> None:
        with server.http() as http:
            while not enough.is_set():
                statuses.append(http.get(url).status_code)
                statuses.append(http.put(url, content=whole.manifest.data, headers=headers).status_code)

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(ask, server) for server in (site.a, site.b)]
        try:
            yield statuses
        finally:
            enough.set()
    for one in running:
        one.result()


def unready(answer: httpx2.Response) -> set[str]:
    """The parts that a replica that is not ready names."""
    parts = expect(503, answer).json()["parts"]
    return {name for name, outcome in parts.items() if outcome != "ok"}


def expect_unavailable(answer: httpx2.Response) -> None:
    """503, and, where there may be a body, the distribution API's error in it."""
    expect(503, answer)
    if answer.request.method != "HEAD":
        (error,) = answer.json()["errors"]
        assert error["code"] == "UNAVAILABLE"
        assert answer.headers["X-Request-Id"] in error["message"]


# --- a real client ----------------------------------------------------------------------------------------------------------------


def test_skopeo_pushes_to_one_and_pulls_from_the_other_through_the_store(site: Site, repository: str, workplace: Workplace) -> None:
    require_client("skopeo")
    whole = image(repository)
    write_layout(workplace.path("layout"), {"one": whole})
    login = ["-u", "admin", "--password-stdin", site.a.host]
    workplace.run("skopeo", "login", "--tls-verify=false", *login, stdin=site.a.admin_password)
    workplace.run("skopeo", "copy", "--dest-tls-verify=false", "oci:layout:one", f"docker://{site.a.host}/{repository}:one")
    before = redirects(site)
    workplace.run("skopeo", "copy", "--src-tls-verify=false", f"docker://{site.b.host}/{repository}:one", "oci:pulled:one")
    assert read_layout(workplace.path("pulled")) == {"one": whole}
    assert redirects(site) - before == len(whole.blobs)


def redirects(site: Site) -> int:
    """How many pulls `b` has sent to the store."""
    with site.b.http() as http:
        counted = re.findall(r'^roadstead_http_requests_total\{.*status="307".*\} (\S+)$', http.get("/metrics").text, re.MULTILINE)
    return int(sum(map(float, counted)))


# --- values -----------------------------------------------------------------------------------------------------------------------


def picture(seed: str, *more: Blob) -> Image:
    """A manifest over a config and a layer that are like no other, and `more` layers."""
    config = Blob("application/vnd.oci.image.config.v1+json", b'{"seed": "%s"}' % seed.encode())
    return artifact(config, [Blob("application/octet-stream", noise(seed, 30_000)), *more])


def noise(seed: str, size: int) -> bytes:
    """Bytes that nobody else has."""
    return random.Random(f"{seed} {size}").randbytes(size)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chunk(start: int, end: int) -> dict[str, str]:
    """The header of a chunk from `start` to before `end`."""
    return {"Content-Range": f"{start}-{end - 1}"}


def expect(status: int, answer: httpx2.Response) -> httpx2.Response:
    request = answer.request
    assert answer.status_code == status, f"{request.method} {request.url}: {answer.status_code}, not {status}: {answer.text}"
    return answer


def at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    """Do all in threads; their values in order. Raises what the first that failed raised."""
    with ThreadPoolExecutor(len(acts)) as threads:
        return [done.result() for done in [threads.submit(act) for act in acts]]
