"""One artifact: the commands to copy, what it needs and says, what belongs to it, and its end. Its routes are those of its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from roadstead.access.actor import Action
from roadstead.errors import GateRefused, InUse, InvalidInput, InvalidManifest, ManifestUnknown, NotFound, RoadsteadError, Unauthenticated
from roadstead.oci import media_type
from roadstead.oci.descriptor import Descriptor
from roadstead.oci.digest import Digest
from roadstead.oci.manifest import parse_manifest
from roadstead.oci.reference import Reference, RepositoryName, TagName
from roadstead.registry.artifacts import Artifact
from roadstead.serving.response import Response
from roadstead.sif.shown import CONVERTED, ShownConversion
from roadstead.web.call import Call
from roadstead.web.commands import Known, Server, commands
from roadstead.web.events import Look, follow
from roadstead.web.kinds import in_words, is_image, of_artifact
from roadstead.web.needs import needs_of
from roadstead.web.project_frame import ProjectFrame, repository_frame
from roadstead.web.references import parse
from roadstead.web.routes import Pages
from roadstead.web.told import Step, attestations_of, first, images_of, lines_of, sif_of, steps_of

pages = Pages()

_LONGEST_RAW: Final = 256 * 1024
_LIVE: Final = ("waiting", "running")
_TAGS: Final = 20  # so many are named; their page has all


@pages.get("/repositories/{name:path}/-/conversions")
async def follow_conversions(call: Call) -> Response:
    """How the conversions of the artifact stand, again and again until all have ended."""
    name, reference = parse(call.parameters["name"])
    if reference is None:
        raise NotFound("Artifacts are converted, and this is a repository.")

    async def look() -> Look:
        rows = await call.rooms.conversions.all(call.actor, name, reference)
        return Look(call.part("repositories/conversions.html", conversions=rows, name=name), not _is_converting(rows))

    return await follow(call, look)


@pages.get("/repositories/{name:path}/-/needs")
async def show_needs(call: Call) -> Response:
    """What the artifact needs of a machine and where it runs, for the page that waits for it."""
    name, reference = parse(call.parameters["name"])
    if reference is None:
        raise NotFound("Artifacts need something of a machine, and this is a repository.")
    artifact = await call.rooms.registry.artifacts.get(call.actor, name, reference)
    needs = await needs_of(call, name, artifact) if is_image(artifact) else None
    return call.page("repositories/needs.html", name=name, artifact=artifact, needs=needs)


async def show_artifact(call: Call, name: RepositoryName, reference: Reference, error: RoadsteadError | None = None) -> Response:
    """The artifact's page; after a mistake with what was wrong."""
    frame = await repository_frame(call, name)
    artifact = await call.rooms.registry.artifacts.get(call.actor, name, reference)
    runs = is_image(artifact)
    values: dict[str, Any] = {
        "tag": None if isinstance(reference, Digest) else reference,
        "kind": of_artifact(artifact),
        "tags": first(artifact.tags, _TAGS),
        "needs": await needs_of(call, name, artifact) if runs else None,
        "images": first(images_of(artifact)),
        "attestations": first(attestations_of(artifact)),
        "signatures": await call.rooms.signatures.all(call.actor, name, artifact.digest),
        "speakers": await call.rooms.registry.artifacts.speaking(call.actor, name, artifact.digest),
        "told": first(lines_of(artifact)),
        "annotations": first(list(artifact.annotations.items())),
        "sif": sif_of(artifact),
        **await _conversions(call, name, artifact, frame),
        **await _content(call, name, artifact, reference),
        **await _going(call, name, artifact, frame),
    }
    values |= _commands(call, frame, name, reference, artifact, values)
    asked = call.query.get("delete")
    return call.again(
        "repositories/artifact.html", error, frame=frame, name=name, reference=reference, artifact=artifact, asked=asked, **values
    )


async def change_artifact(call: Call, name: RepositoryName, reference: Reference) -> Response:
    """Convert it (`act=convert`), delete it (`delete`), or delete the tag by which it is shown (`untag`), if that stands for `digest`."""
    act = call.form.text("act")
    try:
        if act == "convert":
            await call.rooms.conversions.start(call.actor, name, reference)
            return call.redirect(call.request.path, "The conversion begins.")
        if act == "untag" and not isinstance(reference, Digest):
            return await _untag(call, name, reference)
        if act == "delete":
            digest = await call.rooms.registry.artifacts.digest(call.actor, name, reference)
            await call.rooms.registry.manifests.delete_whole(call.actor, name, digest)
            return call.redirect(f"/repositories/{name}", "The artifact is deleted, with its tags and what belonged to it.")
    except (InUse, ManifestUnknown) as error:
        return await show_artifact(call, name, reference, error)
    raise InvalidInput("An artifact is converted or deleted, or its tag is.")


