"""What holds in a project: who may see it, how much it may store, what it converts, whose signatures it trusts."""

from __future__ import annotations

from typing import Any

from roadstead.access.actor import Action
from roadstead.errors import RoadsteadError
from roadstead.registry.conversion import ConversionSettings, When, parse_platforms, parse_when
from roadstead.registry.sizes import UNLIMITED, human_size, parse_size
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.project_frame import project_frame
from roadstead.web.routes import Pages

pages = Pages()


@pages.get("/projects/{project}/policies")
async def show(call: Call) -> Response:
    """What holds; with forms for who may change it."""
    return await _show(call)


@pages.post("/projects/{project}/policies/visibility")
async def set_visibility(call: Call) -> Response:
    """Public or private."""
    name, public = call.parameters["project"], call.form.text("public") == "true"
    await call.rooms.registry.projects.change(call.actor, name, public=public)
    return _back(call, f"{name} is {'public: everybody may pull from it' if public else 'private: only members may see it'}.")


@pages.post("/projects/{project}/policies/conversion")
async def set_conversion(call: Call) -> Response:
    """What is converted, when, and for whom."""
    try:
        wanted = ConversionSettings(
            when=parse_when(call.form.text("when")),
            anonymous=call.form.flag("anonymous"),
            platforms=parse_platforms(call.form.text("platforms")),
            sif_as_image=call.form.flag("sif_as_image"),
        )
        await call.rooms.registry.projects.change(call.actor, call.parameters["project"], conversion=wanted)
    except MISTAKES as error:
        return await _show(call, error)
    return _back(call, "What is converted is saved.")


@pages.post("/projects/{project}/policies/quota")
async def set_quota(call: Call) -> Response:
    """How much it may store; for administrators."""
    text = call.form.text("limit")
    try:
        limit = UNLIMITED if text.lower() in ("", "none") else parse_size(text)
        await call.rooms.registry.quotas.set(call.actor, call.parameters["project"], limit)
    except MISTAKES as error:
        return await _show(call, error)
    return _back(call, "There is no limit any more." if limit == UNLIMITED else f"The limit is {human_size(limit)}.")


@pages.post("/projects/{project}/policies/keys")
async def trust_key(call: Call) -> Response:
    """Trust a key: the key server's, by its fingerprint, or one in PEM."""
    try:
        await call.rooms.registry.trust.add(call.actor, call.parameters["project"], call.form.text("fingerprint"))
    except MISTAKES as error:
        return await _show(call, error)
    return _back(call, "The project trusts this key from now on.")


@pages.post("/projects/{project}/policies/keys/{fingerprint}")
async def distrust_key(call: Call) -> Response:
    """Trust a key no more."""
    try:
        await call.rooms.registry.trust.remove(call.actor, call.parameters["project"], call.parameters["fingerprint"])
    except MISTAKES as error:
        return await _show(call, error)
    return _back(call, "The project trusts this key no more.")


@pages.post("/projects/{project}/policies/signatures")
async def require_signatures(call: Call) -> Response:
    """Whether only signed SIFs go out, and only signed images."""
    sifs, images = call.form.flag("only_signed_sifs"), call.form.flag("only_signed_images")
    try:
        await call.rooms.registry.trust.require(call.actor, call.parameters["project"], sifs=sifs, images=images)
    except MISTAKES as error:
        return await _show(call, error)
    signed = [what for what, asked in (("SIFs", sifs), ("images", images)) if asked]
    return _back(call, f"Only signed {' and '.join(signed)} go out from now on." if signed else "All goes out signed or not.")


def _back(call: Call, sentence: str) -> Response:
    return call.redirect(f"/projects/{call.parameters['project']}/policies", sentence)


async def _show(call: Call, error: RoadsteadError | None = None) -> Response:
    frame = await project_frame(call)
    quota = await call.rooms.registry.quotas.get(call.actor, frame.name) if frame.may(Action.SEE_QUOTA) else None
    trust = await call.rooms.registry.trust.of_project(call.actor, frame.name)
    page = call.paging()
    values: dict[str, Any] = {
        "keys": trust.keys[(page.number - 1) * page.size : page.number * page.size],
        "pager": call.pager(len(trust.keys), at=f"{frame.address}/policies"),
        "quota": quota,
        "trust": trust,
        "form": call.form,
        "whens": [str(one) for one in When],
        "may_set": frame.may(Action.CONFIGURE),
    }
    return call.again("projects/policies.html", error, frame=frame, **values)
