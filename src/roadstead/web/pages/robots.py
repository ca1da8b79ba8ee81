"""Robots, of a project or of the system: accounts for machines, whose secret is shown once."""

from __future__ import annotations

from typing import Any, Final

from roadstead.access.actor import Action
from roadstead.access.robots import FOREVER, Access, NewRobot, Permission, read_permissions
from roadstead.errors import Conflict, InvalidInput, NotFound, RoadsteadError
from roadstead.registry.rows import RobotRow
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.project_frame import project_frame
from roadstead.web.routes import Pages

pages = Pages()

_MAY: Final = {
    "pull": (("repository", "pull"), ("repository", "list"), ("artifact", "read"), ("tag", "list")),
    "push": (("repository", "push"), ("repository", "pull"), ("repository", "list")),
    "delete": (("artifact", "delete"), ("repository", "list")),
}
"""What a box on the form stands for, in the words of robots' permissions."""


_SYSTEM: Final = "/admin/robots"
_EVERY: Final = "*"
"""The namespace of all projects."""


@pages.get(_SYSTEM)
@pages.get("/projects/{project}/robots")
async def show(call: Call) -> Response:
    """The robots of the project, or of the system."""
    return await _show(call)


@pages.post(_SYSTEM)
@pages.post("/projects/{project}/robots")
async def add(call: Call) -> Response:
    """Make one, and show its secret."""
    try:
        row, secret = await call.rooms.access.robots.add(call.actor, _new(call, call.parameters.get("project")))
    except MISTAKES as error:
        return await _show(call, error)
    return await _show(call, made=row, secret=secret)


@pages.post(f"{_SYSTEM}/{{robot}}")
@pages.post("/projects/{project}/robots/{robot}")
async def change(call: Call) -> Response:
    """A new secret (`act=rotate`), a pause (`disable`, `enable`), or the end (`remove`)."""
    row = await _robot(call)
    robots, act = call.rooms.access.robots, call.form.text("act")
    if act == "rotate" and (seen := call.form.text("seen")) and seen != str(row.updated_at):
        return await _show(
            call, Conflict(f"Nothing was done: {row.name} has changed since this was asked, and the secret that it got holds.")
        )
    if act == "rotate":
        return await _show(call, made=row, secret=await robots.rotate(call.actor, row.id))
    if act == "remove":
        await robots.remove(call.actor, row.id)
        return _back(call, f"The robot {row.name} and its secret are gone.")
    if act not in ("disable", "enable"):
        raise InvalidInput("That is nothing to do to a robot.")
    await robots.set_disabled(call.actor, row.id, act == "disable")
    return _back(call, f"The robot {row.name} is {'stopped' if act == 'disable' else 'at work again'}.")


def _new(call: Call, project: str | None) -> NewRobot:
    chosen = [word for word in _MAY if call.form.flag(word)]
    if not chosen:
        raise InvalidInput("Choose what the robot may do.")
    words = dict.fromkeys(pair for word in chosen for pair in _MAY[word])
    access = tuple(Access(resource, action) for resource, action in words)
    days = call.form.number("days") if call.form.text("days") else FOREVER
    return NewRobot(
        call.form.text("name"), project, (Permission("project", project or _EVERY, access),), call.form.text("description"), days
    )


async def _robot(call: Call) -> RobotRow:
    """The robot in the address. Raises NotFound for one of another project too."""
    text = call.parameters["robot"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound("There is no such robot.")
    row = await call.rooms.access.robots.get(call.actor, int(text))
    if row.project_name != call.parameters.get("project"):
        raise NotFound("There is no such robot.")
    return row


def _back(call: Call, sentence: str) -> Response:
    return call.redirect(_address(call), sentence)


def _address(call: Call) -> str:
    project = call.parameters.get("project")
    return _SYSTEM if project is None else f"/projects/{project}/robots"


def _allowed(row: RobotRow, project: str) -> str:
    """What it may do there, in words."""
    found = read_permissions(row.permissions).of(project)
    return ", ".join(word for word in ("pull", "push", "delete") if word in found) or "nothing"


async def _show(call: Call, error: RoadsteadError | None = None, made: RobotRow | None = None, secret: str | None = None) -> Response:
    frame = await project_frame(call) if "project" in call.parameters else None
    name = None if frame is None else frame.name
    rows, total = await call.rooms.access.robots.page(call.actor, name, call.listing())
    values: dict[str, Any] = {
        "robots": [(row, _allowed(row, name or _EVERY)) for row in rows],
        "pager": call.pager(total, at=_address(call)),
        "made": made,
        "secret": secret,
        "form": call.form,
        "address": _address(call),
        "project": name,
        "may_set": frame is None or frame.may(Action.SET_ROBOTS),
    }
    return call.again("admin/robots.html" if frame is None else "projects/robots.html", error, frame=frame, **values)
