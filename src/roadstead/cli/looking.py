"""The commands that show what a registry holds."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from roadstead.cli.remote import Ca, Host, Json, Plain, Quiet, Where, print_facts, session_at


def list_repositories(
    where: Annotated[str, typer.Argument(help="HOST or HOST/project.")], ca: Ca = None, plain_http: Plain = False, as_json: Json = False
) -> None:
    """List the repositories that you may see."""
    from roadstead.client.locations import host_of  # noqa: PLC0415 - each command pays only for what it uses

    host, project = host_of(where)
    with session_at(host, plain_http, ca) as session:
        names = session.repositories()
    found = [name for name in names if not project or name.startswith(f"{project}/")]
    print_facts(found, "\n".join(found), as_json)


def tags(
    where: Annotated[str, typer.Argument(help="HOST/project/image.")], ca: Ca = None, plain_http: Plain = False, as_json: Json = False
) -> None:
    """List the tags of a repository."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see list_repositories

    place = parse_location(where)
    with session_at(place.host, plain_http, ca) as session:
        names = session.tags(place.repository)
    print_facts(names, "\n".join(names), as_json)


def inspect(where: Where, ca: Ca = None, plain_http: Plain = False, as_json: Json = False) -> None:
    """Show what a tag or digest names: its manifest, and its digest and size."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see list_repositories

    place = parse_location(where)
    with session_at(place.host, plain_http, ca) as session:
        found = session.manifest(place.repository, place.reference)
    size = sum(blob.size for blob in found.manifest.blobs())
    facts = {"digest": found.digest, "mediaType": found.manifest.media_type, "size": size, "manifest": json.loads(found.content)}
    lines = [place.text, f"  digest  {found.digest}", f"  type    {found.manifest.media_type}", f"  size    {size} bytes"]
    parts = (*found.manifest.layers, *found.manifest.children)
    lines += [f"  {part.digest}  {part.size}  {part.media_type}{_platform(part.platform)}" for part in parts]
    print_facts(facts, "\n".join(lines), as_json)


def _platform(told: dict[str, Any] | None) -> str:
    return "" if told is None else "  " + "/".join(str(told[key]) for key in ("os", "architecture", "variant") if told.get(key))


def search(
    host: Host,
    text: Annotated[str, typer.Argument(help="A part of the name of a project or repository.")],
    ca: Ca = None,
    plain_http: Plain = False,
    as_json: Json = False,
) -> None:
    """Find projects and repositories by a part of their names."""
    from roadstead.client.locations import bare_host  # noqa: PLC0415 - see list_repositories
    from roadstead.client.management import find  # noqa: PLC0415 - see list_repositories

    place = bare_host(host)
    with session_at(place, plain_http, ca) as session:
        found = find(session, text)
    lines = [f"{place}/{name}/" for name in found.projects]
    lines += [f"{place}/{one.name}  {one.artifacts} artifacts, {one.pulls} pulls" for one in found.repositories]
    facts = {"projects": found.projects, "repositories": [one.facts for one in found.repositories]}
    print_facts(facts, "\n".join(lines), as_json)


def show_page(where: Where, plain_http: Plain = False, quiet: Quiet = False, as_json: Json = False) -> None:
    """Print the address of the page about it, and open that in a browser where there is a screen."""
    from roadstead.client.locations import parse_location  # noqa: PLC0415 - see list_repositories
    from roadstead.client.session import speaks_plain  # noqa: PLC0415 - see list_repositories

    place = parse_location(where)
    plain = plain_http or speaks_plain(place.host)
    url = f"{'http' if plain else 'https'}://{place.host}/repositories/{place.text.removeprefix(place.host + '/')}"
    print_facts({"url": url}, url, as_json)
    if not quiet and not as_json and sys.stdout.isatty() and os.environ.get("DISPLAY", os.environ.get("WAYLAND_DISPLAY")):
        typer.launch(url)
