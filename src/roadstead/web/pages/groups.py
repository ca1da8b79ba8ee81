"""Groups: of this registry, whose members are chosen here, and of login sources, which say themselves who is in them."""

from __future__ import annotations

from typing import Any, Final

from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.registry.listing import Filter, Match
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.routes import Pages

pages = Pages()

_HERE: Final = "/admin/groups"


@pages.get(_HERE)
async def show_all(call: Call) -> Response:
    """Every group."""
    return await _list(call)


@pages.post(_HERE)
async def add(call: Call) -> Response:
    """Make one: of a source with what that calls it, else one of our own."""
    form = call.form
    source, external = form.text("source") or "local", form.text("external_id") or None
    try:
        row = await call.rooms.access.groups.add(call.actor, form.text("name"), source=source, external_id=external)
    except MISTAKES as error:
        return await _list(call, error)
    return call.redirect(f"{_HERE}/{row.id}", f"The group {row.name} is there.")


async def _list(call: Call, error: RoadsteadError | None = None) -> Response:
    wanted = call.query.get("name", "")
    named = (Filter("name", Match.CONTAINS, (wanted,)),) if wanted else ()
    rows, total = await call.rooms.access.groups.page(call.actor, call.listing(*named))
    sources = [one.name for one in await call.rooms.access.sources.list(call.actor)]
    values: dict[str, Any] = {"groups": rows, "sources": sources, "wanted": wanted, "pager": call.pager(total), "form": call.form}
    return call.again("admin/groups.html", error, **values)


@pages.get(f"{_HERE}/{{group}}")
async def show(call: Call) -> Response:
    """One with its members."""
    return await _show(call)


@pages.post(f"{_HERE}/{{group}}")
async def change(call: Call) -> Response:
    """What `act` says: add or take out a member, rename, remove."""
    groups, number, act = call.rooms.access.groups, _number(call.parameters["group"]), call.form.text("act")
    try:
        if act == "add":
            account = await call.rooms.access.people.find(call.actor, call.form.text("name"))
            await groups.add_member(call.actor, number, account.id)
        elif act == "take-out":
            await groups.remove_member(call.actor, number, _number(call.form.text("account")))
        elif act == "rename":
            await groups.rename(call.actor, number, call.form.text("name"))
        elif act == "remove":
            if call.form.text("typed") != (await groups.get(call.actor, number)).name:
                raise InvalidInput("Nothing was removed: what you typed is not the group's name.")
            await groups.remove(call.actor, number)
            return call.redirect(_HERE, "The group is removed, with the roles that it had.")
        else:
            raise InvalidInput("That is nothing to do to a group.")
    except MISTAKES as error:
        return await _show(call, error)
    return call.redirect(f"{_HERE}/{number}", "The group is changed.")


async def _show(call: Call, error: RoadsteadError | None = None) -> Response:
    number = _number(call.parameters["group"])
    row = await call.rooms.access.groups.get(call.actor, number)
    members, total = await call.rooms.access.groups.members_page(call.actor, number, call.listing())
    return call.again("admin/group.html", error, row=row, members=members, pager=call.pager(total))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound("There is no such group.")
    return int(text)
