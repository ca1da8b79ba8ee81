"""Jobs: the queue, and one of them with its progress and its log."""

from __future__ import annotations

from typing import Any, Final

from roadstead.errors import InvalidInput, NotFound
from roadstead.registry.listing import Filter, Match
from roadstead.serving.response import Response
from roadstead.upkeep.jobs import STATES, ShownJob
from roadstead.web.call import MISTAKES, Call
from roadstead.web.events import Look, follow
from roadstead.web.routes import Pages

pages = Pages()

_LIVE: Final = ("waiting", "running")


@pages.get("/admin/jobs")
async def show_all(call: Call) -> Response:
    """The newest first."""
    asked = {field: call.query.get(field, "") for field in ("state", "kind")}
    if asked["state"] not in ("", *STATES):
        raise InvalidInput(f"A job is {', '.join(STATES)}.")
    filters = [Filter(field, Match.EQUAL, (value,)) for field, value in asked.items() if value]
    rows, total = await call.rooms.jobs.list(call.actor, call.listing(*filters))
    return call.page("admin/jobs.html", jobs=rows, states=STATES, asked=asked, pager=call.pager(total))


@pages.get("/admin/jobs/{job}")
async def show(call: Call) -> Response:
    """One, with what it said."""
    return call.page("admin/job.html", **_values(await call.rooms.jobs.show(call.actor, _number(call))))


@pages.get("/admin/jobs/{job}/live")
async def live(call: Call) -> Response:
    """How it stands, again and again until it ends."""
    number = _number(call)

    async def look() -> Look:
        shown = await call.rooms.jobs.show(call.actor, number)
        return Look(call.part("admin/job_state.html", **_values(shown)), shown.job.state not in _LIVE)

    return await follow(look)


@pages.post("/admin/jobs/{job}")
async def change(call: Call) -> Response:
    """End it (`act=cancel`), or begin it again (`retry`)."""
    number, act = _number(call), call.form.text("act")
    if act not in ("cancel", "retry"):
        raise InvalidInput("A job is cancelled or retried.")
    try:
        await (call.rooms.jobs.cancel if act == "cancel" else call.rooms.jobs.retry)(call.actor, number)
    except MISTAKES as error:
        return call.again("admin/job.html", error, **_values(await call.rooms.jobs.show(call.actor, number)))
    return call.redirect(f"/admin/jobs/{number}", "The job ends." if act == "cancel" else "The job begins again.")


def _values(shown: ShownJob) -> dict[str, Any]:
    return {"job": shown.job, "log": shown.log, "is_live": shown.job.state in _LIVE}


def _number(call: Call) -> int:
    text = call.parameters["job"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound("Jobs have numbers.")
    return int(text)
