"""The clusters of the site: everybody may see how they are described, administrators describe them."""

from __future__ import annotations

from roadstead.errors import InvalidInput, RoadsteadError
from roadstead.serving.response import Response
from roadstead.sif.compatibility.verdict import Cluster
from roadstead.web.call import MISTAKES, Call
from roadstead.web.form import Form
from roadstead.web.routes import Pages

pages = Pages()

_HERE = "/admin/clusters"


@pages.get(_HERE)
async def show(call: Call) -> Response:
    """All of them; with `?change=NAME` that one in the form."""
    name = call.query.get("change")
    return await _show(call, changed=None if name is None else await call.rooms.clusters.get(call.actor, name))


@pages.post(_HERE)
async def add(call: Call) -> Response:
    """Describe one more."""
    try:
        cluster = _described(call, call.form.text("name"))
        await call.rooms.clusters.add(call.actor, cluster)
    except MISTAKES as error:
        return await _show(call, error)
    return call.redirect(_HERE, f"Images say from now on whether they run on {cluster.name}.")


@pages.post(f"{_HERE}/{{name}}")
async def change(call: Call) -> Response:
    """Describe one otherwise, or forget it (`act=remove`)."""
    name = call.parameters["name"]
    if call.form.text("act") == "remove":
        await call.rooms.clusters.remove(call.actor, name)
        return call.redirect(_HERE, f"{name} is forgotten.")
    try:
        await call.rooms.clusters.change(call.actor, _described(call, name))
    except MISTAKES as error:
        return await _show(call, error, await call.rooms.clusters.get(call.actor, name))
    return call.redirect(_HERE, f"{name} is described anew.")


def _described(call: Call, name: str) -> Cluster:
    """What the form says; an empty field is not known. Raises InvalidInput."""
    level = call.form.text("level")
    if level not in ("", "1", "2", "3", "4"):
        raise InvalidInput("The x86-64 level is from 1 to 4.")
    glibc, driver, rocm, mpi = (call.form.text(field) or None for field in ("glibc", "driver", "rocm", "mpi"))
    return Cluster(name, call.form.text("architecture"), int(level) if level else None, glibc, driver, rocm, mpi)


async def _show(call: Call, error: RoadsteadError | None = None, changed: Cluster | None = None) -> Response:
    """The form has what was sent, or what is to be changed, or nothing."""
    rows, page = await call.rooms.clusters.all(call.actor), call.paging()
    shown = rows[(page.number - 1) * page.size : page.number * page.size]
    asked = changed if error is None else call.form
    filled = {field: _text(asked, field) for field in Cluster.__struct_fields__}
    values = {"clusters": shown, "pager": call.pager(len(rows), at=_HERE), "changed": changed, "filled": filled}
    return call.again("admin/clusters.html", error, **values)


def _text(asked: object, field: str) -> str:
    found = asked.text(field) if isinstance(asked, Form) else getattr(asked, field, None)
    return "" if found is None else str(found)
