"""A repository with its artifacts, and one artifact with the commands to copy. Their addresses are written as image references are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from roadstead.access.actor import Action
from roadstead.errors import InvalidInput, NotFound, RoadsteadError
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import Reference, RepositoryName, parse_reference
from roadstead.registry.artifacts import Accessory, Artifact
from roadstead.registry.listing import Filter, Listing, Match, Page
from roadstead.serving.response import Response
from roadstead.sif.shown import CONVERTED, ShownConversion
from roadstead.web.call import MISTAKES, Call
from roadstead.web.commands import Server, commands
from roadstead.web.events import Look, follow
from roadstead.web.needs import needs_of
from roadstead.web.project_frame import ProjectFrame, project_frame
from roadstead.web.routes import Pages

pages = Pages()

_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")
_TAGS: Final = nh3.ALLOWED_TAGS - {"img"}  # a picture of elsewhere would tell that site who reads
_LONGEST_RAW: Final = 256 * 1024
_LIVE: Final = ("waiting", "running")
_REFERRERS: Final = 20  # so many are shown of each artifact
_DEPTH: Final = 2
_TOLD: Final = ("Entrypoint", "Cmd", "WorkingDir", "User", "Env")


class Step(msgspec.Struct, frozen=True):
    """One step in which an image was built: what it ran, what was remarked, and whether it made a layer."""

    made_by: str
    remark: str
    has_layer: bool


class Referrer(msgspec.Struct, frozen=True):
    """What speaks about an artifact, with what speaks about that."""

    row: Accessory
    below: list[Referrer]


@pages.get("/repositories/{name:path}/-/history")
async def show_history(call: Call) -> Response:
    """What each tag stood for, and when."""
    name = RepositoryName.parse(call.parameters["name"])
    frame, wanted = await project_frame(call, name.project), call.query.get("tag", "")
    named = (Filter("tag", Match.EQUAL, (wanted,)),) if wanted else ()
    rows, total = await call.rooms.registry.tags.history(call.actor, name, call.listing(*named))
    return call.page("repositories/history.html", frame=frame, name=name, changes=rows, wanted=wanted, pager=call.pager(total))


@pages.get("/repositories/{name:path}/-/uploads")
async def follow_uploads(call: Call) -> Response:
    """What is being pushed into it, again and again until nothing is."""
    name = RepositoryName.parse(call.parameters["name"])

    async def look() -> Look:
        rows = await call.rooms.registry.uploads.running(call.actor, name)
        return Look(call.part("repositories/uploads.html", uploads=rows), not rows)

    return await follow(look)


@pages.get("/repositories/{name:path}/-/conversions")
async def follow_conversions(call: Call) -> Response:
    """How the conversions of the artifact stand, again and again until all have ended."""
    name, reference = _parse(call.parameters["name"])
    if reference is None:
        raise NotFound("Artifacts are converted, and this is a repository.")

    async def look() -> Look:
        rows = await call.rooms.conversions.all(call.actor, name, reference)
        return Look(call.part("repositories/conversions.html", conversions=rows, name=name), not _is_converting(rows))

    return await follow(look)


@pages.get("/repositories/{name:path}")
async def show(call: Call) -> Response:
    """The repository, or with `:TAG` or `@DIGEST` the artifact."""
    name, reference = _parse(call.parameters["name"])
    return await (_show_repository(call, name) if reference is None else _show_artifact(call, name, reference))


@pages.post("/repositories/{name:path}")
async def change(call: Call) -> Response:
    """Describe the repository (`act=describe`), or delete it (`delete`) once its name is typed; delete or `convert` an artifact."""
    name, reference = _parse(call.parameters["name"])
    if reference is not None:
        return await _change_artifact(call, name, reference)
    try:
        if call.form.text("act") == "delete":
            return await _delete(call, name)
        await call.rooms.registry.repositories.describe(call.actor, name, call.form.text("description"))
    except MISTAKES as error:
        return await _show_repository(call, name, error)
    return call.redirect(f"/repositories/{name}", "What is said of the repository is saved.")


async def _change_artifact(call: Call, name: RepositoryName, reference: Reference) -> Response:
    act = call.form.text("act")
    if act == "convert":
        await call.rooms.conversions.start(call.actor, name, reference)
        return call.redirect(call.request.path, "The conversion begins.")
    if act != "delete":
        raise InvalidInput("An artifact is converted or deleted.")
    digest = await call.rooms.registry.artifacts.digest(call.actor, name, reference)
    await call.rooms.registry.manifests.delete_whole(call.actor, name, digest)
    return call.redirect(f"/repositories/{name}", "The artifact is deleted, with its tags and what was made of it.")


def _is_converting(conversions: Sequence[ShownConversion]) -> bool:
    return any(one.state in _LIVE for one in conversions)


async def _delete(call: Call, name: RepositoryName) -> Response:
    if call.form.text("typed") != str(name):
        return await _show_repository(call, name, NotFound("Nothing was deleted: what you typed is not the repository's name."))
    await call.rooms.registry.repositories.remove(call.actor, name)
    return call.redirect(f"/projects/{name.project}", f"The repository {name} is deleted with all that was in it.")


async def _show_repository(call: Call, name: RepositoryName, error: RoadsteadError | None = None) -> Response:
    frame = await project_frame(call, name.project)
    row = await call.rooms.registry.repositories.get(call.actor, name)
    artifacts, total = await call.rooms.registry.artifacts.page(call.actor, name, call.listing(), accessories=True)
    uploads = await call.rooms.registry.uploads.running(call.actor, name) if frame.may(Action.PUSH) else ()
    values: dict[str, Any] = {
        "readme": _readme(row.description),
        "may_describe": frame.may(Action.DESCRIBE),
        "name": name,
        "uploads": uploads,
    }
    pager = call.pager(total)
    return call.again("repositories/repository.html", error, frame=frame, row=row, artifacts=artifacts, pager=pager, **values)


async def _show_artifact(call: Call, name: RepositoryName, reference: Reference) -> Response:
    frame = await project_frame(call, name.project)
    artifact = await call.rooms.registry.artifacts.get(call.actor, name, reference, accessories=True)
    server = Server.of(call.request.base_url)
    tag = reference if not isinstance(reference, Digest) else next((one.name for one in artifact.tags), None)
    values: dict[str, Any] = {
        "by_tag": [] if tag is None else commands(server, frame.row, name, tag, artifact.kind),
        "by_digest": commands(server, frame.row, name, artifact.digest, artifact.kind),
        "needs": await needs_of(call, name, artifact),
        "signatures": await _signatures(call, name, artifact),
        "referrers": await _referrers(call, name, artifact.accessories),
        "told": _told(artifact),
        **await _conversions(call, name, artifact, frame),
        **await _content(call, name, artifact),
    }
    return call.page("repositories/artifact.html", frame=frame, name=name, reference=reference, artifact=artifact, **values)


async def _content(call: Call, name: RepositoryName, artifact: Artifact) -> dict[str, Any]:
    """The layers beside the largest with what made each, how it was built, and the manifest as it was pushed."""
    row = await call.rooms.registry.manifests.get(call.actor, name, artifact.digest, count=False, gated=False)
    layers = parse_manifest(row.content, row.media_type).layers
    largest = max((layer.size for layer in layers), default=1) or 1
    steps = await _history(call, name, artifact)
    making = [step.made_by for step in steps if step.has_layer]
    made_by = making if len(making) == len(layers) else [""] * len(layers)
    raw = row.content.decode("utf-8", "replace") if len(row.content) <= _LONGEST_RAW else None
    shown = [(layer, round(100 * layer.size / largest), made) for layer, made in zip(layers, made_by, strict=True)]
    return {"layers": shown, "raw": raw, "history": steps}


async def _signatures(call: Call, name: RepositoryName, artifact: Artifact) -> Any:
    return await call.rooms.signatures.all(call.actor, name, artifact.digest)


async def _conversions(call: Call, name: RepositoryName, artifact: Artifact, frame: ProjectFrame) -> dict[str, Any]:
    """The other forms of an image, for who may pull it, and whether some are missing that the reader may have made."""
    if not frame.may(Action.PULL):
        return {"conversions": (), "is_converting": False, "may_convert": False}
    rows = await call.rooms.conversions.all(call.actor, name, artifact.digest)
    missing = frame.row.conversion_policy.when != "off" and any(one.state not in (*_LIVE, CONVERTED) for one in rows)
    return {"conversions": rows, "is_converting": _is_converting(rows), "may_convert": missing and frame.may(Action.PUSH)}


async def _history(call: Call, name: RepositoryName, artifact: Artifact) -> list[Step]:
    """The steps, as far as the image's configuration tells them."""
    try:
        steps = await call.rooms.registry.artifacts.history(call.actor, name, artifact.digest)
    except NotFound:
        return []
    return [
        Step(_line(step.get("created_by", "")), _line(step.get("comment", "")), step.get("empty_layer") is not True)
        for step in steps
        if isinstance(step, dict)
    ]


