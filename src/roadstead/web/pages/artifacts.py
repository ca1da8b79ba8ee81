"""One artifact: the commands to copy, what it needs and says, what belongs to it, and its end. Its routes are those of its repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from roadstead.access.actor import Action
from roadstead.errors import InvalidInput, InvalidManifest, NotFound
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import Reference, RepositoryName
from roadstead.registry.artifacts import Accessory, Artifact
from roadstead.registry.listing import Listing, Page
from roadstead.serving.response import Response
from roadstead.sif.shown import CONVERTED, ShownConversion
from roadstead.web.call import Call
from roadstead.web.commands import Server, commands
from roadstead.web.events import Look, follow
from roadstead.web.needs import needs_of
from roadstead.web.project_frame import ProjectFrame, repository_frame
from roadstead.web.references import parse
from roadstead.web.routes import Pages
from roadstead.web.told import Step, first, images_of, lines_of, sif_of, steps_of

pages = Pages()

_LONGEST_RAW: Final = 256 * 1024
_LIVE: Final = ("waiting", "running")
_REFERRERS: Final = 20  # so many are shown of each artifact
_DEPTH: Final = 2


class Referrer(msgspec.Struct, frozen=True):
    """What speaks about an artifact, with what speaks about that."""

    row: Accessory
    below: list[Referrer]


@pages.get("/repositories/{name:path}/-/conversions")
async def follow_conversions(call: Call) -> Response:
    """How the conversions of the artifact stand, again and again until all have ended."""
    name, reference = parse(call.parameters["name"])
    if reference is None:
        raise NotFound("Artifacts are converted, and this is a repository.")

    async def look() -> Look:
        rows = await call.rooms.conversions.all(call.actor, name, reference)
        return Look(call.part("repositories/conversions.html", conversions=rows, name=name), not _is_converting(rows))

    return await follow(look)


async def show_artifact(call: Call, name: RepositoryName, reference: Reference) -> Response:
    """The artifact's page."""
    frame = await repository_frame(call, name)
    artifact = await call.rooms.registry.artifacts.get(call.actor, name, reference, accessories=True)
    server = Server.of(call.request.base_url)
    tag = reference if not isinstance(reference, Digest) else next((one.name for one in artifact.tags), None)
    values: dict[str, Any] = {
        "by_digest_alone": isinstance(reference, Digest),
        "by_tag": [] if tag is None else commands(server, frame.row, name, tag, artifact.kind),
        "by_digest": commands(server, frame.row, name, artifact.digest, artifact.kind),
        "needs": await needs_of(call, name, artifact),
        "images": first(images_of(artifact)),
        "signatures": await call.rooms.signatures.all(call.actor, name, artifact.digest),
        "referrers": await _referrers(call, name, artifact.accessories),
        "told": first(lines_of(artifact)),
        "annotations": first(list(artifact.annotations.items())),
        "sif": sif_of(artifact),
        **await _conversions(call, name, artifact, frame),
        **await _content(call, name, artifact),
    }
    return call.page("repositories/artifact.html", frame=frame, name=name, reference=reference, artifact=artifact, **values)


async def change_artifact(call: Call, name: RepositoryName, reference: Reference) -> Response:
    """Convert it (`act=convert`), or delete it (`delete`)."""
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


async def _content(call: Call, name: RepositoryName, artifact: Artifact) -> dict[str, Any]:
    """The layers beside the largest with what made each, how it was built, and the manifest as it was pushed."""
    row = await call.rooms.registry.manifests.get(call.actor, name, artifact.digest, count=False, gated=False)
    try:
        layers = parse_manifest(row.content, row.media_type).layers
    except InvalidManifest:
        layers = ()
    largest = max((layer.size for layer in layers), default=1) or 1
    steps = await _history(call, name, artifact)
    making = [step.made_by for step in steps if step.has_layer]
    made_by = making if len(making) == len(layers) else [""] * len(layers)
    raw = row.content.decode("utf-8", "replace") if len(row.content) <= _LONGEST_RAW else None
    shown = [(layer, round(100 * layer.size / largest), made) for layer, made in zip(layers, made_by, strict=True)]
    return {"layers": first(shown), "raw": raw, "history": first(steps)}


async def _conversions(call: Call, name: RepositoryName, artifact: Artifact, frame: ProjectFrame) -> dict[str, Any]:
    """The other forms of an image, for who may pull it, and whether some are missing that the reader may have made."""
    if not frame.may_here(Action.PULL):
        return {"conversions": (), "is_converting": False, "may_convert": False}
    rows = await call.rooms.conversions.all(call.actor, name, artifact.digest)
    missing = frame.row.conversion_policy.when != "off" and any(one.state not in (*_LIVE, CONVERTED) for one in rows)
    return {"conversions": rows, "is_converting": _is_converting(rows), "may_convert": missing and frame.may_here(Action.PUSH)}


async def _history(call: Call, name: RepositoryName, artifact: Artifact) -> list[Step]:
    try:
        return steps_of(await call.rooms.registry.artifacts.history(call.actor, name, artifact.digest))
    except NotFound:
        return []


async def _referrers(call: Call, name: RepositoryName, found: Sequence[Accessory], depth: int = _DEPTH) -> list[Referrer]:
    """What speaks about it, and what speaks about that."""
    several = []
    for one in found[:_REFERRERS]:
        below: Sequence[Accessory] = ()
        if depth:
            below, _ = await call.rooms.registry.artifacts.accessories(call.actor, name, one.digest, Listing(page=Page(size=_REFERRERS)))
        several.append(Referrer(one, await _referrers(call, name, below, depth - 1) if below else []))
    return several
