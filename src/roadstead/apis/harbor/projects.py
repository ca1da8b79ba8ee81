"""Projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

from fastapi import Query

from roadstead.access.actor import Action, Role
from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.roles import role_ids
from roadstead.apis.harbor.wire import NOT_OFFERED, Answer, Body, Moment, Nouns, ProjectRef, Segment, without_nul
from roadstead.errors import InvalidInput, NotFound, NotOffered
from roadstead.registry.conversion import ConversionSettings, parse_platforms, parse_when
from roadstead.registry.listing import Filter, Match
from roadstead.registry.rows import ProjectDetails

router = Nouns(tags=["projects"])

FIELDS: Final = {
    "name": "name",
    "project_id": "id",
    "public": "public",
    "owner": "owner",
    "owner_id": "owner_id",
    "creation_time": "created_at",
    "update_time": "updated_at",
}

# What is said of a project by key, and what is said where nobody has said anything. All but the first are ours.
_DEFAULTS: Final = {
    "public": "false",
    "conversion": "demand",
    "anonymous_conversion": "false",
    "conversion_platforms": "linux/amd64",
    "sif_as_image": "true",
}

# What Harbor keeps as metadata of a project besides `public`, and the values that ask for nothing that is not so anyhow.
_WITHOUT_EFFECT: Final = frozenset({"severity", "reuse_sys_cve_allowlist", "retention_id"})
_SWITCHES: Final = frozenset({"enable_content_trust", "enable_content_trust_cosign", "prevent_vul", "auto_scan", "auto_sbom_generation"})
_PROXIES: Final = frozenset(
    {"proxy_speed_kb", "max_upstream_conn", "proxy_cache_local_on_not_found", "proxy_referrer_api", "proxy_cache_filter_pattern"}
)


class Said(NamedTuple):
    """What metadata ask for; None where they say nothing of it."""

    public: bool | None
    conversion: ConversionSettings


class Project(Answer):
    """A project."""

    project_id: int
    name: str
    owner_id: int
    owner_name: str
    creation_time: Moment
    update_time: Moment
    deleted: bool = False
    togglable: bool = False
    repo_count: int
    metadata: dict[str, str]
    description: str
    current_user_role_id: int
    current_user_role_ids: list[int]


class ProjectReq(Body):
    """A project to be made, or what of it to change. `description` is ours; a `storage_limit` of -1 is none."""

    project_name: str | None = None
    public: bool | None = None
    metadata: dict[str, str | None] | None = None
    storage_limit: int | None = None
    registry_id: int | None = None
    description: str | None = None

    def said(self) -> Said:
        """What its metadata say, and whether it is to be public in either of the two ways. Raises InvalidInput, NotOffered."""
        if self.registry_id:
            raise NotOffered("This registry has no projects that cache another registry.")
        said = read_metadata(self.metadata or {})
        return Said(self.public if said.public is None else said.public, said.conversion)


class Deletable(Answer):
    """Whether a project can be deleted, and if not, why."""

    deletable: bool
    message: str = ""


class Amount(Answer):
    """Bytes; as a limit, -1 is none."""

    storage: int


class SummaryQuota(Answer):
    """How much a project may store, and does."""

    hard: Amount
    used: Amount


class Summary(Answer):
    """How much is in a project: the quota only for those who may see it, how many have which role for those who may see the members."""

    repo_count: int
    project_admin_count: int | None = None
    maintainer_count: int | None = None
    developer_count: int | None = None
    guest_count: int | None = None
    limited_guest_count: int | None = None
    quota: SummaryQuota | None = None


def read_metadata(metadata: Mapping[str, str | None]) -> Said:
    """What metadata ask for. Raises NotOffered for what would have to be done and is not, InvalidInput for what is unknown or senseless."""
    for key, value in metadata.items():
        if key in _SWITCHES | _PROXIES and value not in (None, "", "false", "0", "-1"):
            raise NotOffered(f"This registry does not offer {key!r}.")
        if key not in _SWITCHES | _PROXIES | _WITHOUT_EFFECT | _DEFAULTS.keys():
            raise InvalidInput(f"There is no metadata {key!r} of a project.")
    when, platforms = metadata.get("conversion"), metadata.get("conversion_platforms")
    conversion = ConversionSettings(
        when=parse_when(when) if when else None,
        anonymous=_flag(metadata, "anonymous_conversion"),
        platforms=parse_platforms(platforms) if platforms else None,
        sif_as_image=_flag(metadata, "sif_as_image"),
    )
    return Said(_flag(metadata, "public"), conversion)


def _flag(metadata: Mapping[str, str | None], key: str) -> bool | None:
    value = metadata.get(key)
    if value in (None, ""):
        return None
    if value not in ("true", "false"):
        raise InvalidInput(f"The metadata {key!r} is 'true' or 'false'.")
    return value == "true"


@router.get("/projects")
async def list_projects(
    call: Calling,
    paging: Paged,
    name: Annotated[str | None, Query(description="A part of the name.")] = None,
    public: bool | None = None,
    owner: Annotated[str | None, Query(description="The owner's name.")] = None,
    with_detail: Annotated[bool, Query(description="Taken, and without effect: the details are always there.")] = True,
) -> list[Project]:
    """The projects that one may see."""
    more = [Filter("name", Match.CONTAINS, (name,))] if name else []
    more += [Filter("owner", Match.EQUAL, (owner,))] if owner else []
    more += [Filter("public", Match.EQUAL, (str(public).lower(),))] if public is not None else []
    rows, total = await call.registry.projects.page(call.actor, paging.listing(FIELDS, *more))
    paging.tell(call, total)
    return await written(call, rows)


@router.head("/projects")
async def project_exists(call: Calling, project_name: Segment) -> None:
    """Whether there is a project of that name."""
    call.require_login()
    await call.registry.projects.get(call.actor, project_name)


@router.post("/projects", status_code=201, responses=NOT_OFFERED)
async def add_project(call: Calling, project: ProjectReq) -> None:
    """Make a project; it is private unless it is said to be public."""
    name = project.project_name or ""
    said, description = project.said(), project.description or ""
    limit = project.storage_limit or None  # 0 is what clients send who mean the configured one
    made = await call.registry.projects.add(
        call.actor, name, public=bool(said.public), description=description, storage_limit=limit, conversion=said.conversion
    )
    call.created(f"/projects/{made.name if call.truth('x-resource-name-in-location') else made.id}")


@router.get("/projects/{project}")
async def get_project(call: Calling, project: ProjectRef) -> Project:
    """One project."""
    row = await call.registry.projects.details(call.actor, call.project(project))
    return (await written(call, [row]))[0]


@router.put("/projects/{project}", responses=NOT_OFFERED)
async def change_project(call: Calling, project: ProjectRef, wanted: ProjectReq) -> None:
    """Change what is given of a project; its name stays."""
    said = wanted.said()
    which = call.project(project)
    row = await call.registry.projects.get(call.actor, which)
    await call.registry.projects.change(call.actor, which, public=said.public, description=wanted.description, conversion=said.conversion)
    if wanted.storage_limit:
        await call.registry.quotas.set(call.actor, row.name, wanted.storage_limit)


@router.delete("/projects/{project}")
async def remove_project(call: Calling, project: ProjectRef) -> None:
    """Delete a project that holds no images."""
    await call.registry.projects.remove(call.actor, call.project(project))


@router.get("/projects/{project}/_deletable")
async def project_deletable(call: Calling, project: ProjectRef) -> Deletable:
    """Whether it can be deleted."""
    filled = await call.registry.projects.filled(call.actor, call.project(project))
    return Deletable(deletable=not filled, message=f"It still holds {filled} repositories." if filled else "")


@router.get("/projects/{project}/summary")
async def project_summary(call: Calling, project: ProjectRef) -> Summary:
    """How much is in it."""
    which = call.project(project)
    row = await call.registry.projects.details(call.actor, which)
    allowed = await call.registry.projects.permitted(call.actor, row.id)
    quota = await _quota(call, row.name) if Action.SEE_QUOTA in allowed else None
    if Action.SEE_MEMBERS not in allowed:
        return Summary(repo_count=row.repositories, quota=quota)
    count = await call.registry.projects.member_counts(call.actor, row.id)
    return Summary(
        repo_count=row.repositories,
        quota=quota,
        project_admin_count=count[Role.PROJECT_ADMIN],
        maintainer_count=count[Role.MAINTAINER],
        developer_count=count[Role.DEVELOPER],
        guest_count=count[Role.GUEST],
        limited_guest_count=count[Role.LIMITED_GUEST],
    )


@router.get("/projects/{project}/metadatas")
@router.get("/projects/{project}/metadatas/", include_in_schema=False)
async def get_metadata(call: Calling, project: ProjectRef) -> dict[str, str]:
    """What is said of a project by key: whether it is public, and what it converts."""
    return _metadata(await call.registry.projects.details(call.actor, call.project(project)))


@router.post("/projects/{project}/metadatas", responses=NOT_OFFERED)
@router.post("/projects/{project}/metadatas/", include_in_schema=False)
async def set_metadata(call: Calling, project: ProjectRef, metadata: dict[str, str]) -> None:
    """Set it."""
    await _set_metadata(call, project, metadata)


@router.get("/projects/{project}/metadatas/{key}")
async def get_metadata_of(call: Calling, project: ProjectRef, key: Segment) -> dict[str, str]:
    """What one key says."""
    found = _metadata(await call.registry.projects.details(call.actor, call.project(project)))
    if key not in found:
        raise NotFound("The project has no such metadata.")
    return {key: found[key]}


@router.put("/projects/{project}/metadatas/{key}", responses=NOT_OFFERED)
async def set_metadata_of(call: Calling, project: ProjectRef, key: Segment, metadata: dict[str, str]) -> None:
    """Set one key."""
    if set(metadata) != {key}:
        raise InvalidInput(f"The body has the key {key!r} and no other.")
    await _set_metadata(call, project, metadata)


@router.delete("/projects/{project}/metadatas/{key}")
async def remove_metadata(call: Calling, project: ProjectRef, key: Segment) -> None:
    """Take a key back: what nothing is said of is as by default, a project private."""
    if key not in _DEFAULTS:
        raise NotFound("The project has no such metadata.")
    await _set_metadata(call, project, {key: _DEFAULTS[key]})


async def _quota(call: Call, project: str) -> SummaryQuota:
    row = await call.registry.quotas.get(call.actor, project)
    return SummaryQuota(hard=Amount(storage=-1 if row.limit is None else row.limit), used=Amount(storage=row.used))


async def _set_metadata(call: Call, project: str, metadata: dict[str, str]) -> None:
    for text in (*metadata, *metadata.values()):
        without_nul(text)
    said = read_metadata(metadata)
    await call.registry.projects.change(call.actor, call.project(project), public=said.public, conversion=said.conversion)


async def written(call: Call, rows: list[ProjectDetails]) -> list[Project]:
    """The projects as they are answered, with the roles that one has there."""
    roles = await call.registry.projects.roles(call.actor, [row.id for row in rows])
    return [_project(row, roles[row.id]) for row in rows]


def _project(row: ProjectDetails, roles: frozenset[Role]) -> Project:
    ids = role_ids(roles)
    return Project(
        project_id=row.id,
        name=row.name,
        owner_id=row.owner_id or 0,
        owner_name=row.owner or "",
        creation_time=row.created_at,
        update_time=row.updated_at or row.created_at,
        repo_count=row.repositories,
        metadata=_metadata(row),
        description=row.description,
        current_user_role_id=ids[0] if ids else 0,
        current_user_role_ids=ids,
    )


def _metadata(row: ProjectDetails) -> dict[str, str]:
    policy = row.conversion_policy
    return {
        "public": str(row.public).lower(),
        "conversion": policy.when,
        "anonymous_conversion": str(policy.anonymous).lower(),
        "conversion_platforms": ",".join(policy.platforms),
        "sif_as_image": str(policy.sif_as_image).lower(),
    }
