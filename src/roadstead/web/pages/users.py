"""The accounts of people: the list, and one of them with what an administrator may do to it."""

from __future__ import annotations

from typing import Any

from roadstead.access import policy
from roadstead.access.actor import Action
from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.registry.listing import Filter, Match
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.routes import Pages

pages = Pages()

_HERE = "/admin/users"


@pages.get(_HERE)
async def show_all(call: Call) -> Response:
    """By name, or those with a part of a name."""
    return await _list(call)


@pages.post(_HERE)
async def add(call: Call) -> Response:
    """Make one."""
    form = call.form
    try:
        row = await call.rooms.access.people.add(
            call.actor,
            form.text("name"),
            form.secret("password"),
            is_admin=form.flag("is_admin"),
            email=form.text("email") or None,
            real_name=form.text("real_name") or None,
        )
    except MISTAKES as error:
        return await _list(call, error)
    return call.redirect(f"{_HERE}/{row.id}", f"{row.name} can log in now.")


async def _list(call: Call, error: RoadsteadError | None = None) -> Response:
    wanted = call.query.get("name", "")
    named = (Filter("name", Match.CONTAINS, (wanted,)),) if wanted else ()
    rows, total = await call.rooms.access.people.page(call.actor, call.listing(*named))
    return call.again("admin/users.html", error, users=rows, wanted=wanted, pager=call.pager(total), form=call.form)


@pages.get(f"{_HERE}/{{user}}")
async def show(call: Call) -> Response:
    """One account."""
    return await _show(call)


@pages.post(f"{_HERE}/{{user}}")
async def change(call: Call) -> Response:
    """What `act` says: describe, disable, enable, promote, demote, password, remove."""
    people, number, act = call.rooms.access.people, _number(call), call.form.text("act")
    row = await people.get(call.actor, number)
    try:
        if act == "remove":
            if call.form.text("typed") != row.name:
                raise InvalidInput("Nothing was removed: what you typed is not the account's name.")
            await people.remove(call.actor, number)
            return call.redirect(_HERE, f"The account {row.name} is removed with all its credentials.")
        await _act(call, act, number)
    except MISTAKES as error:
        return await _show(call, error)
    return call.redirect(f"{_HERE}/{number}", f"{row.name} is changed.")


async def _act(call: Call, act: str, number: int) -> None:
    people = call.rooms.access.people
    if act in ("disable", "enable"):
        await people.set_disabled(call.actor, number, act == "disable")
    elif act in ("promote", "demote"):
        await people.set_admin(call.actor, number, act == "promote")
    elif act == "describe":
        await people.change_profile(call.actor, number, email=call.form.text("email"), real_name=call.form.text("real_name"))
    elif act == "password":
        await people.set_password(call.actor, number, call.form.secret("password"), end_sessions=call.form.flag("end_sessions"))
    else:
        raise InvalidInput("That is nothing to do to an account.")


async def _show(call: Call, error: RoadsteadError | None = None) -> Response:
    policy.require_on_system(call.actor, Action.ADMINISTER)
    number = _number(call)
    row = await call.rooms.access.people.get(call.actor, number)
    groups, total = await call.rooms.access.groups.of_account_page(call.actor, number, call.listing())
    return call.again("admin/user.html", error, row=row, groups=groups, pager=call.pager(total), form=call.form)


@pages.get(f"{_HERE}/{{user}}/credentials")
async def show_credentials(call: Call) -> Response:
    """Where somebody is logged in, and what their tools log in with."""
    return await _credentials(call)


@pages.post(f"{_HERE}/{{user}}/credentials")
async def end_credentials(call: Call) -> Response:
    """End one session or one token (`act`: end-session, end-token), or every session (end-sessions)."""
    policy.require_on_system(call.actor, Action.ADMINISTER)
    access, number, act = call.rooms.access, _number(call), call.form.text("act")
    try:
        if act == "end-sessions":
            await access.sessions.end_all(call.actor, number)
        elif act == "end-session":
            await access.sessions.end(call.actor, number, call.form.number("credential"))
        elif act == "end-token":
            await access.credentials.revoke(call.actor, number, call.form.number("credential"))
        else:
            raise InvalidInput("A session or a token is ended.")
    except MISTAKES as error:
        return await _credentials(call, error)
    return call.redirect(f"{_HERE}/{number}/credentials", "It is ended, and what used it is refused from now on.")


async def _credentials(call: Call, error: RoadsteadError | None = None) -> Response:
    policy.require_on_system(call.actor, Action.ADMINISTER)
    number, access = _number(call), call.rooms.access
    row = await access.people.get(call.actor, number)
    sessions = await access.sessions.list(call.actor, number)
    tokens, total = await access.credentials.page(call.actor, number, call.listing())
    secret = await access.credentials.cli_secret(call.actor, number)
    values: dict[str, Any] = {"row": row, "sessions": sessions, "tokens": tokens, "pager": call.pager(total), "secret": secret}
    return call.again("admin/credentials.html", error, **values)


def _number(call: Call) -> int:
    text = call.parameters["user"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound("There is no such account.")
    return int(text)
