"""Access tokens: the passwords of one's tools. The secret is shown once, with how to use it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from roadstead.access.actor import Level
from roadstead.errors import Conflict, InvalidInput, RoadsteadError
from roadstead.registry.listing import PAGE_LIMIT, Filter, Match
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.commands import Server
from roadstead.web.routes import Pages

pages = Pages()

_LONGEST_DAYS: Final = 5


@pages.get("/profile/tokens")
async def show(call: Call) -> Response:
    """One's tokens."""
    return await _show(call)


@pages.post("/profile/tokens")
async def add(call: Call) -> Response:
    """Make one, and show its secret. Names are asked to differ: a form that is sent again makes no second one."""
    projects = call.form.text("projects").replace(",", " ").split()
    try:
        await _require_new(call, call.form.text("name"))
        row, secret = await call.rooms.access.credentials.add_token(
            call.actor, call.account_id, call.form.text("name"), _level(call), project_names=projects or None, lifetime=_lifetime(call)
        )
    except MISTAKES as error:
        return await _show(call, error)
    return await _show(call, made=row, secret=secret)


async def _require_new(call: Call, name: str) -> None:
    same = call.listing(Filter("name", Match.EQUAL, (name,)), size=PAGE_LIMIT)
    rows, _ = await call.rooms.access.credentials.page(call.actor, call.account_id, same)
    if any(one.row.expires_at is None or one.row.expires_at > call.rooms.clock() for one in rows):
        raise Conflict(f"You have a token {name!r} already: take another name, or end that one. No second one was made.")


@pages.post("/profile/tokens/{token}")
async def revoke(call: Call) -> Response:
    """End one at its next use."""
    token = call.parameters["token"]
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise InvalidInput("A token is named by its number.")
    await call.rooms.access.credentials.revoke(call.actor, call.account_id, int(token))
    return call.redirect("/profile/tokens", "The token is ended: what uses it is refused from now on.")


def _level(call: Call) -> Level:
    try:
        return Level(call.form.text("level"))
    except ValueError:
        raise InvalidInput("A token is of level read, write, delete or admin.") from None


def _lifetime(call: Call) -> timedelta | None:
    days = call.form.text("days")
    if not days:
        return None
    if not (days.isascii() and days.isdigit() and len(days) <= _LONGEST_DAYS and int(days)):
        raise InvalidInput("A token lives for a number of days from 1, or for ever if the field is empty.")
    return timedelta(days=int(days))


async def _show(call: Call, error: RoadsteadError | None = None, **made: Any) -> Response:
    rows, total = await call.rooms.access.credentials.page(call.actor, call.account_id, call.listing())
    server = Server.of(call.request.base_url)
    shown = {"made": None, "secret": None, **made}
    values: dict[str, Any] = {"tokens": rows, "pager": call.pager(total)}
    return call.again("profile/tokens.html", error, form=call.form, levels=[str(one) for one in Level], server=server, **values, **shown)
