"""One's own account: what it is called, its CLI secret, its password, its sessions and its signing keys."""

from __future__ import annotations

from typing import Any, Final

from roadstead.access.secret import hint
from roadstead.errors import Conflict, InvalidInput, NotFound, RoadsteadError, Unauthenticated
from roadstead.serving.response import Response
from roadstead.serving.sessions import ended_cookie
from roadstead.web.call import MISTAKES, Call
from roadstead.web.commands import Server
from roadstead.web.routes import Pages

pages = Pages()

_LOCAL: Final = "local"


@pages.get("/profile")
async def show(call: Call) -> Response:
    """Who one is here, and whether there is a CLI secret."""
    return await _show(call)


@pages.post("/profile")
async def change(call: Call) -> Response:
    """What one is called."""
    email, real_name = call.form.text("email"), call.form.text("real_name")
    try:
        await call.rooms.access.people.change_profile(call.actor, call.account_id, email=email, real_name=real_name)
    except MISTAKES as error:
        return await _show(call, error)
    return call.redirect("/profile", "Your profile is saved.")


@pages.post("/profile/secret")
async def make_secret(call: Call) -> Response:
    """A new CLI secret in place of the old one; a form that is sent again would take away what it has just given."""
    present = await call.rooms.access.credentials.cli_secret(call.actor, call.account_id)
    if (replaced := call.form.text("replaces")) and replaced != (str(present.id) if present else "none"):
        return await _show(call, Conflict("Nothing was done: there is a newer secret than this form knew, and it holds."))
    return await _show(call, secret=await call.rooms.access.credentials.make_cli_secret(call.actor, call.account_id))


async def _show(call: Call, error: RoadsteadError | None = None, secret: str | None = None) -> Response:
    access = call.rooms.access
    row = await access.people.get(call.actor, call.account_id)
    present = await access.credentials.cli_secret(call.actor, call.account_id)
    groups, total = await access.groups.of_account_page(call.actor, call.account_id, call.listing())
    server = Server.of(call.request.base_url)
    pager = call.pager(total, at="/profile")
    shown: dict[str, Any] = {"row": row, "present": present, "replaces": present.id if present else "none", "secret": secret}
    values: dict[str, Any] = {**shown, "groups": groups, "pager": pager, "server": server, "form": call.form}
    return call.again("profile/account.html", error, **values)


@pages.get("/profile/password")
async def show_password(call: Call) -> Response:
    """The form for a new one."""
    return await _password(call)


@pages.post("/profile/password")
async def change_password(call: Call) -> Response:
    """Change it, by the present one."""
    new, end = call.form.secret("new"), call.form.flag("end_sessions")
    try:
        if new != call.form.secret("again"):
            raise InvalidInput("The new password was typed in two ways; type the same twice.")
        old = call.form.secret("old")
        await call.rooms.access.people.set_password(call.actor, call.account_id, new, old=old, end_sessions=end)
    except (*MISTAKES, Unauthenticated) as error:
        return await _password(call, error)
    if end:
        return call.redirect("/login", "The password is changed. Log in with it.", [ended_cookie(call.request)])
    return call.redirect("/profile/password", "The password is changed.")


async def _password(call: Call, error: RoadsteadError | None = None) -> Response:
    row = await call.rooms.access.people.get(call.actor, call.account_id)
    return call.again("profile/password.html", error, source=None if row.source == _LOCAL else row.source)


@pages.get("/profile/sessions")
async def show_sessions(call: Call) -> Response:
    """The browsers in which one is logged in."""
    rows, page = await call.rooms.access.sessions.list(call.actor, call.account_id), call.paging()
    shown = rows[(page.number - 1) * page.size : page.number * page.size]
    return call.page("profile/sessions.html", sessions=shown, here=_here(call), total=len(rows), pager=call.pager(len(rows)))


@pages.post("/profile/sessions")
async def end_other_sessions(call: Call) -> Response:
    """End all but this one."""
    sessions, here = call.rooms.access.sessions, _here(call)
    for row in await sessions.list(call.actor, call.account_id):
        if row.hint != here:
            await sessions.end(call.actor, call.account_id, row.id)
    return call.redirect("/profile/sessions", "You are logged in here and nowhere else.")


@pages.post("/profile/sessions/{session}")
async def end_session(call: Call) -> Response:
    """End one."""
    session = call.parameters["session"]
    if not (session.isascii() and session.isdigit() and len(session) < 19):
        raise NotFound("There is no such session.")
    await call.rooms.access.sessions.end(call.actor, call.account_id, int(session))
    return call.redirect("/profile/sessions", "The session is ended.")


def _here(call: Call) -> str:
    """The hint of this browser's session, by which it is known among the others."""
    return "" if call.session is None else hint(call.session.secret)


@pages.get("/profile/keys")
async def show_keys(call: Call) -> Response:
    """One's OpenPGP keys."""
    return await _keys(call)


@pages.post("/profile/keys")
async def push_key(call: Call) -> Response:
    """Record a key, or a newer state of one."""
    try:
        found = await call.rooms.access.openpgp_keys.push(call.actor, call.form.text("key").encode())
    except MISTAKES as error:
        return await _keys(call, error)
    return call.redirect(
        "/profile/keys", f"The key {found.fingerprint.upper()} is known now: whoever verifies a signature of it finds it here."
    )


@pages.post("/profile/keys/{fingerprint}")
async def remove_key(call: Call) -> Response:
    """Remove a key."""
    await call.rooms.access.openpgp_keys.remove(call.actor, call.parameters["fingerprint"])
    return call.redirect("/profile/keys", "The key is removed. Signatures of it are by an unknown key from now on.")


async def _keys(call: Call, error: RoadsteadError | None = None) -> Response:
    rows, page = await call.rooms.access.openpgp_keys.own(call.actor), call.paging()
    shown = rows[(page.number - 1) * page.size : page.number * page.size]
    return call.again("profile/keys.html", error, keys=shown, pager=call.pager(len(rows)), form=call.form)
