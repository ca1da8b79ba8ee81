"""library:// by the real client over TLS, on a network of its own: it takes no port, so the registry is at 443."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

import pytest

from roadstead.apis.library.uploads import PART
from tests.support.clients.images import SIF_CONFIG, Blob, artifact, fetch, image, push
from tests.support.clients.sifs import small_sif
from tests.support.clients.tools import Workplace, require_client
from tests.support.clients.trusting import NAME, make_sif, newcomer, registry_with_tls, trust
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoadsteadServer]:
    """A server with an authority of its own at https://lab.test, with a public project `library` and a private one `lab`."""
    require_client("apptainer")
    with registry_with_tls(tmp_path_factory.mktemp("library")) as server:
        with server.http() as http:
            assert http.post("/api/v2.0/projects", json={"project_name": "lab", "public": False}).status_code == 201
        yield server


@pytest.fixture(scope="module")
def machine(registry: RoadsteadServer) -> Iterator[Workplace]:
    """A user's home on a machine that trusts the registry, with it.sif."""
    with newcomer() as workplace:
        trust(workplace, registry)
        make_sif(workplace)
        yield workplace


@pytest.fixture
def user(machine: Workplace, registry: RoadsteadServer) -> Workplace:
    """The user, with the registry as the default remote, nobody logged in to it, and nothing in the cache."""
    machine.run("apptainer", "cache", "clean", "--force")
    machine.path(".apptainer/remote.yaml").unlink(missing_ok=True)
    machine.run("apptainer", "remote", "add", "--no-login", "lab", registry.url)
    return machine


def token(registry: RoadsteadServer, level: str = "delete") -> str:
    with registry.http() as http:
        answer = http.post("/api/v2.0/users/current/tokens", json={"name": "library", "level": level})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


def log_in(user: Workplace, secret: str) -> None:
    user.path("token").write_text(secret)
    user.run("apptainer", "remote", "login", "--tokenfile", "token", "lab")


def test_a_remote_is_added_and_logged_in_to(user: Workplace, registry: RoadsteadServer) -> None:
    user.path("token").write_text("x" * 204)
    assert "credentials" in user.refused("apptainer", "remote", "login", "--tokenfile", "token", "lab").lower()
    log_in(user, token(registry))
    shown = user.run("apptainer", "remote", "status", "lab")
    said = shown.out + shown.err
    assert re.search(r"Library +OK", said), said
    assert re.search(r"admin", said), said


def test_a_robot_is_logged_in_and_pushes(user: Workplace, registry: RoadsteadServer) -> None:
    access = [{"resource": "repository", "action": action} for action in ("pull", "push")]
    rights = [{"kind": "project", "namespace": "lab", "access": access}]
    with registry.http() as http:
        answer = http.post("/api/v2.0/robots", json={"name": "ci", "level": "system", "duration": -1, "permissions": rights})
    assert answer.status_code == 201, answer.text
    log_in(user, answer.json()["secret"])
    shown = user.run("apptainer", "remote", "status", "lab")
    said = shown.out + shown.err
    assert answer.json()["name"] in said and re.search(r"Library +OK", said), said
    user.run("apptainer", "push", "-U", "it.sif", "library://lab/tools/robot:1.0")
    user.run("apptainer", "pull", "--force", "back.sif", "library://lab/tools/robot:1.0")
    assert user.path("back.sif").read_bytes() == user.path("it.sif").read_bytes()
    user.refused("apptainer", "push", "-U", "it.sif", "library://library/tools/robot:1.0")


def test_what_was_pushed_by_oras_is_pulled(user: Workplace, registry: RoadsteadServer) -> None:
    sif = user.path("it.sif").read_bytes()
    whole = artifact(Blob(SIF_CONFIG, b"{}"), [Blob("application/vnd.sylabs.sif.layer.v1.sif", sif)])
    with registry.http() as http:
        push(http, "library/tools/pulled", "one", whole)
        push(http, "lab/pulled", "one", whole)
    user.run("apptainer", "pull", "--force", "back.sif", "library://library/tools/pulled:one")
    assert user.path("back.sif").read_bytes() == sif
    user.refused("apptainer", "pull", "--force", "no.sif", "library://lab/pulled:one")
    log_in(user, token(registry, "read"))
    user.run("apptainer", "pull", "--force", "back.sif", "library://lab/pulled:one")
    assert user.path("back.sif").read_bytes() == sif
    assert "does not exist" in user.refused("apptainer", "pull", "--force", "no.sif", "library://lab/pulled:two")


