"""A repository with its artifacts, its tags and their history. Addresses are written as image references are."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from roadstead.access.actor import Action
from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.oci.digest import Digest
from roadstead.oci.reference import RepositoryName
from roadstead.registry.listing import Filter, Match, Sort
from roadstead.serving.response import Response
from roadstead.web.call import MISTAKES, Call
from roadstead.web.events import Look, follow
from roadstead.web.markdown import rendered
from roadstead.web.pages.artifacts import change_artifact, show_artifact
from roadstead.web.project_frame import repository_frame, repository_tabs
from roadstead.web.references import parse
from roadstead.web.routes import Pages
from roadstead.web.told import platforms_of

pages = Pages()

_SORTS: Final = {
    "pushed": (Sort("pushed_at", descending=True),),
    "name": (Sort("name"),),
    "pulled": (Sort("pulled_at", descending=True),),
}
_EVERY: Final = 2.0  # seconds between two looks for what is pushed


@pages.get("/repositories/{name:path}/-/history")
async def show_history(call: Call) -> Response:
    """What each tag stood for, and when."""
    name = RepositoryName.parse(call.parameters["name"])
    frame, wanted = await repository_frame(call, name), call.query.get("tag", "")
    named = (Filter("tag", Match.EQUAL, (wanted,)),) if wanted else ()
    rows, total = await call.rooms.registry.tags.history(call.actor, name, call.listing(*named))
    values: dict[str, Any] = {"changes": rows, "wanted": wanted, "pager": call.pager(total), "tabs": repository_tabs(name)}
    return call.page("repositories/history.html", frame=frame, name=name, **values)


@pages.get("/repositories/{name:path}/-/tags")
async def show_tags(call: Call) -> Response:
    """Its tags, those with a part of the name (`?tag=`), those that stand for a digest (`?of=`)."""
    name = RepositoryName.parse(call.parameters["name"])
    frame, wanted, of = await repository_frame(call, name), call.query.get("tag", ""), call.query.get("of", "")
    order = call.query.get("sort", "pushed")
    if order not in _SORTS:
        raise InvalidInput("Tags are sorted by pushed, name or pulled.")
    filters = [Filter("name", Match.CONTAINS, (wanted,))] if wanted else []
    filters += [Filter("digest", Match.EQUAL, (Digest.parse(of),))] if of else []
    rows, total = await call.rooms.registry.tags.page(call.actor, name, call.listing(*filters, sort=_SORTS[order]))
    values: dict[str, Any] = {"tags": rows, "wanted": wanted, "of": of, "order": order, "pager": call.pager(total)}
    may_delete = frame.may_here(Action.DELETE)
    return call.page("repositories/tags.html", frame=frame, name=name, may_delete=may_delete, tabs=repository_tabs(name), **values)


@pages.get("/repositories/{name:path}/-/uploads")
async def follow_uploads(call: Call) -> Response:
    """What is being pushed into it, as long as somebody looks, or until it has changed since the page was made (`seen`)."""
    name, seen = RepositoryName.parse(call.parameters["name"]), call.query.get("seen", "")

    async def look() -> Look:
        rows = await call.rooms.registry.uploads.running(call.actor, name)
        changed = await call.rooms.registry.repositories.changed_at(call.actor, name)
        said = f"{len(rows)} uploads are under way." if rows else ""
        return Look(call.part("repositories/uploads.html", uploads=rows), _moment(changed) != seen, said=said)

    return await follow(call, look, _EVERY)


@pages.get("/repositories/{name:path}")
async def show(call: Call) -> Response:
    """The repository, or with `:TAG` or `@DIGEST` the artifact."""
    name, reference = parse(call.parameters["name"])
    return await (_show_repository(call, name) if reference is None else show_artifact(call, name, reference))


@pages.post("/repositories/{name:path}")
async def change(call: Call) -> Response:
    """Describe the repository (`act=describe`), or delete it (`delete`) once its name is typed; or change an artifact."""
    name, reference = parse(call.parameters["name"])
    if reference is not None:
        return await change_artifact(call, name, reference)
    try:
        if call.form.text("act") == "delete":
            return await _delete(call, name)
        await call.rooms.registry.repositories.describe(call.actor, name, call.form.text("description"))
    except MISTAKES as error:
        return await _show_repository(call, name, error)
    return call.redirect(f"/repositories/{name}", "What is said of the repository is saved.")


async def _delete(call: Call, name: RepositoryName) -> Response:
    if call.form.text("typed") != str(name):
        return await _show_repository(call, name, NotFound("Nothing was deleted: what you typed is not the repository's name."))
    await call.rooms.registry.repositories.remove(call.actor, name)
    return call.redirect(f"/projects/{name.project}", f"The repository {name} is deleted with all that was in it.")


async def _show_repository(call: Call, name: RepositoryName, error: RoadsteadError | None = None) -> Response:
    frame = await repository_frame(call, name)
    row = await call.rooms.registry.repositories.get(call.actor, name, counts=False)
    artifacts, total = await call.rooms.registry.artifacts.page(call.actor, name, call.listing(), accessories=True)
    uploads = await call.rooms.registry.uploads.running(call.actor, name) if frame.may_here(Action.PUSH) else ()
    values: dict[str, Any] = {
        "readme": await rendered(row.description),
        "name": name,
        "uploads": uploads,
        "tabs": repository_tabs(name),
        "artifacts": [(one, platforms_of(one)) for one in artifacts],
        "seen": _moment(row.updated_at) if frame.may_here(Action.PUSH) else None,
    }
    return call.again("repositories/repository.html", error, frame=frame, row=row, pager=call.pager(total), **values)


def _moment(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y%m%dT%H%M%S.%f}"
