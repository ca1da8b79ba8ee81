"""Jobs: the queue, and one of them with its progress and its log; of all for administrators, of a project for who configures it."""

from __future__ import annotations

from typing import Any, Final

from roadstead.access.actor import Action
from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.registry.listing import Filter, Match
from roadstead.serving.response import Response
from roadstead.upkeep.jobs import STATES, LogPage, ShownJob
from roadstead.web.call import MISTAKES, Call
from roadstead.web.events import Look, follow, marked
from roadstead.web.project_frame import ProjectFrame, project_frame
from roadstead.web.routes import Pages

pages = Pages()

_LIVE: Final = ("waiting", "running")
_LINES: Final = 100
_EVERY: Final = 2.0
_HERE: Final = "/admin/jobs"
_THERE: Final = "/projects/{project}/jobs"


@pages.get("/admin")
async def begin(call: Call) -> Response:
    """The administration begins here."""
    return call.redirect(_HERE)


@pages.get(_HERE)
@pages.get(_THERE)
async def show_all(call: Call) -> Response:
    """The newest first."""
    frame = await _frame(call)
    template = "admin/jobs.html" if frame is None else "projects/jobs.html"
    return call.page(template, frame=frame, **await _queue(call))


@pages.get(f"{_HERE}/live")
@pages.get(f"{_THERE}/live")
async def live_queue(call: Call) -> Response:
    """How they stand, as long as somebody looks."""

    async def look() -> Look:
        return Look(call.part("job_rows.html", **await _queue(call)))

    return await follow(call, look, _EVERY)


async def _queue(call: Call) -> dict[str, Any]:
    asked = {field: call.query.get(field, "") for field in ("state", "kind")}
    if asked["state"] not in ("", *STATES):
        raise InvalidInput(f"A job is {', '.join(STATES)}.")
    listing = call.listing(*(Filter(field, Match.EQUAL, (value,)) for field, value in asked.items() if value))
    project, jobs = call.parameters.get("project"), call.rooms.jobs
    rows, total = await (jobs.list(call.actor, listing) if project is None else jobs.of_project(call.actor, project, listing))
    address = _address(call)
    live = f"{address}/live" + (f"?{call.request.query_string.decode('latin-1')}" if call.query else "")
    return {"jobs": rows, "states": STATES, "asked": asked, "pager": call.pager(total, at=address), "address": address, "live": live}


@pages.get(f"{_HERE}/{{job}}")
@pages.get(f"{_THERE}/{{job}}")
async def show(call: Call) -> Response:
    """One, with what it said."""
    return await _show(call)


@pages.get(f"{_HERE}/{{job}}/live")
@pages.get(f"{_THERE}/{{job}}/live")
async def live(call: Call) -> Response:
    """How it stands, and what it says, until it ends."""
    await _frame(call)
    number, mark = _number(call), marked(call)

    async def look() -> Look:
        nonlocal mark
        shown = await call.rooms.jobs.show(call.actor, number, after=mark)
        _require_there(call, shown)
        mark = shown.log[-1].id if shown.log else mark
        return Look(
            html=call.part("job_state.html", **_standing(shown)),
            at_rest=shown.job.state not in _LIVE,
            added=call.part("job_lines.html", log=shown.log).strip(),
            mark=mark,
            said=_said(shown),
        )

    return await follow(call, look)


@pages.post(f"{_HERE}/{{job}}")
@pages.post(f"{_THERE}/{{job}}")
async def change(call: Call) -> Response:
    """End it (`act=cancel`), or begin it again (`retry`)."""
    number, act = _number(call), call.form.text("act")
    if act not in ("cancel", "retry"):
        raise InvalidInput("A job is cancelled or retried.")
    _require_there(call, await call.rooms.jobs.show(call.actor, number))
    try:
        await (call.rooms.jobs.cancel if act == "cancel" else call.rooms.jobs.retry)(call.actor, number)
    except MISTAKES as error:
        return await _show(call, error)
    return call.redirect(f"{_address(call)}/{number}", "The job ends." if act == "cancel" else "The job begins again.")


async def _show(call: Call, error: RoadsteadError | None = None) -> Response:
    frame, number = await _frame(call), _number(call)
    asked = call.paging(_LINES).number if "page" in call.query else None
    shown = await call.rooms.jobs.page(call.actor, number, asked, _LINES)
    _require_there(call, shown)
    here = f"{_address(call)}/{number}"
    pager = call.pager(shown.total, _LINES, at=here, number=shown.number)
    newest = shown.log[-1].id if shown.log else 0
    values = {"frame": frame, "log": shown.log, "pager": pager, "here": here, "newest": newest, "address": _address(call)}
    return call.again("admin/job.html" if frame is None else "projects/job.html", error, **values, **_standing(shown))


def _standing(shown: ShownJob | LogPage) -> dict[str, Any]:
    return {"job": shown.job, "is_live": shown.job.state in _LIVE}


def _said(shown: ShownJob) -> str:
    """How it stands, in a sentence that is another one with each tenth of the work."""
    job = shown.job
    done = f", {int(10 * job.fraction) * 10} % done" if job.state == "running" and job.fraction is not None else ""
    return f"Job {job.id} is {job.state}{done}."


def _require_there(call: Call, shown: ShownJob | LogPage) -> None:
    """Raise NotFound for a job of another project than that in the address."""
    if shown.job.project != call.parameters.get("project", shown.job.project):
        raise NotFound(f"There is no job {shown.job.id} in this project.")


async def _frame(call: Call) -> ProjectFrame | None:
    """Of the project whose jobs these are, for who configures it; None of the system. Raises as `Projects.get`."""
    if "project" not in call.parameters:
        return None
    await call.rooms.registry.projects.get(call.actor, call.parameters["project"], Action.CONFIGURE)
    return await project_frame(call)


def _address(call: Call) -> str:
    project = call.parameters.get("project")
    return _HERE if project is None else f"/projects/{project}/jobs"


def _number(call: Call) -> int:
    text = call.parameters["job"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound("Jobs have numbers.")
    return int(text)