def test_an_image_is_pushed_searched_pulled_and_deleted(user: Workplace, registry: RoadsteadServer) -> None:
    sif = user.path("it.sif").read_bytes()
    push_it = ("apptainer", "push", "-U", "it.sif", "library://lab/tools/gromacs:1.0,latest")
    user.refused(*push_it)
    log_in(user, token(registry, "read"))
    assert "may not push" in user.refused(*push_it)
    log_in(user, token(registry))
    assert "There is no project 'nowhere'" in user.refused(*push_it[:-1], "library://nowhere/tools/gromacs:1.0")
    user.run(*push_it)
    user.run(*push_it)
    with registry.http() as http:
        assert fetch(http, "lab/tools/gromacs", "1.0").digest == fetch(http, "lab/tools/gromacs", "latest").digest
    found = user.run("apptainer", "search", "groma").out
    assert "lab/tools/gromacs:" in found, found
    user.run("apptainer", "pull", "--force", "back.sif", "library://lab/tools/gromacs:1.0")
    assert user.path("back.sif").read_bytes() == sif
    user.run("apptainer", "delete", "--force", "library://lab/tools/gromacs:1.0")
    user.refused("apptainer", "pull", "--force", "no.sif", "library://lab/tools/gromacs:1.0")
    user.run("apptainer", "pull", "--force", "back.sif", "library://lab/tools/gromacs")


def test_a_large_image_goes_in_parts_and_comes_by_ranges(user: Workplace, registry: RoadsteadServer) -> None:
    rootfs = user.path("large")
    rootfs.mkdir()
    (rootfs / "data").write_bytes(os.urandom(PART + (8 << 20)))
    user.run("apptainer", "build", "--force", "large.sif", "large")
    log_in(user, token(registry))
    pushed = user.run("apptainer", "-d", "push", "-U", "large.sif", "library://lab/tools/large:1.0")
    assert "totalParts=[2]" in pushed.err
    user.run("apptainer", "cache", "clean", "--force")
    pulled = user.run("apptainer", "-d", "pull", "--force", "back.sif", "library://lab/tools/large:1.0")
    parts = re.search(r"parts: (\d+), streams: 3", pulled.err)
    assert parts is not None and int(parts[1]) > 10
    assert user.path("back.sif").read_bytes() == user.path("large.sif").read_bytes()
    user.path("large.sif").unlink()


def test_an_image_of_layers_is_pulled_as_the_sif_that_is_made_of_it(user: Workplace, registry: RoadsteadServer) -> None:
    with registry.http() as http:
        push(http, "lab/layers", "one", image("made of layers"))
    log_in(user, token(registry, "read"))
    user.run("apptainer", "pull", "--force", "made.sif", "library://lab/layers:one")
    assert user.run("apptainer", "exec", "made.sif", "cat", "/etc/seed").out == "made of layers"


def test_what_is_pushed_by_library_is_pulled_by_oras(user: Workplace, registry: RoadsteadServer) -> None:
    log_in(user, token(registry))
    user.run("apptainer", "push", "-U", "it.sif", "library://library/tools/both:1.0")
    user.run("apptainer", "push", "-U", "it.sif", f"oras://{NAME}/library/tools/both:2.0", environment=credentials(registry))
    with registry.http() as http:
        one, two = fetch(http, "library/tools/both", "1.0"), fetch(http, "library/tools/both", "2.0")
    assert one.blobs == two.blobs
    assert one.manifest.data.replace(b"both.sif", b"it.sif") == two.manifest.data
    user.run("apptainer", "pull", "--force", "back.sif", f"oras://{NAME}/library/tools/both:1.0")
    assert user.path("back.sif").read_bytes() == user.path("it.sif").read_bytes()


def credentials(registry: RoadsteadServer) -> dict[str, str]:
    return {"APPTAINER_DOCKER_USERNAME": "admin", "APPTAINER_DOCKER_PASSWORD": registry.admin_password}


