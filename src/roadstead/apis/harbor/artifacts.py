"""Artifacts, what they consist of, and what speaks about them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query

from roadstead.apis.harbor.call import PREFIX, Call, Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.repositories import PATH, full_name, location
from roadstead.apis.harbor.tags import Flag, Tag
from roadstead.apis.harbor.tags import written as written_tag
from roadstead.apis.harbor.wire import NOT_OFFERED, Answer, Moment, Nouns, RepositoryPath, Segment
from roadstead.errors import InvalidInput, NotFound, NotOffered
from roadstead.oci.digest import Digest
from roadstead.oci.reference import Reference, RepositoryName, TagName, parse_reference
from roadstead.registry import artifacts

router = Nouns(tags=["artifacts"])

_ARTIFACTS: Final = f"{PATH}/artifacts"
_ARTIFACT: Final = f"{_ARTIFACTS}/{{reference}}"

FIELDS: Final = {
    "id": "id",
    "digest": "digest",
    "type": "type",
    "tags": "tags",
    "labels": "labels",
    "base": "base",
    "artifact_type": "artifact_type",
    "manifest_media_type": "media_type",
    "push_time": "pushed_at",
    "pull_time": "pulled_at",
}
_ACCESSORY_FIELDS: Final = {"id": "id", "digest": "digest", "artifact_type": "artifact_type", "creation_time": "pushed_at"}


class Part(Answer):
    """One thing that an index names; without `child_id` where that is not here."""

    parent_id: int
    child_id: int | None
    child_digest: str
    platform: dict[str, Any] | None
    annotations: dict[str, str] | None
    urls: list[str] | None


class AdditionLink(Answer):
    """Where more is told."""

    href: str
    absolute: bool = False


class Accessory(Answer):
    """What speaks about an artifact: a signature, a bill of materials."""

    id: int
    artifact_id: int
    subject_artifact_id: int
    subject_artifact_digest: str
    subject_artifact_repo: str
    size: int
    digest: str
    type: str
    icon: str = ""
    creation_time: Moment


class Artifact(Answer):
    """An artifact. One that was never pulled has no `pull_time`; there are no labels here, and no scans."""

    id: int
    type: str
    media_type: str
    manifest_media_type: str
    artifact_type: str
    project_id: int
    repository_id: int
    repository_name: str
    digest: str
    size: int
    icon: str = ""
    push_time: Moment
    pull_time: Moment | None
    extra_attrs: dict[str, Any] | None
    annotations: dict[str, str] | None
    references: list[Part] | None
    tags: list[Tag] | None
    addition_links: dict[str, AdditionLink]
    labels: list[str] | None
    accessories: list[Accessory] | None


@router.get(_ARTIFACTS)
async def list_artifacts(
    call: Calling,
    project: Segment,
    repository: RepositoryPath,
    paging: Paged,
    with_tag: Annotated[bool, Query(description="With the newest hundred tags of each.")] = True,
    with_accessory: Annotated[bool, Query(description="With the newest hundred accessories of each.")] = False,
    with_label: Annotated[bool, Query(description="With the labels, of which there are none.")] = False,
    with_scan_overview: Flag = False,
    with_sbom_overview: Flag = False,
    with_immutable_status: Flag = False,
    with_inherited_accessory: Flag = False,
) -> list[Artifact]:
    """The artifacts of a repository, without the parts of an index and without accessories; `q=base=*` asks for all."""
    name = full_name(project, repository)
    rows, total = await call.registry.artifacts.page(call.actor, name, paging.listing(FIELDS), accessories=with_accessory)
    paging.tell(call, total)
    return [_written(row, tags=with_tag, labels=with_label, accessories=with_accessory) for row in rows]


@router.post(_ARTIFACTS, status_code=201)
async def copy_artifact(
    call: Calling,
    project: Segment,
    repository: RepositoryPath,
    source: Annotated[str, Query(alias="from", description="`project/repository:tag` or `project/repository@digest`.")],
) -> None:
    """Copy an artifact from another repository, with its tags, its parts and its accessories."""
    name = full_name(project, repository)
    whence, reference = _read_source(source)
    await call.registry.copies.copy(call.actor, whence, reference, name)
    call.created(f"{location(name)}/artifacts/{reference}")


def _read_source(text: str) -> tuple[RepositoryName, Reference]:
    """What is to be copied; a tag before a digest is passed over, as in every image reference. Raises InvalidInput."""
    rest, at, digest = text.partition("@")
    before, colon, tag = rest.rpartition(":")
    if at:
        return RepositoryName.parse(before or rest), Digest.parse(digest)
    if not colon:
        raise InvalidInput("What to copy is written as project/repository:tag or project/repository@digest.")
    return RepositoryName.parse(before), TagName.parse(tag)


@router.get(_ARTIFACT)
async def get_artifact(
    call: Calling,
    project: Segment,
    repository: RepositoryPath,
    reference: Segment,
    with_tag: Annotated[bool, Query(description="With the newest hundred tags.")] = True,
    with_accessory: Annotated[bool, Query(description="With the newest hundred accessories.")] = False,
    with_label: Annotated[bool, Query(description="With the labels, of which there are none.")] = False,
    with_scan_overview: Flag = False,
    with_sbom_overview: Flag = False,
    with_signature: Flag = False,
    with_immutable_status: Flag = False,
    with_inherited_accessory: Flag = False,
) -> Artifact:
    """One artifact, by digest or tag."""
    name = full_name(project, repository)
    row = await call.registry.artifacts.get(call.actor, name, parse_reference(reference), accessories=with_accessory)
    return _written(row, tags=with_tag, labels=with_label, accessories=with_accessory)


@router.delete(_ARTIFACT)
async def remove_artifact(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> None:
    """Delete an artifact with its tags and accessories, and with the parts of an index that nothing else names."""
    name = full_name(project, repository)
    digest = await call.registry.artifacts.digest(call.actor, name, parse_reference(reference))
    await call.registry.manifests.delete_whole(call.actor, name, digest)


@router.get(f"{_ARTIFACT}/accessories")
async def list_accessories(
    call: Calling, project: Segment, repository: RepositoryPath, reference: Segment, paging: Paged
) -> list[Accessory]:
    """What speaks about the artifact."""
    name = full_name(project, repository)
    listing = paging.listing(_ACCESSORY_FIELDS)
    rows, total = await call.registry.artifacts.accessories(call.actor, name, parse_reference(reference), listing)
    paging.tell(call, total)
    return [_accessory(row, name) for row in rows]


@router.get(f"{_ARTIFACT}/additions/build_history")
async def build_history(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> list[dict[str, Any]]:
    """How an image was built, step by step, as it says itself."""
    name = full_name(project, repository)
    return list(await call.registry.artifacts.history(call.actor, name, parse_reference(reference)))


@router.get(f"{_ARTIFACT}/additions/vulnerabilities")
async def vulnerabilities(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> dict[str, Any]:
    """The reports of scans by their media type: nothing is scanned here, so there are none."""
    await _require(call, project, repository, reference)
    return {}


@router.get(f"{_ARTIFACT}/additions/{{addition}}")
async def other_addition(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment, addition: Segment) -> None:
    """Of other additions there are none."""
    await _require(call, project, repository, reference)
    raise NotFound(f"This artifact has no addition {addition[:80]!r}.")


@router.post(f"{_ARTIFACT}/scan", responses=NOT_OFFERED)
async def scan(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> None:
    """Refuse to scan an artifact."""
    await _require(call, project, repository, reference)
    raise NotOffered("Scanning for vulnerabilities: this registry does not offer that.")


@router.post(f"{_ARTIFACT}/scan/stop", responses=NOT_OFFERED)
async def stop_scan(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> None:
    """Refuse to stop a scan."""
    await scan(call, project, repository, reference)


@router.get(f"{_ARTIFACT}/scan/{{report}}/log")
async def scan_log(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment, report: Segment) -> None:
    """There is no log of a scan."""
    await _require(call, project, repository, reference)
    raise NotFound("There is no such report.")


@router.post(f"{_ARTIFACT}/labels", responses=NOT_OFFERED)
async def add_label(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment) -> None:
    """Refuse to label an artifact."""
    await _require(call, project, repository, reference)
    raise NotOffered("Labels: this registry does not offer that.")


@router.delete(f"{_ARTIFACT}/labels/{{label}}")
async def remove_label(call: Calling, project: Segment, repository: RepositoryPath, reference: Segment, label: Segment) -> None:
    """There is no label to take away."""
    await _require(call, project, repository, reference)
    raise NotFound("There is no such label.")


async def _require(call: Call, project: str, repository: str, reference: str) -> None:
    """Return if the artifact is there and may be seen."""
    await call.registry.artifacts.digest(call.actor, full_name(project, repository), parse_reference(reference))


def _written(row: artifacts.Artifact, *, tags: bool, labels: bool, accessories: bool) -> Artifact:
    here = f"{PREFIX}{location(row.repository)}/artifacts/{row.digest}"
    links = {"build_history": AdditionLink(href=f"{here}/additions/build_history")} if row.kind == "IMAGE" and row.attributes else {}
    return Artifact(
        id=row.id,
        type=row.kind,
        media_type=row.config_type or row.media_type,
        manifest_media_type=row.media_type,
        artifact_type=row.artifact_type or row.config_type or row.media_type,
        project_id=row.project_id,
        repository_id=row.repository_id,
        repository_name=row.repository,
        digest=row.digest,
        size=row.size,
        push_time=row.pushed_at,
        pull_time=row.pulled_at,
        extra_attrs=row.attributes,
        annotations=dict(row.annotations) or None,
        references=[_reference(row.id, one) for one in row.children] or None,
        tags=[written_tag(one) for one in row.tags] if tags else None,
        addition_links=links,
        labels=[] if labels else None,
        accessories=[_accessory(one, row.repository) for one in row.accessories] if accessories else None,
    )


def _reference(parent_id: int, child: artifacts.Child) -> Part:
    return Part(
        parent_id=parent_id,
        child_id=child.id,
        child_digest=child.digest,
        platform=None if child.platform is None else dict(child.platform),
        annotations=dict(child.annotations) or None,
        urls=list(child.urls) or None,
    )


def _accessory(row: artifacts.Accessory, repository: RepositoryName) -> Accessory:
    return Accessory(
        id=row.id,
        artifact_id=row.id,
        subject_artifact_id=row.subject_id,
        subject_artifact_digest=row.subject_digest,
        subject_artifact_repo=repository,
        size=row.size,
        digest=row.digest,
        type=row.kind,
        creation_time=row.pushed_at,
    )
