"""Who has which role in a project, or below a path in it."""

from __future__ import annotations

from typing import Any, Final

from roadstead.access.actor import Role
from roadstead.errors import InvalidInput, RoadsteadError
from roadstead.registry.listing import Filter, Match
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.project_frame import project_frame
from roadstead.web.routes import Pages

pages = Pages()

ROLES: Final = {
    Role.LIMITED_GUEST: ("Limited guest", "pulls"),
    Role.GUEST: ("Guest", "pulls, and sees who else is here"),
    Role.DEVELOPER: ("Developer", "pulls and pushes"),
    Role.MAINTAINER: ("Maintainer", "pulls, pushes and deletes"),
    Role.PROJECT_ADMIN: ("Project admin", "does everything, members and settings included"),
}
"""What a role is called on a page, and what it is for."""


@pages.get("/projects/{project}/members")
async def show(call: Call) -> Response:
    """The members of the whole project, or (`?of=paths`) those of single repositories and folders."""
    return await _show(call)


@pages.post("/projects/{project}/members")
async def add(call: Call) -> Response:
    """Give an account or a group a role."""
    project, holder, path = call.parameters["project"], call.form.text("holder"), call.form.text("path") or "*"
    give = call.rooms.registry.projects.add_group if call.form.text("kind") == "group" else call.rooms.registry.projects.add_member
    try:
        await give(call.actor, project, holder, _role(call), path)
    except MISTAKES as error:
        return await _show(call, error)
    end = "" if path == "*" else "?of=paths"
    return call.redirect(f"/projects/{project}/members{end}", f"{holder} has a role in {project} now.")


@pages.post("/projects/{project}/members/{member}")
async def change(call: Call) -> Response:
    """Another role (`role`), or the end of the membership (`act=remove`)."""
    project, member_id = call.parameters["project"], _id(call)
    member = await call.rooms.registry.projects.member(call.actor, project, member_id)
    if call.form.text("act") == "remove":
        await call.rooms.registry.projects.remove_member(call.actor, project, member_id)
        sentence = f"{member.holder} has no role there any more."
    else:
        await call.rooms.registry.projects.set_role(call.actor, project, member_id, _role(call))
        sentence = f"The role of {member.holder} is changed."
    end = "?of=paths" if member.path or not member.path_prefix else ""
    return call.redirect(f"/projects/{project}/members{end}", sentence)


def _id(call: Call) -> int:
    text = call.parameters["member"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInput("There is no such member.")
    return int(text)


def _role(call: Call) -> Role:
    try:
        return Role(call.form.text("role"))
    except ValueError:
        raise InvalidInput(f"A role is one of {', '.join(Role)}.") from None


async def _show(call: Call, error: RoadsteadError | None = None) -> Response:
    frame = await project_frame(call)
    whole, wanted = call.query.get("of") != "paths", call.query.get("name", "")
    named = (Filter("holder", Match.CONTAINS, (wanted,)),) if wanted else ()
    rows, total = await call.rooms.registry.projects.members_page(call.actor, frame.name, call.listing(*named), whole=whole)
    asked: dict[str, Any] = {"whole": whole, "wanted": wanted, "roles": ROLES, "form": call.form}
    return call.again(
        "projects/members.html", error, frame=frame, members=rows, pager=call.pager(total, at=f"{frame.address}/members"), **asked
    )
