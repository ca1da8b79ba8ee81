"""Logging in and out: by a password here or of a directory, or on to an OpenID provider (whose paths are those of the door at `/c/`)."""

from __future__ import annotations

from roadstead.errors import SourceFailed, TooManyRequests, Unauthenticated
from roadstead.serving.redirects import local_path
from roadstead.serving.response import Response
from roadstead.serving.sessions import begin_session, ended_cookie
from roadstead.web.call import Call
from roadstead.web.routes import Pages

pages = Pages()


@pages.get("/login")
async def show(call: Call) -> Response:
    """The form; who is logged in already goes on."""
    target = local_path(call.query.get("next") or "/")
    if call.session is not None:
        return call.redirect(target)
    return await _form(call, target)


@pages.post("/login")
async def log_in(call: Call) -> Response:
    """Begin a session in this browser."""
    target = local_path(call.form.text("next") or "/")
    name, password = call.form.text("name"), call.form.secret("password")
    if not name or not password:
        return await _form(call, target, 401, "Give a user name and a password.")
    try:
        actor = await call.rooms.access.accounts.by_password(name, password, call.request.address)
        headers = await begin_session(call.rooms.access, call.request, actor)
    except Unauthenticated as error:
        return await _form(call, target, 401, error.message)
    except (TooManyRequests, SourceFailed) as error:
        return await _form(call, target, 429 if isinstance(error, TooManyRequests) else 503, error.message)
    return call.redirect(target, headers=headers)


@pages.post("/logout")
async def log_out(call: Call) -> Response:
    """End the session."""
    if call.session is not None:
        await call.rooms.access.sessions.close(call.session.secret, call.request.address)
    return call.redirect("/", "You are logged out.", [ended_cookie(call.request)])


async def _form(call: Call, target: str, status: int = 200, error: str | None = None) -> Response:
    offers = await call.rooms.access.sources.offered()
    return call.page("login.html", status=status, target=target, name=call.form.text("name"), offers=offers, error=error)