def test_a_tag_has_an_image_for_each_architecture(user: Workplace, registry: RoadsteadServer) -> None:
    log_in(user, token(registry))
    user.path("arm.sif").write_bytes(small_sif(b"arm", "arm64"))
    name = "library/tools/several"
    user.run("apptainer", "push", "-U", "it.sif", f"library://{name}:1.0")
    user.run("apptainer", "push", "-U", "arm.sif", f"library://{name}:1.0")
    for arch, file in (("amd64", "it.sif"), ("arm64", "arm.sif")):
        user.run("apptainer", "pull", "--force", "--arch", arch, "back.sif", f"library://{name}:1.0")
        assert user.path("back.sif").read_bytes() == user.path(file).read_bytes()
    user.refused("apptainer", "pull", "--force", "--arch", "ppc64le", "no.sif", f"library://{name}:1.0")
    assert f"{name}:" not in user.run("apptainer", "search", "--arch", "ppc64le", "several").out
    user.run("apptainer", "pull", "--force", "back.sif", f"oras://{NAME}/{name}:1.0")
    assert user.path("back.sif").read_bytes() == user.path("it.sif").read_bytes()
    user.run("apptainer", "delete", "--force", "--arch", "arm64", f"library://{name}:1.0")
    user.refused("apptainer", "pull", "--force", "--arch", "arm64", "no.sif", f"library://{name}:1.0")
    hashed = hashlib.sha256(small_sif(b"arm", "arm64")).hexdigest()
    user.refused("apptainer", "pull", "--force", "--arch", "arm64", "no.sif", f"library://{name}:sha256.{hashed}")
    user.run("apptainer", "pull", "--force", "back.sif", f"library://{name}:1.0")


def test_shub_pulls_what_is_public(user: Workplace, registry: RoadsteadServer) -> None:
    sif = user.path("it.sif").read_bytes()
    whole = artifact(Blob(SIF_CONFIG, b"{}"), [Blob("application/vnd.sylabs.sif.layer.v1.sif", sif)])
    with registry.http() as http:
        push(http, "library/hub", "one", whole)
        push(http, "lab/hub", "one", whole)
    user.run("apptainer", "pull", "--force", "back.sif", f"shub://{NAME}/library/hub:one")
    assert user.path("back.sif").read_bytes() == sif
    assert "not found" in user.refused("apptainer", "pull", "--force", "no.sif", f"shub://{NAME}/library/hub:two")
    assert "401" in user.refused("apptainer", "pull", "--force", "no.sif", f"shub://{NAME}/lab/hub:one")


def test_what_docker_pushed_is_found_and_a_description_is_kept(user: Workplace, registry: RoadsteadServer) -> None:
    with registry.http() as http:
        push(http, "library/tools/from-docker", "one", image("found"))
    found = user.run("apptainer", "search", "from-dock").out
    assert "library/tools/from-docker:one" in found, found
    assert "from-docker:one" not in user.run("apptainer", "search", "--signed", "from-dock").out
    log_in(user, token(registry))
    user.run("apptainer", "pull", "--force", "made.sif", "library://library/tools/from-docker:one")
    assert user.run("apptainer", "exec", "made.sif", "cat", "/etc/seed").out == "found"
    for tag, said in (("one", "Molecules in motion"), ("two", "Something else")):
        user.run("apptainer", "push", "-U", "-D", said, "it.sif", f"library://library/tools/described:{tag}")
    with registry.http() as http:
        told = http.get("/api/v2.0/projects/library/repositories/tools%252Fdescribed").json()
    assert told["description"] == "Molecules in motion"


def test_an_architecture_of_an_image_of_layers(user: Workplace, registry: RoadsteadServer) -> None:
    with registry.http() as http:
        push(http, "library/tools/of-amd64", "one", image("amd64"))
    log_in(user, token(registry, "read"))
    user.run("apptainer", "pull", "--force", "--arch", "amd64", "made.sif", "library://library/tools/of-amd64:one")
    refused = user.refused("apptainer", "pull", "--force", "--arch", "arm64", "no.sif", "library://library/tools/of-amd64:one")
    assert "arm64" in refused or "not found" in refused or "does not exist" in refused, refused
