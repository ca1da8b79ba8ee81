"""How each client is set up, with this server's own name in every command."""

from __future__ import annotations

from typing import Final

from roadstead.errors import NotFound
from roadstead.serving.response import Response
from roadstead.web.call import Call
from roadstead.web.routes import Pages

pages = Pages()

CLIENTS: Final = {"docker": "Docker", "podman": "Podman", "containerd": "containerd", "apptainer": "Apptainer"}
"""Clients that have a page → their names."""

_TABS: Final = (("/help", "Overview"), *((f"/help/{client}", name) for client, name in CLIENTS.items()))


@pages.get("/help")
async def show(call: Call) -> Response:
    """What everybody needs to know, and the way to the clients."""
    return _page(call, "overview")


@pages.get("/help/{client}")
async def show_client(call: Call) -> Response:
    """One client."""
    client = call.parameters["client"]
    if client not in CLIENTS:
        raise NotFound(f"There is help for {', '.join(CLIENTS.values())}.")
    return _page(call, client)


def _page(call: Call, name: str) -> Response:
    return call.page(
        f"guides/{name}.html",
        tabs=_TABS,
        encrypted=call.request.base_url.startswith("https:"),
        own_authority=call.rooms.own_authority,
        user=call.actor.name if call.session else "NAME",
    )
