"""The start page."""

from __future__ import annotations

from roadstead.serving.response import Response
from roadstead.web.call import Call
from roadstead.web.routes import Pages

pages = Pages()


@pages.get("/")
async def show(call: Call) -> Response:
    """What one may see, newest first."""
    rows, total = await call.rooms.registry.repositories.visible(call.actor, call.listing())
    return call.page("home/home.html", repositories=rows, pager=call.pager(total))
