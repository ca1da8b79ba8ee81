"""Robot accounts, of the system and of projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from roadstead.access.robots import Access as RobotAccess
from roadstead.access.robots import NewRobot
from roadstead.access.robots import Permission as RobotPermissionOf
from roadstead.apis.harbor.call import Call, Calling
from roadstead.apis.harbor.paging import Paged, Paging
from roadstead.apis.harbor.wire import NOT_OFFERED, Answer, Body, Id, Moment, Nouns, ProjectRef
from roadstead.errors import InvalidAccount, InvalidInput, NotFound, NotOffered
from roadstead.registry.listing import Listing
from roadstead.registry.rows import RobotRow

router = Nouns(tags=["robots"])

FIELDS: Final = {
    "id": "id",
    "name": "name",
    "description": "description",
    "creation_time": "created_at",
    "update_time": "updated_at",
    "level": "level",
    "Level": "level",
    "project_id": "project",
    "ProjectID": "project",
}
_FOREVER: Final = -1


class Access(Body):
    """One thing that a robot may do, in Harbor's words."""

    resource: str
    action: str
    effect: str | None = None


class RobotPermission(Body):
    """What a robot may do in one namespace: a project's name, `*` for all, `/` for the system."""

    kind: str
    namespace: str
    access: list[Access] | None = None


class RobotCreate(Body):
    """A robot to be made: its level is `system` or `project`. A `duration` is in days, -1 is for ever, 0 what the configuration says."""

    name: str
    level: str
    description: str | None = None
    secret: str | None = None
    disable: bool | None = None
    duration: int | None = None
    permissions: list[RobotPermission] | None = None


class RobotChange(Body):
    """What of a robot to replace; what is not given stays."""

    description: str | None = None
    disable: bool | None = None
    duration: int | None = None
    permissions: list[RobotPermission] | None = None


class RobotSec(Body):
    """Harbor lets people choose the secret; here it is always made, so `secret` is left out or empty."""

    secret: str | None = None


class NewSecret(Answer):
    """A robot's new secret, which is shown this once."""

    secret: str


class RobotCreated(Answer):
    """A new robot, with its secret, which is shown this once. `expires_at` is in seconds since the epoch, -1 is never."""

    id: int
    name: str
    secret: str
    creation_time: Moment
    expires_at: int


class AccessOf(Answer):
    """One thing that a robot may do."""

    resource: str
    action: str
    effect: str | None = None


class PermissionOf(Answer):
    """What a robot may do in one namespace."""

    kind: str
    namespace: str
    access: list[AccessOf]


class Robot(Answer):
    """A robot. `expires_at` is in seconds since the epoch, -1 is never."""

    id: int
    name: str
    description: str
    level: str
    duration: int
    editable: bool = True
    disable: bool
    expires_at: int
    permissions: list[PermissionOf]
    creator_type: str = "local"
    creator_ref: int
    creation_time: Moment
    update_time: Moment


@router.get("/robots")
async def list_robots(call: Calling, paging: Paged) -> list[Robot]:
    """The system's robots; with `q=Level=project,ProjectID=…` those of a project."""
    project, listing = _of(paging)
    rows, total = await call.access.robots.page(call.actor, await _project_name(call, project), listing)
    paging.tell(call, total)
    return [_robot(row) for row in rows]


@router.post("/robots", status_code=201)
async def add_robot(call: Calling, new: RobotCreate) -> RobotCreated:
    """Make a robot."""
    _refuse_own_secret(new.secret)
    row, secret = await call.access.robots.add(call.actor, _new(new))
    if new.disable:
        row = await _change(call, row, RobotChange(disable=True))
    call.created(f"/robots/{row.id}")
    return RobotCreated(id=row.id, name=row.name, secret=secret, creation_time=row.created_at, expires_at=_expiry(row))


@router.get("/robots/{robot_id}")
async def get_robot(call: Calling, robot_id: Id) -> Robot:
    """One robot."""
    return _robot(await call.access.robots.get(call.actor, robot_id))


@router.put("/robots/{robot_id}")
async def change_robot(call: Calling, robot_id: Id, wanted: RobotChange) -> None:
    """Change a robot; its name and level stay."""
    await _change(call, await call.access.robots.get(call.actor, robot_id), wanted)


@router.patch("/robots/{robot_id}")
async def rotate_secret(call: Calling, robot_id: Id, wanted: RobotSec | None = None) -> NewSecret:
    """Give a robot a new secret, and end the old one."""
    _refuse_own_secret(wanted.secret if wanted else None)
    return NewSecret(secret=await call.access.robots.rotate(call.actor, robot_id))


@router.delete("/robots/{robot_id}")
async def remove_robot(call: Calling, robot_id: Id) -> None:
    """End a robot and its secret."""
    await call.access.robots.remove(call.actor, robot_id)


