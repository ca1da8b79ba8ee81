"""The Python client `harborapi`, which checks every answer against Harbor's models, with what is there."""

from __future__ import annotations

import pytest
from harborapi.exceptions import Conflict, Forbidden, HarborAPIException, NotFound, Unauthorized
from harborapi.models import (
    Access,
    Configurations,
    ProjectMetadata,
    ProjectReq,
    QuotaUpdateReq,
    ResourceList,
    RobotCreate,
    RobotPermission,
    RoleRequest,
    UserCreationReq,
    UserGroup,
    UserProfile,
)

from tests.protocols.harbor.conftest import PASSWORD, MakeClient

PULL = Access(resource="repository", action="pull")


async def test_where_it_begins(client: MakeClient) -> None:
    harbor = client()
    assert await harbor.ping() == "Pong"
    assert (await harbor.health_check()).status == "healthy"
    told = await harbor.get_system_info()
    assert (told.auth_mode, told.self_registration) == ("db_auth", False)
    current = await harbor.get_current_user()
    assert (current.username, current.sysadmin_flag) == ("admin", True)
    assert await harbor.get_current_user_permissions("/system")
    assert (await harbor.get_permissions()).project
    with pytest.raises(Unauthorized):
        await client("admin", "wrong").get_current_user()


async def test_projects(client: MakeClient) -> None:
    harbor = client()
    location = await harbor.create_project(ProjectReq(project_name="api-project", public=True))
    assert location.endswith("/projects/api-project")
    assert await harbor.project_exists("api-project")
    assert not await harbor.project_exists("api-absent")
    found = await harbor.get_project("api-project")
    assert found.name == "api-project"
    assert found.metadata is not None
    assert found.metadata.public == "true"
    assert found.project_id is not None
    assert (await harbor.get_project(found.project_id)).name == "api-project"
    await harbor.update_project("api-project", ProjectReq(metadata=ProjectMetadata(public="false")))
    assert (await harbor.get_project_metadata("api-project")).public == "false"
    await harbor.update_project_metadata_entry("api-project", "public", {"public": "true"})
    assert await harbor.get_project_metadata_entry("api-project", "public") == {"public": "true"}
    await harbor.set_project_metadata("api-project", ProjectMetadata(public="false"))
    assert [one.name for one in await harbor.get_projects(query="name=api-project")] == ["api-project"]
    assert (await harbor.get_project_summary("api-project")).project_admin_count == 1
    assert (await harbor.get_project_deletable("api-project")).deletable
    logs = await harbor.get_project_logs("api-project", query="resource_type=project", sort="id")
    assert logs[0].operation == "create"
    with pytest.raises(Conflict):
        await harbor.create_project(ProjectReq(project_name="api-project"))
    await harbor.delete_project("api-project")
    with pytest.raises(NotFound):
        await harbor.get_project("api-project")


async def test_every_page_is_followed(client: MakeClient) -> None:
    harbor = client()
    names = [f"followed-{number}" for number in range(5)]
    for name in names:
        await harbor.create_project(ProjectReq(project_name=name))
    found = await harbor.get_projects(query="name=~followed-", page_size=2)
    assert [project.name for project in found] == names


async def test_members(client: MakeClient, project: str, somebody: int) -> None:
    harbor = client()
    location = await harbor.add_project_member_user(project, "ada", 2)
    number = int(location.rpartition("/")[2])
    member = await harbor.get_project_member(project, number)
    assert (member.entity_name, member.entity_id, member.role_id) == ("ada", somebody, 2)
    await harbor.update_project_member_role(project, number, RoleRequest(role_id=4))
    assert {one.entity_name: one.role_name for one in await harbor.get_project_members(project)} == {
        "admin": "projectAdmin",
        "ada": "maintainer",
    }
    await harbor.remove_project_member(project, number)
    with pytest.raises(NotFound):
        await harbor.get_project_member(project, number)


async def test_users(client: MakeClient) -> None:
    harbor = client()
    location = await harbor.create_user(UserCreationReq(username="api-user", password=PASSWORD, realname="Api", email="api@example.org"))
    number = int(location.rpartition("/")[2])
    assert (await harbor.get_user(number)).username == "api-user"
    assert (await harbor.get_user_by_username("api-user")).user_id == number
    await harbor.update_user(number, UserProfile(realname="Renamed", email="other@example.org", comment="x"))
    assert (await harbor.get_user(number)).realname == "Renamed"
    assert [one.username for one in await harbor.search_users_by_username("api-us")] == ["api-user"]
    assert [one.username for one in await harbor.get_users(query="username=~pi-use")] == ["api-user"]
    await harbor.set_user_admin(number, True)
    assert (await harbor.get_user(number)).sysadmin_flag
    await harbor.set_user_password(number, new_password="another good one", old_password="")
    theirs = client("api-user", "another good one")
    assert (await theirs.get_current_user()).user_id == number
    await harbor.set_user_admin(number, False)
    with pytest.raises(Forbidden):
        await theirs.get_users()
    await harbor.set_user_cli_secret(number, "")
    await harbor.delete_user(number)
    with pytest.raises(NotFound):
        await harbor.get_user(number)


