"""The commands that fetch, send, copy, name and remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roadstead.cli.remote import Ca, Json, Plain, Platform, Quiet, Where, print_done, print_facts, session_at, tell_aside, telling
from roadstead.errors import InvalidInput

if TYPE_CHECKING:
    from roadstead.client.download import Cache
    from roadstead.client.locations import Location
    from roadstead.client.session import Session

CacheFolder = Annotated[Path | None, typer.Option(envvar="ROADSTEAD_CACHE", help="Folder shared by machines: each file is fetched once.")]


def pull(
    where: Where,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="What to write (default: named as the image, here).")] = None,
    oci: Annotated[bool, typer.Option("--oci", help="Fetch an image as it is, as a directory (OCI layout), not as a SIF.")] = False,
    platform: Platform = None,
    cache: CacheFolder = None,
    ca: Ca = None,
    plain_http: Plain = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fetch an image: as a SIF, which the registry makes of it where it is none. After a cut the same command goes on where it was."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - each command pays only for what it uses

    place = parse_location(where)
    name = f"{place.repository.rpartition('/')[2]}_{place.reference.removeprefix('sha256:')[:128]}{'' if oci else '.sif'}"
    target = (output or Path(name)).absolute()
    if not target.parent.is_dir():
        raise InvalidInput(f"There is no folder {target.parent} to write into.")
    if target.is_dir() and not oci:
        raise InvalidInput(f"{target} is a directory: name the file with --output.")
    with session_at(place.host, plain_http, ca) as session:
        (_pull_layout if oci else _pull_sif)(session, place, platform, target, cache, quiet, as_json)


def _pull_sif(
    session: Session, place: Location, platform: str | None, target: Path, cache: Path | None, quiet: bool, as_json: bool
) -> None:
    from roadstead.client.download import download, translated  # noqa: PLC0415 - see pull
    from roadstead.client.sifs import find_sif  # noqa: PLC0415 - see pull

    with telling("converting at the registry", None, quiet):
        layer = find_sif(session, place, platform)
    with telling(target.name, layer.size, quiet) as tell:
        download(session, place.repository, layer, target, tell, _shared(cache, quiet))
    with translated(target):
        mode = target.stat().st_mode
        target.chmod(mode | (mode & 0o444) >> 2)  # Whoever may read a SIF may run it like a program.
    facts = {"path": str(target), "size": layer.size, "digest": layer.digest}
    print_facts(facts, f"{target}: {layer.digest}", as_json)


def _pull_layout(
    session: Session, place: Location, platform: str | None, target: Path, cache: Path | None, quiet: bool, as_json: bool
) -> None:
    from roadstead.client.layouts import choose, pull_layout  # noqa: PLC0415 - see pull

    image = choose(session, place, platform)
    size = sum(blob.size for blob in image.manifest.required_blobs())
    with telling(target.name, size, quiet) as tell:
        pull_layout(session, place, image, target, tell, _shared(cache, quiet))
    print_facts({"path": str(target), "size": size, "digest": image.digest}, f"{target}: {image.digest}", as_json)


def _shared(folder: Path | None, quiet: bool) -> Cache | None:
    """The cache, if one is wanted; on a terminal one is told when another process is waited for."""
    from roadstead.client.download import Cache  # noqa: PLC0415 - see pull

    if folder is None:
        return None
    return Cache(folder.absolute(), lambda: tell_aside("Another process fetches it into the cache: waiting for that.", quiet))


def push(
    source: Annotated[Path, typer.Argument(exists=True, help="A SIF, or a directory with an image (OCI layout).")],
    where: Where,
    ca: Ca = None,
    plain_http: Plain = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Push a SIF, or an image in a directory as `pull --oci` and `convert` write it. Without a tag it is pushed as `latest`."""
    from roadstead.client.layouts import push_layout, size_of  # noqa: PLC0415 - see pull
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see pull
    from roadstead.client.upload import push_sif  # noqa: PLC0415 - see pull

    place = parse_location(where)
    size = size_of(source)
    with session_at(place.host, plain_http, ca) as session, telling(source.name, size, quiet) as tell:
        digest = (push_layout if source.is_dir() else push_sif)(session, place, source, tell)
    print_facts({"path": place.text, "size": size, "digest": digest}, f"{place.text}: {digest}", as_json)


def copy(
    origin: Where,
    to: Where,
    referrers: Annotated[bool, typer.Option("--with-referrers", help="Also signatures, SBOMs and what else refers to it.")] = False,
    ca: Ca = None,
    plain_http: Plain = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Copy an image, artifact or SIF to another repository or registry; nothing is transferred within one registry.

    Without a tag the copy is `latest`. Signatures, SBOMs and other referrers come along with --with-referrers alone.
    """
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see pull
    from roadstead.client.upload import copy as transfer  # noqa: PLC0415 - see pull

    source, target = parse_location(origin), parse_location(to)
    sessions = session_at(source.host, plain_http, ca), session_at(target.host, plain_http, ca)
    with sessions[0] as one, sessions[1] as other, telling(target.text, None, quiet) as tell:
        digest = transfer(one, source, other, target, tell, referrers=referrers)
    print_facts({"path": target.text, "digest": digest}, f"{target.text}: {digest}", as_json)


def tag(
    where: Where,
    name: Annotated[str, typer.Argument(help="The new tag.")],
    ca: Ca = None,
    plain_http: Plain = False,
    as_json: Json = False,
) -> None:
    """Give what a tag or digest names one more tag."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see pull
    from roadstead.oci.reference import TagName  # noqa: PLC0415 - see pull

    place, wanted = parse_location(where), TagName.parse(name)
    with session_at(place.host, plain_http, ca) as session:
        found = session.manifest(place.repository, place.reference)
        session.put_manifest(place.repository, wanted, found.content, found.manifest.media_type)
    path = f"{place.host}/{place.repository}:{wanted}"
    print_done({"path": path, "digest": found.digest}, f"{path} is {found.digest}", as_json)


def remove(where: Where, ca: Ca = None, plain_http: Plain = False, as_json: Json = False) -> None:
    """Remove a tag; by digest, the manifest with all its tags."""
    from roadstead.client.locations import names_one, parse_location  # noqa: PLC0415 - see pull

    if not names_one(where):
        raise InvalidInput(f"Say which tag goes: {where}:TAG")  # Not `latest` by silence.
    place = parse_location(where)
    with session_at(place.host, plain_http, ca) as session:
        session.remove(place.repository, place.reference)
    print_done({"path": place.text}, f"{place.text} is removed", as_json)
