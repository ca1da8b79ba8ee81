"""What Harbor has and this registry has not: lists of it are empty, one of it is not found, and making it is refused with the reason.

So nothing here ever says that something was done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.paging import Paged
from roadstead.apis.harbor.wire import NOT_FOUND, NOT_OFFERED, Nouns, ProjectRef
from roadstead.errors import NotFound, NotOffered

router = Nouns(tags=["not offered"])

RETENTION: Final = "Retention of tags by rules"
IMMUTABLE: Final = "Immutable tags"
REGISTRIES: Final = "Other registries as endpoints"
REPLICATION: Final = "Replication"
WEBHOOKS: Final = "Webhooks"
LABELS: Final = "Labels"
SCANNERS: Final = "Scanning for vulnerabilities"
PREHEAT: Final = "Preheating of peer-to-peer networks"
COLLECTION: Final = "Collection of garbage on demand (it goes on by itself, while the registry serves)"
PURGE: Final = "Purging the audit log by a schedule of its own (the configuration audit_log_retention_hours sets the age)"
LDAP: Final = "Harbor's single LDAP source (this registry takes several login sources)"
OIDC: Final = "Harbor's single OIDC provider (this registry takes several login sources)"
JOBS: Final = "A service of jobs to look into"


class Empty(msgspec.Struct, frozen=True):
    """Something that is always this: a list without entries by pages, unless `value` says otherwise."""

    path: str
    value: Any = None


class Lacking(msgspec.Struct, frozen=True):
    """What is refused: methods and path, and what it would be; `missing` where the path names one of what there is none of."""

    methods: str
    path: str
    what: str
    missing: bool = False


EMPTY: Final = (
    Empty("/projects/{project}/immutabletagrules"),
    Empty("/projects/{project}/webhook/policies"),
    Empty("/projects/{project}/webhook/lasttrigger"),
    Empty("/projects/{project}/webhook/jobs"),
    Empty("/projects/{project}/webhook/events", {"event_type": [], "notify_type": []}),
    Empty("/projects/{project}/scanner/candidates"),
    Empty("/projects/{project}/preheat/policies"),
    Empty("/projects/{project}/preheat/providers"),
    Empty("/registries"),
    Empty("/replication/policies"),
    Empty("/replication/executions"),
    Empty("/replication/adapters"),
    Empty("/replication/adapterinfos", {}),
    Empty("/labels"),
    Empty("/scanners"),
    Empty("/retentions/metadatas", {"templates": [], "scope_selectors": [], "tag_selectors": []}),
    Empty("/export/cve/executions", {"items": []}),
    Empty("/p2p/preheat/providers"),
    Empty("/p2p/preheat/instances"),
    Empty("/system/CVEAllowlist", {"items": []}),
    Empty("/system/gc"),
    Empty("/system/gc/schedule", {}),
    Empty("/system/purgeaudit"),
    Empty("/system/purgeaudit/schedule", {}),
    Empty("/system/scanAll/schedule", {}),
    Empty("/jobservice/pools"),
    Empty("/jobservice/queues"),
    Empty("/schedules"),
)

LACKING: Final = (
    Lacking("POST", "/retentions", RETENTION),
    Lacking("GET PUT DELETE", "/retentions/{id}", RETENTION, missing=True),
    Lacking("GET POST", "/retentions/{id}/executions", RETENTION, missing=True),
    Lacking("PATCH", "/retentions/{id}/executions/{eid}", RETENTION, missing=True),
    Lacking("GET", "/retentions/{id}/executions/{eid}/tasks", RETENTION, missing=True),
    Lacking("GET", "/retentions/{id}/executions/{eid}/tasks/{tid}", RETENTION, missing=True),
    Lacking("POST", "/projects/{project}/immutabletagrules", IMMUTABLE),
    Lacking("PUT DELETE", "/projects/{project}/immutabletagrules/{id}", IMMUTABLE, missing=True),
    Lacking("POST", "/registries", REGISTRIES),
    Lacking("POST", "/registries/ping", REGISTRIES),
    Lacking("GET PUT DELETE", "/registries/{id}", REGISTRIES, missing=True),
    Lacking("GET", "/registries/{id}/info", REGISTRIES, missing=True),
    Lacking("POST", "/replication/policies", REPLICATION),
    Lacking("GET PUT DELETE", "/replication/policies/{id}", REPLICATION, missing=True),
    Lacking("POST", "/replication/executions", REPLICATION),
    Lacking("GET PUT", "/replication/executions/{id}", REPLICATION, missing=True),
    Lacking("GET", "/replication/executions/{id}/tasks", REPLICATION, missing=True),
    Lacking("GET", "/replication/executions/{id}/tasks/{tid}/log", REPLICATION, missing=True),
    Lacking("POST", "/projects/{project}/webhook/policies", WEBHOOKS),
    Lacking("GET PUT DELETE", "/projects/{project}/webhook/policies/{id}", WEBHOOKS, missing=True),
    Lacking("GET", "/projects/{project}/webhook/policies/{id}/executions", WEBHOOKS, missing=True),
    Lacking("POST", "/labels", LABELS),
    Lacking("GET PUT DELETE", "/labels/{id}", LABELS, missing=True),
    Lacking("POST", "/scanners", SCANNERS),
    Lacking("POST", "/scanners/ping", SCANNERS),
    Lacking("GET PUT DELETE PATCH", "/scanners/{id}", SCANNERS, missing=True),
    Lacking("GET", "/scanners/{id}/metadata", SCANNERS, missing=True),
    Lacking("GET", "/projects/{project}/scanner", SCANNERS, missing=True),
    Lacking("PUT", "/projects/{project}/scanner", SCANNERS),
    Lacking("GET", "/scans/all/metrics", SCANNERS),
    Lacking("GET", "/scans/schedule/metrics", SCANNERS),
    Lacking("POST PUT", "/system/scanAll/schedule", SCANNERS),
    Lacking("POST", "/system/scanAll/stop", SCANNERS),
    Lacking("PUT", "/system/CVEAllowlist", SCANNERS),
    Lacking("POST", "/export/cve", SCANNERS),
    Lacking("GET", "/export/cve/execution/{id}", SCANNERS, missing=True),
    Lacking("GET", "/export/cve/download/{id}", SCANNERS, missing=True),
    Lacking("GET", "/security/summary", SCANNERS),
    Lacking("GET", "/security/vul", SCANNERS),
    Lacking("POST", "/p2p/preheat/instances", PREHEAT),
    Lacking("POST", "/p2p/preheat/instances/ping", PREHEAT),
    Lacking("GET PUT DELETE", "/p2p/preheat/instances/{name}", PREHEAT, missing=True),
    Lacking("POST", "/projects/{project}/preheat/policies", PREHEAT),
    Lacking("GET PUT POST DELETE", "/projects/{project}/preheat/policies/{name}", PREHEAT, missing=True),
    Lacking("POST PUT", "/system/gc/schedule", COLLECTION),
    Lacking("GET PUT", "/system/gc/{id}", COLLECTION, missing=True),
    Lacking("GET", "/system/gc/{id}/log", COLLECTION, missing=True),
    Lacking("POST PUT", "/system/purgeaudit/schedule", PURGE),
    Lacking("GET PUT", "/system/purgeaudit/{id}", PURGE, missing=True),
    Lacking("GET", "/system/purgeaudit/{id}/log", PURGE, missing=True),
    Lacking("POST", "/system/oidc/ping", OIDC),
    Lacking("POST", "/ldap/ping", LDAP),
    Lacking("POST", "/ldap/users/import", LDAP),
    Lacking("GET", "/ldap/users/search", LDAP),
    Lacking("GET", "/ldap/groups/search", LDAP),
    Lacking("PUT", "/jobservice/jobs/{id}", JOBS, missing=True),
    Lacking("GET", "/jobservice/jobs/{id}/log", JOBS, missing=True),
    Lacking("PUT", "/jobservice/queues/{name}", JOBS),
    Lacking("GET", "/icons/{name}", "Icons", missing=True),
    Lacking("GET", "/systeminfo/volumes", "The size of the storage"),
    Lacking("GET", "/systeminfo/getcert", "The certificate of the registry's authority here (it is at /ca.crt)", missing=True),
)


async def _require(call: Call, project: str | None) -> None:
    """Whoever asks is logged in; a project that they may not see is not there."""
    call.require_login()
    if project is not None:
        await call.registry.projects.get(call.actor, call.project(project))


def _nothing(empty: Empty) -> Callable[..., Awaitable[Any]]:
    async def pages(call: Calling, paging: Paged) -> list[Any]:
        await _require(call, None)
        return paging.nothing(call)

    async def pages_of_project(call: Calling, project: ProjectRef, paging: Paged) -> list[Any]:
        await _require(call, project)
        return paging.nothing(call)

    async def value(call: Calling) -> dict[str, Any]:
        await _require(call, None)
        return dict(empty.value)

    async def value_of_project(call: Calling, project: ProjectRef) -> dict[str, Any]:
        await _require(call, project)
        return dict(empty.value)

    if "{project}" in empty.path:
        return pages_of_project if empty.value is None else value_of_project
    return pages if empty.value is None else value


def _refusing(lacking: Lacking) -> Callable[..., Awaitable[None]]:
    error = (
        NotFound("There is no such thing here.") if lacking.missing else NotOffered(f"{lacking.what}: this registry does not offer that.")
    )

    async def refuse(call: Calling) -> None:
        await _require(call, None)
        raise error

    async def refuse_in_project(call: Calling, project: ProjectRef) -> None:
        await _require(call, project)
        raise error

    return refuse_in_project if "{project}" in lacking.path else refuse


def _register() -> None:
    """A fixed path before the one with a name in its place, as the first that fits is asked."""
    for empty in EMPTY:
        router.add_api_route(empty.path, _nothing(empty), methods=["GET"], summary="There is none of this.")
    for lacking in sorted(LACKING, key=lambda one: "{" in one.path.rpartition("/")[2]):
        for method in lacking.methods.split():
            responses = NOT_FOUND if lacking.missing else NOT_OFFERED
            router.add_api_route(lacking.path, _refusing(lacking), methods=[method], responses=responses, summary=f"{lacking.what}.")


_register()
