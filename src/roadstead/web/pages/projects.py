"""Projects: the list with its form, a project's repositories, its audit log, its settings."""

from __future__ import annotations

from typing import Any, Final

from roadstead.access import policy
from roadstead.access.actor import Action
from roadstead.errors import InUse, InvalidInput, RoadsteadError
from roadstead.registry.listing import Filter, Match, Sort
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.entries import entries
from roadstead.web.project_frame import ProjectFrame, project_frame
from roadstead.web.routes import Pages

pages = Pages()

_SORTS: Final = {
    "name": (Sort("path"),),
    "changed": (Sort("updated_at", descending=True),),
    "pulls": (Sort("pull_count", descending=True),),
}


@pages.get("/projects")
async def list_projects(call: Call) -> Response:
    """The projects that one may see."""
    return await _list(call)


@pages.post("/projects")
async def add_project(call: Call) -> Response:
    """Make one."""
    name = call.form.text("name")
    try:
        row = await call.rooms.registry.projects.add(
            call.actor, name, public=call.form.flag("public"), description=call.form.text("description")
        )
    except MISTAKES as error:
        return await _list(call, error)
    return call.redirect(f"/projects/{row.name}", f"The project {row.name} is there; push the first image into it.")


async def _list(call: Call, error: RoadsteadError | None = None) -> Response:
    wanted = call.query.get("name", "")
    named = (Filter("name", Match.CONTAINS, (wanted,)),) if wanted else ()
    rows, total = await call.rooms.registry.projects.page(call.actor, call.listing(*named))
    present = await call.rooms.access.configuration.present()
    may_add = Action.CREATE_PROJECTS in policy.permitted_on_system(call.actor, present.project_creation_restriction)
    values: dict[str, Any] = {"projects": rows, "pager": call.pager(total), "wanted": wanted, "may_add": may_add, "form": call.form}
    return call.again("projects/list.html", error, **values)


@pages.get("/projects/{project}")
async def show_repositories(call: Call) -> Response:
    """What it holds."""
    frame = await project_frame(call)
    wanted, order = call.query.get("name", ""), call.query.get("sort", "name")
    if order not in _SORTS:
        raise InvalidInput("Repositories are sorted by name, changed or pulls.")
    named = (Filter("path", Match.CONTAINS, (wanted,)),) if wanted else ()
    listing = call.listing(*named, sort=_SORTS[order])
    rows, total = await call.rooms.registry.repositories.of_project(call.actor, frame.name, listing)
    values: dict[str, Any] = {"repositories": rows, "pager": call.pager(total), "wanted": wanted, "order": order}
    return call.page("projects/repositories.html", frame=frame, **values)


@pages.get("/projects/{project}/audit")
async def show_audit(call: Call) -> Response:
    """What happened in it, newest first."""
    frame = await project_frame(call)
    return call.page("projects/audit.html", frame=frame, **await entries(call, frame.name))


@pages.get("/projects/{project}/settings")
async def show_settings(call: Call) -> Response:
    """Its description, and its end."""
    return await _settings(call, await _configurable(call))


@pages.post("/projects/{project}/settings")
async def change_settings(call: Call) -> Response:
    """Set its description."""
    name = call.parameters["project"]
    await call.rooms.registry.projects.change(call.actor, name, description=call.form.text("description"))
    return call.redirect(f"/projects/{name}/settings", "The description is saved.")


@pages.post("/projects/{project}/settings/delete")
async def delete_project(call: Call) -> Response:
    """Delete it, if its name was typed and it holds nothing."""
    name = call.parameters["project"]
    try:
        if call.form.text("name") != name:
            return await _settings(call, await _configurable(call), InvalidInput(f"To delete the project, type its name: {name}."))
        await call.rooms.registry.projects.remove(call.actor, name)
    except InUse as error:
        return await _settings(call, await _configurable(call), error)
    return call.redirect("/projects", f"The project {name} is deleted.")


async def _configurable(call: Call) -> ProjectFrame:
    await call.rooms.registry.projects.get(call.actor, call.parameters["project"], Action.CONFIGURE)
    return await project_frame(call)


async def _settings(call: Call, frame: ProjectFrame, error: InvalidInput | InUse | None = None) -> Response:
    filled = await call.rooms.registry.projects.filled(call.actor, frame.name) if frame.may(Action.REMOVE) else 0
    return call.again("projects/settings.html", error, frame=frame, filled=filled)