async def _untag(call: Call, name: RepositoryName, tag: TagName) -> Response:
    """Delete one tag. One that was moved since the page was shown stands for what nobody meant to take it from, and stays."""
    digest = Digest.parse(call.form.text("digest"))
    await call.rooms.registry.manifests.remove_tag(call.actor, name, digest, tag)
    return call.redirect(f"/repositories/{name}/-/tags", f"The tag {tag} is deleted. What it stood for is still here.")


def _commands(
    call: Call, frame: ProjectFrame, name: RepositoryName, reference: Reference, artifact: Artifact, values: Mapping[str, Any]
) -> dict[str, Any]:
    """How to pull it, by a tag if it has one, and by its digest."""
    server, kind = Server.of(call.request.base_url), artifact.kind if is_image(artifact) or artifact.kind == "CHART" else ""
    if values["kind"] == "Signature":
        return {"by_tag": [], "by_digest": []}
    converted = (one.digest for one in values["conversions"] if one.state == CONVERTED)
    version = (artifact.attributes or {}).get("version")
    known = Known(next(converted, None), values["file"], version if isinstance(version, str) else None, call.actor.anonymous)
    tag = reference if not isinstance(reference, Digest) else next((one.name for one in artifact.tags), None)
    by_tag = [] if tag is None else commands(server, frame.row, name, tag, kind, known)
    return {"by_tag": by_tag, "by_digest": commands(server, frame.row, name, artifact.digest, kind, known)}


async def _refused(call: Call, name: RepositoryName, reference: Reference) -> str | None:
    """Why the registry would not give it out, where its project gives out only what is signed."""
    try:
        await call.rooms.registry.manifests.get(call.actor, name, reference, count=False)
    except (GateRefused, Unauthenticated) as refusal:
        return refusal.message
    return None


async def _going(call: Call, name: RepositoryName, artifact: Artifact, frame: ProjectFrame) -> dict[str, Any]:
    """What goes with it, for who may delete it."""
    if not frame.may_here(Action.DELETE):
        return {"going": None, "with_it": []}
    going = await call.rooms.registry.artifacts.going(call.actor, name, artifact.digest)
    return {"going": going, "with_it": in_words(going)}


def _is_converting(conversions: Sequence[ShownConversion]) -> bool:
    return any(one.state in _LIVE for one in conversions)


async def _content(call: Call, name: RepositoryName, artifact: Artifact, reference: Reference) -> dict[str, Any]:
    """The layers beside the largest with what made each, how it was built, the manifest as it was pushed, and whether it goes out."""
    row = await call.rooms.registry.manifests.get(call.actor, name, artifact.digest, count=False, gated=False)
    layers = _layers(row.content, row.media_type)
    largest = max((layer.size for layer in layers), default=1) or 1
    steps = await _history(call, name, artifact)
    making = [step.made_by for step in steps if step.has_layer]
    made_by = making if len(making) == len(layers) else [""] * len(layers)
    raw = row.content.decode("utf-8", "replace") if len(row.content) <= _LONGEST_RAW else None
    shown = [(layer, round(100 * layer.size / largest), made) for layer, made in zip(layers, made_by, strict=True)]
    asks = row.only_signed_sifs or row.only_signed_images
    refused = await _refused(call, name, reference) if asks and is_image(artifact) else None
    file = next((layer.digest for layer in layers if layer.media_type in media_type.SIF_LAYER_TYPES), None)
    return {"layers": first(shown), "raw": raw, "history": first(steps), "file": file, "refused": refused}


def _layers(content: bytes, kind: str) -> Sequence[Descriptor]:
    """Rules may have changed since it was pushed: of what would be refused now, none."""
    try:
        return parse_manifest(content, kind).layers
    except InvalidManifest:
        return ()


async def _conversions(call: Call, name: RepositoryName, artifact: Artifact, frame: ProjectFrame) -> dict[str, Any]:
    """The other forms of an image, for who may pull it, and whether some are missing that the reader may have made."""
    if not frame.may_here(Action.PULL) or not is_image(artifact):
        return {"conversions": (), "is_converting": False, "may_convert": False}
    rows = await call.rooms.conversions.all(call.actor, name, artifact.digest)
    missing = frame.row.conversion_policy.when != "off" and any(one.state not in (*_LIVE, CONVERTED) for one in rows)
    return {"conversions": rows, "is_converting": _is_converting(rows), "may_convert": missing and frame.may_here(Action.PUSH)}


async def _history(call: Call, name: RepositoryName, artifact: Artifact) -> list[Step]:
    try:
        return steps_of(await call.rooms.registry.artifacts.history(call.actor, name, artifact.digest))
    except NotFound:
        return []
