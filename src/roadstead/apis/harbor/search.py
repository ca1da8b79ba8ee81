"""Search, and numbers of the whole."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.projects import Project
from roadstead.apis.harbor.projects import written as written_projects
from roadstead.apis.harbor.wire import Answer, Nouns, without_nul
from roadstead.registry.listing import Filter, Listing, Match, Page, Sort

router = Nouns(tags=["search"])

_MOST: Final = 200


class FoundRepository(Answer):
    """A repository that was found."""

    project_id: int
    project_name: str
    project_public: bool
    repository_name: str
    pull_count: int
    artifact_count: int


class Search(Answer):
    """What was found, by name: at most two hundred of each."""

    project: list[Project]
    repository: list[FoundRepository]


class Statistic(Answer):
    """How many there are that one may see. The bytes that are stored, each once, are told to administrators."""

    private_project_count: int
    private_repo_count: int
    public_project_count: int
    public_repo_count: int
    total_project_count: int
    total_repo_count: int
    total_storage_consumption: int | None = None


@router.get("/search")
async def search(call: Calling, q: Annotated[str, Query(description="A part of the name, whatever its case.")]) -> Search:
    """Projects and repositories by a part of their names."""
    named = (Filter("name", Match.CONTAINS, (without_nul(q),)),) if q else ()
    projects, _ = await call.registry.projects.page(call.actor, Listing(named, (Sort("name"),), Page(1, _MOST)))
    repositories, _ = await call.registry.repositories.visible(call.actor, Listing(named, page=Page(1, _MOST)))
    found = [
        FoundRepository(
            project_id=row.project_id,
            project_name=row.project_name,
            project_public=row.public,
            repository_name=row.name,
            pull_count=row.pull_count,
            artifact_count=row.artifacts,
        )
        for row in repositories
    ]
    return Search(project=await written_projects(call, projects), repository=found)


@router.get("/statistics")
async def statistics(call: Calling) -> Statistic:
    """How many projects and repositories there are, public and not."""
    told = await call.registry.statistics.get(call.actor)
    return Statistic(
        private_project_count=told.private.projects,
        private_repo_count=told.private.repositories,
        public_project_count=told.public.projects,
        public_repo_count=told.public.repositories,
        total_project_count=told.private.projects + told.public.projects,
        total_repo_count=told.private.repositories + told.public.repositories,
        total_storage_consumption=told.stored,
    )
