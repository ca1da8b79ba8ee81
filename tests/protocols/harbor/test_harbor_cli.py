"""The command-line client `harbor-cli`, with what administrators do all day."""

from __future__ import annotations

import os

import pytest

from tests.protocols.harbor.harbor_cli import ClientMissing, HarborCli, install
from tests.protocols.harbor.images import push
from tests.support.factories import image
from tests.support.server import RoadsteadServer

pytestmark = pytest.mark.clients


@pytest.fixture(scope="session")
def harbor(registry: RoadsteadServer, tmp_path_factory: pytest.TempPathFactory) -> HarborCli:
    """The client, logged in as the administrator."""
    try:
        program = install()
    except ClientMissing as error:
        if os.environ.get("ROADSTEAD_REQUIRE_CLIENTS") == "1":
            raise
        pytest.skip(f"harbor-cli could not be installed: {error}")
    return HarborCli(program, registry, tmp_path_factory.mktemp("harbor-cli"))


def test_projects(harbor: HarborCli) -> None:
    harbor.run("project", "create", "cli-project", "--public", "true")
    found = harbor.run("project", "get", "cli-project")
    assert (found["name"], found["metadata"]["public"]) == ("cli-project", "true")
    assert "cli-project" in [one["name"] for one in harbor.run("project", "list", "--sort", "-name")]
    assert harbor.run("project", "exists", "cli-project") is not False
    assert harbor.run("project", "summary", "cli-project")["project_admin_count"] == 1
    harbor.run("project", "update", "cli-project", "--public", "false")
    assert harbor.run("project", "get", "cli-project")["metadata"]["public"] == "false"
    assert {log["operation"] for log in harbor.run("project", "logs", "cli-project")} >= {"create", "update"}
    assert "409" in harbor.fail("project", "create", "cli-project")
    harbor.run("project", "delete", "cli-project", "--force")
    assert "404" in harbor.fail("project", "get", "cli-project")


def test_users_and_members(harbor: HarborCli) -> None:
    location = harbor.run("user", "create", "cli-user", "--password", "engines of analysis", "--email", "cli@example.org")
    number = location.rpartition("/")[2]
    assert harbor.run("user", "get", "cli-user")["user_id"] == int(number)
    assert [one["username"] for one in harbor.run("user", "search", "cli-u")] == ["cli-user"]
    assert "cli-user" in [one["username"] for one in harbor.run("user", "list")]
    harbor.run("user", "set-admin", "cli-user")
    assert harbor.run("user", "get", "cli-user")["sysadmin_flag"] is True
    harbor.run("user", "unset-admin", "cli-user")
    harbor.run("project", "create", "cli-members")
    harbor.run("project", "member", "add-user", "cli-members", "cli-user", "developer")
    roles = {one["entity_name"]: one["role_name"] for one in harbor.run("project", "member", "list", "cli-members")}
    assert roles == {"admin": "projectAdmin", "cli-user": "developer"}
    harbor.run("user", "delete", "cli-user", "--force")
    assert "cli-user" not in [one["username"] for one in harbor.run("user", "list")]


def test_quotas_and_configuration(harbor: HarborCli) -> None:
    harbor.run("project", "create", "cli-quota", "--storage-limit", "4096")
    quota = next(one for one in harbor.run("quota", "list") if one["ref"]["name"] == "cli-quota")
    assert quota["hard"] == {"storage": 4096}
    assert harbor.run("config", "get")["robot_name_prefix"] == "robot$"


def test_what_the_system_says(harbor: HarborCli) -> None:
    assert harbor.run("system", "info")["auth_mode"] == "db_auth"
    assert harbor.run("system", "health")["status"] == "healthy"
    assert harbor.run("auditlog", "list", "--limit", "2")
    assert harbor.run("registry", "list") == []
    assert harbor.run("gc", "jobs") == []
    assert harbor.run("replication", "policy", "list") == []


def test_repositories_and_artifacts(harbor: HarborCli, registry: RoadsteadServer, project: str) -> None:
    # Not below a folder: of three components, this client takes the first for the name of a registry.
    with registry.http() as http:
        push(http, f"{project}/app", image("one"), "1.0")
    assert [one["name"] for one in harbor.run("project", "repos", project)] == [f"{project}/app"]
    (found,) = harbor.run("artifact", "list", "--project", project)
    artifact = found["artifact"]
    assert (artifact["digest"], [tag["name"] for tag in artifact["tags"]]) == (str(image("one").digest), ["1.0"])
    harbor.run("artifact", "tag", "create", f"{project}/app:1.0", "stable")
    assert {tag["name"] for tag in harbor.run("artifact", "get", f"{project}/app:stable")["artifact"]["tags"]} == {"1.0", "stable"}
    harbor.run("artifact", "delete", f"{project}/app:1.0", "--force")
    assert "404" in harbor.fail("artifact", "get", f"{project}/app:stable")
