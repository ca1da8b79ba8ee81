"""The commands of users beside docker's and apptainer's own: the same logins, the same images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.clients.images import image, push
from tests.support.clients.tools import Workplace
from tests.support.server import RoadsteadServer
from tests.support.user import User

pytestmark = pytest.mark.clients("apptainer", "podman", "skopeo")


@pytest.fixture
def user(workplace: Workplace, registry: RoadsteadServer) -> User:
    """The same person, with the commands of `roadstead`."""
    somebody = User(workplace.home, registry.host)
    somebody.login()
    return somebody


def test_a_sif_that_the_registry_made_is_run_by_apptainer(
    workplace: Workplace, registry: RoadsteadServer, repository: str, user: User
) -> None:
    with registry.http() as http:
        push(http, repository, "1", image("users commands"))
    user.done("pull", f"{registry.host}/{repository}:1", "-o", "it.sif")
    assert workplace.run("apptainer", "exec", "it.sif", "cat", "/etc/seed").out == "users commands"


def test_an_image_fetched_as_it_is_is_read_by_others(workplace: Workplace, registry: RoadsteadServer, repository: str, user: User) -> None:
    with registry.http() as http:
        push(http, repository, "1", image("as it is"))
    user.done("pull", "--oci", f"{registry.host}/{repository}:1", "-o", "it")
    workplace.run("apptainer", "build", "it.sif", "oci:it")
    assert workplace.run("apptainer", "exec", "it.sif", "cat", "/etc/seed").out == "as it is"
    workplace.run("skopeo", "inspect", "--raw", "oci:it:1")
    workplace.run("podman", "pull", "oci:it:1")


def test_skopeo_finds_the_login_that_roadstead_keeps(workplace: Workplace, registry: RoadsteadServer, user: User) -> None:
    assert (Path(workplace.home) / ".docker" / "config.json").exists()
    told = workplace.run(
        "skopeo", "login", "--get-login", registry.host, environment={"REGISTRY_AUTH_FILE": str(workplace.home / ".docker" / "config.json")}
    )
    assert told.out.strip() == "admin"


def test_apptainer_pushes_with_the_login_that_roadstead_keeps(
    workplace: Workplace, registry: RoadsteadServer, repository: str, user: User
) -> None:
    with registry.http() as http:
        push(http, repository, "1", image("to be pushed"))
    user.done("pull", f"{registry.host}/{repository}:1", "-o", "it.sif")
    workplace.run("apptainer", "push", "--no-https", "it.sif", f"oras://{registry.host}/{repository}:2")
    assert "2" in user.told("tags", f"{registry.host}/{repository}")


@pytest.mark.clients("docker", "dockerd")
def test_roadstead_goes_on_with_what_docker_login_kept(
    workplace: Workplace, registry: RoadsteadServer, repository: str, classic_docker: str
) -> None:
    workplace.environment["DOCKER_HOST"] = classic_docker
    workplace.run("docker", "login", "-u", "admin", "--password-stdin", registry.host, stdin=registry.admin_password)
    kept = json.loads((workplace.home / ".docker" / "config.json").read_text())["auths"][registry.host]
    assert kept["identitytoken"]  # A password is not kept then, and no other test shows the token.
    with registry.http() as http:
        push(http, repository, "1", image("after docker login"))
        project = "private-" + repository.rpartition("/")[2][:40].strip("-")
        assert http.post("/api/v2.0/projects", json={"project_name": project}).status_code == 201
    user = User(workplace.home, registry.host)
    name = f"{registry.host}/{project}/it"
    user.done("cp", f"{registry.host}/{repository}:1", f"{name}:1")
    assert user.told("ls", f"{registry.host}/{project}") == [f"{project}/it"]
    assert user.told("tags", name) == ["1"]
    assert user.told("search", registry.host, project)["projects"] == [project]
    (converted,) = user.told("convert", f"{name}:1")
    assert converted["state"] == "converted"
    pulled = user.told("pull", f"{name}:1", "-o", "it.sif")
    assert user.told("push", "it.sif", f"{name}:2")["size"] == pulled["size"]
    user.done("tag", f"{name}:2", "three")
    user.done("rm", f"{name}:2")
    assert user.told("tags", name) == ["1", "three"]
    user.done("logout", registry.host)
    user.refused(3, "ls", f"{registry.host}/{project}")
