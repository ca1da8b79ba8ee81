"""Tags of an artifact."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from roadstead.apis.harbor.call import Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.repositories import PATH, full_name, location
from roadstead.apis.harbor.wire import Answer, Body, Moment, Nouns, RepositoryPath, Segment
from roadstead.oci.reference import TagName, parse_reference
from roadstead.registry.rows import TagDetail

router = Nouns(tags=["tags"])

_TAGS: Final = f"{PATH}/artifacts/{{reference}}/tags"
FIELDS: Final = {"id": "id", "name": "name", "push_time": "pushed_at", "pull_time": "pulled_at"}

Flag = Annotated[bool, Query(description="Taken for clients that send it.")]


class Tag(Answer):
    """A tag. None is immutable here; one that was never pulled has no `pull_time`."""

    id: int
    repository_id: int
    artifact_id: int
    name: str
    push_time: Moment
    pull_time: Moment | None = None
    immutable: bool = False


class NewTag(Body):
    """A tag to be added."""

    name: str


def written(row: TagDetail) -> Tag:
    """The tag as it is answered."""
    return Tag(
        id=row.id,
        repository_id=row.repository_id,
        artifact_id=row.manifest_id,
        name=row.name,
        push_time=row.pushed_at,
        pull_time=row.last_pulled_at,
    )


@router.get(_TAGS)
async def list_tags(
    call: Calling, project: Segment, repository: RepositoryPath, reference: Segment, paging: Paged, with_immutable_status: Flag = False
) -> list[Tag]:
    """The tags that point to the artifact."""
    name = full_name(project, repository)
    rows, total = await call.registry.artifacts.tags(call.actor, name, parse_reference(reference), paging.listing(FIELDS))
    paging.tell(call, total)
    return [written(row) for row in rows]


@router.post(_TAGS, status_code=201)
async def add_tag(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment, tag: NewTag) -> None:
    """Add a tag that is not there yet."""
    name, wanted = full_name(project, repository), TagName.parse(tag.name)
    await call.registry.manifests.add_tag(call.actor, name, parse_reference(reference), wanted)
    call.created(f"{location(name)}/artifacts/{reference}/tags/{wanted}")


@router.delete(f"{_TAGS}/{{tag}}")
async def remove_tag(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment, tag: Segment) -> None:
    """Take a tag away; the artifact stays."""
    name = full_name(project, repository)
    await call.registry.manifests.remove_tag(call.actor, name, parse_reference(reference), TagName.parse(tag))
