"""Login sources: directories and OpenID providers, in the order in which they are asked."""

from __future__ import annotations

from typing import Final

from roadstead.access.person import Check
from roadstead.errors import InvalidInput, RoadsteadError
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.routes import Pages

pages = Pages()

_HERE: Final = "/admin/sources"


@pages.get(_HERE)
async def show_all(call: Call) -> Response:
    """In their order."""
    return await _show(call)


@pages.post(f"{_HERE}/{{source}}")
async def change(call: Call) -> Response:
    """What `act` says: check, enable, disable, up, remove."""
    sources, name, act = call.rooms.access.sources, call.parameters["source"], call.form.text("act")
    row = await sources.get(call.actor, name)
    try:
        if act == "check":
            return await _show(call, checked=name, check=await sources.check(call.actor, name))
        if act in ("enable", "disable"):
            await sources.set_enabled(call.actor, name, act == "enable")
        elif act == "up":
            await sources.move(call.actor, name, max(1, row.position - 1))
        elif act == "remove":
            await sources.remove(call.actor, name)
        else:
            raise InvalidInput("That is nothing to do to a login source.")
    except MISTAKES as error:
        return await _show(call, error)
    return call.redirect(_HERE, f"{name} is {'removed' if act == 'remove' else 'changed'}.")


async def _show(call: Call, error: RoadsteadError | None = None, checked: str | None = None, check: Check | None = None) -> Response:
    rows, page = await call.rooms.access.sources.list(call.actor), call.paging()
    shown = rows[(page.number - 1) * page.size : page.number * page.size]
    return call.again("admin/sources.html", error, sources=shown, checked=checked, check=check, pager=call.pager(len(rows), at=_HERE))
