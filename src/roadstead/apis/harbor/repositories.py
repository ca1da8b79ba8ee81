"""Repositories."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.wire import Answer, Body, Moment, Nouns, RepositoryPath, Segment
from roadstead.oci.reference import RepositoryName
from roadstead.registry.rows import RepositoryRow

router = Nouns(tags=["repositories"])

PATH: Final = "/projects/{project}/repositories/{repository}"

FIELDS: Final = {
    "name": "name",
    "repository_id": "id",
    "project_id": "project_id",
    "description": "description",
    "creation_time": "created_at",
    "update_time": "updated_at",
    "pull_count": "pull_count",
}


class Repository(Answer):
    """A repository. Its name begins with the project's."""

    id: int
    project_id: int
    name: str
    description: str
    artifact_count: int
    pull_count: int
    creation_time: Moment
    update_time: Moment


class Description(Body):
    """What of a repository may be changed."""

    description: str = ""


def full_name(project: str, repository: str) -> RepositoryName:
    """The repository that a path names. Raises InvalidName."""
    return RepositoryName.parse(f"{project}/{repository}")


def location(name: RepositoryName) -> str:
    """The path of a repository below the prefix, encoded twice as clients write it."""
    return f"/projects/{name.project}/repositories/{quote(quote(name.path, safe=''), safe='')}"


@router.get("/repositories")
async def list_all_repositories(call: Calling, paging: Paged) -> list[Repository]:
    """The repositories that hold something and that one may see."""
    rows, total = await call.registry.repositories.visible(call.actor, paging.listing(FIELDS))
    paging.tell(call, total)
    return [_repository(row) for row in rows]


@router.get("/projects/{project}/repositories")
async def list_repositories(call: Calling, project: Segment, paging: Paged) -> list[Repository]:
    """Those of a project."""
    rows, total = await call.registry.repositories.of_project(call.actor, project, paging.listing(FIELDS))
    paging.tell(call, total)
    return [_repository(row) for row in rows]


@router.get(PATH)
async def get_repository(call: Calling, project: Segment, repository: RepositoryPath) -> Repository:
    """One repository."""
    return _repository(await call.registry.repositories.get(call.actor, full_name(project, repository)))


@router.put(PATH)
async def describe_repository(call: Calling, project: Segment, repository: RepositoryPath, said: Description) -> None:
    """Set its description."""
    await call.registry.repositories.describe(call.actor, full_name(project, repository), said.description)


@router.delete(PATH)
async def remove_repository(call: Calling, project: Segment, repository: RepositoryPath) -> None:
    """Delete it with all that is in it."""
    await call.registry.repositories.remove(call.actor, full_name(project, repository))


def _repository(row: RepositoryRow) -> Repository:
    return Repository(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        description=row.description,
        artifact_count=row.artifacts,
        pull_count=row.pull_count,
        creation_time=row.created_at,
        update_time=row.updated_at,
    )