@router.get("/projects/{project}/robots")
async def list_robots_of_project(call: Calling, project: ProjectRef, paging: Paged) -> list[Robot]:
    """A project's robots, where Harbor's first version listed them."""
    name = (await call.registry.projects.get(call.actor, call.project(project))).name
    rows, total = await call.access.robots.page(call.actor, name, paging.listing({"name": "name"}))
    paging.tell(call, total)
    return [_robot(row) for row in rows]


@router.get("/projects/{project}/robots/{robot_id}")
async def get_robot_of_project(call: Calling, project: ProjectRef, robot_id: Id) -> Robot:
    """One of a project's robots."""
    found = await call.registry.projects.get(call.actor, call.project(project))
    row = await call.access.robots.get(call.actor, robot_id)
    if row.project_id != found.id:
        raise NotFound("There is no such robot.")
    return _robot(row)


@router.post("/projects/{project}/robots", responses=NOT_OFFERED)
@router.put("/projects/{project}/robots/{robot_id}", responses=NOT_OFFERED)
@router.delete("/projects/{project}/robots/{robot_id}", responses=NOT_OFFERED)
async def change_robot_of_project(call: Calling, project: ProjectRef) -> None:
    """Refuse: what Harbor's first version did here is done at /robots."""
    await call.registry.projects.get(call.actor, call.project(project))
    raise NotOffered("Robots are made, changed and ended at /robots.")


def _of(paging: Paging) -> tuple[int | None, Listing]:
    """The project that a query asks for (None: the system), and the query without that. Raises InvalidInput."""
    listing = paging.listing(FIELDS)
    where = {one.field: one.values for one in listing.filters if one.field in ("level", "project")}
    rest = msgspec.structs.replace(listing, filters=tuple(one for one in listing.filters if one.field not in where))
    level, project = where.get("level", ("system",)), where.get("project")
    if any(one.field in ("level", "project") for one in listing.sort):
        raise InvalidInput("Robots are not sorted by level or project.")
    if level == ("system",) and project in (None, ("0",)):
        return None, rest
    if level != ("project",) or project is None or len(project) != 1 or not project[0].isascii() or not project[0].isdigit():
        raise InvalidInput("Ask for q=Level=system, or for q=Level=project,ProjectID=… with the id of one project.")
    return int(project[0][:18]), rest


async def _project_name(call: Call, project_id: int | None) -> str | None:
    return None if project_id is None else (await call.registry.projects.get(call.actor, project_id)).name


def _refuse_own_secret(secret: str | None) -> None:
    if secret:
        raise InvalidAccount("Secrets are made by the registry, so that nobody can guess them: send none, and take it from the answer.")


def _new(new: RobotCreate) -> NewRobot:
    permissions = _read(new.permissions or [])
    if new.level not in ("system", "project"):
        raise InvalidAccount("A robot's level is 'system' or 'project'.")
    if new.level == "project" and not permissions:
        raise InvalidAccount("A project's robot has permissions in that project, and so is known which project it is of.")
    project = permissions[0].namespace if new.level == "project" else None
    return NewRobot(new.name, project, permissions, new.description or "", new.duration or None)


def _read(permissions: Sequence[RobotPermission]) -> tuple[RobotPermissionOf, ...]:
    return tuple(
        RobotPermissionOf(
            one.kind, one.namespace, tuple(RobotAccess(may.resource, may.action, may.effect or "allow") for may in one.access or [])
        )
        for one in permissions
    )


async def _change(call: Call, row: RobotRow, wanted: RobotChange) -> RobotRow:
    return await call.access.robots.change(
        call.actor,
        row.id,
        description=row.description if wanted.description is None else wanted.description,
        disabled=row.disabled_at is not None if wanted.disable is None else wanted.disable,
        duration_days=wanted.duration or row.duration_days,
        permissions=_permissions(row) if wanted.permissions is None else _read(wanted.permissions),
    )


def _permissions(row: RobotRow) -> tuple[RobotPermissionOf, ...]:
    return msgspec.json.decode(row.permissions, type=tuple[RobotPermissionOf, ...])


def _expiry(row: RobotRow) -> int:
    return _FOREVER if row.expires_at is None else int(row.expires_at.timestamp())


def _robot(row: RobotRow) -> Robot:
    permissions = [
        PermissionOf(
            kind=one.kind,
            namespace=one.namespace,
            access=[AccessOf(resource=may.resource, action=may.action, effect=may.effect) for may in one.access],
        )
        for one in _permissions(row)
    ]
    return Robot(
        id=row.id,
        name=row.name,
        description=row.description,
        level="system" if row.project_id is None else "project",
        duration=row.duration_days,
        disable=row.disabled_at is not None,
        expires_at=_expiry(row),
        permissions=permissions,
        creator_ref=row.created_by or 0,
        creation_time=row.created_at,
        update_time=row.updated_at,
    )