async def test_robots(client: MakeClient, project: str) -> None:
    harbor = client()
    permission = RobotPermission(kind="project", namespace=project, access=[PULL])
    made = await harbor.create_robot(RobotCreate(name="ci", level="project", duration=30, permissions=[permission]))
    assert made.name == f"robot${project}+ci"
    assert made.id is not None
    assert made.secret is not None
    found = await harbor.get_robot(made.id)
    assert (found.level, found.duration, found.disable) == ("project", 30, False)
    found.description, found.disable = "changed", True
    await harbor.update_robot(made.id, found)
    assert (await harbor.get_robot(made.id)).disable
    number = (await harbor.get_project(project)).project_id
    assert [one.id for one in await harbor.get_robots(query=f"Level=project,ProjectID={number}")] == [made.id]
    assert [one.id for one in await harbor.get_robots_v1(project)] == [made.id]
    assert (await harbor.get_robot_v1(project, made.id)).disable
    fresh = await harbor.refresh_robot_secret(made.id, "")
    assert fresh.secret not in (None, "", made.secret)
    with pytest.raises(HarborAPIException, match="made by the registry"):
        await harbor.refresh_robot_secret(made.id, "One-0f-my-own")
    await harbor.delete_robot(made.id)
    with pytest.raises(NotFound):
        await harbor.get_robot(made.id)


async def test_quota_and_configuration(client: MakeClient, project: str) -> None:
    harbor = client()
    number = (await harbor.get_project(project)).project_id
    assert number is not None
    await harbor.update_quota(number, QuotaUpdateReq(hard=ResourceList.model_validate({"storage": 4096})))
    assert (await harbor.get_quota(number)).hard == ResourceList.model_validate({"storage": 4096})
    assert [quota.id for quota in await harbor.get_quotas(reference="project", reference_id=str(number))] == [number]
    before = await harbor.get_config()
    assert before.robot_name_prefix is not None
    assert before.robot_name_prefix.value == "robot$"
    await harbor.update_config(Configurations(robot_token_duration=7))
    changed = (await harbor.get_config()).robot_token_duration
    assert changed is not None
    assert changed.value == 7
    await harbor.update_config(Configurations(robot_token_duration=30))


async def test_the_audit_log(client: MakeClient, project: str) -> None:
    found = await client().get_audit_logs(query=f"resource={project}", limit=10)
    assert {(log.operation, log.username) for log in found} >= {("create", "admin")}


async def test_what_is_not_there_is_empty(client: MakeClient, project: str) -> None:
    harbor = client()
    assert await harbor.get_registries() == []
    assert await harbor.get_replication_policies() == []
    assert await harbor.get_labels() == []
    assert await harbor.get_scanners() == []
    assert await harbor.get_webhook_policies(project) == []
    assert await harbor.get_project_immutable_tag_rules(project) == []
    assert await harbor.get_gc_jobs() == []
    assert await harbor.get_registry_adapters() == []
    assert (await harbor.get_cve_allowlist()).items == []
    for asked in (harbor.get_retention_policy(1), harbor.get_registry(1), harbor.get_label(1)):
        with pytest.raises(NotFound):
            await asked


async def test_groups(client: MakeClient, project: str, somebody: int) -> None:
    harbor = client()
    location = await harbor.create_usergroup(UserGroup(group_name="api-group", group_type=2))
    number = int(location.rpartition("/")[2])
    assert (await harbor.get_usergroup(number)).group_name == "api-group"
    await harbor.update_usergroup(number, UserGroup(group_name="api-renamed"))
    assert [one.group_name for one in await harbor.get_usergroups(group_name="renam")] == ["api-renamed"]
    assert [one.id for one in await harbor.search_usergroups("renam")] == [number]
    await harbor.post(f"/usergroups/{number}/members", json={"user_id": somebody})
    await harbor.add_project_member_group(project, number, 3)
    assert (await client("ada", PASSWORD).get_project(project)).current_user_role_id == 3
    await harbor.delete_usergroup(number)
    with pytest.raises(NotFound):
        await client("ada", PASSWORD).get_project(project)