async def _referrers(call: Call, name: RepositoryName, found: Sequence[Accessory], depth: int = _DEPTH) -> list[Referrer]:
    """What speaks about it, and what speaks about that."""
    several = []
    for one in found[:_REFERRERS]:
        below: Sequence[Accessory] = ()
        if depth:
            below, _ = await call.rooms.registry.artifacts.accessories(call.actor, name, one.digest, Listing(page=Page(size=_REFERRERS)))
        several.append(Referrer(one, await _referrers(call, name, below, depth - 1) if below else []))
    return several


def _told(artifact: Artifact) -> list[tuple[str, str]]:
    """What the artifact says of itself, as lines: what an image's configuration has, or a SIF's labels."""
    said = artifact.attributes or {}
    config = said.get("config")
    lines = [(key, _line(said[key])) for key in ("os", "architecture", "created", "author") if said.get(key)]
    if isinstance(config, dict):
        lines += [(key, _line(config[key])) for key in _TOLD if config.get(key)]
    for labels in (said.get("labels"), config.get("Labels") if isinstance(config, dict) else None):
        if isinstance(labels, dict):
            lines += [(str(key), _line(value)) for key, value in labels.items()]
    return lines


def _line(value: object) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(value)
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()


def _readme(text: str) -> Markup:
    """Markdown as harmless HTML."""
    return Markup(nh3.clean(_MARKDOWN.render(text), tags=_TAGS, link_rel="noopener noreferrer nofollow"))  # noqa: S704 - it is cleaned


def _parse(text: str) -> tuple[RepositoryName, Reference | None]:
    """A repository, or an artifact in it, as image references are written. Raises InvalidInput."""
    if "@" in text:
        name, _, digest = text.partition("@")
        return RepositoryName.parse(name.partition(":")[0]), Digest.parse(digest)
    name, colon, tag = text.partition(":")
    return RepositoryName.parse(name), parse_reference(tag) if colon else None
